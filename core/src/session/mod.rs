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
use crate::router::{Closing, QueueItem, SessionQueue};
use crate::wire::reply::ClientLimits;
use crate::wire::{
    AppId, ClientFrame, CloseCode, ConversationId, ErrorCode, FrameError, RequestError, SessionId, reply,
};

pub use local::{Incoming, IncomingEvents, LocalError, LocalSession, Sent};

use identity::SignedIn;
use send::PendingSend;

/// A live session.
pub(crate) struct Session {
    host: Arc<Host>,
    id: SessionId,
    queue: Arc<SessionQueue>,
    in_flight: Arc<InFlightLimit>,
    /// Always empty between uses: the buffer that the queue is swapped into.
    items: VecDeque<QueueItem>,
    app: Option<AppId>,
    signed: Option<SignedIn>,
    /// The conversation of the last typing signal, and when the next one in it may be sent.
    last_typing: Option<(ConversationId, std::time::Instant)>,
    /// The task that notifies plugins of the last change of the session; the next notification waits for it.
    notifying: Option<JoinHandle<()>>,
    /// Resolves when the last act has ended. The next act waits for it, so that acts take effect in order of arrival.
    last_act: Option<oneshot::Receiver<()>>,
    bad_frames: u32,
}

/// Bounds the requests of a session that are in flight.
struct InFlightLimit {
    in_use: AtomicUsize,
    limit: usize,
}

impl InFlightLimit {
    /// Acquires a permit, or returns `None` if all are in use.
    fn acquire(self: &Arc<Self>) -> Option<InFlightPermit> {
        let increment = |in_use: usize| (in_use < self.limit).then_some(in_use + 1);
        self.in_use
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, increment)
            .ok()?;
        Some(InFlightPermit(self.clone()))
    }
}

/// Counts one request as in flight until it is dropped.
struct InFlightPermit(Arc<InFlightLimit>);

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Capacity that the item buffer of a session keeps; a larger one is freed.
const KEPT_ITEMS: usize = 16;
/// Frames read from a connection at a time, so that each step handles all of them together.
const FRAMES_AT_ONCE: usize = 32;

/// Why a session ends.
enum CloseReason {
    /// The server closes the connection with this code.
    Close(CloseCode),
    /// The connection is closed already: nothing more can be sent.
    Gone,
}

/// Serves one WebSocket until it ends or `stopping` turns true.
pub fn serve<S>(
    host: Arc<Host>,
    socket: WebSocket<S>,
    mut stopping: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut session = Session::new(host);
    // Built outside of the future, which would otherwise reserve space for the socket twice.
    let mut socket = HeartbeatSocket::new(socket, session.host.limits.heartbeat);
    async move {
        let _open = session.host.traffic.open_session();
        let end = tokio::select! {
            end = session.run(&mut socket) => end,
            _ = async { stopping.wait_for(|stopping| *stopping).await.map(drop) } => {
                CloseReason::Close(CloseCode::GoingAway)
            }
        };
        session.sign_out();
        if let CloseReason::Close(code) = end {
            // The peer may be gone; a second suffices for one that isn't.
            let _ = timeout(Duration::from_secs(1), socket.close(code)).await;
        }
    }
}

/// What a socket or the queue has ready for the session.
enum SocketInput {
    /// Text frames, in order of arrival.
    Texts(Vec<Bytes>),
    /// The queue has items to send, or asks to end the session.
    Queue,
    /// The connection ended, or must be closed.
    End(CloseReason),
}

impl Session {
    fn new(host: Arc<Host>) -> Self {
        Self {
            id: SessionId(crate::clock::new_ulid().0),
            queue: Arc::new(SessionQueue::counted(host.limits.queue_bytes, host.traffic.clone())),
            in_flight: Arc::new(InFlightLimit {
                in_use: AtomicUsize::new(0),
                limit: host.limits.in_flight,
            }),
            items: VecDeque::new(),
            app: None,
            signed: None,
            last_typing: None,
            notifying: None,
            last_act: None,
            bad_frames: 0,
            host,
        }
    }

    async fn run<S>(&mut self, socket: &mut HeartbeatSocket<S>) -> CloseReason
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let hello_by = Instant::now() + self.host.limits.hello;
        loop {
            let next = socket.next(&self.queue);
            let input = if self.app.is_none() {
                match tokio::time::timeout_at(hello_by, next).await {
                    Ok(input) => input,
                    Err(_) => return CloseReason::Close(CloseCode::Violation),
                }
            } else {
                next.await
            };
            match input {
                SocketInput::Texts(texts) => {
                    if let Err(end) = self.handle_frames(socket, &texts).await {
                        return end;
                    }
                }
                SocketInput::Queue => {
                    if let Err(end) = self.flush_queue(socket).await {
                        return end;
                    }
                }
                SocketInput::End(end) => return end,
            }
        }
    }

    /// Handles frames. Once the queue is half full, it is sent before more frames are handled, so that a client with
    /// many requests isn't closed as too slow.
    async fn handle_frames<S>(
        &mut self,
        socket: &mut HeartbeatSocket<S>,
        mut texts: &[Bytes],
    ) -> Result<(), CloseReason>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        self.host.traffic.frames_received.inc_by(texts.len() as u64);
        while !texts.is_empty() {
            match self.receive(texts).await {
                Ok(count) => texts = &texts[count..],
                Err(code) => {
                    // Sends the error that explains the close code.
                    let _ = self.flush_queue(socket).await;
                    return Err(CloseReason::Close(code));
                }
            }
            if !texts.is_empty() {
                self.flush_queue(socket).await?;
            }
        }
        Ok(())
    }

    /// Sends everything in the queue with one flush.
    async fn flush_queue<S>(&mut self, socket: &mut HeartbeatSocket<S>) -> Result<(), CloseReason>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let closing = self.queue.swap_into(&mut self.items);
        self.host.traffic.frames_sent.inc_by(self.items.len() as u64);
        while let Some(item) = self.items.pop_front() {
            let frame = self.render_item(item).await;
            socket.feed(frame).await.map_err(|()| CloseReason::Gone)?;
        }
        if self.items.capacity() > KEPT_ITEMS {
            self.items = VecDeque::new();
        }
        socket.flush().await.map_err(|()| CloseReason::Gone)?;
        match closing {
            Some(code) => Err(CloseReason::Close(code)),
            None => Ok(()),
        }
    }

    /// Returns the frames in the queue, and the close code if the session is to end.
    async fn drain_queue(&mut self) -> (Vec<Bytes>, Closing) {
        let closing = self.queue.swap_into(&mut self.items);
        let mut frames = Vec::with_capacity(self.items.len());
        while let Some(item) = self.items.pop_front() {
            frames.push(self.render_item(item).await);
        }
        (frames, closing)
    }

    /// Returns the frame of an item as this session's actor sees it.
    async fn render_item(&self, item: QueueItem) -> Bytes {
        match item {
            QueueItem::Event(frame) if self.host.hooks.renders() => self.render(frame).await,
            QueueItem::Answer(frame) | QueueItem::Event(frame) | QueueItem::Signal(frame) => frame,
        }
    }

    /// Handles frames in order while the queue is less than half full, and returns how many. Consecutive messages are
    /// submitted together.
    async fn receive(&mut self, texts: &[Bytes]) -> Result<usize, CloseCode> {
        let mut messages = Vec::with_capacity(texts.len());
        let mut outcome = Ok(0);
        for (count, bytes) in (1..).zip(texts) {
            // Messages are answered later, so a batch that has begun doesn't fill the queue.
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

    #[expect(clippy::vec_box, reason = "a message moves between threads, and is large")]
    async fn receive_one(&mut self, bytes: &Bytes, messages: &mut Vec<Box<PendingSend>>) -> Result<(), CloseCode> {
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
                match self.pending_send(app, &id, conversation, &kind, content, bytes) {
                    Ok(message) => messages.push(message),
                    Err(error) => self.refuse(Some(&id), &error),
                }
                Ok(())
            }
            Ok(frame) => {
                self.submit(messages).await;
                // Rare path: boxed, so its large future isn't stored inline in every session.
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
                        &RequestError::new(ErrorCode::InvalidOrder, "The first frame must be `hello`."),
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
            // `receive_one` handles messages of an open session, so both frames are out of order here.
            ClientFrame::Hello { .. } | ClientFrame::Send { .. } => {
                self.refuse(
                    None,
                    &RequestError::new(
                        ErrorCode::InvalidOrder,
                        "The session is open already: `hello` must be sent once only.",
                    ),
                );
            }
        }
        Ok(())
    }

    fn answer(&self, frame: Bytes) {
        self.queue.push(QueueItem::Answer(frame));
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

/// A WebSocket with a heartbeat.
struct HeartbeatSocket<S> {
    socket: WebSocket<S>,
    heartbeat: Duration,
    timer: Pin<Box<Sleep>>,
    /// Something has arrived since the timer was set.
    heard: bool,
    /// A ping was sent, and nothing has arrived since.
    pinged: bool,
    /// Received frames that `next` hasn't returned yet.
    texts: Vec<Bytes>,
    end: Option<CloseReason>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> HeartbeatSocket<S> {
    fn new(socket: WebSocket<S>, heartbeat: Duration) -> Self {
        Self {
            socket,
            heartbeat,
            timer: Box::pin(tokio::time::sleep(heartbeat)),
            heard: false,
            pinged: false,
            texts: Vec::new(),
            end: None,
        }
    }

    /// Waits for frames, for the queue, or for the end. Cancellation loses nothing.
    async fn next(&mut self, queue: &SessionQueue) -> SocketInput {
        loop {
            let ready = poll_fn(|context| {
                self.poll_frames(context);
                if !self.texts.is_empty() {
                    return Poll::Ready(Wakeup::Input(SocketInput::Texts(std::mem::take(&mut self.texts))));
                }
                if let Some(end) = self.end.take() {
                    return Poll::Ready(Wakeup::Input(SocketInput::End(end)));
                }
                if queue.poll_ready(context).is_ready() {
                    return Poll::Ready(Wakeup::Input(SocketInput::Queue));
                }
                self.timer.as_mut().poll(context).map(|()| Wakeup::Silence)
            })
            .await;
            match ready {
                Wakeup::Input(input) => return input,
                Wakeup::Silence => {
                    if !std::mem::take(&mut self.heard) {
                        if self.pinged {
                            return SocketInput::End(CloseReason::Close(CloseCode::HeartbeatTimeout));
                        }
                        self.pinged = true;
                        if self.feed_frame(Frame::ping("")).await.is_err() || self.flush().await.is_err() {
                            return SocketInput::End(CloseReason::Gone);
                        }
                    } else {
                        self.pinged = false;
                    }
                    self.timer.as_mut().reset(Instant::now() + self.heartbeat);
                }
            }
        }
    }

    /// Reads the frames that have arrived, up to `FRAMES_AT_ONCE`.
    fn poll_frames(&mut self, context: &mut Context<'_>) {
        while self.end.is_none() && self.texts.len() < FRAMES_AT_ONCE {
            let Poll::Ready(frame) = Pin::new(&mut self.socket).poll_next(context) else {
                return;
            };
            (self.heard, self.pinged) = (true, false);
            let Some(frame) = frame else {
                self.end = Some(CloseReason::Gone);
                return;
            };
            match frame.opcode() {
                OpCode::Text => self.texts.push(frame.into_payload()),
                OpCode::Binary | OpCode::Continuation => self.end = Some(CloseReason::Close(CloseCode::Unsupported)),
                OpCode::Close => self.end = Some(CloseReason::Gone),
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

    /// Waits until the socket accepts more, and reads meanwhile. Fails when a second heartbeat without input ends during
    /// the wait.
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
                Some(CloseReason::Gone) => Poll::Ready(Err(())),
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

enum Wakeup {
    Input(SocketInput),
    Silence,
}
