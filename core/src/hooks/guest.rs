//! What the host asks of a plugin, whatever it is made of.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::log::{Draft, Mark};
use crate::store::LogId;
use crate::wire::{ActorId, AppId, DeviceId};

/// What a plugin may do with the store during a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: there is no transaction.
    None,
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// Ends sessions once the transaction is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// Whose.
    pub actor: ActorId,
    /// Those of one credential, or all.
    pub credential: Option<String>,
}

/// One call of the host, which may enter several plugins one after another.
#[derive(Debug)]
pub struct Call {
    /// The tenant that the call is about.
    pub app: AppId,
    /// What plugins may do with `draft`.
    pub access: Access,
    /// Whose request it is, as a number, if that is not the caller: failures count against them before they count against
    /// the plugin.
    pub origin: Option<u64>,
    /// Whether it may wait for another transaction; not when it is made inside the committer.
    pub patient: bool,
    /// Who makes the request, for plugins that ask others on their behalf; empty when nobody does.
    pub caller: CallerName,
    /// The plugins that wait in the call for others that they have asked, the outermost first.
    pub asking: Vec<Arc<str>>,
    /// The transaction that everything belongs to.
    pub draft: Draft,
    /// What happens with the commit, and after it.
    pub effects: Effects,
}

/// What calls leave to be done with their commit and after it.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// Messages that plugins append.
    pub appends: Vec<PluginMessage>,
    /// Sessions that end.
    pub ends: Vec<SessionEnd>,
    /// Signals that are sent.
    pub signals: Vec<Signal>,
    /// Whether timers were set.
    pub timers: bool,
}

impl Effects {
    /// Whether there is nothing to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.ends.is_empty() && self.signals.is_empty() && !self.timers
    }
}

/// A message that a plugin appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginMessage {
    /// Where to.
    pub log: LogId,
    /// The kind of the conversation.
    pub conversation_kind: String,
    /// Who gets it.
    pub members: Arc<[ActorId]>,
    /// In whose name.
    pub sender: ActorId,
    /// The kind of the content.
    pub kind: String,
    /// A JSON object.
    pub content: Bytes,
}

impl PluginMessage {
    /// Returns the other member, in a conversation of two.
    pub(super) fn receiver(&self) -> Option<&str> {
        match &*self.members {
            [first, second] if *first == self.sender => Some(second.as_str()),
            [first, second] if *second == self.sender => Some(first.as_str()),
            _ => None,
        }
    }
}

/// An ephemeral frame of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Who gets it, if online.
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

/// A call at some time, to go back to.
#[derive(Debug)]
pub(super) struct CallMark {
    draft: Mark,
    appends: usize,
    ends: usize,
    signals: usize,
}

impl Call {
    /// Begins a call with its transaction.
    #[must_use]
    pub fn new(app: AppId, access: Access, draft: Draft) -> Box<Self> {
        Box::new(Self {
            app,
            access,
            origin: None,
            patient: true,
            caller: CallerName::default(),
            asking: Vec::new(),
            draft,
            effects: Effects::default(),
        })
    }

    /// Returns the number of whose request it is.
    pub(super) fn origin(&self) -> u64 {
        let actor = || self.caller.actor.as_ref().map_or("", ActorId::as_str);
        self.origin.unwrap_or_else(|| origin(&self.app, actor()))
    }

    /// Notes what the call has led to so far.
    pub(super) fn mark(&self) -> CallMark {
        CallMark {
            draft: self.draft.mark(),
            appends: self.effects.appends.len(),
            ends: self.effects.ends.len(),
            signals: self.effects.signals.len(),
        }
    }

    /// Takes back what the call has led to since; what was read stays relied on.
    pub(super) fn roll_back(&mut self, mark: CallMark) {
        self.draft.roll_back(mark.draft);
        self.effects.appends.truncate(mark.appends);
        self.effects.ends.truncate(mark.ends);
        self.effects.signals.truncate(mark.signals);
    }
}

/// Returns the number that stands for whoever makes requests: an actor of an app, or a token.
#[must_use]
pub fn origin(app: &AppId, who: &str) -> u64 {
    use std::hash::{BuildHasher, Hash, Hasher};
    static STATE: std::sync::LazyLock<foldhash::fast::RandomState> = std::sync::LazyLock::new(Default::default);
    let mut hasher = STATE.build_hasher();
    app.as_str().hash(&mut hasher);
    who.hash(&mut hasher);
    hasher.finish()
}

/// A message as hooks see it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The tenant.
    pub app: &'a str,
    /// The conversation, as clients write it.
    pub conversation: &'a str,
    /// Its kind.
    pub conversation_kind: &'a str,
    /// Who sends.
    pub sender: &'a str,
    /// The other member of a conversation of two, or empty.
    pub receiver: &'a str,
    /// The kind of the content.
    pub kind: &'a str,
    /// The sender's id for it.
    pub client_id: &'a str,
    /// A JSON object.
    pub content: &'a [u8],
    /// 0 before it is in the log.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub time_ms: u64,
}

/// What a plugin says to a client. The author foresaw it, so it is no failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginError {
    /// Without the plugin's id.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether the same request can succeed later.
    pub retry: bool,
}

/// What a plugin decides about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on.
    Accept,
    /// It goes on with this content.
    Replace(Bytes),
    /// It ends here.
    Reject(PluginError),
}

/// Who a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub actor: ActorId,
    /// What sessions can be ended by; may be empty.
    pub credential: String,
    /// When it ends, in milliseconds since 1970; 0 for never.
    pub expires_at_ms: u64,
}

/// Who calls a method. Texts are empty for an anonymous session.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The actor.
    pub actor: &'a str,
    /// The device.
    pub device: &'a str,
    /// The credential.
    pub credential: &'a str,
    /// The plugin that asks on the actor's behalf; empty when the client does.
    pub plugin: &'a str,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// A client has signed in.
    Connected,
    /// Its connection has ended.
    Disconnected,
}

/// How a plugin broke down. Never a verdict: a failure approves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The code stopped by itself: a panic, a bad memory access, a division by zero.
    #[error("it trapped: {0}")]
    Trap(String),
    /// It ran longer than its deadline.
    #[error("it ran longer than {0} ms")]
    Timeout(u64),
    /// It asked for more than a limit allows.
    #[error("it went over its limit of {0}")]
    Limit(&'static str),
    /// It answered what the contract does not allow.
    #[error("it broke the contract: {0}")]
    Contract(String),
    /// All its instances were busy until the deadline.
    #[error("all its instances are busy")]
    Busy,
    /// It broke down too often and is left alone for a while.
    #[error("it is quarantined")]
    Quarantined,
    /// It could not be loaded, or an operator disabled it.
    #[error("it is not running")]
    NotRunning,
    /// The store failed under it.
    #[error("the store failed: {0}")]
    Store(String),
}

impl Failure {
    /// The names of the kinds, in the order of [`Failure::kind`].
    pub const KINDS: [&'static str; 8] = [
        "trap",
        "timeout",
        "limit",
        "contract",
        "busy",
        "quarantined",
        "not_running",
        "store",
    ];

    /// Returns which of [`Failure::KINDS`] it is.
    #[must_use]
    pub fn kind(&self) -> usize {
        match self {
            Self::Trap(_) => 0,
            Self::Timeout(_) => 1,
            Self::Limit(_) => 2,
            Self::Contract(_) => 3,
            Self::Busy => 4,
            Self::Quarantined => 5,
            Self::NotRunning => 6,
            Self::Store(_) => 7,
        }
    }

    /// Whether the plugin is to blame.
    #[must_use]
    pub fn is_strike(&self) -> bool {
        matches!(
            self,
            Self::Trap(_) | Self::Timeout(_) | Self::Limit(_) | Self::Contract(_)
        )
    }
}

/// What a plugin takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Instances.
    pub instances: usize,
    /// Bytes of memory of all instances.
    pub memory_bytes: usize,
    /// Calls that wait for an instance.
    pub waiting: usize,
}

/// The call, handed back, and what came of it.
pub type Answer<T> = (Box<Call>, Result<T, Failure>);

/// A plugin that the host can enter: Wasm, native or in process.
///
/// Calls may come from many threads at once, and may take as long as the plugin's deadline. What the plugin wrote before
/// a failure is still in the draft: whoever folds the answers takes it back.
pub trait Guest: Send + Sync + fmt::Debug {
    /// Asks who a token stands for.
    fn authenticate(&self, call: Box<Call>, token: &str) -> Answer<Result<Option<Identity>, PluginError>>;

    /// Asks about a message on its way into the log.
    fn before_send(&self, call: Box<Call>, message: &Message<'_>) -> Answer<Verdict>;

    /// Shows a message that is in the log.
    fn after_send(&self, call: Box<Call>, message: &Message<'_>) -> Answer<Result<(), PluginError>>;

    /// Asks what one viewer sees of some messages: new contents, or none to leave one as it is.
    fn render(
        &self,
        call: Box<Call>,
        viewer: &str,
        messages: &[Message<'_>],
    ) -> Answer<Result<Vec<Option<Bytes>>, PluginError>>;

    /// Calls a method with a JSON value; returns a JSON value.
    fn call(
        &self,
        call: Box<Call>,
        caller: Caller<'_>,
        method: &str,
        params: &str,
    ) -> Answer<Result<Bytes, PluginError>>;

    /// Changes the keys of one app from what another version of the plugin left to what this one expects.
    fn migrate(&self, call: Box<Call>, from: &str) -> Answer<Result<(), PluginError>>;

    /// Tells it that a session has begun, or that it has ended.
    fn session(&self, call: Box<Call>, caller: Caller<'_>, change: SessionChange) -> Answer<()>;

    /// Tells it that a timer that it set is due.
    fn timer(&self, call: Box<Call>, name: &str, payload: &[u8]) -> Answer<Result<(), PluginError>>;

    /// Gives back what it holds for calls to come; the next call takes longer.
    fn rest(&self) {}

    /// Returns what it takes up now.
    fn usage(&self) -> Usage {
        Usage::default()
    }

    /// Whether calls have lately taken so long that they should not run on a thread that others wait for.
    fn is_slow(&self) -> bool {
        false
    }
}
