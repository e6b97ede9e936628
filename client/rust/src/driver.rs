//! The task behind a client: one connection after another, and what has to survive them.

mod catch_up;
mod outbox;
mod receipts;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::frame::{Envelope, Refusal};
use crate::link::{Link, Received};
use crate::marks::{Mark, Watermarks};
use crate::timeline::Timeline;
use crate::{Ack, Error, Event, History, LogEvent, Marks, Options, Page, Receipt, Unsent, Welcome};
use outbox::Waiting;

/// How long opening a connection and its first answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Events in one request for missing ones.
const FILL: u32 = 200;
/// Requests for missing events at a time, of all conversations.
const FILLS: usize = 4;
/// Members in one request for their receipts.
pub(crate) const RECEIPTS: usize = 500;
/// Marks that are said at a time, of all conversations.
const MARKS: usize = 8;
/// How long what has arrived waits for more, to be said together.
const DELIVERED: Duration = Duration::from_secs(1);
/// How often it is said that one is writing.
const TYPING_AGAIN: Duration = Duration::from_secs(3);
/// How long it is shown that somebody is, as the protocol says.
const TYPING_SHOWN: Duration = Duration::from_secs(6);

/// Where an answer goes.
type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What a client asks of its task.
#[derive(Debug)]
pub(crate) enum Command {
    Put {
        unsent: Unsent,
        answer: Answer<Ack>,
    },
    Call {
        method: String,
        params: Value,
        answer: Answer<Value>,
    },
    History {
        conversation: String,
        page: Page,
        limit: u32,
        answer: Answer<History>,
    },
    SignIn {
        token: String,
        answer: Answer<Welcome>,
    },
    Unsent {
        answer: Answer<Vec<Unsent>>,
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
        answer: Answer<Marks>,
    },
    Receipts {
        conversation: String,
        after: Option<String>,
        answer: Answer<Vec<Receipt>>,
    },
    Close,
}

/// A request that waits for its answer.
enum Request {
    Call(Answer<Value>),
    History(Answer<History>),
    SignIn {
        token: String,
        answer: Answer<Welcome>,
    },
    Receipts {
        conversation: String,
        answer: Answer<Vec<Receipt>>,
    },
    Sync,
    Fill {
        conversation: String,
    },
    Mark {
        conversation: String,
    },
}

/// Why a connection is over.
enum Over {
    /// It broke.
    Broken,
    /// The server ended the session for good.
    Ended(u16),
    /// Nobody wants it any more.
    Closed,
}

pub(crate) struct Driver {
    options: Options,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<Event>,
    outbox: VecDeque<Waiting>,
    timelines: HashMap<String, Timeline>,
    requests: HashMap<String, Request>,
    /// Counts requests.
    number: u64,
    /// Conversations whose missing events are to be asked for.
    fills: VecDeque<String>,
    /// Requests for missing events without an answer.
    filling: usize,
    /// Whether the server has yet to be asked what there is,
    is_behind: bool,
    /// or has been, and did not answer yet.
    is_syncing: bool,
    /// Up to where it has told that.
    position: Option<String>,
    marks: HashMap<String, Watermarks>,
    /// Conversations with marks that are to be said to the server,
    unsaid: BTreeSet<String>,
    /// when, if that can wait,
    say_at: Option<Instant>,
    /// and how many have no answer yet.
    saying: usize,
    /// Where it was said just now that one is writing.
    typed: HashMap<String, Instant>,
    /// Who is shown to be writing, where, and until when.
    writers: HashMap<(String, String), Instant>,
    /// When what was put off is asked for again.
    again_at: Option<Instant>,
    /// How much of the outbox may be on its way: more than the server takes at a time would be put off, and be overtaken.
    window: usize,
    actor: Option<String>,
    /// Who was signed in last.
    known_actor: Option<String>,
    pause: Duration,
    heartbeat: Duration,
}

impl Driver {
    pub(crate) fn new(
        mut options: Options,
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let unsent = std::mem::take(&mut options.unsent);
        let waiting = |unsent| Waiting::new(unsent, None);
        Self {
            outbox: unsent.into_iter().map(waiting).collect(),
            pause: options.first_pause,
            options,
            commands,
            events,
            timelines: HashMap::new(),
            requests: HashMap::new(),
            number: 0,
            fills: VecDeque::new(),
            filling: 0,
            is_behind: false,
            is_syncing: false,
            position: None,
            marks: HashMap::new(),
            unsaid: BTreeSet::new(),
            say_at: None,
            saying: 0,
            typed: HashMap::new(),
            writers: HashMap::new(),
            again_at: None,
            window: 1,
            actor: None,
            known_actor: None,
            heartbeat: PATIENCE,
        }
    }

    /// Connects again and again, until nobody wants it or the server ends the session.
    pub(crate) async fn run(mut self) {
        loop {
            let over = match self.open().await {
                Ok(link) => self.stay(link).await,
                Err(over) => over,
            };
            self.actor = None;
            for (_, request) in self.requests.drain() {
                refuse(request, Error::Offline);
            }
            for timeline in self.timelines.values_mut() {
                timeline.filling = false;
            }
            self.fills.clear();
            (self.filling, self.is_behind, self.is_syncing) = (0, false, false);
            self.interrupt_marks();
            self.stop_writers(None).await;
            match over {
                Over::Broken => {}
                Over::Ended(code) => return self.tell(Event::Ended { code }).await,
                Over::Closed => return,
            }
            let retry_in = self.pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            self.pause = (self.pause * 2).min(self.options.longest_pause);
            self.tell(Event::Offline { retry_in }).await;
            if self.wait_offline(sleep_until(Instant::now() + retry_in)).await.is_err() {
                return;
            }
        }
    }

    /// Opens a connection and says hello.
    async fn open(&mut self) -> Result<Link, Over> {
        let options = self.options.clone();
        let opening = async move {
            let mut link = timeout(PATIENCE, Link::open(&options)).await.ok()?.ok()?;
            let mut hello = json!({"type": "hello", "protocol": 1, "app": options.app});
            if let Some(token) = options.token {
                hello["token"] = token.into();
                hello["device"] = options.device.into();
            }
            link.send(&hello).await.ok()?;
            Some(link)
        };
        match self.wait_offline(opening).await {
            Ok(Some(link)) => Ok(link),
            Ok(None) => Err(Over::Broken),
            Err(Closed) => Err(Over::Closed),
        }
    }

    /// Waits without a connection; commands are kept or refused meanwhile.
    async fn wait_offline<T>(&mut self, wait: impl Future<Output = T>) -> Result<T, Closed> {
        tokio::pin!(wait);
        loop {
            tokio::select! {
                done = &mut wait => return Ok(done),
                command = self.commands.recv() => match command {
                    None | Some(Command::Close) => return Err(Closed),
                    Some(Command::Put { unsent, answer }) => self.keep(unsent, answer),
                    Some(Command::Unsent { answer }) => self.list_unsent(answer),
                    Some(Command::Call { answer, .. }) => drop(answer.send(Err(Error::Offline))),
                    Some(Command::History { answer, .. }) => drop(answer.send(Err(Error::Offline))),
                    Some(Command::SignIn { answer, .. }) => drop(answer.send(Err(Error::Offline))),
                    Some(Command::Receipts { answer, .. }) => drop(answer.send(Err(Error::Offline))),
                    Some(Command::Marks { conversation, answer }) => {
                        drop(answer.send(Ok(self.marks_of(&conversation))));
                    }
                    Some(Command::Read { conversation, seq }) => self.is_read(conversation, seq),
                    // Each connection begins with it; and nobody would hear.
                    Some(Command::Sync | Command::Typing { .. }) => {}
                },
            }
        }
    }

    /// Uses a connection until it is over.
    async fn stay(&mut self, mut link: Link) -> Over {
        self.heartbeat = PATIENCE;
        let mut silent_at = Instant::now() + self.heartbeat;
        let mut asked = false;
        self.again_at = None;
        loop {
            let due_at = self.due_at();
            tokio::select! {
                received = link.next() => {
                    (asked, silent_at) = (false, Instant::now() + self.heartbeat);
                    let outcome = match received {
                        Received::Life => Ok(()),
                        Received::Text(text) => self.receive(&mut link, &text).await,
                        Received::End(code) => Err(ending(code)),
                    };
                    if let Err(over) = outcome {
                        return over;
                    }
                }
                command = self.commands.recv() => match command {
                    None | Some(Command::Close) => {
                        link.close().await;
                        return Over::Closed;
                    }
                    Some(command) => if self.command(&mut link, command).await.is_err() {
                        return Over::Broken;
                    },
                },
                () = sleep_until(silent_at) => {
                    if std::mem::replace(&mut asked, true) || link.send(&json!({"type": "ping"})).await.is_err() {
                        return Over::Broken;
                    }
                    silent_at = Instant::now() + self.heartbeat;
                }
                () = sleep_until(due_at.unwrap_or(silent_at)), if due_at.is_some() => {
                    if let Err(over) = self.due(&mut link).await {
                        return over;
                    }
                }
            }
        }
    }

    /// Returns when something is to be done by itself.
    fn due_at(&self) -> Option<Instant> {
        let times = [self.again_at, self.say_at, self.writers.values().min().copied()];
        times.into_iter().flatten().min()
    }

    async fn due(&mut self, link: &mut Link) -> Result<(), Over> {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        self.stop_writers(Some(now)).await;
        if is_due(self.say_at) {
            self.say_marks(link).await.map_err(|Broken| Over::Broken)?;
        }
        if is_due(self.again_at) {
            self.again_at = None;
            self.resend(link).await?;
        }
        Ok(())
    }

    async fn command(&mut self, link: &mut Link, command: Command) -> Result<(), Broken> {
        match command {
            Command::Put { unsent, answer } => {
                self.keep(unsent, answer);
                self.write(link).await
            }
            Command::Call { method, params, answer } => {
                let frame = json!({"type": "call", "method": method, "params": params});
                self.request(link, frame, Request::Call(answer)).await
            }
            Command::History {
                conversation,
                page,
                limit,
                answer,
            } => {
                let frame = history_frame(&conversation, page, limit);
                self.request(link, frame, Request::History(answer)).await
            }
            Command::SignIn { token, answer } => {
                let frame = json!({"type": "auth", "token": token, "device": self.options.device});
                self.request(link, frame, Request::SignIn { token, answer }).await
            }
            Command::Unsent { answer } => {
                self.list_unsent(answer);
                Ok(())
            }
            Command::Read { conversation, seq } => {
                self.is_read(conversation, seq);
                self.say_marks(link).await
            }
            Command::Typing { conversation } => self.write_typing(link, conversation).await,
            Command::Sync => {
                self.is_behind = self.actor.is_some();
                self.sync(link).await
            }
            Command::Marks { conversation, answer } => {
                // Whoever waits no longer needs no answer.
                let _ = answer.send(Ok(self.marks_of(&conversation)));
                Ok(())
            }
            Command::Receipts {
                conversation,
                after,
                answer,
            } => {
                let mut frame = json!({"type": "receipts", "conversation": conversation, "limit": RECEIPTS});
                if let Some(after) = after {
                    frame["after_actor"] = after.into();
                }
                self.request(link, frame, Request::Receipts { conversation, answer })
                    .await
            }
            Command::Close => Ok(()),
        }
    }

    async fn request(&mut self, link: &mut Link, mut frame: Value, request: Request) -> Result<(), Broken> {
        self.number += 1;
        let id = format!("r{}", self.number);
        frame["id"] = id.clone().into();
        self.requests.insert(id, request);
        link.send(&frame).await.map_err(|_| Broken)
    }

    /// Asks once more for what was put off, or what a new connection begins with.
    async fn resend(&mut self, link: &mut Link) -> Result<(), Over> {
        let broken = |Broken| Over::Broken;
        self.sync(link).await.map_err(broken)?;
        self.ask_for_missing(link).await?;
        self.say_marks(link).await.map_err(broken)?;
        self.write_again(link).await.map_err(broken)
    }

    async fn receive(&mut self, link: &mut Link, text: &str) -> Result<(), Over> {
        let Ok(Envelope { frame_type, id }) = serde_json::from_str(text) else {
            return Err(Over::Broken);
        };
        match (&*frame_type, id) {
            ("welcome", None) => {
                let welcome: Welcome = parse(text)?;
                self.heartbeat = Duration::from_millis(welcome.heartbeat_ms.max(100));
                self.pause = self.options.first_pause;
                self.welcomed(link, welcome).await
            }
            ("event", _) => {
                #[derive(serde::Deserialize)]
                struct Frame {
                    event: LogEvent,
                }
                let Frame { event } = parse(text)?;
                self.arrive(link, event).await
            }
            ("signal", _) => {
                // Whoever reads too slowly misses signals, and nothing else.
                let _ = self.events.try_send(Event::Signal(parse(text)?));
                Ok(())
            }
            ("receipt", _) => self.receipt(link, text).await,
            ("typing", _) => self.typing(text),
            ("ack", _) => self.acked(link, parse(text)?).await,
            ("gap", _) => {
                self.is_behind = true;
                self.sync(link).await.map_err(|Broken| Over::Broken)
            }
            ("error", _) => self.refused(link, parse(text)?).await,
            (_, Some(id)) => match self.requests.remove(&id) {
                Some(request) => self.answered(link, request, text).await,
                None => Ok(()),
            },
            // A newer server may say more than this client knows.
            (_, None) => Ok(()),
        }
    }

    /// Begins what a signed-in connection begins with: sync, and what the last one did not write.
    async fn welcomed(&mut self, link: &mut Link, welcome: Welcome) -> Result<(), Over> {
        self.actor.clone_from(&welcome.actor);
        if self.actor.is_some() && self.actor != self.known_actor {
            // Somebody else has other conversations, and other marks.
            self.known_actor.clone_from(&self.actor);
            self.position = None;
            self.marks.clear();
            self.unsaid.clear();
        }
        // The rest is for other requests.
        self.window = (welcome.limits.in_flight / 2).max(1);
        self.tell(Event::Online(welcome)).await;
        if self.actor.is_some() {
            self.is_behind = true;
            self.resend(link).await?;
        }
        Ok(())
    }

    async fn answered(&mut self, link: &mut Link, request: Request, text: &str) -> Result<(), Over> {
        match request {
            Request::Call(answer) => {
                #[derive(serde::Deserialize)]
                struct Frame {
                    value: Value,
                }
                // Whoever waits no longer needs no answer; so below.
                let _ = answer.send(understood::<Frame>(text).map(|frame| frame.value));
                Ok(())
            }
            Request::History(answer) => {
                let _ = answer.send(understood(text));
                Ok(())
            }
            Request::SignIn { token, answer } => {
                let welcome = understood::<Welcome>(text);
                let _ = answer.send(welcome.clone());
                match welcome {
                    Ok(welcome) => {
                        self.options.token = Some(token);
                        self.welcomed(link, welcome).await
                    }
                    Err(_) => Err(Over::Broken),
                }
            }
            Request::Receipts { conversation, answer } => {
                #[derive(serde::Deserialize)]
                struct Frame {
                    receipts: Vec<Receipt>,
                }
                match understood::<Frame>(text) {
                    Ok(Frame { receipts }) => self.take_receipts(&conversation, receipts, answer).await,
                    Err(error) => drop(answer.send(Err(error))),
                }
                Ok(())
            }
            Request::Mark { conversation } => {
                let mark: Mark = parse(text)?;
                self.said(link, conversation, mark).await
            }
            Request::Sync => self.synced(link, text).await,
            Request::Fill { conversation } => self.filled(link, &conversation, parse(text)?).await,
        }
    }

    async fn refused(&mut self, link: &mut Link, refusal: Refusal) -> Result<(), Over> {
        let Refusal {
            id,
            code,
            message,
            retry,
        } = refusal;
        let Some(id) = id else { return Ok(()) };
        let error = Error::Refused { code, message, retry };
        match self.requests.remove(&id) {
            None => self.not_done(link, &id, error).await,
            Some(Request::Fill { conversation }) => self.not_filled(link, conversation, retry).await,
            Some(Request::Mark { conversation }) => self.not_said(link, conversation, retry).await,
            Some(Request::Sync) => {
                (self.is_syncing, self.is_behind) = (false, retry);
                if retry {
                    self.put_off();
                }
                Ok(())
            }
            Some(request) => {
                refuse(request, error);
                Ok(())
            }
        }
    }

    async fn tell(&self, event: Event) {
        // Nobody has to listen.
        let _ = self.events.send(event).await;
    }
}

/// The connection broke.
struct Broken;

/// Nobody wants the client any more.
struct Closed;

/// Tells what a close code means; those from 4100 on, and those for frames that are wrong, come again each time.
fn ending(code: Option<u16>) -> Over {
    match code {
        Some(code @ (1003 | 1007 | 1009 | 4100..=4199)) => Over::Ended(code),
        _ => Over::Broken,
    }
}

fn refuse(request: Request, error: Error) {
    // Whoever waits no longer needs no answer.
    match request {
        Request::Call(answer) => drop(answer.send(Err(error))),
        Request::History(answer) => drop(answer.send(Err(error))),
        Request::SignIn { answer, .. } => drop(answer.send(Err(error))),
        Request::Receipts { answer, .. } => drop(answer.send(Err(error))),
        Request::Sync | Request::Fill { .. } | Request::Mark { .. } => {}
    }
}

fn frame_of(unsent: &Unsent) -> Value {
    // Texts as keys and JSON values always have a form in JSON.
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

/// Reads a frame that the protocol says has this shape; a server that breaks it is left.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Over> {
    serde_json::from_str(text).map_err(|_| Over::Broken)
}

fn understood<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Protocol(error.to_string()))
}
