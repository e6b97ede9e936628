//! Pending observations.
//!
//! The transaction that an observer observes also stores the pending observation, so that a crash loses nothing.

use std::sync::Arc;

use bytes::Bytes;
use courtyard_plugin_sdk::manifest::HookName;
use courtyard_plugin_sdk::{Change, Event};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::clock::now_ms;
use crate::hooks::{Hooks, Plugin};
use crate::keys;
use crate::log::{Conversation, EventType, Log, LogError, Watched, Watches};
use crate::store::{Append, Draft, LogId, StoredEvent, encode};
use crate::wire::{ActorId, AppId, ConversationId};

/// How many observations are read at a time.
pub(super) const BATCH: usize = 64;

/// A pending observation of one hook. In the store: postcard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Observation {
    pub(super) hook: HookName,
    pub(super) subject: Subject,
}

/// What an observer observes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Subject {
    /// The event of the log that was appended under this dedup key.
    Logged(u128),
    /// A change of a conversation.
    Change(Change),
    /// An event of a plugin.
    Event(Event),
    /// A job that became a dead letter.
    Job {
        app: String,
        id: u128,
        name: String,
        payload: Vec<u8>,
    },
}

impl Observation {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    pub(super) fn encode(&self) -> Bytes {
        encode(self)
    }
}

/// The conversation of an event, as far as it decides which plugins observe the event.
#[derive(Debug)]
pub struct Audience<'a> {
    /// The kind of the conversation.
    pub kind: &'a str,
    /// The members.
    pub members: &'a [ActorId],
    /// The cache of which plugins watch the conversation, if one exists.
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

/// The pending observations and the dead letters of all plugins.
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

    /// Adds the observations of an event to the draft that appends it. Returns whether any plugin observes the event.
    pub fn observe_event(
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
            let subject = Subject::Logged(dedup.key);
            self.insert(draft, &plugin.id, &append.log, &Observation { hook, subject });
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
        // If the store can't be read, observing too often is safe; the commit will probably fail as well.
        found.unwrap_or(true)
    }

    /// Adds the observations of a change of a conversation to a draft. Returns whether any plugin observes it.
    pub(super) fn observe_change(&self, draft: &mut Draft, log: &LogId, change: &Change) -> bool {
        let registry = self.hooks.registry();
        let mut any = false;
        for plugin in registry.change_observers(&change.kind) {
            let observation = Observation {
                hook: HookName::AfterChange,
                subject: Subject::Change(change.clone()),
            };
            self.insert(draft, &plugin.id, log, &observation);
            any = true;
        }
        any
    }

    /// Adds the observations of a plugin's event to a draft. Returns whether any plugin observes it.
    pub(super) fn observe_plugin_event(&self, draft: &mut Draft, app: &AppId, event: &Event) -> bool {
        let registry = self.hooks.registry();
        let log = no_conversation(app);
        let mut any = false;
        for plugin in registry.event_observers(&event.plugin, &event.name) {
            let observation = Observation {
                hook: HookName::Event,
                subject: Subject::Event(event.clone()),
            };
            self.insert(draft, &plugin.id, &log, &observation);
            any = true;
        }
        any
    }

    fn insert(&self, draft: &mut Draft, plugin: &str, log: &LogId, observation: &Observation) {
        let key = keys::outbox::observation(plugin, log, self.next_order());
        draft.set(key, Some(observation.encode()));
    }

    /// Returns a number greater than all before, also across restarts as long as the clock doesn't go back.
    fn next_order(&self) -> u128 {
        let mut last = self.last_order.lock();
        *last = (*last + 1).max(ulid::Ulid::from_parts(now_ms(), 0).0);
        *last
    }

    /// Wakes the observers, after a draft with observations was committed.
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
}

/// Returns the log id in the keys of observations and dead letters without a conversation.
pub(super) fn no_conversation(app: &AppId) -> LogId {
    LogId {
        app: app.clone(),
        conversation: ConversationId(0),
    }
}
