//! The task of a client: one connection after another, and the state that outlives them.

mod catch_up;
mod outbox;
mod receipts;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::frame::{Envelope, ErrorFrame};
use crate::marks::{Mark, Watermarks};
use crate::socket::{Received, Socket};
use crate::timeline::Timeline;
use crate::{Ack, Error, Event, History, LogEvent, Marks, Options, Page, Receipt, Unsent, Welcome};
use outbox::QueuedRequest;

/// Timeout of establishing a connection, and of its first answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Events in one request for missing ones.
const FILL_EVENTS: u32 = 200;
/// Concurrent requests for missing events, of all conversations.
const MAX_FILLS: usize = 4;
/// Members in one page of receipts.
pub(crate) const RECEIPTS_PER_PAGE: usize = 500;
/// Concurrent reports of marks, of all conversations.
const MAX_REPORTS: usize = 8;
/// Delay of delivery receipts, so that one covers many events.
const DELIVERY_DELAY: Duration = Duration::from_secs(1);
/// Shortest time between two typing notifications of the actor.
const TYPING_INTERVAL: Duration = Duration::from_secs(3);
/// Time after which typing of another member ends, from the protocol.
const TYPING_TIMEOUT: Duration = Duration::from_secs(6);

/// Receives the answer to a command.
type Responder<T> = oneshot::Sender<Result<T, Error>>;

/// A request of a client to its task.
#[derive(Debug)]
pub(crate) enum Command {
    Enqueue {
        unsent: Unsent,
        answer: Responder<Ack>,
    },
    Call {
        method: String,
        params: Value,
        answer: Responder<Value>,
    },
    History {
        conversation: String,
        page: Page,
        limit: u32,
        answer: Responder<History>,
    },
    SignIn {
        token: String,
        answer: Responder<Welcome>,
    },
    Unsent {
        answer: Responder<Vec<Unsent>>,
    },
    Read {
        conversation: String,
        seq: u64,
    },
    Typing {
        conversation: String,
    },
    Sync,
    Marks {
        conversation: String,
        answer: Responder<Marks>,
    },
    Receipts {
        conversation: String,
        after: Option<String>,
        answer: Responder<Vec<Receipt>>,
    },
    Close,
}

/// A request to the server that waits for its answer.
enum PendingRequest {
    Call(Responder<Value>),
    History(Responder<History>),
    SignIn {
        token: String,
        answer: Responder<Welcome>,
    },
    Receipts {
        conversation: String,
        answer: Responder<Vec<Receipt>>,
    },
    Sync,
    Fill {
        conversation: String,
    },
    Mark {
        conversation: String,
    },
}

/// Why a connection ended.
enum Disconnect {
    /// The connection was lost.
    Lost,
    /// The server ended the session for good, with this close code.
    Ended(u16),
    /// The client was closed or dropped.
    Closed,
}

pub(crate) struct Driver {
    options: Options,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<Event>,
    /// Oldest first.
    outbox: VecDeque<QueuedRequest>,
    /// By conversation.
    timelines: HashMap<String, Timeline>,
    /// By request id.
    requests: HashMap<String, PendingRequest>,
    /// Number of requests so far.
    number: u64,
    /// Conversations whose missing events are to be requested.
    fills: VecDeque<String>,
    /// Requests for missing events without an answer.
    filling: usize,
    /// `true` if a sync is needed.
    needs_sync: bool,
    /// `true` while a sync has no answer.
    is_syncing: bool,
    /// Position of the last sync.
    position: Option<String>,
    /// By conversation.
    marks: HashMap<String, Watermarks>,
    /// Conversations with marks that the server doesn't have.
    unreported: BTreeSet<String>,
    /// When delayed marks are reported.
    report_at: Option<Instant>,
    /// Reports without an answer.
    reporting: usize,
    /// When the actor's last typing notification was sent, by conversation.
    typing_sent: HashMap<String, Instant>,
    /// When the typing of another member ends, by conversation and actor.
    typing_until: HashMap<(String, String), Instant>,
    /// When postponed requests are sent again.
    retry_at: Option<Instant>,
    /// Requests of the outbox that may be in flight. More than the server accepts at a time would be postponed, and overtaken
    /// by others.
    window: usize,
    /// The signed-in actor of this connection.
    actor: Option<String>,
    /// The actor of the last signed-in connection.
    last_actor: Option<String>,
    /// Pause before the next attempt to connect or to send postponed requests.
    pause: Duration,
    /// Longest silence of the server before a ping.
    heartbeat: Duration,
}

impl Driver {
    pub(crate) fn new(
        mut options: Options,
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let unsent = std::mem::take(&mut options.unsent);
        let queued = |unsent| QueuedRequest::new(unsent, None);
        Self {
            outbox: unsent.into_iter().map(queued).collect(),
            pause: options.first_pause,
            options,
            commands,
            events,
            timelines: HashMap::new(),
            requests: HashMap::new(),
            number: 0,
            fills: VecDeque::new(),
            filling: 0,
            needs_sync: false,
            is_syncing: false,
            position: None,
            marks: HashMap::new(),
            unreported: BTreeSet::new(),
            report_at: None,
            reporting: 0,
            typing_sent: HashMap::new(),
            typing_until: HashMap::new(),
            retry_at: None,
            window: 1,
            actor: None,
            last_actor: None,
            heartbeat: PATIENCE,
        }
    }

    /// Connects and reconnects until the client is closed or the server ends the session for good.
    pub(crate) async fn run(mut self) {
        loop {
            let disconnect = match self.open().await {
                Ok(socket) => self.serve(socket).await,
                Err(disconnect) => disconnect,
            };
            self.actor = None;
            for (_, request) in self.requests.drain() {
                request.fail(Error::Offline);
            }
            for timeline in self.timelines.values_mut() {
                timeline.filling = false;
            }
            self.fills.clear();
            (self.filling, self.needs_sync, self.is_syncing) = (0, false, false);
            self.interrupt_reports();
            self.end_typing(None).await;
            match disconnect {
                Disconnect::Lost => {}
                Disconnect::Ended(code) => return self.emit(Event::Ended { code }).await,
                Disconnect::Closed => return,
            }
            let retry_in = self.pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            self.pause = (self.pause * 2).min(self.options.longest_pause);
            self.emit(Event::Offline { retry_in }).await;
            if self.wait_offline(sleep_until(Instant::now() + retry_in)).await.is_err() {
                return;
            }
        }
    }

    /// Establishes a connection and sends `hello`.
    async fn open(&mut self) -> Result<Socket, Disconnect> {
        let options = self.options.clone();
        let opening = async move {
            let mut socket = timeout(PATIENCE, Socket::open(&options)).await.ok()?.ok()?;
            let mut hello = json!({"type": "hello", "protocol": 1, "app": options.app});
            if let Some(token) = options.token {
                hello["token"] = token.into();
                hello["device"] = options.device.into();
            }
            socket.send(&hello).await.ok()?;
            Some(socket)
        };
        match self.wait_offline(opening).await {
            Ok(Some(socket)) => Ok(socket),
            Ok(None) => Err(Disconnect::Lost),
            Err(ClientClosed) => Err(Disconnect::Closed),
        }
    }

    /// Waits without a connection. Meanwhile, messages are enqueued, and requests fail with [`Error::Offline`].
    async fn wait_offline<T>(&mut self, wait: impl Future<Output = T>) -> Result<T, ClientClosed> {
        tokio::pin!(wait);
        loop {
            tokio::select! {
                done = &mut wait => return Ok(done),
                command = self.commands.recv() => match command {
                    None | Some(Command::Close) => return Err(ClientClosed),
                    Some(Command::Enqueue { unsent, answer }) => self.enqueue(unsent, answer),
                    Some(Command::Unsent { answer }) => self.list_unsent(answer),
                    Some(Command::Call { answer, .. }) => drop(answer.send(Err(Error::Offline))),
                    Some(Command::History { answer, .. }) => drop(answer.send(Err(Error::Offline))),
                    Some(Command::SignIn { answer, .. }) => drop(answer.send(Err(Error::Offline))),
                    Some(Command::Receipts { answer, .. }) => drop(answer.send(Err(Error::Offline))),
                    Some(Command::Marks { conversation, answer }) => {
                        drop(answer.send(Ok(self.marks_of(&conversation))));
                    }
                    Some(Command::Read { conversation, seq }) => self.mark_read(conversation, seq),
                    // Each connection begins with a sync. Typing notifications are ephemeral.
                    Some(Command::Sync | Command::Typing { .. }) => {}
                },
            }
        }
    }

    /// Uses a connection until it ends.
    async fn serve(&mut self, mut socket: Socket) -> Disconnect {
        self.heartbeat = PATIENCE;
        let mut silent_at = Instant::now() + self.heartbeat;
        let mut pinged = false;
        self.retry_at = None;
        loop {
            let due_at = self.due_at();
            tokio::select! {
                received = socket.next() => {
                    (pinged, silent_at) = (false, Instant::now() + self.heartbeat);
                    let outcome = match received {
                        Received::Alive => Ok(()),
                        Received::Text(text) => self.receive(&mut socket, &text).await,
                        Received::Closed(code) => Err(disconnect_of(code)),
                    };
                    if let Err(disconnect) = outcome {
                        return disconnect;
                    }
                }
                command = self.commands.recv() => match command {
                    None | Some(Command::Close) => {
                        socket.close().await;
                        return Disconnect::Closed;
                    }
                    Some(command) => if self.command(&mut socket, command).await.is_err() {
                        return Disconnect::Lost;
                    },
                },
                () = sleep_until(silent_at) => {
                    if std::mem::replace(&mut pinged, true) || socket.send(&json!({"type": "ping"})).await.is_err() {
                        return Disconnect::Lost;
                    }
                    silent_at = Instant::now() + self.heartbeat;
                }
                () = sleep_until(due_at.unwrap_or(silent_at)), if due_at.is_some() => {
                    if let Err(disconnect) = self.run_due(&mut socket).await {
                        return disconnect;
                    }
                }
            }
        }
    }

    /// Returns when the next timer fires; `None` without timers.
    fn due_at(&self) -> Option<Instant> {
        let times = [self.retry_at, self.report_at, self.typing_until.values().min().copied()];
        times.into_iter().flatten().min()
    }

    /// Runs the timers that are due.
    async fn run_due(&mut self, socket: &mut Socket) -> Result<(), Disconnect> {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        self.end_typing(Some(now)).await;
        if is_due(self.report_at) {
            self.report_marks(socket).await?;
        }
        if is_due(self.retry_at) {
            self.retry_at = None;
            self.resend(socket).await?;
        }
        Ok(())
    }

    async fn command(&mut self, socket: &mut Socket, command: Command) -> Result<(), ConnectionLost> {
        match command {
            Command::Enqueue { unsent, answer } => {
                self.enqueue(unsent, answer);
                self.write_outbox(socket).await
            }
            Command::Call { method, params, answer } => {
                let frame = json!({"type": "call", "method": method, "params": params});
                self.request(socket, frame, PendingRequest::Call(answer)).await
            }
            Command::History {
                conversation,
                page,
                limit,
                answer,
            } => {
                let frame = history_frame(&conversation, page, limit);
                self.request(socket, frame, PendingRequest::History(answer)).await
            }
            Command::SignIn { token, answer } => {
                let frame = json!({"type": "auth", "token": token, "device": self.options.device});
                self.request(socket, frame, PendingRequest::SignIn { token, answer })
                    .await
            }
            Command::Unsent { answer } => {
                self.list_unsent(answer);
                Ok(())
            }
            Command::Read { conversation, seq } => {
                self.mark_read(conversation, seq);
                self.report_marks(socket).await
            }
            Command::Typing { conversation } => self.send_typing(socket, conversation).await,
            Command::Sync => {
                self.needs_sync = self.actor.is_some();
                self.sync(socket).await
            }
            Command::Marks { conversation, answer } => {
                // The caller may have stopped waiting.
                let _ = answer.send(Ok(self.marks_of(&conversation)));
                Ok(())
            }
            Command::Receipts {
                conversation,
                after,
                answer,
            } => {
                let mut frame = json!({"type": "receipts", "conversation": conversation, "limit": RECEIPTS_PER_PAGE});
                if let Some(after) = after {
                    frame["after_actor"] = after.into();
                }
                self.request(socket, frame, PendingRequest::Receipts { conversation, answer })
                    .await
            }
            Command::Close => Ok(()),
        }
    }

    /// Sends a request, and stores what its answer is for.
    async fn request(
        &mut self,
        socket: &mut Socket,
        mut frame: Value,
        request: PendingRequest,
    ) -> Result<(), ConnectionLost> {
        self.number += 1;
        let id = format!("r{}", self.number);
        frame["id"] = id.clone().into();
        self.requests.insert(id, request);
        socket.send(&frame).await.map_err(|_| ConnectionLost)
    }

    /// Sends everything that was postponed, or that a new connection begins with.
    async fn resend(&mut self, socket: &mut Socket) -> Result<(), Disconnect> {
        self.sync(socket).await?;
        self.request_missing(socket).await?;
        self.report_marks(socket).await?;
        Ok(self.rewrite_outbox(socket).await?)
    }

    async fn receive(&mut self, socket: &mut Socket, text: &str) -> Result<(), Disconnect> {
        let Ok(Envelope { frame_type, id }) = serde_json::from_str(text) else {
            return Err(Disconnect::Lost);
        };
        match (&*frame_type, id) {
            ("welcome", None) => {
                let welcome: Welcome = parse(text)?;
                self.heartbeat = Duration::from_millis(welcome.heartbeat_ms.max(100));
                self.pause = self.options.first_pause;
                self.on_welcome(socket, welcome).await
            }
            ("event", _) => {
                #[derive(serde::Deserialize)]
                struct Frame {
                    event: LogEvent,
                }
                let Frame { event } = parse(text)?;
                self.on_event(socket, event).await
            }
            ("signal", _) => {
                // Signals are dropped if the application reads its events too slowly; nothing else is.
                let _ = self.events.try_send(Event::Signal(parse(text)?));
                Ok(())
            }
            ("receipt", _) => self.on_receipt(socket, text).await,
            ("typing", _) => self.on_typing(text),
            ("ack", _) => self.on_ack(socket, parse(text)?).await,
            ("gap", _) => {
                self.needs_sync = true;
                Ok(self.sync(socket).await?)
            }
            ("error", _) => self.on_error(socket, parse(text)?).await,
            (_, Some(id)) => match self.requests.remove(&id) {
                Some(request) => self.on_answer(socket, request, text).await,
                None => Ok(()),
            },
            // A newer server may send frames that this client doesn't know.
            (_, None) => Ok(()),
        }
    }

    /// Starts a session: a signed-in one syncs, and sends what the last connection didn't.
    async fn on_welcome(&mut self, socket: &mut Socket, welcome: Welcome) -> Result<(), Disconnect> {
        self.actor.clone_from(&welcome.actor);
        if self.actor.is_some() && self.actor != self.last_actor {
            // Another actor has other conversations and marks.
            self.last_actor.clone_from(&self.actor);
            self.position = None;
            self.marks.clear();
            self.unreported.clear();
        }
        // Leaves the other half to other requests.
        self.window = (welcome.limits.in_flight / 2).max(1);
        self.emit(Event::Online(welcome)).await;
        if self.actor.is_some() {
            self.needs_sync = true;
            self.resend(socket).await?;
        }
        Ok(())
    }

    async fn on_answer(&mut self, socket: &mut Socket, request: PendingRequest, text: &str) -> Result<(), Disconnect> {
        match request {
            PendingRequest::Call(answer) => {
                #[derive(serde::Deserialize)]
                struct Frame {
                    value: Value,
                }
                // The caller may have stopped waiting. The same holds below.
                let _ = answer.send(parse_answer::<Frame>(text).map(|frame| frame.value));
                Ok(())
            }
            PendingRequest::History(answer) => {
                let _ = answer.send(parse_answer(text));
                Ok(())
            }
            PendingRequest::SignIn { token, answer } => {
                let welcome = parse_answer::<Welcome>(text);
                let _ = answer.send(welcome.clone());
                match welcome {
                    Ok(welcome) => {
                        self.options.token = Some(token);
                        self.on_welcome(socket, welcome).await
                    }
                    Err(_) => Err(Disconnect::Lost),
                }
            }
            PendingRequest::Receipts { conversation, answer } => {
                #[derive(serde::Deserialize)]
                struct Frame {
                    receipts: Vec<Receipt>,
                }
                match parse_answer::<Frame>(text) {
                    Ok(Frame { receipts }) => self.on_receipts(&conversation, receipts, answer).await,
                    Err(error) => drop(answer.send(Err(error))),
                }
                Ok(())
            }
            PendingRequest::Mark { conversation } => {
                let mark: Mark = parse(text)?;
                self.on_reported(socket, conversation, mark).await
            }
            PendingRequest::Sync => self.on_sync(socket, text).await,
            PendingRequest::Fill { conversation } => self.on_filled(socket, &conversation, parse(text)?).await,
        }
    }

    async fn on_error(&mut self, socket: &mut Socket, error: ErrorFrame) -> Result<(), Disconnect> {
        let ErrorFrame {
            id,
            code,
            message,
            retry,
        } = error;
        let Some(id) = id else { return Ok(()) };
        let error = Error::Refused { code, message, retry };
        match self.requests.remove(&id) {
            None => self.on_rejected(socket, &id, error).await,
            Some(PendingRequest::Fill { conversation }) => self.on_fill_error(socket, conversation, retry).await,
            Some(PendingRequest::Mark { conversation }) => self.on_report_error(socket, conversation, retry).await,
            Some(PendingRequest::Sync) => {
                (self.is_syncing, self.needs_sync) = (false, retry);
                if retry {
                    self.retry_later();
                }
                Ok(())
            }
            Some(request) => {
                request.fail(error);
                Ok(())
            }
        }
    }

    async fn emit(&self, event: Event) {
        // The application may have dropped the receiver.
        let _ = self.events.send(event).await;
    }
}

/// The connection was lost.
struct ConnectionLost;

impl From<ConnectionLost> for Disconnect {
    fn from(ConnectionLost: ConnectionLost) -> Self {
        Self::Lost
    }
}

/// The client was closed or dropped.
struct ClientClosed;

/// Returns the meaning of a close code. Codes from 4100 to 4199, and those for invalid frames, would come again after each
/// reconnection.
fn disconnect_of(code: Option<u16>) -> Disconnect {
    match code {
        Some(code @ (1003 | 1007 | 1009 | 4100..=4199)) => Disconnect::Ended(code),
        _ => Disconnect::Lost,
    }
}

impl PendingRequest {
    /// Reports an error to the caller, if there is one who still waits.
    fn fail(self, error: Error) {
        match self {
            Self::Call(answer) => drop(answer.send(Err(error))),
            Self::History(answer) => drop(answer.send(Err(error))),
            Self::SignIn { answer, .. } => drop(answer.send(Err(error))),
            Self::Receipts { answer, .. } => drop(answer.send(Err(error))),
            Self::Sync | Self::Fill { .. } | Self::Mark { .. } => {}
        }
    }
}

fn frame_of(unsent: &Unsent) -> Value {
    // Never fails: all keys are strings.
    serde_json::to_value(unsent).unwrap_or_default()
}

fn history_frame(conversation: &str, page: Page, limit: u32) -> Value {
    let mut frame = json!({"type": "history", "conversation": conversation, "limit": limit});
    match page {
        Page::After(seq) => frame["after"] = seq.into(),
        Page::Before(seq) => frame["before"] = seq.into(),
        Page::Newest => {}
    }
    frame
}

/// Parses a frame. The client disconnects from a server that violates the protocol.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Disconnect> {
    serde_json::from_str(text).map_err(|_| Disconnect::Lost)
}

fn parse_answer<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Protocol(error.to_string()))
}
