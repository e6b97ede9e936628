//! One call of the host, with its transaction and its effects.

use std::sync::Arc;

use bytes::Bytes;
use courtyard_plugin_sdk as sdk;

use crate::log::{Body, EventType};
use crate::store::{Draft, DraftMark, LogId};
use crate::wire::{ActorId, AppId, DeviceId};

/// What a plugin may do with the store during a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAccess {
    /// Nothing: the call has no transaction.
    None,
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// Ends sessions once the transaction is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// The actor whose sessions end.
    pub actor: ActorId,
    /// Limits this to the sessions of one credential.
    pub credential: Option<String>,
}

/// One call of the host, which may enter several plugins one after another.
#[derive(Debug)]
pub struct Call {
    /// The tenant of the call.
    pub app: AppId,
    /// What plugins may do with `draft`.
    pub access: StoreAccess,
    /// The origin of the request, if that is not the caller. Failures count against the origin before they count against
    /// the plugin.
    pub origin: Option<OriginId>,
    /// Whether the call may wait for another transaction; `false` inside the committer.
    pub may_block: bool,
    /// Who makes the request, for plugins that call others on their behalf; empty without a caller.
    pub caller: CallerName,
    /// The plugins that wait in the call for others that they have called, the outermost first.
    pub waiting_plugins: Vec<Arc<str>>,
    /// The transaction of the call.
    pub draft: Draft,
    /// What happens with the commit, and after it.
    pub effects: Effects,
}

/// What plugins request in a call besides reads and writes: some join the commit, the others follow it.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// Events to append, with the commit.
    pub appends: Vec<PluginEvent>,
    /// Changes of conversations, for their observers.
    pub changes: Vec<(LogId, sdk::Change)>,
    /// Events for other plugins.
    pub published: Vec<sdk::Event>,
    /// Sessions to end after the commit.
    pub ends: Vec<SessionEnd>,
    /// Signals to send after the commit.
    pub signals: Vec<Signal>,
    /// Whether timers were set.
    pub timers: bool,
    /// Whether jobs were added.
    pub jobs: bool,
}

impl Effects {
    /// Returns whether there are no effects.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty()
            && self.changes.is_empty()
            && self.published.is_empty()
            && self.ends.is_empty()
            && self.signals.is_empty()
            && !self.timers
            && !self.jobs
    }
}

/// An event that a plugin appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginEvent {
    /// The log of the conversation.
    pub log: LogId,
    /// The kind of the conversation.
    pub conversation_kind: String,
    /// The recipients.
    pub members: Arc<[ActorId]>,
    /// The type of the event.
    pub event: EventType,
    /// The number of the message that the event refers to; 0 for none.
    pub target: u64,
    /// The actor in whose name it is appended.
    pub sender: ActorId,
    /// The kind of the content; may be empty.
    pub kind: String,
    /// The kind that observers' filters are compared with: that of the message that the event is or refers to.
    pub filtered_kind: String,
    /// A JSON object.
    pub content: Bytes,
}

impl PluginEvent {
    /// Returns the event as the log stores it.
    pub(crate) fn body<'a>(&'a self, client_id: &'a str) -> Body<'a> {
        let receiver = match &*self.members {
            [first, second] if *first == self.sender => Some(second.as_str()),
            [first, second] if *second == self.sender => Some(first.as_str()),
            _ => None,
        };
        Body {
            event: self.event,
            target: self.target,
            sender: self.sender.as_str(),
            receiver,
            client_id,
            kind: &self.kind,
            content: &self.content,
        }
    }
}

/// An ephemeral frame of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The recipients; those that are offline don't get it.
    pub actors: Arc<[ActorId]>,
    /// The frame as sessions send it.
    pub frame: Bytes,
}

/// Who makes a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerName {
    /// The actor; none for a session that is not signed in.
    pub actor: Option<ActorId>,
    /// The device.
    pub device: Option<DeviceId>,
    /// The credential; may be empty.
    pub credential: Box<str>,
}

/// A state of a [`Call`] that [`Call::roll_back`] returns to.
#[derive(Debug)]
pub struct CallMark {
    draft: DraftMark,
    appends: usize,
    changes: usize,
    published: usize,
    ends: usize,
    signals: usize,
}

impl Call {
    /// Begins a call with its transaction.
    #[must_use]
    pub fn new(app: AppId, access: StoreAccess, draft: Draft) -> Box<Self> {
        Box::new(Self {
            app,
            access,
            origin: None,
            may_block: true,
            caller: CallerName::default(),
            waiting_plugins: Vec::new(),
            draft,
            effects: Effects::default(),
        })
    }

    /// Returns who makes the request, as plugins see it.
    #[must_use]
    pub fn caller(&self) -> sdk::Caller {
        let caller = &self.caller;
        sdk::Caller {
            app: self.app.as_str().to_owned(),
            actor: caller.actor.as_ref().map_or("", ActorId::as_str).to_owned(),
            device: caller.device.as_ref().map_or("", DeviceId::as_str).to_owned(),
            credential: caller.credential.to_string(),
            plugin: self.waiting_plugins.last().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// Returns the origin of the request: [`Call::origin`], or the caller.
    pub(super) fn origin(&self) -> OriginId {
        let actor = || self.caller.actor.as_ref().map_or("", ActorId::as_str);
        self.origin.unwrap_or_else(|| origin(&self.app, actor()))
    }

    /// Discards all writes and effects; the transaction still depends on its reads.
    pub fn discard(&mut self) {
        self.draft.discard_writes();
        self.effects = Effects::default();
    }

    /// Returns a mark of the present writes and effects.
    #[must_use]
    pub fn mark(&self) -> CallMark {
        CallMark {
            draft: self.draft.mark(),
            appends: self.effects.appends.len(),
            changes: self.effects.changes.len(),
            published: self.effects.published.len(),
            ends: self.effects.ends.len(),
            signals: self.effects.signals.len(),
        }
    }

    /// Discards all writes and effects since `mark`; the transaction still depends on its reads.
    pub fn roll_back(&mut self, mark: CallMark) {
        self.draft.roll_back(mark.draft);
        self.effects.appends.truncate(mark.appends);
        self.effects.changes.truncate(mark.changes);
        self.effects.published.truncate(mark.published);
        self.effects.ends.truncate(mark.ends);
        self.effects.signals.truncate(mark.signals);
    }
}

/// The origin of requests: a hash of an actor of an app, a token, a timer or a job. Not stable over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OriginId(pub(super) u64);

/// Returns the origin of the requests of an actor, or of anything else that `who` names in an app.
#[must_use]
pub fn origin(app: &AppId, who: &str) -> OriginId {
    use std::hash::{BuildHasher, Hash, Hasher};
    static STATE: std::sync::LazyLock<foldhash::fast::RandomState> = std::sync::LazyLock::new(Default::default);
    let mut hasher = STATE.build_hasher();
    app.as_str().hash(&mut hasher);
    who.hash(&mut hasher);
    OriginId(hasher.finish())
}
