//! Shows committed messages to observers, at least once, in the order of their conversation.
//!
//! A message that an observer wants is noted in the observer's outbox by the transaction that appends it, so that a crash
//! loses nothing. The observer's own writes and the end of the note are one transaction again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courtyard_plugin_sdk::hook::Request;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Access, Call, Failure, Hooks, Message, Plugin, guest, origin};
use crate::bus::Bus;
use crate::clock::now_ms;
use crate::log::{Body, Draft, Log, LogError, key};
use crate::router::Router;
use crate::store::{Append, CommitError};
use crate::wire::Page;

/// How many notes are read at a time.
const BATCH: usize = 64;
/// How often a note is tried before it becomes a dead letter.
const ATTEMPTS: u32 = 5;
/// The pause after the first failure; it doubles.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The tasks that show messages to observers, one for each plugin.
pub struct Observers {
    hooks: Arc<Hooks>,
    log: Arc<Log>,
    router: Arc<Router>,
    bus: Arc<dyn Bus>,
    work: Notify,
    /// Says that timers were set.
    timers: Arc<Notify>,
    last_order: Mutex<u128>,
}

impl std::fmt::Debug for Observers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observers").finish_non_exhaustive()
    }
}

/// A message that an observer could not bear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// Names it among those of its plugin.
    pub id: String,
    /// How the plugin failed on it the last time.
    pub reason: String,
    /// The message; none if it is not in the log any more.
    pub message: Option<DeadMessage>,
}

/// What an observer was to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadMessage {
    /// The tenant.
    pub app: String,
    /// Where it was sent.
    pub conversation: String,
    /// Its number there.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// By whom.
    pub sender: String,
    /// The kind of the content.
    pub kind: String,
    /// The content.
    pub content: serde_json::Value,
}

/// How showing one message ended.
enum Shown {
    Done,
    /// The plugin is left alone for a while; nothing is counted against the message.
    Later,
    Failed(String),
}

impl Observers {
    /// Makes the observers of a host. They work once [`Observers::run`] is polled.
    #[must_use]
    pub fn new(hooks: Arc<Hooks>, log: Arc<Log>, router: Arc<Router>, bus: Arc<dyn Bus>) -> Arc<Self> {
        Arc::new(Self {
            hooks,
            log,
            router,
            bus,
            work: Notify::new(),
            timers: Arc::default(),
            last_order: Mutex::new(0),
        })
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn timers(&self) -> &Arc<Notify> {
        &self.timers
    }

    pub(super) fn router(&self) -> &Router {
        &self.router
    }

    pub(super) fn bus(&self) -> &dyn Bus {
        &*self.bus
    }

    /// Notes in a draft which observers are to see the message that it appends. Returns whether there are any.
    pub fn note(&self, draft: &mut Draft, append: &Append, conversation_kind: &str, kind: &str) -> bool {
        let registry = self.hooks.registry();
        let mut any = false;
        for plugin in registry.observers(conversation_kind, kind) {
            let Some(dedup) = append.dedup else { continue };
            let order = self.next_order();
            draft.set(
                key::outbox(&plugin.id, &append.log, order),
                Some(dedup.key.to_be_bytes().to_vec().into()),
            );
            any = true;
        }
        any
    }

    /// Returns a number greater than all before, also over restarts as long as the clock does not go back.
    fn next_order(&self) -> u128 {
        let mut last = self.last_order.lock();
        *last = (*last + 1).max(ulid::Ulid::from_parts(now_ms(), 0).0);
        *last
    }

    /// Says that a draft with notes was committed.
    pub fn wake(&self) {
        self.work.notify_one();
    }

    /// Shows messages until the future is dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            let mut plugins = JoinSet::new();
            let registry = self.hooks.registry();
            for link in &registry.after_send {
                let (this, plugin) = (self.clone(), link.plugin.clone());
                plugins.spawn(async move { this.drain(plugin).await });
            }
            let mut unfinished = false;
            while let Some(drained) = plugins.join_next().await {
                unfinished |= !matches!(drained, Ok(true));
            }
            if unfinished {
                tokio::time::sleep(BACK_OFF * 5).await;
            } else {
                self.work.notified().await;
            }
        }
    }

    /// Empties the outbox of one plugin. Returns whether it is empty.
    async fn drain(self: Arc<Self>, plugin: Arc<Plugin>) -> bool {
        let mut attempts = 0;
        loop {
            let (start, end) = key::outboxes(&plugin.id);
            let Ok(notes) = self.log.store().scan(&start, &end, BATCH, false) else {
                return false;
            };
            if notes.is_empty() {
                return true;
            }
            // A note can be seen a moment before its message is durable, and so before it can be read.
            let store = self.log.store().clone();
            let durable = tokio::task::spawn_blocking(move || Draft::new(store).commit_blocking()).await;
            if !matches!(durable, Ok(Ok(_))) {
                return false;
            }
            for note in notes {
                let (this, observer, shown_note) = (self.clone(), plugin.clone(), note.clone());
                let shown = tokio::task::spawn_blocking(move || this.show(&observer, &shown_note)).await;
                match shown {
                    Ok(Shown::Done) => attempts = 0,
                    Ok(Shown::Later) | Err(_) => return false,
                    Ok(Shown::Failed(reason)) => {
                        attempts += 1;
                        if attempts < ATTEMPTS {
                            tokio::time::sleep(BACK_OFF * (1 << attempts)).await;
                            // The messages behind it wait: an observer sees a conversation in its order.
                            break;
                        }
                        let (this, observer) = (self.clone(), plugin.clone());
                        let buried = tokio::task::spawn_blocking(move || this.bury(&observer, &note, &reason));
                        if buried.await.is_err() {
                            return false;
                        }
                        attempts = 0;
                    }
                }
            }
        }
    }

    fn show(&self, plugin: &Plugin, (note, dedup): &(Bytes, Bytes)) -> Shown {
        match self.try_show(plugin, note, dedup) {
            Ok(shown) => shown,
            Err(error) => Shown::Failed(error.to_string()),
        }
    }

    fn try_show(&self, plugin: &Plugin, note: &Bytes, dedup: &Bytes) -> Result<Shown, LogError> {
        let store = self.log.store();
        let mut draft = Draft::new(store.clone());
        if draft.get(note.clone())?.is_none() {
            return Ok(Shown::Done);
        }
        draft.set(note.clone(), None);
        let found = match <[u8; 16]>::try_from(&dedup[..]) {
            Ok(key) => store.find(u128::from_be_bytes(key))?,
            Err(_) => None,
        };
        let lost = || Ok(Shown::Failed("its message is not in the log".to_owned()));
        let Some(found) = found else { return lost() };
        let log = found.appended.log;
        let page = Page::After(found.appended.seq - 1);
        let (_, events) = self.log.read(&log, page, 1)?;
        let (Some(event), Some(conversation)) = (events.first(), self.log.conversations().get(&log)?) else {
            return lost();
        };
        let damaged = |_| LogError::Message {
            conversation: log.conversation,
            seq: event.seq,
        };
        let body = Body::decode(&event.body).map_err(damaged)?;
        let id = log.conversation.to_string();
        let message = Message {
            app: log.app.as_str(),
            conversation: &id,
            conversation_kind: &conversation.kind,
            sender: body.sender,
            receiver: body.receiver.unwrap_or_default(),
            kind: body.kind,
            client_id: body.client_id,
            content: body.content,
            seq: event.seq,
            time_ms: event.time_ms,
        };
        let mut call = Call::new(log.app.clone(), Access::Write, draft);
        call.origin = Some(origin(&log.app, body.sender));
        let (call, outcome) = plugin.enter(call, Request::AfterSend(message.packed()), guest::done);
        Ok(match outcome {
            Ok(Ok(())) => self.finish(*call),
            Ok(Err(error)) => Shown::Failed(format!("{}: {}", error.code, error.message)),
            Err(Failure::Quarantined | Failure::NotRunning | Failure::Busy) => Shown::Later,
            Err(failure) => Shown::Failed(failure.to_string()),
        })
    }

    fn finish(&self, call: Call) -> Shown {
        let (draft, sealed) = self.seal(call);
        match draft.commit_blocking() {
            Ok(appended) => {
                self.settle(sealed, &appended);
                Shown::Done
            }
            // Another transaction changed what the observer read: it sees the message again.
            Err(CommitError::Conflict) => Shown::Later,
            Err(error) => Shown::Failed(error.to_string()),
        }
    }

    /// Lists the messages that a plugin could not bear, at most `limit` of them.
    ///
    /// # Errors
    /// When the store fails, or a message is damaged.
    pub fn dead_letters(&self, plugin: &str, limit: usize) -> Result<Vec<DeadLetter>, LogError> {
        let (start, end) = key::dead_letters(plugin);
        let found = self.log.store().scan(&start, &end, limit, false)?;
        found.iter().map(|(key, value)| self.dead_letter(key, value)).collect()
    }

    fn dead_letter(&self, key: &[u8], value: &[u8]) -> Result<DeadLetter, LogError> {
        let (dedup, reason) = value.split_at_checked(16).unwrap_or((&[], value));
        let mut letter = DeadLetter {
            id: hex(key),
            reason: String::from_utf8_lossy(reason).into_owned(),
            message: None,
        };
        let found = match <[u8; 16]>::try_from(dedup) {
            Ok(dedup) => self.log.store().find(u128::from_be_bytes(dedup))?,
            Err(_) => None,
        };
        if let Some(found) = found {
            let log = found.appended.log;
            let (_, events) = self.log.read(&log, Page::After(found.appended.seq - 1), 1)?;
            if let Some(event) = events.first() {
                let body = Body::decode(&event.body).map_err(|_| LogError::Message {
                    conversation: log.conversation,
                    seq: event.seq,
                })?;
                letter.message = Some(DeadMessage {
                    app: log.app.as_str().to_owned(),
                    conversation: log.conversation.to_string(),
                    seq: event.seq,
                    time_ms: event.time_ms,
                    sender: body.sender.to_owned(),
                    kind: body.kind.to_owned(),
                    content: serde_json::from_slice(body.content).unwrap_or_default(),
                });
            }
        }
        Ok(letter)
    }

    /// Shows dead letters of a plugin once more: the one of this id, or all. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub fn replay(&self, plugin: &str, id: Option<&str>) -> Result<usize, CommitError> {
        let moved = self.edit_letters(plugin, id, |draft, letter, value| {
            let dedup = value.slice(..value.len().min(16));
            draft.set(key::outbox_of(letter), Some(dedup));
        })?;
        self.wake();
        Ok(moved)
    }

    /// Removes dead letters of a plugin: the one of this id, or all. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub fn discard(&self, plugin: &str, id: Option<&str>) -> Result<usize, CommitError> {
        self.edit_letters(plugin, id, |_, _, _| {})
    }

    fn edit_letters(
        &self,
        plugin: &str,
        id: Option<&str>,
        edit: impl Fn(&mut Draft, &[u8], &Bytes),
    ) -> Result<usize, CommitError> {
        let (mut start, end) = key::dead_letters(plugin);
        let mut edited = 0;
        loop {
            let mut draft = Draft::new(self.log.store().clone());
            let scanned = self.log.store().scan(&start, &end, BATCH, false);
            let found = scanned.map_err(|error| CommitError::Failed(error.to_string()))?;
            let Some((last, _)) = found.last() else {
                return Ok(edited);
            };
            start = [last, &[0][..]].concat().into();
            for (letter, value) in &found {
                if id.is_none_or(|id| id == hex(letter)) {
                    edit(&mut draft, letter, value);
                    draft.set(letter.clone(), None);
                    edited += 1;
                }
            }
            if !draft.is_read_only() {
                draft.commit_blocking()?;
            }
        }
    }

    /// Moves a note to the dead letters, with the reason.
    fn bury(&self, plugin: &Plugin, (note, dedup): &(Bytes, Bytes), reason: &str) {
        tracing::error!(plugin = %plugin.id, reason, "a message became a dead letter of an observer");
        let mut draft = Draft::new(self.log.store().clone());
        let mut letter = dedup.to_vec();
        letter.extend_from_slice(reason.as_bytes());
        draft.set(key::dead_letter(note), Some(letter.into()));
        draft.set(note.clone(), None);
        if let Err(error) = draft.commit_blocking() {
            tracing::error!(plugin = %plugin.id, %error, "a dead letter could not be kept; the message is tried again");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing into a text has no way to fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
