//! What a host asks of a plugin, as values: every kind of plugin but Wasm answers them as they are.

use serde::{Deserialize, Serialize};

use crate::manifest::HookName;
use crate::{
    Act, Blob, Change, Context, Error, Event, HttpRequest, HttpResponse, Identity, Job, Message, Registered, Verdict,
};

/// A message with its texts end to end, as the contract has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedMessage {
    /// The texts.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// Where each ends, in the order of the contract.
    pub ends: [u32; 8],
    /// The number in the conversation; 0 before the message is in the log.
    pub seq: u64,
    /// The number of the message that this one gives another content; 0 for a new message.
    pub edits: u64,
    /// When the message came, in milliseconds since 1970.
    pub time_ms: u64,
}

impl PackedMessage {
    /// Returns the message as plugins see it.
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
    /// Returns where the host enters the plugin with it.
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

    /// Whether the plugin is told who makes the request.
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

/// What the function returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing but whether it succeeded.
    Done(Result<(), Error>),
    /// Who a token stands for.
    Identity(Result<Option<Identity>, Error>),
    /// What becomes of a message.
    Verdict(Verdict),
    /// New contents.
    Contents(Result<Vec<Option<Vec<u8>>>, Error>),
    /// A JSON value.
    Value(Result<Vec<u8>, Error>),
    /// Any bytes.
    Bytes(Result<Vec<u8>, Error>),
    /// What a request of HTTP is answered.
    Response(Result<HttpResponse, Error>),
}

/// Calls the function that a request names.
pub(crate) fn serve<P: Registered>(plugin: &P, cx: &Context, request: &Request) -> Reply {
    match request {
        Request::Migrate { from } => Reply::Done(plugin.migrate(cx, from)),
        Request::Authenticate { app, token } => Reply::Identity(plugin.authenticate(cx, app, token)),
        Request::BeforeSend(message) => Reply::Verdict(plugin.before_send(cx, &message.view())),
        Request::AfterSend(message) => Reply::Done(plugin.after_send(cx, &message.view())),
        Request::Render { viewer, messages } => {
            let views: Vec<Message<'_>> = messages.iter().map(PackedMessage::view).collect();
            Reply::Contents(plugin.render(cx, viewer, &views))
        }
        Request::Method { name, params } => Reply::Value(plugin.call(cx, name, params)),
        Request::Timer { name, payload } => Reply::Done(plugin.timer(cx, name, payload)),
        Request::Connected => {
            plugin.connected(cx);
            Reply::Done(Ok(()))
        }
        Request::Disconnected => {
            plugin.disconnected(cx);
            Reply::Done(Ok(()))
        }
        Request::BeforeAct(act) => Reply::Done(plugin.before_act(cx, act)),
        Request::AfterAct(act) => Reply::Done(plugin.after_act(cx, act)),
        Request::BeforeChange(change) => Reply::Done(plugin.before_change(cx, change)),
        Request::AfterChange(change) => Reply::Done(plugin.after_change(cx, change)),
        Request::Push { message, recipients } => Reply::Done(plugin.push(cx, &message.view(), recipients)),
        Request::Event(event) => Reply::Done(plugin.event(cx, event)),
        Request::Http(request) => Reply::Response(plugin.http(cx, request)),
        Request::BeforeUpload { blob, is_member } => Reply::Done(plugin.before_upload(cx, blob, *is_member)),
        Request::CompleteUpload(blob) => Reply::Done(plugin.complete_upload(cx, blob)),
        Request::BeforeDownload { blob, is_member } => Reply::Done(plugin.before_download(cx, blob, *is_member)),
        Request::BeforeRemove(blob) => Reply::Done(plugin.before_remove(cx, blob)),
        Request::Action(job) => Reply::Done(plugin.action(cx, job)),
        Request::Transaction { name, payload } => Reply::Bytes(plugin.transact(cx, name, payload)),
    }
}
