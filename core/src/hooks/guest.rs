//! What the host asks of a plugin, whatever it is made of.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use courtyard_plugin_sdk as sdk;
use courtyard_plugin_sdk::hook::{PackedMessage, Reply, Request};

use crate::log::{Body, Draft, EventType, Mark};
use crate::store::LogId;
use crate::wire::{ActorId, AppId, DeviceId};

/// What a plugin says to a client. The author foresaw it, so it is no failure.
pub type PluginError = sdk::Error;
/// What a plugin decides about a message.
pub type Verdict = sdk::Verdict;

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
    /// Events that plugins append.
    pub appends: Vec<PluginEvent>,
    /// Changes of conversations, for those who observe them.
    pub changes: Vec<(LogId, sdk::Change)>,
    /// Events for other plugins.
    pub published: Vec<sdk::Event>,
    /// Sessions that end.
    pub ends: Vec<SessionEnd>,
    /// Signals that are sent.
    pub signals: Vec<Signal>,
    /// Whether timers were set.
    pub timers: bool,
    /// Whether jobs were added.
    pub jobs: bool,
}

impl Effects {
    /// Whether there is nothing to be done.
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
    /// Where to.
    pub log: LogId,
    /// The kind of the conversation.
    pub conversation_kind: String,
    /// Who gets it.
    pub members: Arc<[ActorId]>,
    /// What it is.
    pub event: EventType,
    /// The number of the message that it is about; 0 if it is about none.
    pub target: u64,
    /// In whose name.
    pub sender: ActorId,
    /// The kind of the content; may be empty.
    pub kind: String,
    /// The kind that filters of observers are held against: that of the message that it is or is about.
    pub filtered_kind: String,
    /// A JSON object.
    pub content: Bytes,
}

impl PluginEvent {
    /// Returns what the log keeps of it.
    pub(super) fn body<'a>(&'a self, client_id: &'a str) -> Body<'a> {
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
pub struct CallMark {
    draft: Mark,
    appends: usize,
    changes: usize,
    published: usize,
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

    /// Returns who makes the request, as plugins see it.
    #[must_use]
    pub fn caller(&self) -> sdk::Caller {
        let caller = &self.caller;
        sdk::Caller {
            app: self.app.as_str().to_owned(),
            actor: caller.actor.as_ref().map_or("", ActorId::as_str).to_owned(),
            device: caller.device.as_ref().map_or("", DeviceId::as_str).to_owned(),
            credential: caller.credential.to_string(),
            plugin: self.asking.last().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// Returns the number of whose request it is.
    pub(super) fn origin(&self) -> u64 {
        let actor = || self.caller.actor.as_ref().map_or("", ActorId::as_str);
        self.origin.unwrap_or_else(|| origin(&self.app, actor()))
    }

    /// Takes back all that the call has led to; what was read stays relied on.
    pub fn forget(&mut self) {
        self.draft.forget_writes();
        self.effects = Effects::default();
    }

    /// Notes what the call has led to so far.
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

    /// Takes back what the call has led to since; what was read stays relied on.
    pub fn roll_back(&mut self, mark: CallMark) {
        self.draft.roll_back(mark.draft);
        self.effects.appends.truncate(mark.appends);
        self.effects.changes.truncate(mark.changes);
        self.effects.published.truncate(mark.published);
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
    /// The number of the message that it gives another content; 0 for a new message.
    pub edits: u64,
    /// Milliseconds since 1970.
    pub time_ms: u64,
}

impl Message<'_> {
    /// Returns the texts in the order of the contract.
    #[must_use]
    pub fn texts(&self) -> [&[u8]; 8] {
        [
            self.app.as_bytes(),
            self.conversation.as_bytes(),
            self.conversation_kind.as_bytes(),
            self.sender.as_bytes(),
            self.receiver.as_bytes(),
            self.kind.as_bytes(),
            self.client_id.as_bytes(),
            self.content,
        ]
    }

    /// Puts the texts end to end, as the contract has it.
    #[must_use]
    pub fn packed(&self) -> PackedMessage {
        let texts = self.texts();
        let mut bytes = Vec::with_capacity(texts.iter().map(|text| text.len()).sum());
        let ends = texts.map(|text| {
            bytes.extend_from_slice(text);
            // A frame is far smaller than 4 GiB.
            u32::try_from(bytes.len()).unwrap_or(u32::MAX)
        });
        PackedMessage {
            bytes,
            ends,
            seq: self.seq,
            edits: self.edits,
            time_ms: self.time_ms,
        }
    }
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

/// Why a message does not go on as it is. Most do, which is said without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It gets another content.
    Replace(Vec<u8>),
    /// It does not go on.
    Reject(PluginError),
    /// The plugin did not decide.
    Failed(Failure),
}

impl Objection {
    /// Takes what a plugin decided.
    ///
    /// # Errors
    /// Anything but that the message goes on.
    pub fn of(verdict: Result<Verdict, Failure>) -> Result<(), Box<Self>> {
        Err(Box::new(match verdict {
            Ok(Verdict::Accept) => return Ok(()),
            Ok(Verdict::Replace(content)) => Self::Replace(content),
            Ok(Verdict::Reject(error)) => Self::Reject(error),
            Err(failure) => Self::Failed(failure),
        }))
    }

    /// Returns how the plugin broke down, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Replace(_) | Self::Reject(_) => None,
        }
    }
}

/// The call, handed back, and whether the message goes on as it is.
pub type Judged = (Box<Call>, Result<(), Box<Objection>>);

/// Carries out the transactions of a job.
pub trait Transact: Send + Sync {
    /// Returns the app of the job.
    fn app(&self) -> &AppId;

    /// Calls the plugin's own function in a transaction; returns once that is durable. For threads that may wait.
    ///
    /// # Errors
    /// What the job is told.
    fn transact(&self, name: &str, payload: &[u8]) -> Result<Vec<u8>, PluginError>;
}

/// Something that a plugin is doing in the action lane; dropping it ends it.
pub type Acting = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

/// A plugin that the host can enter: Wasm, native or in process.
///
/// Calls may come from many threads at once, and may take as long as the plugin's deadline. What the plugin wrote before
/// a failure is still in the draft: whoever folds the answers takes it back.
pub trait Guest: Send + Sync + fmt::Debug {
    /// Asks the plugin. Its reply is within its limits, and may still be one to another question.
    fn serve(&self, call: Box<Call>, request: Request) -> Answer<Reply>;

    /// Asks the plugin about a message. It is what [`Guest::serve`] answers to [`Request::BeforeSend`]; every message passes
    /// here, so what can be entered without making a request for it should be.
    fn before_send(&self, call: Box<Call>, message: &Message<'_>) -> Judged {
        let (call, reply) = self.serve(call, Request::BeforeSend(message.packed()));
        (call, Objection::of(reply.and_then(verdict)))
    }

    /// Asks the plugin in the action lane: without a transaction, for as long as it takes.
    fn act(self: Arc<Self>, request: Request, transact: Arc<dyn Transact>) -> Acting {
        let _ = (request, transact);
        Box::pin(async { Err(Failure::Contract("it has no action lane".to_owned())) })
    }

    /// Returns how many jobs it may do at a time.
    fn actions(&self) -> usize {
        0
    }

    /// Returns how often a job may fail before it is given up.
    fn job_attempts(&self) -> u32 {
        1
    }

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

/// What is taken out of a reply, or why it breaks the contract.
pub(super) type Taken<T> = Result<T, Failure>;

fn other_reply<T>() -> Taken<T> {
    Err(Failure::Contract("it answered another question".to_owned()))
}

/// Takes whether a hook succeeded.
pub(super) fn done(reply: Reply) -> Taken<Result<(), PluginError>> {
    match reply {
        Reply::Done(done) => Ok(done),
        _ => other_reply(),
    }
}

/// Takes who a token stands for.
pub(super) fn identity(reply: Reply) -> Taken<Result<Option<Identity>, PluginError>> {
    let Reply::Identity(known) = reply else {
        return other_reply();
    };
    let checked = |identity: sdk::Identity| {
        let actor = identity.actor.parse();
        let actor = actor.map_err(|error: crate::wire::InvalidId| Failure::Contract(error.to_string()))?;
        Ok(Identity {
            actor,
            credential: identity.credential,
            expires_at_ms: identity.expires_at_ms,
        })
    };
    match known {
        Ok(found) => Ok(Ok(found.map(checked).transpose()?)),
        Err(error) => Ok(Err(error)),
    }
}

/// Takes what becomes of a message.
pub(super) fn verdict(reply: Reply) -> Taken<Verdict> {
    match reply {
        Reply::Verdict(verdict) => Ok(verdict),
        _ => other_reply(),
    }
}

/// Takes what a viewer is to see.
pub(super) fn contents(reply: Reply) -> Taken<Result<Vec<Option<Vec<u8>>>, PluginError>> {
    match reply {
        Reply::Contents(contents) => Ok(contents),
        _ => other_reply(),
    }
}

/// Takes what a method returned.
pub(super) fn value(reply: Reply) -> Taken<Result<Bytes, PluginError>> {
    match reply {
        Reply::Value(value) => Ok(value.map(Bytes::from)),
        _ => other_reply(),
    }
}

/// Takes what a transaction of a job returned.
pub(super) fn bytes(reply: Reply) -> Taken<Result<Vec<u8>, PluginError>> {
    match reply {
        Reply::Bytes(bytes) => Ok(bytes),
        _ => other_reply(),
    }
}

/// Takes what a request of HTTP is answered.
pub(super) fn response(reply: Reply) -> Taken<Result<sdk::HttpResponse, PluginError>> {
    match reply {
        Reply::Response(response) => Ok(response),
        _ => other_reply(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_that_can_not_be_breaks_the_contract() {
        let found = |actor: &str| {
            let identity = sdk::Identity {
                actor: actor.to_owned(),
                credential: String::new(),
                expires_at_ms: 0,
            };
            super::identity(Reply::Identity(Ok(Some(identity))))
        };
        assert!(matches!(found("ann"), Ok(Ok(Some(_)))));
        assert!(matches!(found(""), Err(Failure::Contract(_))));
    }

    #[test]
    fn an_answer_to_another_question_breaks_the_contract() {
        assert!(matches!(verdict(Reply::Done(Ok(()))), Err(Failure::Contract(_))));
    }
}
