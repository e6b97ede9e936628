//! The task behind a client: one connection after another, and what has to survive them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::frame::{Envelope, Refusal};
use crate::link::{Link, Received};
use crate::timeline::Timeline;
use crate::{Ack, Conversation, Error, Event, History, LogEvent, Options, Page, Unsent, Welcome};

/// How long opening a connection and its first answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Events in one request for missing ones.
const FILL: u32 = 200;

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
    Close,
}

/// A request that waits for its answer.
enum Request {
    Call(Answer<Value>),
    History(Answer<History>),
    SignIn { token: String, answer: Answer<Welcome> },
    Sync,
    Fill { conversation: String },
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

/// What waits for its ack.
struct Waiting {
    unsent: Unsent,
    answer: Option<Answer<Ack>>,
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
    actor: Option<String>,
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
        let waiting = |unsent| Waiting { unsent, answer: None };
        Self {
            outbox: unsent.into_iter().map(waiting).collect(),
            pause: options.first_pause,
            options,
            commands,
            events,
            timelines: HashMap::new(),
            requests: HashMap::new(),
            number: 0,
            actor: None,
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
                    Some(Command::Put { unsent, answer }) => {
                        self.keep(unsent, answer);
                    }
                    Some(Command::Unsent { answer }) => self.list_unsent(answer),
                    Some(Command::Call { answer, .. }) => drop(answer.send(Err(Error::Offline))),
                    Some(Command::History { answer, .. }) => drop(answer.send(Err(Error::Offline))),
                    Some(Command::SignIn { answer, .. }) => drop(answer.send(Err(Error::Offline))),
                },
            }
        }
    }

    /// Uses a connection until it is over.
    async fn stay(&mut self, mut link: Link) -> Over {
        self.heartbeat = PATIENCE;
        let mut silent_at = Instant::now() + self.heartbeat;
        let (mut asked, mut resend_at) = (false, None);
        loop {
            tokio::select! {
                received = link.next() => {
                    (asked, silent_at) = (false, Instant::now() + self.heartbeat);
                    let outcome = match received {
                        Received::Life => Ok(()),
                        Received::Text(text) => self.receive(&mut link, &text, &mut resend_at).await,
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
                () = sleep_until(resend_at.unwrap_or(silent_at)), if resend_at.is_some() => {
                    resend_at = None;
                    if self.resend(&mut link).await.is_err() {
                        return Over::Broken;
                    }
                }
            }
        }
    }

    async fn command(&mut self, link: &mut Link, command: Command) -> Result<(), Broken> {
        match command {
            Command::Put { unsent, answer } => match self.keep(unsent, answer) {
                Some(at) if self.actor.is_some() => self.write(link, at).await,
                _ => Ok(()),
            },
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

    /// Puts something into the outbox, and returns its place; refuses it if that is full.
    fn keep(&mut self, unsent: Unsent, answer: Answer<Ack>) -> Option<usize> {
        let place = self.outbox.len();
        if place < self.options.outbox {
            let answer = Some(answer);
            self.outbox.push_back(Waiting { unsent, answer });
            Some(place)
        } else {
            // Whoever does not wait for the answer does not want to know.
            let _ = answer.send(Err(Error::Full));
            None
        }
    }

    /// Writes what stands at a place of the outbox, if it is its turn: acts that are on their way together may overtake
    /// each other, so those on one message go one after the other.
    async fn write(&self, link: &mut Link, at: usize) -> Result<(), Broken> {
        let Some(Waiting { unsent, .. }) = self.outbox.get(at) else {
            return Ok(());
        };
        if self.first_about(unsent).is_some_and(|first| first < at) {
            return Ok(());
        }
        link.send(&frame_of(unsent)).await.map_err(|_| Broken)
    }

    /// Returns the place of the first act on the same message.
    fn first_about(&self, unsent: &Unsent) -> Option<usize> {
        unsent.action.target()?;
        self.outbox
            .iter()
            .position(|waiting| waiting.unsent.shares_target(unsent))
    }

    /// Writes what waited for something that has its answer now.
    async fn write_next(&self, link: &mut Link, settled: &Unsent) -> Result<(), Over> {
        match self.first_about(settled) {
            Some(at) if self.actor.is_some() => self.write(link, at).await.map_err(|Broken| Over::Broken),
            _ => Ok(()),
        }
    }

    fn list_unsent(&self, answer: Answer<Vec<Unsent>>) {
        let unsent = self.outbox.iter().map(|waiting| waiting.unsent.clone()).collect();
        // As above.
        let _ = answer.send(Ok(unsent));
    }

    async fn resend(&mut self, link: &mut Link) -> Result<(), Broken> {
        for at in 0..self.outbox.len() {
            self.write(link, at).await?;
        }
        Ok(())
    }

    async fn receive(&mut self, link: &mut Link, text: &str, resend_at: &mut Option<Instant>) -> Result<(), Over> {
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
            ("ack", _) => self.acked(link, parse(text)?).await,
            ("gap", _) => self
                .request(link, json!({"type": "sync"}), Request::Sync)
                .await
                .map_err(|Broken| Over::Broken),
            ("error", _) => self.refused(link, parse(text)?, resend_at).await,
            (_, Some(id)) => match self.requests.remove(&id) {
                Some(request) => self.answered(link, request, text).await,
                None => Ok(()),
            },
            // A newer server may say more than this client knows.
            (_, None) => Ok(()),
        }
    }

    /// Begins what a signed-in connection begins with: sync, and what the last one did not send.
    async fn welcomed(&mut self, link: &mut Link, welcome: Welcome) -> Result<(), Over> {
        self.actor.clone_from(&welcome.actor);
        self.tell(Event::Online(welcome)).await;
        if self.actor.is_some() {
            let synced = self.request(link, json!({"type": "sync"}), Request::Sync).await;
            if synced.is_err() || self.resend(link).await.is_err() {
                return Err(Over::Broken);
            }
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
            Request::Sync => self.synced(link, text).await,
            Request::Fill { conversation } => self.filled(link, &conversation, parse(text)?).await,
        }
    }

    async fn synced(&mut self, link: &mut Link, text: &str) -> Result<(), Over> {
        #[derive(serde::Deserialize)]
        struct Frame {
            conversations: Vec<Conversation>,
        }
        let Frame { conversations } = parse(text)?;
        for conversation in &conversations {
            let behind = match conversation.last {
                Some(_) => conversation.seq.saturating_sub(1),
                None => conversation.seq,
            };
            let anew = self
                .timelines
                .entry(conversation.id.clone())
                .or_insert_with(|| Timeline::behind(behind))
                .set_epoch(conversation.epoch);
            if anew {
                let (conversation, epoch) = (conversation.id.clone(), conversation.epoch);
                self.tell(Event::Reset { conversation, epoch }).await;
            }
            if let Some(last) = &conversation.last {
                self.arrive(link, last.clone()).await?;
            }
        }
        self.tell(Event::Synced(conversations)).await;
        Ok(())
    }

    async fn arrive(&mut self, link: &mut Link, event: LogEvent) -> Result<(), Over> {
        let conversation = event.conversation.clone();
        let timeline = self
            .timelines
            .entry(conversation.clone())
            .or_insert_with(|| Timeline::behind(event.seq.saturating_sub(1)));
        let ready = timeline.arrive(event);
        for event in ready {
            self.show(event).await;
        }
        self.fill(link, conversation).await
    }

    /// Asks for events that are missing.
    async fn fill(&mut self, link: &mut Link, conversation: String) -> Result<(), Over> {
        let Some(timeline) = self.timelines.get_mut(&conversation) else {
            return Ok(());
        };
        match timeline.missing_behind() {
            Some(behind) if !timeline.filling => {
                timeline.filling = true;
                let frame = history_frame(&conversation, Page::After(behind), FILL);
                self.request(link, frame, Request::Fill { conversation })
                    .await
                    .map_err(|Broken| Over::Broken)
            }
            _ => Ok(()),
        }
    }

    async fn filled(&mut self, link: &mut Link, conversation: &str, history: History) -> Result<(), Over> {
        let Some(timeline) = self.timelines.get_mut(conversation) else {
            return Ok(());
        };
        timeline.filling = false;
        if history.events.is_empty() {
            // What is missing is not readable yet, or never was; the next event asks again.
            return Ok(());
        }
        let mut ready = Vec::new();
        for event in history.events {
            ready.extend(timeline.arrive(event));
        }
        for event in ready {
            self.show(event).await;
        }
        self.fill(link, conversation.to_owned()).await
    }

    async fn acked(&mut self, link: &mut Link, ack: Ack) -> Result<(), Over> {
        let found = self.outbox.iter().position(|waiting| waiting.unsent.id == ack.id);
        let Some(Waiting { unsent, answer }) = found.and_then(|at| self.outbox.remove(at)) else {
            return Ok(());
        };
        if let Some(answer) = answer {
            let _ = answer.send(Ok(ack.clone()));
        }
        self.write_next(link, &unsent).await?;
        let event = unsent.event(ack, self.actor.clone().unwrap_or_default());
        self.arrive(link, event).await
    }

    async fn refused(
        &mut self,
        link: &mut Link,
        refusal: Refusal,
        resend_at: &mut Option<Instant>,
    ) -> Result<(), Over> {
        let Refusal {
            id,
            code,
            message,
            retry,
        } = refusal;
        let Some(id) = id else { return Ok(()) };
        let error = Error::Refused { code, message, retry };
        if let Some(request) = self.requests.remove(&id) {
            if let Request::Fill { conversation } = &request
                && let Some(timeline) = self.timelines.get_mut(conversation)
            {
                timeline.filling = false;
            }
            refuse(request, error);
            return Ok(());
        }
        let Some(at) = self.outbox.iter().position(|waiting| waiting.unsent.id == id) else {
            return Ok(());
        };
        if retry {
            // All of them, so that they keep their order; what the server has it answers once more.
            resend_at.get_or_insert(Instant::now() + self.pause);
            return Ok(());
        }
        let Some(Waiting { unsent, answer }) = self.outbox.remove(at) else {
            return Ok(());
        };
        if let Some(answer) = answer {
            let _ = answer.send(Err(error));
        }
        self.write_next(link, &unsent).await
    }

    async fn show(&self, event: LogEvent) {
        self.tell(if event.is_message() {
            Event::Message(event)
        } else {
            Event::Change(event)
        })
        .await;
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
        Request::Sync | Request::Fill { .. } => {}
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
