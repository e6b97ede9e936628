//! One connection: frames in, a bounded queue out, heartbeats on both sides.

mod identity;
mod requests;
mod send;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep, timeout};
use yawc::{Frame, OpCode, WebSocket};

use crate::bus::Bus;
use crate::hooks::{Hooks, Observers};
use crate::log::Log;
use crate::router::{Item, Queue, Router};
use crate::wire::reply::ClientLimits;
use crate::wire::{AppId, ClientFrame, CloseCode, Code, FrameError, RequestError, SessionId, reply};

use identity::Signed;

/// Limits of a session. Every one has a key under `[limits]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Bytes of a message.
    pub frame_bytes: usize,
    /// Nesting of JSON.
    pub depth: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// Bad frames until the session is closed.
    pub bad_frames: u32,
    /// Bytes queued.
    pub queue_bytes: usize,
    /// Time for the first frame.
    pub hello: Duration,
    /// Silence after which the other side is asked for a sign of life; twice that ends the session.
    pub heartbeat: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 64 << 10,
            depth: 32,
            in_flight: 256,
            bad_frames: 8,
            queue_bytes: 1 << 20,
            hello: Duration::from_secs(10),
            heartbeat: Duration::from_secs(20),
        }
    }
}

/// What all sessions of a host share.
pub struct Host {
    /// The plugins.
    pub hooks: Arc<Hooks>,
    /// Conversations and messages.
    pub log: Arc<Log>,
    /// Live sessions.
    pub router: Arc<Router>,
    /// Other nodes.
    pub bus: Arc<dyn Bus>,
    /// Those who are shown messages after the commit.
    pub observers: Arc<Observers>,
    /// The tenants.
    pub apps: Vec<AppId>,
    /// The limits.
    pub limits: SessionLimits,
    /// Places for calls that may take long.
    pub blocking: Arc<Semaphore>,
    /// For loopback only: a token that no plugin knows is taken as the actor.
    pub trust_tokens: bool,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("apps", &self.apps).finish_non_exhaustive()
    }
}

/// A live session.
pub(crate) struct Session {
    host: Arc<Host>,
    id: SessionId,
    queue: Arc<Queue>,
    in_flight: Arc<Semaphore>,
    app: Option<AppId>,
    signed: Option<Signed>,
    bad_frames: u32,
}

/// Why a session goes on no longer.
enum End {
    Close(CloseCode),
    Gone,
}

/// Serves one WebSocket until it ends, or until `stopping` turns true.
pub async fn serve<S>(host: Arc<Host>, socket: WebSocket<S>, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut session = Session {
        id: SessionId(ulid::Ulid::from_parts(crate::services::now_ms(), rand::random()).0),
        queue: Arc::new(Queue::new(host.limits.queue_bytes)),
        in_flight: Arc::new(Semaphore::new(host.limits.in_flight)),
        app: None,
        signed: None,
        bad_frames: 0,
        host,
    };
    let mut link = Link::new(socket, session.host.limits.heartbeat);
    let end = tokio::select! {
        end = session.run(&mut link) => end,
        _ = async { stopping.wait_for(|stopping| *stopping).await.map(drop) } => End::Close(CloseCode::GoingAway),
    };
    session.sign_out();
    if let End::Close(code) = end {
        // The other side may be gone; a second is enough for one that is not.
        let _ = timeout(Duration::from_secs(1), link.close(code)).await;
    }
}

/// What a link has for its session.
enum Input {
    Text(Bytes),
    /// The queue has something to send, or says that the session is to end.
    Queue,
    End(End),
}

impl Session {
    async fn run<S>(&mut self, link: &mut Link<S>) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let hello_by = Instant::now() + self.host.limits.hello;
        loop {
            let next = link.next(&self.queue);
            let input = if self.app.is_none() {
                match tokio::time::timeout_at(hello_by, next).await {
                    Ok(input) => input,
                    Err(_) => return End::Close(CloseCode::Violation),
                }
            } else {
                next.await
            };
            match input {
                Input::Text(text) => {
                    if let Err(code) = self.receive(&text).await {
                        let _ = self.drain(link).await;
                        return End::Close(code);
                    }
                }
                Input::Queue => {
                    if let Err(end) = self.drain(link).await {
                        return end;
                    }
                }
                Input::End(end) => return end,
            }
        }
    }

    /// Sends what is in the queue, all of it in one go.
    async fn drain<S>(&self, link: &mut Link<S>) -> Result<(), End>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (items, closing) = self.queue.take();
        for item in items {
            let frame = match item {
                Item::Event(frame) if self.host.hooks.renders() => self.render(frame).await,
                Item::Answer(frame) | Item::Event(frame) | Item::Signal(frame) => frame,
            };
            link.feed(frame).await.map_err(|()| End::Gone)?;
        }
        link.flush().await.map_err(|()| End::Gone)?;
        match closing {
            Some(code) => Err(End::Close(code)),
            None => Ok(()),
        }
    }

    async fn receive(&mut self, bytes: &Bytes) -> Result<(), CloseCode> {
        if bytes.len() > self.host.limits.frame_bytes {
            return Err(CloseCode::TooBig);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| CloseCode::NotUtf8)?;
        match ClientFrame::parse(text, self.host.limits.depth) {
            Ok(frame) => self.handle(frame, bytes).await,
            Err(FrameError { id, error }) => {
                self.refuse(id.as_deref(), &error);
                self.bad_frames += 1;
                if self.app.is_none() || self.bad_frames >= self.host.limits.bad_frames {
                    return Err(CloseCode::Violation);
                }
                Ok(())
            }
        }
    }

    async fn handle(&mut self, frame: ClientFrame<'_>, bytes: &Bytes) -> Result<(), CloseCode> {
        let Some(app) = self.app.clone() else {
            return match frame {
                ClientFrame::Hello {
                    protocol,
                    app,
                    credentials,
                } => self.hello(protocol, app, credentials).await,
                _ => {
                    self.refuse(
                        None,
                        &RequestError::new(Code::UnexpectedFrame, "The first frame must be `hello`."),
                    );
                    Err(CloseCode::Violation)
                }
            };
        };
        match frame {
            ClientFrame::Send {
                id,
                conversation,
                kind,
                content,
            } => {
                self.send(&app, &id, conversation, &kind, content, bytes).await;
            }
            ClientFrame::Call { id, method, params } => self.call(&app, &id, &method, params),
            ClientFrame::Sync { id, since } => self.sync(&app, &id, since).await,
            ClientFrame::History {
                id,
                conversation,
                page,
                limit,
            } => {
                self.history(&app, &id, conversation, page, limit).await;
            }
            ClientFrame::Ping => self.answer(reply::pong()),
            ClientFrame::Auth { id, credentials } => self.authenticate(&app, &id, credentials).await,
            ClientFrame::Hello { .. } => {
                self.refuse(None, &RequestError::new(Code::UnexpectedFrame, "`hello` comes once."));
            }
        }
        Ok(())
    }

    fn answer(&self, frame: Bytes) {
        self.queue.push(Item::Answer(frame));
    }

    fn refuse(&self, id: Option<&str>, error: &RequestError) {
        self.answer(reply::error(id, error));
    }

    fn client_limits(&self) -> ClientLimits {
        let limits = &self.host.limits;
        ClientLimits {
            frame_bytes: limits.frame_bytes,
            depth: limits.depth,
            in_flight: limits.in_flight,
        }
    }
}

/// A WebSocket with its heartbeat.
struct Link<S> {
    socket: WebSocket<S>,
    heartbeat: Duration,
    timer: Pin<Box<Sleep>>,
    heard: bool,
    asked: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Link<S> {
    fn new(socket: WebSocket<S>, heartbeat: Duration) -> Self {
        Self {
            socket,
            heartbeat,
            timer: Box::pin(tokio::time::sleep(heartbeat)),
            heard: false,
            asked: false,
        }
    }

    /// Waits for a frame, for the queue, or for the end. Loses nothing when it is dropped.
    async fn next(&mut self, queue: &Queue) -> Input {
        loop {
            let ready = poll_fn(|context| {
                match Pin::new(&mut self.socket).poll_next(context) {
                    Poll::Ready(frame) => return Poll::Ready(Ready::Frame(frame)),
                    Poll::Pending => {}
                }
                if queue.poll_ready(context).is_ready() {
                    return Poll::Ready(Ready::Queue);
                }
                self.timer.as_mut().poll(context).map(|()| Ready::Silence)
            })
            .await;
            match ready {
                Ready::Queue => return Input::Queue,
                Ready::Frame(frame) => {
                    self.heard = true;
                    if let Some(input) = self.understand(frame) {
                        return input;
                    }
                }
                Ready::Silence => {
                    if !std::mem::take(&mut self.heard) {
                        if self.asked {
                            return Input::End(End::Close(CloseCode::HeartbeatTimeout));
                        }
                        self.asked = true;
                        if self.feed_frame(Frame::ping("")).await.is_err() || self.flush().await.is_err() {
                            return Input::End(End::Gone);
                        }
                    } else {
                        self.asked = false;
                    }
                    self.timer.as_mut().reset(Instant::now() + self.heartbeat);
                }
            }
        }
    }

    /// Returns what a frame means for the session; none for those that only show life.
    fn understand(&mut self, frame: Option<Frame>) -> Option<Input> {
        let Some(frame) = frame else {
            return Some(Input::End(End::Gone));
        };
        self.asked = false;
        match frame.opcode() {
            OpCode::Text => Some(Input::Text(frame.into_payload())),
            OpCode::Binary | OpCode::Continuation => Some(Input::End(End::Close(CloseCode::Unsupported))),
            OpCode::Close => Some(Input::End(End::Gone)),
            OpCode::Ping | OpCode::Pong => None,
        }
    }

    async fn feed(&mut self, frame: Bytes) -> Result<(), ()> {
        self.feed_frame(Frame::text(frame)).await
    }

    async fn feed_frame(&mut self, frame: Frame) -> Result<(), ()> {
        poll_fn(|context| Pin::new(&mut self.socket).poll_ready(context))
            .await
            .map_err(drop)?;
        Pin::new(&mut self.socket).start_send(frame).map_err(drop)
    }

    async fn flush(&mut self) -> Result<(), ()> {
        poll_fn(|context| Pin::new(&mut self.socket).poll_flush(context))
            .await
            .map_err(drop)
    }

    async fn close(&mut self, code: CloseCode) -> Result<(), ()> {
        self.feed_frame(Frame::close(code.number().into(), code.reason()))
            .await?;
        self.flush().await
    }
}

enum Ready {
    Frame(Option<Frame>),
    Queue,
    Silence,
}
