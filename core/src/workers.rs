//! Threads for what may take long: plugins off the way of a message, reads, and what waits for the disk.
//!
//! They have a lower priority than the threads that carry messages, so that a plugin which keeps the processors busy delays
//! others like it, and messages hardly.

use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle};

/// How much nicer these threads are than others; 9 times as much processor time goes to others then.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// The host is stopping: there is no turn any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server is stopping")]
pub struct Stopping;

/// Threads, and the turns of those who wait for one.
#[derive(Debug)]
pub struct Workers {
    /// None once it is dropped.
    runtime: Option<Runtime>,
    turns: Arc<Semaphore>,
}

impl Workers {
    /// Makes threads, of which requests use so many at a time.
    ///
    /// # Errors
    /// When the operating system gives no thread.
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

    /// Waits for a turn, which ends when what is returned is dropped.
    ///
    /// # Errors
    /// When the host is stopping.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit, Stopping> {
        self.turns.clone().acquire_owned().await.map_err(|_| Stopping)
    }

    /// Begins work, which may wait and take long.
    pub fn begin<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        match &self.runtime {
            Some(runtime) => runtime.spawn_blocking(work),
            // It is there until the workers are dropped.
            None => tokio::task::spawn_blocking(work),
        }
    }

    /// Does work when it is its turn.
    ///
    /// # Errors
    /// When the host is stopping; inside, when the work panicked.
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
        // It may be dropped on a thread that must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of the thread. Only Linux has priorities of threads.
pub(crate) fn become_nicer() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        let lowered = getpriority_process(None).and_then(|now| setpriority_process(None, now.saturating_add(NICE)));
        if let Err(error) = lowered {
            tracing::debug!(%error, "a thread keeps its priority");
        }
    }
}
