//! The reference for Courtyard: a bare WebSocket relay with a group-committed log, on the same crates.
//!
//! It knows only pairs: the first frame of a connection is a number, and 2n and 2n + 1 are a pair. Every later frame is
//! appended to one file, with its length and checksum. Once the file is synced, the frame is sent unchanged to the other
//! connection of the pair, or with `--to-all` to all others, and two bytes to the sender. It has no ids, retries, numbers,
//! members, limits, heartbeats or queries, and parses nothing.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::future::poll_fn;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use futures_util::{Sink, Stream};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::{Condvar, Mutex};
use tokio::net::TcpListener;
use yawc::{Frame, HttpWebSocket, Options, WebSocket};

/// Frames that a connection is to send.
#[derive(Default)]
struct SendQueue {
    frames: Mutex<Vec<Bytes>>,
    waker: AtomicWaker,
}

impl SendQueue {
    fn push(&self, frame: Bytes) {
        let mut frames = self.frames.lock();
        frames.push(frame);
        let first = frames.len() == 1;
        drop(frames);
        if first {
            self.waker.wake();
        }
    }

    fn drain(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.frames.lock())
    }
}

struct Message {
    from: Arc<SendQueue>,
    number: u32,
    frame: Bytes,
}

#[derive(Default)]
struct Relay {
    /// `true` if all connections are one group.
    to_all: bool,
    connections: Mutex<HashMap<u32, Arc<SendQueue>>>,
    messages: Mutex<Vec<Message>>,
    work: Condvar,
}

/// Runs until the process is killed.
pub(crate) fn run(log: &Path, to_all: bool) {
    let file = File::create(log).unwrap();
    let relay = Arc::new(Relay {
        to_all,
        ..Relay::default()
    });
    let committer = relay.clone();
    std::thread::spawn(move || committer.commit(file));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("listening on http://{}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let relay = relay.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| upgrade(relay.clone(), request));
                // The generator checks that connections stay open.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await;
            });
        }
    });
}

async fn upgrade(relay: Arc<Relay>, mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let options = Options::default()
        .with_read_buffer_capacity(2 << 10)
        .with_write_buffer_capacity(1 << 10)
        .without_compression();
    let (response, socket) = WebSocket::upgrade_with_options(&mut request, options).unwrap();
    tokio::spawn(async move {
        if let Ok(socket) = socket.await {
            relay.serve(socket).await;
        }
    });
    Ok(response)
}

enum Ready {
    Frame(Option<Frame>),
    Queue(Vec<Bytes>),
}

impl Relay {
    async fn serve(&self, mut socket: HttpWebSocket) {
        let queue = Arc::new(SendQueue::default());
        let mut number = None;
        loop {
            let ready = poll_fn(|context| {
                if let Poll::Ready(frame) = Pin::new(&mut socket).poll_next(context) {
                    return Poll::Ready(Ready::Frame(frame));
                }
                queue.waker.register(context.waker());
                let frames = queue.drain();
                if frames.is_empty() {
                    Poll::Pending
                } else {
                    Poll::Ready(Ready::Queue(frames))
                }
            });
            match ready.await {
                Ready::Frame(None) => break,
                Ready::Frame(Some(frame)) => match number {
                    None => {
                        let own = frame.as_str().parse().unwrap();
                        self.connections.lock().insert(own, queue.clone());
                        number = Some(own);
                        queue.push(Bytes::from_static(b"ok"));
                    }
                    Some(number) => self.submit(Message {
                        from: queue.clone(),
                        number,
                        frame: frame.into_payload(),
                    }),
                },
                Ready::Queue(frames) => {
                    for frame in frames {
                        let ready = poll_fn(|context| Pin::new(&mut socket).poll_ready(context)).await;
                        if ready.is_err() || Pin::new(&mut socket).start_send(Frame::text(frame)).is_err() {
                            return;
                        }
                    }
                    if poll_fn(|context| Pin::new(&mut socket).poll_flush(context))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            }
        }
    }

    fn submit(&self, message: Message) {
        let mut messages = self.messages.lock();
        messages.push(message);
        if messages.len() == 1 {
            self.work.notify_one();
        }
    }

    fn commit(&self, mut file: File) {
        let mut bytes = Vec::new();
        loop {
            let messages = {
                let mut messages = self.messages.lock();
                while messages.is_empty() {
                    self.work.wait(&mut messages);
                }
                std::mem::take(&mut *messages)
            };
            bytes.clear();
            for message in &messages {
                let length = u32::try_from(message.frame.len()).unwrap();
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(&message.frame);
            }
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
            let connections = self.connections.lock();
            for message in messages {
                message.from.push(Bytes::from_static(b"ok"));
                if self.to_all {
                    let others = connections.iter().filter(|(number, _)| **number != message.number);
                    others.for_each(|(_, other)| other.push(message.frame.clone()));
                } else if let Some(other) = connections.get(&(message.number ^ 1)) {
                    other.push(message.frame);
                }
            }
        }
    }
}
