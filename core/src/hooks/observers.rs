//! Shows observers what is committed, at least once, each conversation in its order.
//!
//! What an observer writes and the end of the notes in its outbox are one transaction again, of as many notes as are there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use courtyard_plugin_sdk::Act;
use courtyard_plugin_sdk::hook::Request;
use courtyard_plugin_sdk::manifest::HookName;
use tokio::task::JoinSet;

use super::outbox::{About, BATCH, Note, Outbox};
use super::{Access, Call, Failure, Message, Plugin, Settlement, guest, origin};
use crate::log::{Body, Conversation, Draft, EventType, Log, LogError, key};
use crate::store::{CommitError, LogId, StoredEvent};
use crate::wire::AppId;

/// How often a note is tried before it becomes a dead letter.
const ATTEMPTS: u32 = 5;
/// The pause after the first failure; it doubles.
const BACK_OFF: Duration = Duration::from_millis(100);
/// How long notes are shown in one transaction.
const TOGETHER: Duration = Duration::from_millis(20);

/// The tasks that show observers what is in their outboxes, one for each plugin.
#[derive(Debug)]
pub struct Observers {
    settlement: Arc<Settlement>,
}

/// How showing notes ended.
enum Shown {
    Done,
    /// The transaction has to be made anew.
    Conflict,
    /// The plugin is left alone for a while; nothing is counted against what it was to see.
    Later,
    Failed(String),
}

/// What an observer is to be asked, in which app, and whose doing it is.
struct Asked {
    app: AppId,
    origin: u64,
    request: Request,
}

impl Observers {
    /// Makes the observers of a host. They work while [`Observers::run`] is polled.
    #[must_use]
    pub fn new(settlement: Arc<Settlement>) -> Arc<Self> {
        Arc::new(Self { settlement })
    }

    fn outbox(&self) -> &Outbox {
        self.settlement.outbox()
    }

    fn log(&self) -> &Log {
        self.outbox().log()
    }

    /// Shows what is noted until the future is dropped. No plugin waits for another.
    pub async fn run(self: Arc<Self>) {
        let mut tasks: JoinSet<()> = JoinSet::new();
        // By task; and whether there is more for the plugin than the task may have seen.
        let mut running: HashMap<tokio::task::Id, (Arc<str>, bool)> = HashMap::new();
        loop {
            let registry = self.outbox().hooks().registry();
            for plugin in registry.observing() {
                match running.values_mut().find(|(id, _)| *id == plugin.id) {
                    Some((_, more)) => *more = true,
                    None => self.begin(&mut tasks, &mut running, plugin.id.clone()),
                }
            }
            loop {
                tokio::select! {
                    Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                        let task = ended.map_or_else(|panicked| panicked.id(), |(task, ())| task);
                        if let Some((plugin, true)) = running.remove(&task) {
                            self.begin(&mut tasks, &mut running, plugin);
                        }
                    }
                    () = self.outbox().work.notified() => break,
                }
            }
        }
    }

    fn begin(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        running: &mut HashMap<tokio::task::Id, (Arc<str>, bool)>,
        plugin: Arc<str>,
    ) {
        let (this, id) = (self.clone(), plugin.clone());
        let task = tasks.spawn(async move {
            // The plugin as it is then: another generation may bear what this one could not.
            while let Some(plugin) = this.outbox().hooks().registry().plugin(&id).cloned() {
                if this.clone().drain(plugin).await {
                    return;
                }
                tokio::time::sleep(BACK_OFF * 5).await;
            }
        });
        running.insert(task.id(), (plugin, false));
    }

    /// Empties the outbox of one plugin. Returns whether it is empty.
    async fn drain(self: Arc<Self>, plugin: Arc<Plugin>) -> bool {
        let (mut attempts, mut together) = (0, BATCH);
        loop {
            let (start, end) = key::outboxes(&plugin.id);
            let Ok(notes) = self.log().store().scan(&start, &end, together, false) else {
                return false;
            };
            if notes.is_empty() {
                return true;
            }
            // A note can be seen a moment before its event is durable, and so before that can be read.
            let store = self.log().store().clone();
            let durable = self
                .settlement
                .workers()
                .begin(move || Draft::new(store).commit_blocking())
                .await;
            if !matches!(durable, Ok(Ok(_))) {
                return false;
            }
            let (this, observer) = (self.clone(), plugin.clone());
            let show = move || {
                let (done, ended) = this.show(&observer, &notes);
                (done, ended, notes)
            };
            let Ok((done, ended, notes)) = self.settlement.workers().begin(show).await else {
                return false;
            };
            if done > 0 {
                (attempts, together) = (0, BATCH);
            }
            match ended {
                Shown::Done => {}
                Shown::Later => return false,
                // Another transaction changed what the observer read. Few at a time get through.
                Shown::Conflict if together == 1 => return false,
                Shown::Conflict => together = 1,
                Shown::Failed(reason) => {
                    attempts += 1;
                    if attempts < ATTEMPTS {
                        // What is behind it waits: an observer sees a conversation in its order.
                        tokio::time::sleep(BACK_OFF * (1 << attempts)).await;
                        continue;
                    }
                    let (this, observer) = (self.clone(), plugin.clone());
                    let bury = move || this.outbox().bury(&observer.id, &notes[done], &reason);
                    if self.settlement.workers().begin(bury).await.is_err() {
                        return false;
                    }
                    attempts = 0;
                }
            }
        }
    }

    /// Shows notes in one transaction. Returns how many are done, and how it ended with the one behind them.
    fn show(&self, plugin: &Plugin, notes: &[(Bytes, Bytes)]) -> (usize, Shown) {
        let begun = Instant::now();
        let draft = Draft::new(self.log().store().clone());
        let mut call = Call::new(AppId::default_app(), Access::Write, draft);
        let (mut done, mut ended) = (0, Shown::Done);
        for note in notes {
            let mark = call.mark();
            let outcome;
            (call, outcome) = self.show_one(plugin, call, note, done == 0);
            match outcome {
                Ok(true) => done += 1,
                Ok(false) => {
                    call.roll_back(mark);
                    break;
                }
                Err(why) => {
                    call.roll_back(mark);
                    ended = why;
                    break;
                }
            }
            // The next one may want to read what this one appended; and the longer it lasts, the more may conflict.
            if !call.effects.appends.is_empty() || begun.elapsed() > TOGETHER {
                break;
            }
        }
        if done == 0 {
            return (0, ended);
        }
        match self.settlement.commit(*call, |_| {}) {
            Ok(()) => (done, ended),
            Err(CommitError::Conflict) => (0, Shown::Conflict),
            Err(error) => {
                tracing::warn!(plugin = %plugin.id, %error, "what an observer wrote could not be kept");
                (0, Shown::Later)
            }
        }
    }

    /// Shows a note in a call that may have shown others. Returns whether it is done; if not, it needs a call of its own, since
    /// the `first` one says which app the call is in.
    fn show_one(
        &self,
        plugin: &Plugin,
        mut call: Box<Call>,
        (at, note): &(Bytes, Bytes),
        first: bool,
    ) -> (Box<Call>, Result<bool, Shown>) {
        match call.draft.get(at.clone()) {
            Ok(Some(_)) => call.draft.set(at.clone(), None),
            Ok(None) => return (call, Ok(true)),
            Err(error) => return (call, Err(Shown::Failed(error.to_string()))),
        }
        let asked = match self.asked(note) {
            Ok(Some(asked)) => asked,
            // Nobody is to hear of it; only the note goes.
            Ok(None) => return (call, Ok(true)),
            Err(why) => return (call, Err(why)),
        };
        if first {
            call.app = asked.app;
        } else if call.app != asked.app {
            return (call, Ok(false));
        }
        call.origin = Some(asked.origin);
        let (call, outcome) = plugin.enter(call, asked.request, guest::done);
        let outcome = match outcome {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => Err(Shown::Failed(format!("{}: {}", error.code, error.message))),
            Err(Failure::Quarantined | Failure::NotRunning | Failure::Busy) => Err(Shown::Later),
            Err(failure) => Err(Shown::Failed(failure.to_string())),
        };
        (call, outcome)
    }

    /// Makes what the plugin is asked about a note; none if there is nobody to be asked.
    fn asked(&self, note: &[u8]) -> Result<Option<Asked>, Shown> {
        let failed = |error: LogError| Shown::Failed(error.to_string());
        let Some(note) = Note::decode(note) else {
            return Err(Shown::Failed("the note can't be read".to_owned()));
        };
        Ok(match (note.hook, note.about) {
            (hook, About::Logged(dedup)) => match self.outbox().logged(dedup).map_err(failed)? {
                Some((log, event)) => self.logged(hook, &log, &event).map_err(failed)?,
                None => return Err(Shown::Failed("its event is not in the log".to_owned())),
            },
            (_, About::Change(change)) => change.app.parse().ok().map(|app| Asked {
                origin: origin(&app, &change.actor),
                request: Request::AfterChange(change),
                app,
            }),
            // Jobs have a queue of their own.
            (_, About::Job { .. }) => None,
            (_, About::Event(event)) => event.app.parse().ok().map(|app| Asked {
                origin: origin(&app, &event.plugin),
                request: Request::Event(event),
                app,
            }),
        })
    }

    /// Makes what a hook is asked about an event of the log; none if it need not be asked.
    fn logged(&self, hook: HookName, log: &LogId, event: &StoredEvent) -> Result<Option<Asked>, LogError> {
        let damaged = |seq: u64| LogError::Message {
            conversation: log.conversation,
            seq,
        };
        let body = Body::decode(&event.body).map_err(|_| damaged(event.seq))?;
        let conversation = self.log().conversations().get(log)?.ok_or_else(|| damaged(event.seq))?;
        let message = Message {
            app: log.app.as_str(),
            conversation: &conversation.id,
            conversation_kind: &conversation.kind,
            sender: body.sender,
            receiver: body.receiver.unwrap_or_default(),
            kind: body.kind,
            client_id: body.client_id,
            content: body.content,
            seq: event.seq,
            edits: body.target,
            time_ms: event.time_ms,
        };
        let request = match hook {
            HookName::AfterSend => Request::AfterSend(message.packed()),
            HookName::Push => {
                let recipients = self.offline(&conversation, body.sender);
                let revision = Log::revision(&mut Draft::new(self.log().store().clone()), log, event.seq)?;
                if recipients.is_empty() || revision.recalled {
                    return Ok(None);
                }
                Request::Push {
                    message: message.packed(),
                    recipients,
                }
            }
            _ => {
                let target = self.log().event(log, body.target)?.ok_or_else(|| damaged(event.seq))?;
                let target_body = Body::decode(&target.body).map_err(|_| damaged(target.seq))?;
                let (name, value) = act_of(&body);
                Request::AfterAct(Act {
                    name: name.to_owned(),
                    app: log.app.as_str().to_owned(),
                    conversation: conversation.id.to_string(),
                    conversation_kind: conversation.kind.to_string(),
                    actor: body.sender.to_owned(),
                    target: target.seq,
                    target_sender: target_body.sender.to_owned(),
                    target_kind: target_body.kind.to_owned(),
                    value,
                    time_ms: event.time_ms,
                })
            }
        };
        Ok(Some(Asked {
            app: log.app.clone(),
            origin: origin(&log.app, body.sender),
            request,
        }))
    }

    /// Returns the members but the sender that have no live session.
    fn offline(&self, conversation: &Conversation, sender: &str) -> Vec<String> {
        let router = self.settlement.router();
        let members = conversation.members.iter();
        members
            .filter(|member| member.as_str() != sender && !router.is_online(&conversation.log.app, member))
            .map(ToString::to_string)
            .collect()
    }
}

/// Returns the name of an act, and its value, as plugins see them.
fn act_of(body: &Body<'_>) -> (&'static str, String) {
    match body.event {
        EventType::Reaction => {
            let content: serde_json::Value = serde_json::from_slice(body.content).unwrap_or_default();
            let on = content["on"].as_bool() == Some(true);
            let emoji = content["emoji"].as_str().unwrap_or_default();
            (if on { "react" } else { "unreact" }, emoji.to_owned())
        }
        _ => ("recall", String::new()),
    }
}
