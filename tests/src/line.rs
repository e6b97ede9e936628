//! A connection to a server with injected faults.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A fault of the connection that carries a certain byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks.
    Cut,
    /// All later bytes are lost, and neither side sees the other's close until [`Line::release`].
    Hold,
    /// This byte arrives as another one.
    Flip,
}

/// The side whose bytes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Client,
    Server,
}

/// A proxy to a server that injects faults after a number of bytes, over all connections together.
pub struct Line {
    pub port: u16,
    carried: Arc<AtomicU64>,
    faults: watch::Receiver<VecDeque<(u64, Fault)>>,
    released: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Faults = Arc<watch::Sender<VecDeque<(u64, Fault)>>>;

impl Line {
    /// Opens a line. Faults are sorted by their position, the number of bytes before them.
    pub async fn to(server: u16, from: From, faults: &[(u64, Fault)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (due, left) = watch::channel(faults.iter().copied().collect());
        let (due, carried) = (Arc::new(due), Arc::new(AtomicU64::new(0)));
        let (released, release) = watch::channel(false);
        let count = carried.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, from, count.clone(), due.clone(), release.clone()));
            }
        });
        Self {
            port,
            carried,
            faults: left,
            released,
            task,
        }
    }

    /// Returns the number of counted bytes, including lost ones.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Returns the number of remaining faults.
    pub fn left(&self) -> usize {
        self.faults.borrow().len()
    }

    /// Ends stalled connections.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// Waits until all faults have occurred.
    pub async fn exhausted(&self) {
        self.faults.clone().wait_for(VecDeque::is_empty).await.unwrap();
    }
}

/// Carries the bytes of one connection, until it ends or breaks.
async fn carry(
    client: TcpStream,
    server: u16,
    from: From,
    carried: Arc<AtomicU64>,
    faults: Faults,
    mut released: watch::Receiver<bool>,
) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let (counted, others) = match from {
        From::Client => (client.into_split(), server.into_split()),
        From::Server => (server.into_split(), client.into_split()),
    };
    let ((mut reader, mut back), (mut other, mut writer)) = (counted, others);
    let mut uncounted = tokio::spawn(async move {
        // Either side may close.
        let _ = tokio::io::copy(&mut other, &mut back).await;
        // Kept open, so that the close isn't visible.
        back
    });
    let (mut is_held, mut kept) = (false, None);
    let counting = async {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let read = match reader.read(&mut bytes).await {
                Ok(0) | Err(_) => break true,
                Ok(read) => read,
            };
            if is_held {
                continue;
            }
            let before = carried.fetch_add(read as u64, Ordering::Relaxed);
            let mut due = None;
            faults.send_if_modified(|faults| {
                let is_due = faults.front().is_some_and(|(at, _)| *at < before + read as u64);
                if is_due {
                    due = faults.pop_front();
                }
                is_due
            });
            match due {
                None => {}
                Some((_, Fault::Cut)) => break false,
                Some((_, Fault::Hold)) => {
                    is_held = true;
                    continue;
                }
                Some((at, Fault::Flip)) => bytes[usize::try_from(at.saturating_sub(before)).unwrap()] ^= 1,
            }
            if writer.write_all(&bytes[..read]).await.is_err() {
                break false;
            }
        }
    };
    let is_whole = tokio::select! {
        is_whole = counting => is_whole,
        back = &mut uncounted => {
            kept = back.ok();
            false
        }
    };
    if is_held {
        // Dropping the line releases them as well.
        let _ = released.wait_for(|released| *released).await;
    } else if is_whole {
        let _ = writer.shutdown().await;
        let _ = (&mut uncounted).await;
    }
    uncounted.abort();
    drop(kept);
}
