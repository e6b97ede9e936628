//! Threads for blocking work: plugin calls outside of a message's path, reads, and waits for the disk.
//!
//! Their priority is lower than that of the threads that carry messages. A plugin that keeps the processors busy delays other
//! such work, and messages hardly.

use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle};

/// Nice level of these threads relative to others, which then get about 9 times as much processor time.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// The host is stopping, so that no more work is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server is stopping")]
pub struct Stopping;

/// Worker threads, and the turns of requests that use them.
#[derive(Debug)]
pub struct Workers {
    /// `None` while it is dropped.
    runtime: Option<Runtime>,
    turns: Arc<Semaphore>,
}

impl Workers {
    /// Starts the threads. Requests use up to `turns` of them at the same time.
    ///
    /// # Errors
    /// When the operating system can't create a thread.
    pub fn new(turns: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("worker")
            .on_thread_start(become_nicer)
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            turns: Arc::new(Semaphore::new(turns)),
        })
    }

    /// Waits for a turn, which ends when the returned permit is dropped.
    ///
    /// # Errors
    /// When the host is stopping.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit, Stopping> {
        self.turns.clone().acquire_owned().await.map_err(|_| Stopping)
    }

    /// Starts blocking work at once, without a turn.
    pub fn begin<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        match &self.runtime {
            Some(runtime) => runtime.spawn_blocking(work),
            // Unreachable: the runtime exists until the workers are dropped.
            None => tokio::task::spawn_blocking(work),
        }
    }

    /// Waits for a turn, and runs the work.
    ///
    /// # Errors
    /// When the host is stopping. The inner error means that the work panicked.
    pub async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Result<T, JoinError>, Stopping> {
        let _turn = self.turn().await?;
        Ok(self.begin(work).await)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Workers may be dropped on a thread that must not block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of the current thread. Only Linux has priorities of threads.
pub(crate) fn become_nicer() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        let lowered = getpriority_process(None).and_then(|now| setpriority_process(None, now.saturating_add(NICE)));
        if let Err(error) = lowered {
            tracing::debug!(%error, "the priority of a thread can't be lowered");
        }
    }
}
