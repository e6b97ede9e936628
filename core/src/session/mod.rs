//! One connection: frames in, a bounded queue out, heartbeats on both sides.

mod act;
mod identity;
mod local;
mod receipts;
mod refusal;
mod rendered;
mod requests;
mod send;
mod sync;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, timeout};
use yawc::{Frame, OpCode, WebSocket};

use crate::host::Host;
use crate::log::Watermark;
use crate::router::{Closing, Item, Queue};
use crate::wire::reply::ClientLimits;
use crate::wire::{AppId, ClientFrame, CloseCode, Code, ConversationId, FrameError, RequestError, SessionId, reply};

pub use local::{Events, Incoming, LocalSession, Refused, Sent};

use identity::Signed;
use send::Underway;

/// A live session.
pub(crate) struct Session {
    host: Arc<Host>,
    id: SessionId,
    queue: Arc<Queue>,
    places: Arc<Places>,
    /// Comes back empty from each time it was filled from the queue.
    items: VecDeque<Item>,
    app: Option<AppId>,
    signed: Option<Signed>,
    /// In which conversation the others were told last that the actor writes, and until when that is enough.
    typed: Option<(ConversationId, std::time::Instant)>,
    /// Plugins that are being told of the session; what comes next waits for it.
    telling: Option<JoinHandle<()>>,
    /// Ends with the last act; the next one waits for it, so that they happen in the order in which they came.
    acting: Option<oneshot::Receiver<()>>,
    bad_frames: u32,
}

/// How many requests of a session may be in flight.
struct Places {
    taken: AtomicUsize,
    most: usize,
}

impl Places {
    /// Takes a place; none if all are taken.
    fn take(self: &Arc<Self>) -> Option<Place> {
        let room = |taken: usize| (taken < self.most).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .ok()?;
        Some(Place(self.clone()))
    }
}

/// A request's place, until it is dropped.
struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Items of a queue whose room a session keeps.
const KEPT_ITEMS: usize = 16;
/// Frames that are taken from a connection at a time, so that each step of their way is done for all of them.
const FRAMES_AT_ONCE: usize = 32;

/// Why a session goes on no longer.
enum End {
    Close(CloseCode),
    Gone,
}

/// Serves one WebSocket until it ends, or until `stopping` turns true.
pub fn serve<S>(
    host: Arc<Host>,
    socket: WebSocket<S>,
    mut stopping: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut session = Session::new(host);
    // Made here and not in the future, which would have room for the socket twice.
    let mut link = Link::new(socket, session.host.limits.heartbeat);
    async move {
        let end = tokio::select! {
            end = session.run(&mut link) => end,
            _ = async { stopping.wait_for(|stopping| *stopping).await.map(drop) } => {
                End::Close(CloseCode::GoingAway)
            }
        };
        session.sign_out();
        if let End::Close(code) = end {
            // The other side may be gone; a second is enough for one that is not.
            let _ = timeout(Duration::from_secs(1), link.close(code)).await;
        }
    }
}

/// What a link has for its session.
enum Input {
    /// Some text frames, in order.
    Texts(Vec<Bytes>),
    /// The queue has something to send, or says that the session is to end.
    Queue,
    End(End),
}

impl Session {
    fn new(host: Arc<Host>) -> Self {
        Self {
            id: SessionId(ulid::Ulid::from_parts(crate::clock::now_ms(), rand::random()).0),
            queue: Arc::new(Queue::new(host.limits.queue_bytes)),
            places: Arc::new(Places {
                taken: AtomicUsize::new(0),
                most: host.limits.in_flight,
            }),
            items: VecDeque::new(),
            app: None,
            signed: None,
            typed: None,
            telling: None,
            acting: None,
            bad_frames: 0,
            host,
        }
    }

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
                Input::Texts(texts) => {
                    if let Err(end) = self.take_in(link, &texts).await {
                        return end;
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

    /// Handles frames. Whoever asks for much at a time is no slow reader: they get it before more is taken from them.
    async fn take_in<S>(&mut self, link: &mut Link<S>, mut texts: &[Bytes]) -> Result<(), End>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        while !texts.is_empty() {
            match self.receive(texts).await {
                Ok(count) => texts = &texts[count..],
                Err(code) => {
                    // What led to it.
                    let _ = self.drain(link).await;
                    return Err(End::Close(code));
                }
            }
            if !texts.is_empty() {
                self.drain(link).await?;
            }
        }
        Ok(())
    }

    /// Sends what is in the queue, all of it in one go.
    async fn drain<S>(&mut self, link: &mut Link<S>) -> Result<(), End>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let closing = self.queue.take(&mut self.items);
        while let Some(item) = self.items.pop_front() {
            let frame = self.shown(item).await;
            link.feed(frame).await.map_err(|()| End::Gone)?;
        }
        if self.items.capacity() > KEPT_ITEMS {
            self.items = VecDeque::new();
        }
        link.flush().await.map_err(|()| End::Gone)?;
        match closing {
            Some(code) => Err(End::Close(code)),
            None => Ok(()),
        }
    }

    /// Takes what is in the queue.
    async fn take_frames(&mut self) -> (Vec<Bytes>, Closing) {
        let closing = self.queue.take(&mut self.items);
        let mut frames = Vec::with_capacity(self.items.len());
        while let Some(item) = self.items.pop_front() {
            frames.push(self.shown(item).await);
        }
        (frames, closing)
    }

    /// Makes of an item what this session is to see.
    async fn shown(&self, item: Item) -> Bytes {
        match item {
            Item::Event(frame) if self.host.hooks.renders() => self.render(frame).await,
            Item::Answer(frame) | Item::Event(frame) | Item::Signal(frame) => frame,
        }
    }

    /// Handles frames in order, as long as less than half of the queue waits; returns how many. Messages that follow each
    /// other are sent together.
    async fn receive(&mut self, texts: &[Bytes]) -> Result<usize, CloseCode> {
        let mut messages = Vec::with_capacity(texts.len());
        let mut outcome = Ok(0);
        for (count, bytes) in (1..).zip(texts) {
            // Messages are answered later.
            if messages.is_empty() && self.queue.is_half_full() {
                break;
            }
            outcome = self.receive_one(bytes, &mut messages).await.map(|()| count);
            if outcome.is_err() {
                break;
            }
        }
        self.submit(&mut messages).await;
        outcome
    }

    async fn receive_one(&mut self, bytes: &Bytes, messages: &mut Vec<Underway>) -> Result<(), CloseCode> {
        if bytes.len() > self.host.limits.frame_bytes {
            return Err(CloseCode::TooBig);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| CloseCode::NotUtf8)?;
        match ClientFrame::parse(text, self.host.limits.depth) {
            Ok(ClientFrame::Send {
                id,
                conversation,
                kind,
                content,
            }) if let Some(app) = &self.app => {
                match self.outgoing(app, &id, conversation, &kind, content, bytes) {
                    Ok(message) => messages.push(message),
                    Err(error) => self.refuse(Some(&id), &error),
                }
                Ok(())
            }
            Ok(frame) => {
                self.submit(messages).await;
                // Seldom, so that its future need not have room in every session.
                Box::pin(self.handle(frame)).await
            }
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

    async fn handle(&mut self, frame: ClientFrame<'_>) -> Result<(), CloseCode> {
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
            ClientFrame::Act {
                id,
                conversation,
                target,
                act,
            } => self.act(&app, &id, conversation, target, act),
            ClientFrame::Receipt {
                id,
                conversation,
                delivered,
                read,
            } => self.receipt(&app, &id, conversation, Watermark { delivered, read }),
            ClientFrame::Receipts {
                id,
                conversation,
                after,
                limit,
            } => self.receipts(&app, &id, conversation, after, limit).await,
            ClientFrame::Typing { conversation } => self.typing(&app, conversation).await,
            ClientFrame::Ping => self.answer(reply::pong()),
            ClientFrame::Auth { id, credentials } => self.authenticate(&app, &id, credentials).await,
            // Messages of an open session go another way, so what is left is out of order.
            ClientFrame::Hello { .. } | ClientFrame::Send { .. } => {
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
    /// What has come and was not handed out yet.
    texts: Vec<Bytes>,
    end: Option<End>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Link<S> {
    fn new(socket: WebSocket<S>, heartbeat: Duration) -> Self {
        Self {
            socket,
            heartbeat,
            timer: Box::pin(tokio::time::sleep(heartbeat)),
            heard: false,
            asked: false,
            texts: Vec::new(),
            end: None,
        }
    }

    /// Waits for frames, for the queue, or for the end. Loses nothing when it is dropped.
    async fn next(&mut self, queue: &Queue) -> Input {
        loop {
            let ready = poll_fn(|context| {
                self.poll_frames(context);
                if !self.texts.is_empty() {
                    return Poll::Ready(Ready::Input(Input::Texts(std::mem::take(&mut self.texts))));
                }
                if let Some(end) = self.end.take() {
                    return Poll::Ready(Ready::Input(Input::End(end)));
                }
                if queue.poll_ready(context).is_ready() {
                    return Poll::Ready(Ready::Input(Input::Queue));
                }
                self.timer.as_mut().poll(context).map(|()| Ready::Silence)
            })
            .await;
            match ready {
                Ready::Input(input) => return input,
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

    /// Takes the frames that have come.
    fn poll_frames(&mut self, context: &mut Context<'_>) {
        while self.end.is_none() && self.texts.len() < FRAMES_AT_ONCE {
            let Poll::Ready(frame) = Pin::new(&mut self.socket).poll_next(context) else {
                return;
            };
            (self.heard, self.asked) = (true, false);
            let Some(frame) = frame else {
                self.end = Some(End::Gone);
                return;
            };
            match frame.opcode() {
                OpCode::Text => self.texts.push(frame.into_payload()),
                OpCode::Binary | OpCode::Continuation => self.end = Some(End::Close(CloseCode::Unsupported)),
                OpCode::Close => self.end = Some(End::Gone),
                OpCode::Ping | OpCode::Pong => {}
            }
        }
    }

    async fn feed(&mut self, frame: Bytes) -> Result<(), ()> {
        self.feed_frame(Frame::text(frame)).await
    }

    async fn feed_frame(&mut self, frame: Frame) -> Result<(), ()> {
        self.wait_for(|socket, context| socket.poll_ready(context).map_err(drop))
            .await?;
        Pin::new(&mut self.socket).start_send(frame).map_err(drop)
    }

    async fn flush(&mut self) -> Result<(), ()> {
        self.wait_for(|socket, context| socket.poll_flush(context).map_err(drop))
            .await
    }

    /// Waits for the socket to take more, and listens meanwhile: the other side is given up once it has neither taken
    /// everything nor said anything for as long as it may be silent.
    async fn wait_for(
        &mut self,
        step: impl Fn(Pin<&mut WebSocket<S>>, &mut Context<'_>) -> Poll<Result<(), ()>>,
    ) -> Result<(), ()> {
        let mut is_silent = false;
        poll_fn(|context| {
            if let Poll::Ready(done) = step(Pin::new(&mut self.socket), context) {
                return Poll::Ready(done);
            }
            self.poll_frames(context);
            while self.timer.as_mut().poll(context).is_ready() {
                if !std::mem::take(&mut self.heard) && std::mem::replace(&mut is_silent, true) {
                    return Poll::Ready(Err(()));
                }
                self.timer.as_mut().reset(Instant::now() + self.heartbeat);
            }
            match self.end {
                Some(End::Gone) => Poll::Ready(Err(())),
                _ => Poll::Pending,
            }
        })
        .await
    }

    async fn close(&mut self, code: CloseCode) -> Result<(), ()> {
        self.feed_frame(Frame::close(code.number().into(), code.reason()))
            .await?;
        self.flush().await
    }
}

enum Ready {
    Input(Input),
    Silence,
}
