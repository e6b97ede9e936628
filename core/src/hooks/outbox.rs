//! What observers have not seen yet, and what they could not bear.
//!
//! Whatever an observer wants is noted in its outbox by the transaction that it is about, so that a crash loses nothing.

use std::sync::Arc;

use bytes::Bytes;
use courtyard_plugin_sdk::manifest::HookName;
use courtyard_plugin_sdk::{Change, Event};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{Hooks, Plugin, jobs};
use crate::clock::now_ms;
use crate::log::{Body, Conversation, Draft, EventType, Log, LogError, Watched, Watches, key};
use crate::store::{Append, CommitError, LogId, StoredEvent};
use crate::wire::{ActorId, ConversationId};

/// How many notes are read at a time.
pub(super) const BATCH: usize = 64;

/// What one hook of an observer is to see. On the disk: postcard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) hook: HookName,
    pub(super) about: About,
}

/// What a note is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum About {
    /// The event of the log that was appended under this dedup key.
    Logged(u128),
    /// A change of a conversation.
    Change(Change),
    /// An event of a plugin.
    Event(Event),
    /// A job that was given up.
    Job {
        app: String,
        id: u128,
        name: String,
        payload: Vec<u8>,
    },
}

impl Note {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    fn encode(&self) -> Bytes {
        // Writing into a vector has no way to fail.
        postcard::to_stdvec(self).unwrap_or_default().into()
    }
}

/// A note that was given up. On the disk: postcard.
#[derive(Serialize, Deserialize)]
struct Buried {
    reason: String,
    note: Vec<u8>,
}

/// Something that an observer could not bear.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadLetter {
    /// Names it among those of its plugin.
    pub id: String,
    /// The hook that failed.
    pub hook: &'static str,
    /// How the plugin failed on it the last time.
    pub reason: String,
    /// The event of the log that it is about; none if it is about something else, or not in the log any more.
    pub message: Option<DeadMessage>,
    /// Anything else that it is about.
    pub about: Option<serde_json::Value>,
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

/// The conversation of an event, as far as it decides who is to see the event.
#[derive(Debug)]
pub struct Audience<'a> {
    /// The kind of the conversation.
    pub kind: &'a str,
    /// Who takes part.
    pub members: &'a [ActorId],
    /// Which plugins watch it, as far as that is known.
    pub watched: Option<&'a Watched>,
}

impl<'a> From<&'a Conversation> for Audience<'a> {
    fn from(conversation: &'a Conversation) -> Self {
        Self {
            kind: &conversation.kind,
            members: &conversation.members,
            watched: Some(&conversation.watched),
        }
    }
}

/// The outboxes and the dead letters of all observers.
pub struct Outbox {
    hooks: Arc<Hooks>,
    log: Arc<Log>,
    pub(super) work: Notify,
    last_order: Mutex<u128>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl Outbox {
    pub(super) fn new(hooks: Arc<Hooks>, log: Arc<Log>) -> Self {
        Self {
            hooks,
            log,
            work: Notify::new(),
            last_order: Mutex::new(0),
        }
    }

    pub(super) fn hooks(&self) -> &Arc<Hooks> {
        &self.hooks
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Notes in a draft which hooks are to see the event that it appends. Returns whether there are any.
    pub fn note(
        &self,
        draft: &mut Draft,
        append: &Append,
        event: EventType,
        conversation: &Audience<'_>,
        kind: &str,
    ) -> bool {
        let Some(dedup) = append.dedup else { return false };
        let registry = self.hooks.registry();
        let mut any = false;
        for (plugin, hook, watched) in registry.observers(event, conversation.kind, kind) {
            if watched && !self.is_watched(plugin, &append.log, conversation) {
                continue;
            }
            let about = About::Logged(dedup.key);
            self.put(draft, &plugin.id, &append.log, &Note { hook, about });
            any = true;
        }
        any
    }

    fn is_watched(&self, plugin: &Plugin, log: &LogId, conversation: &Audience<'_>) -> bool {
        let (store, members) = (&**self.log.store(), conversation.members);
        let found = match conversation.watched {
            Some(watched) => Watches::includes(store, &plugin.id, log, members, watched),
            None => Watches::includes(store, &plugin.id, log, members, &Watched::default()),
        };
        // A store that can't be read commits nothing either; if it does, better once too often.
        found.unwrap_or(true)
    }

    /// Notes in a draft who is to see a change of a conversation. Returns whether there is anybody.
    pub(super) fn note_change(&self, draft: &mut Draft, log: &LogId, change: &Change) -> bool {
        let registry = self.hooks.registry();
        let mut any = false;
        for plugin in registry.change_observers(&change.kind) {
            let note = Note {
                hook: HookName::AfterChange,
                about: About::Change(change.clone()),
            };
            self.put(draft, &plugin.id, log, &note);
            any = true;
        }
        any
    }

    /// Notes in a draft who is to see an event of a plugin. Returns whether there is anybody.
    pub(super) fn note_event(&self, draft: &mut Draft, app: &crate::wire::AppId, event: &Event) -> bool {
        let registry = self.hooks.registry();
        let log = LogId {
            app: app.clone(),
            conversation: ConversationId(0),
        };
        let mut any = false;
        for plugin in registry.event_observers(&event.plugin, &event.name) {
            let note = Note {
                hook: HookName::Event,
                about: About::Event(event.clone()),
            };
            self.put(draft, &plugin.id, &log, &note);
            any = true;
        }
        any
    }

    fn put(&self, draft: &mut Draft, plugin: &str, log: &LogId, note: &Note) {
        draft.set(key::outbox(plugin, log, self.next_order()), Some(note.encode()));
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

    /// Finds the event that was appended under a dedup key.
    pub(super) fn logged(&self, dedup: u128) -> Result<Option<(LogId, StoredEvent)>, LogError> {
        let Some(found) = self.log.store().find(dedup)? else {
            return Ok(None);
        };
        let log = found.appended.log;
        let event = self.log.event(&log, found.appended.seq)?;
        Ok(event.map(|event| (log, event)))
    }

    /// Moves a note to the dead letters, with the reason.
    pub(super) fn bury(&self, plugin: &str, (at, note): &(Bytes, Bytes), reason: &str) {
        tracing::error!(plugin, reason, "an observer gave something up: it is a dead letter now");
        let mut draft = Draft::new(self.log.store().clone());
        let buried = Buried {
            reason: reason.to_owned(),
            note: note.to_vec(),
        };
        // Writing into a vector has no way to fail.
        let buried = postcard::to_stdvec(&buried).unwrap_or_default();
        draft.set(key::dead_letter(at), Some(buried.into()));
        draft.set(at.clone(), None);
        if let Err(error) = draft.commit_blocking() {
            tracing::error!(plugin, %error, "a dead letter could not be kept; it is tried again");
        }
    }

    /// Makes a job a dead letter with a draft.
    pub(super) fn bury_job(
        &self,
        draft: &mut Draft,
        plugin: &str,
        app: &crate::wire::AppId,
        id: u128,
        note: &Note,
        reason: String,
    ) {
        tracing::error!(plugin, reason, "a job was given up: it is a dead letter now");
        let log = LogId {
            app: app.clone(),
            conversation: ConversationId(0),
        };
        let note = note.encode().to_vec();
        // Writing into a vector has no way to fail.
        let buried = postcard::to_stdvec(&Buried { reason, note }).unwrap_or_default();
        draft.set(key::dead_letter(&key::outbox(plugin, &log, id)), Some(buried.into()));
    }

    /// Lists what a plugin could not bear, at most `limit` letters.
    ///
    /// # Errors
    /// When the store fails, or a message is damaged.
    pub fn dead_letters(&self, plugin: &str, limit: usize) -> Result<Vec<DeadLetter>, LogError> {
        let (start, end) = key::dead_letters(plugin);
        let found = self.log.store().scan(&start, &end, limit, false)?;
        found.iter().map(|(key, value)| self.dead_letter(key, value)).collect()
    }

    fn dead_letter(&self, key: &[u8], value: &[u8]) -> Result<DeadLetter, LogError> {
        let buried = postcard::from_bytes(value).unwrap_or(Buried {
            reason: "the letter can't be read".to_owned(),
            note: Vec::new(),
        });
        let note = Note::decode(&buried.note);
        let mut letter = DeadLetter {
            id: hex(key),
            hook: note.as_ref().map_or("", |note| note.hook.name()),
            reason: buried.reason,
            message: None,
            about: None,
        };
        match note.map(|note| note.about) {
            Some(About::Logged(dedup)) => letter.message = self.dead_message(dedup)?,
            Some(About::Change(change)) => letter.about = serde_json::to_value(change).ok(),
            Some(About::Event(event)) => {
                let payload: serde_json::Value = serde_json::from_slice(&event.payload).unwrap_or_default();
                letter.about = Some(serde_json::json!({
                    "app": event.app, "plugin": event.plugin, "name": event.name, "actor": event.actor,
                    "payload": payload, "time_ms": event.time_ms,
                }));
            }
            Some(About::Job { app, name, payload, .. }) => {
                let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap_or_default();
                letter.about = Some(serde_json::json!({ "app": app, "name": name, "payload": payload }));
            }
            None => {}
        }
        Ok(letter)
    }

    fn dead_message(&self, dedup: u128) -> Result<Option<DeadMessage>, LogError> {
        let Some((log, event)) = self.logged(dedup)? else {
            return Ok(None);
        };
        let body = Body::decode(&event.body).map_err(|_| LogError::Message {
            conversation: log.conversation,
            seq: event.seq,
        })?;
        Ok(Some(DeadMessage {
            app: log.app.as_str().to_owned(),
            conversation: log.conversation.to_string(),
            seq: event.seq,
            time_ms: event.time_ms,
            sender: body.sender.to_owned(),
            kind: body.kind.to_owned(),
            content: serde_json::from_slice(body.content).unwrap_or_default(),
        }))
    }

    /// Shows dead letters of a plugin once more: the one of this id, or all. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub fn replay(&self, plugin: &str, id: Option<&str>) -> Result<usize, CommitError> {
        let moved = self.edit_letters(plugin, id, |draft, letter, value| {
            let Ok(buried) = postcard::from_bytes::<Buried>(value) else {
                return;
            };
            match Note::decode(&buried.note).map(|note| note.about) {
                Some(About::Job { app, id, name, payload }) => {
                    if let Ok(app) = app.parse() {
                        jobs::put(draft, plugin, &app, id, &name, 0, payload);
                    }
                }
                _ => draft.set(key::outbox_of(letter), Some(buried.note.into())),
            }
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
