//! Calls of hooks as values. Native libraries and plugins in the host's process get them; Wasm modules don't.

use serde::{Deserialize, Serialize};

use crate::declare::DeclaredHooks;
use crate::manifest::HookName;
use crate::{
    Act, Blob, Change, Context, Error, Event, HttpRequest, HttpResponse, Identity, Job, Message, Registered, Verdict,
};

/// A message with its texts end to end, as in the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedMessage {
    /// The texts.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// The offset at which each text ends, in the order of the contract.
    pub ends: [u32; 8],
    /// The number in the conversation; 0 before the message is in the log.
    pub seq: u64,
    /// The number of the message that this one edits; 0 for a new message.
    pub edits: u64,
    /// The time of the message, in milliseconds since 1970.
    pub time_ms: u64,
}

impl PackedMessage {
    /// Returns the message in the form that hooks get.
    #[must_use]
    pub fn view(&self) -> Message<'_> {
        Message::new(&self.bytes, self.ends, self.seq, self.edits, self.time_ms)
    }
}

/// A function of [`Plugin`](crate::Plugin) with its arguments.
#[allow(missing_docs, reason = "each is the function of that name of `Plugin`")]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    Migrate {
        from: String,
    },
    Authenticate {
        app: String,
        token: String,
    },
    BeforeSend(PackedMessage),
    AfterSend(PackedMessage),
    Render {
        viewer: String,
        messages: Vec<PackedMessage>,
    },
    Method {
        name: String,
        #[serde(with = "serde_bytes")]
        params: Vec<u8>,
    },
    Timer {
        name: String,
        #[serde(with = "serde_bytes")]
        payload: Vec<u8>,
    },
    Connected,
    Disconnected,
    BeforeAct(Act),
    AfterAct(Act),
    BeforeChange(Change),
    AfterChange(Change),
    Push {
        message: PackedMessage,
        recipients: Vec<String>,
    },
    Event(Event),
    Http(HttpRequest),
    BeforeUpload {
        blob: Blob,
        is_member: bool,
    },
    CompleteUpload(Blob),
    BeforeDownload {
        blob: Blob,
        is_member: bool,
    },
    BeforeRemove(Blob),
    Action(Job),
    Transaction {
        name: String,
        #[serde(with = "serde_bytes")]
        payload: Vec<u8>,
    },
}

impl Request {
    /// Returns the hook that the request calls.
    #[must_use]
    pub fn hook(&self) -> HookName {
        match self {
            Self::Migrate { .. } => HookName::Migrate,
            Self::Authenticate { .. } => HookName::Authenticate,
            Self::BeforeSend(_) => HookName::BeforeSend,
            Self::AfterSend(_) => HookName::AfterSend,
            Self::Render { .. } => HookName::Render,
            Self::Method { .. } => HookName::Method,
            Self::Timer { .. } => HookName::Timer,
            Self::Connected => HookName::Connected,
            Self::Disconnected => HookName::Disconnected,
            Self::BeforeAct(_) => HookName::BeforeAct,
            Self::AfterAct(_) => HookName::AfterAct,
            Self::BeforeChange(_) => HookName::BeforeChange,
            Self::AfterChange(_) => HookName::AfterChange,
            Self::Push { .. } => HookName::Push,
            Self::Event(_) => HookName::Event,
            Self::Http(_) => HookName::Http,
            Self::BeforeUpload { .. } => HookName::BeforeUpload,
            Self::CompleteUpload(_) => HookName::CompleteUpload,
            Self::BeforeDownload { .. } => HookName::BeforeDownload,
            Self::BeforeRemove(_) => HookName::BeforeRemove,
            Self::Action(_) => HookName::Action,
            Self::Transaction { .. } => HookName::Transaction,
        }
    }

    /// Returns whether the plugin gets the caller of the request.
    #[must_use]
    pub fn names_caller(&self) -> bool {
        matches!(
            self,
            Self::Method { .. }
                | Self::Connected
                | Self::Disconnected
                | Self::Http(_)
                | Self::BeforeUpload { .. }
                | Self::CompleteUpload(_)
                | Self::BeforeDownload { .. }
                | Self::BeforeRemove(_)
        )
    }
}

/// The result of a function of the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Success, or an error.
    Done(Result<(), Error>),
    /// The identity of a token.
    Identity(Result<Option<Identity>, Error>),
    /// The decision about a message.
    Verdict(Verdict),
    /// The new content of each message; none keeps a content.
    Contents(Result<Vec<Option<Vec<u8>>>, Error>),
    /// A JSON value.
    Value(Result<Vec<u8>, Error>),
    /// Any bytes.
    Bytes(Result<Vec<u8>, Error>),
    /// An HTTP response.
    Response(Result<HttpResponse, Error>),
}

/// Calls the function that a request names. A hook that the plugin doesn't declare does nothing.
pub(crate) fn serve<P: Registered>(plugin: &P, cx: &Context, request: &Request) -> Reply {
    let hooks = DeclaredHooks(plugin);
    match request {
        Request::Migrate { from } => Reply::Done(plugin.migrate(cx, from)),
        Request::Authenticate { app, token } => Reply::Identity(hooks.authenticate(cx, app, token)),
        Request::BeforeSend(message) => Reply::Verdict(hooks.before_send(cx, &message.view())),
        Request::AfterSend(message) => Reply::Done(hooks.after_send(cx, &message.view())),
        Request::Render { viewer, messages } => {
            let views: Vec<Message<'_>> = messages.iter().map(PackedMessage::view).collect();
            Reply::Contents(hooks.render(cx, viewer, &views))
        }
        Request::Method { name, params } => Reply::Value(plugin.call(cx, name, params)),
        Request::Timer { name, payload } => Reply::Done(hooks.timer(cx, name, payload)),
        Request::Connected => {
            hooks.connected(cx);
            Reply::Done(Ok(()))
        }
        Request::Disconnected => {
            hooks.disconnected(cx);
            Reply::Done(Ok(()))
        }
        Request::BeforeAct(act) => Reply::Done(hooks.before_act(cx, act)),
        Request::AfterAct(act) => Reply::Done(hooks.after_act(cx, act)),
        Request::BeforeChange(change) => Reply::Done(hooks.before_change(cx, change)),
        Request::AfterChange(change) => Reply::Done(hooks.after_change(cx, change)),
        Request::Push { message, recipients } => Reply::Done(hooks.push(cx, &message.view(), recipients)),
        Request::Event(event) => Reply::Done(hooks.event(cx, event)),
        Request::Http(request) => Reply::Response(hooks.http(cx, request)),
        Request::BeforeUpload { blob, is_member } => Reply::Done(hooks.before_upload(cx, blob, *is_member)),
        Request::CompleteUpload(blob) => Reply::Done(hooks.complete_upload(cx, blob)),
        Request::BeforeDownload { blob, is_member } => Reply::Done(hooks.before_download(cx, blob, *is_member)),
        Request::BeforeRemove(blob) => Reply::Done(hooks.before_remove(cx, blob)),
        Request::Action(job) => Reply::Done(hooks.action(cx, job)),
        Request::Transaction { name, payload } => Reply::Bytes(plugin.transact(cx, name, payload)),
    }
}
