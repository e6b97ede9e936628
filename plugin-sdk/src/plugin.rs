//! The trait `Plugin`, and the macro that registers a plugin.

use std::sync::OnceLock;

use crate::Metrics;
use crate::{
    Act, Annotations, Blob, Blobs, Change, Conversations, Declared, Event, Events, FetchRequest, HttpRequest,
    HttpResponse, Job, Jobs, Kv, Log, Memberships, Message, Methods, Schema, ServiceError, Sessions, Timers, Verdict,
    Watches, declare, service,
};

/// A failure that the author foresaw. It reaches the client unchanged, with the plugin's id in front of the code.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Error {
    /// Stable: lower-case letters, digits and `_`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether the same request can succeed later.
    pub retry: bool,
}

impl Error {
    /// Creates an error after which a retry doesn't help.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            retry: false,
        }
    }

    /// Marks the error as retryable: the same request can succeed later.
    #[must_use]
    pub fn retryable(self) -> Self {
        Self { retry: true, ..self }
    }
}

impl From<ServiceError> for Error {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Refused(error) => error,
            error => Self::new("internal", error.to_string()),
        }
    }
}

/// The identity of a token.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Opaque, stable, unique in the app, 1 to 128 bytes.
    pub actor: String,
    /// The name under which its sessions can be ended; may be empty.
    pub credential: String,
    /// When the identity expires, in milliseconds since 1970; 0 for never.
    pub expires_at_ms: u64,
}

/// The origin of a request. All fields but `app` are empty for a session that is not signed in.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Caller {
    /// The tenant.
    pub app: String,
    /// The actor.
    pub actor: String,
    /// The device.
    pub device: String,
    /// The credential.
    pub credential: String,
    /// The plugin that calls on the actor's behalf; empty when the client itself calls.
    pub plugin: String,
}

/// What a call may use: the services of the host, and the caller.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The caller, in methods, [`Plugin::http`], [`Plugin::connected`], [`Plugin::disconnected`] and the hooks of blobs;
    /// empty in other hooks.
    pub caller: Caller,
}

impl Context {
    /// Returns the plugin's own key space. Capability `kv`.
    #[must_use]
    pub fn kv(&self) -> Kv {
        Kv
    }

    /// Returns the conversations that the plugin owns. Capability `conversations`.
    #[must_use]
    pub fn conversations(&self) -> Conversations {
        Conversations
    }

    /// Returns the members of conversations, also of those of other plugins. Capability `memberships`.
    #[must_use]
    pub fn memberships(&self) -> Memberships {
        Memberships
    }

    /// Returns the live sessions. Capability `sessions`.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions
    }

    /// Returns the methods of other plugins. Capability `methods`.
    #[must_use]
    pub fn methods(&self) -> Methods {
        Methods
    }

    /// Returns the timers of the plugin. Capability `timers`.
    #[must_use]
    pub fn timers(&self) -> Timers {
        Timers
    }

    /// Returns the events for other plugins. Capability `events`.
    #[must_use]
    pub fn events(&self) -> Events {
        Events
    }

    /// Returns the annotations of messages. Capability `annotations`.
    #[must_use]
    pub fn annotations(&self) -> Annotations {
        Annotations
    }

    /// Returns the choice of conversations that `watched` hooks see. Capability `watches`.
    #[must_use]
    pub fn watches(&self) -> Watches {
        Watches
    }

    /// Returns the jobs of the plugin. Capability `jobs`.
    #[must_use]
    pub fn jobs(&self) -> Jobs {
        Jobs
    }

    /// Calls [`Plugin::transact`] with JSON in a transaction of its own, and returns its result once the transaction is
    /// durable. Only in [`Plugin::action`]. Capability `jobs`.
    ///
    /// # Errors
    /// That of [`Plugin::transact`]; `conflict` when too many others change the same keys.
    pub fn transact<R: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        payload: &impl serde::Serialize,
    ) -> Result<R, Error> {
        let value = |error: serde_json::Error| Error::new("invalid_value", error.to_string());
        let result = service::transact(name, &serde_json::to_vec(payload).map_err(value)?)?;
        serde_json::from_slice(&result).map_err(value)
    }

    /// Sends a request to another server and waits for the response. Only in [`Plugin::action`]. Capability `fetch`, and
    /// only to hosts that the operator lists.
    ///
    /// # Errors
    /// A code with the prefix `fetch_`, and whether a retry may help.
    pub fn fetch(&self, request: &FetchRequest) -> Result<HttpResponse, Error> {
        service::fetch(request)
    }

    /// Returns the blobs of the plugin. Capability `blobs`.
    #[must_use]
    pub fn blobs(&self) -> Blobs {
        Blobs
    }

    /// Returns the plugin's figures among the metrics of the host.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics
    }

    /// Reads a text that the operator keeps out of the configuration; none if the operator set none of this name.
    /// Capability `secrets`.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<String> {
        service::secret(name)
    }

    /// Returns the host's log.
    #[must_use]
    pub fn log(&self) -> Log {
        Log
    }

    /// Reads the clock, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        service::now_ms()
    }

    /// Returns random bytes from the operating system's generator, up to 1,024.
    ///
    /// # Panics
    /// If `N` is more than 1,024.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        let drawn = service::random(u32::try_from(N).unwrap_or(u32::MAX));
        assert!(
            drawn.len() == N,
            "the host returns at most 1,024 random bytes at a time"
        );
        bytes.copy_from_slice(&drawn);
        bytes
    }
}

/// A plugin. Every hook has a default, so a plugin implements only the hooks that it needs. The host calls those that it
/// declares in [`register!`].
///
/// Write `&Context` for the first parameter of a hook. Its type here, such as `&Self::Timer`, is [`Context`] if the plugin
/// declares the hook, and [`NotDeclared`](crate::NotDeclared) if not: so a hook that is implemented but not declared doesn't
/// compile.
///
/// Several instances may exist at a time, and the host replaces an instance that fails: persist state in [`Context::kv`].
///
/// [`register!`]: crate::register!
#[diagnostic::on_unimplemented(note = "implement `Plugin` for the type that you `register!`")]
pub trait Plugin: Declared + Sized + Send + Sync + 'static {
    /// Prepares an instance from the operator's configuration, a JSON object. Only clock, random and log are available.
    ///
    /// # Errors
    /// If the configuration can't be used; the host then doesn't load the plugin.
    fn start(configuration: &str) -> Result<Self, Error>;

    /// Migrates the keys of one app from the version `from` of the plugin, which may also be a later version (a roll-back).
    /// Called if the version that ran last differs from this one: once for each app, after [`Plugin::start`] and before any
    /// other call. All apps are one transaction.
    ///
    /// # Errors
    /// If the migration fails, for any app: the other version then keeps running.
    fn migrate(&self, _cx: &Context, _from: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Returns the identity of a token; none if the token is not from this plugin.
    ///
    /// # Errors
    /// If the token is from this plugin, but invalid.
    fn authenticate(&self, _cx: &Self::Authenticate, _app: &str, _token: &str) -> Result<Option<Identity>, Error> {
        Ok(None)
    }

    /// Decides about a message, or an edit of one, before it is in the log.
    fn before_send(&self, _cx: &Self::BeforeSend, _message: &Message<'_>) -> Verdict {
        Verdict::Accept
    }

    /// Observes a message in the log, or an edit of one, at least once.
    ///
    /// # Errors
    /// To observe the message again later.
    fn after_send(&self, _cx: &Self::AfterSend, _message: &Message<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Decides about an act on a message in the log: `recall`, `react` or `unreact`. An edit calls [`Plugin::before_send`]
    /// instead. Also decides, read only, whether others may see the signals `typing` and, in a conversation of two, `receipt`,
    /// which have no target; a rejection drops the signal without an answer.
    ///
    /// # Errors
    /// To reject the act.
    fn before_act(&self, _cx: &Self::BeforeAct, _act: &Act) -> Result<(), Error> {
        Ok(())
    }

    /// Observes an act in the log, at least once.
    ///
    /// # Errors
    /// To observe the act again later.
    fn after_act(&self, _cx: &Self::AfterAct, _act: &Act) -> Result<(), Error> {
        Ok(())
    }

    /// Decides about a change of a conversation by another plugin, inside that plugin's transaction.
    ///
    /// # Errors
    /// To reject the change; the other plugin gets the error.
    fn before_change(&self, _cx: &Self::BeforeChange, _change: &Change) -> Result<(), Error> {
        Ok(())
    }

    /// Observes a committed change of a conversation, at least once.
    ///
    /// # Errors
    /// To observe the change again later.
    fn after_change(&self, _cx: &Self::AfterChange, _change: &Change) -> Result<(), Error> {
        Ok(())
    }

    /// Called at least once per message with the members, without the sender, who had no live session when the host
    /// delivered it: send push notifications here. Not called if all had one.
    ///
    /// # Errors
    /// To be called again later.
    fn push(&self, _cx: &Self::Push, _message: &Message<'_>, _recipients: &[String]) -> Result<(), Error> {
        Ok(())
    }

    /// Observes an event of another plugin, at least once.
    ///
    /// # Errors
    /// To observe the event again later.
    fn event(&self, _cx: &Self::Event, _event: &Event) -> Result<(), Error> {
        Ok(())
    }

    /// Answers a request to the plugin's own part of the HTTP interface, `/v1/plugins/ID/…`. An error, or a status of 400 or
    /// above, rolls back its writes.
    ///
    /// # Errors
    /// The error that the client gets, with status 400, or 503 if it is retryable.
    fn http(&self, _cx: &Self::Http, _request: &HttpRequest) -> Result<HttpResponse, Error> {
        Ok(declare::not_found())
    }

    /// Decides about a new upload of a blob of the plugin; `is_member` says whether the caller is a member of the blob's
    /// conversation. Writes made here commit atomically with the start of the upload.
    ///
    /// # Errors
    /// To reject the upload.
    fn before_upload(&self, _cx: &Self::BeforeUpload, _blob: &Blob, _is_member: bool) -> Result<(), Error> {
        Ok(())
    }

    /// Decides about a blob of the plugin when the last byte of its upload has arrived. Writes made here commit atomically with
    /// the blob becoming available.
    ///
    /// # Errors
    /// To discard the blob.
    fn complete_upload(&self, _cx: &Self::CompleteUpload, _blob: &Blob) -> Result<(), Error> {
        Ok(())
    }

    /// Decides about a download of a blob of the plugin; `is_member` says whether the caller is now a member of the blob's
    /// conversation. Read only.
    ///
    /// # Errors
    /// To reject the download.
    fn before_download(&self, _cx: &Self::BeforeDownload, _blob: &Blob, _is_member: bool) -> Result<(), Error> {
        Ok(())
    }

    /// Decides about the removal of a blob of the plugin by a client. An uploader may remove an incomplete upload without this
    /// call.
    ///
    /// # Errors
    /// To keep the blob.
    fn before_remove(&self, _cx: &Self::BeforeRemove, _blob: &Blob) -> Result<(), Error> {
        Ok(())
    }

    /// Runs a job that the plugin added, at least once; several at a time, in no order. It may take long, and use
    /// [`Context::fetch`]. It has no transaction: to write, it calls [`Context::transact`].
    ///
    /// # Errors
    /// If the job failed. A retryable error runs it again later; any other makes it a dead letter.
    fn action(&self, _cx: &Self::Action, _job: &Job) -> Result<(), Error> {
        Ok(())
    }

    /// Runs a transaction for a job, which calls [`Context::transact`]. [`typed`] parses the payload and returns the result.
    ///
    /// # Errors
    /// The error that the job gets; its writes are rolled back.
    fn transact(&self, _cx: &Context, name: &str, _payload: &[u8]) -> Result<Vec<u8>, Error> {
        Err(Error::new(
            "unknown_transaction",
            format!("The transaction {name:?} doesn't exist."),
        ))
    }

    /// Called after the caller has signed in. At most once: a killed host calls nothing.
    fn connected(&self, _cx: &Self::Connected) {}

    /// Called after a connection of the caller has ended, who may have others. At most once.
    fn disconnected(&self, _cx: &Self::Disconnected) {}

    /// Called when a timer is due, at least once, in the app that it was set in. It may set the same timer again.
    ///
    /// # Errors
    /// To fire again later.
    fn timer(&self, _cx: &Self::Timer, _name: &str, _payload: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    /// Returns for each message the content that one viewer sees, or none to keep its content.
    ///
    /// # Errors
    /// To keep all contents.
    fn render(
        &self,
        _cx: &Self::Render,
        _viewer: &str,
        messages: &[Message<'_>],
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        Ok(vec![None; messages.len()])
    }
}

/// Answers [`Plugin::transact`] with types: parses the payload, and returns the result of `work` as JSON.
///
/// # Errors
/// That of `work`; `invalid_value` when the payload doesn't parse as a `P`, or the result can't be written as JSON.
pub fn typed<P: serde::de::DeserializeOwned, R: serde::Serialize>(
    payload: &[u8],
    work: impl FnOnce(P) -> Result<R, Error>,
) -> Result<Vec<u8>, Error> {
    let value = |error: serde_json::Error| Error::new("invalid_value", error.to_string());
    let result = work(serde_json::from_slice(payload).map_err(value)?)?;
    serde_json::to_vec(&result).map_err(value)
}

/// A plugin with its manifest and methods; [`register!`](crate::register!) implements it.
pub trait Registered: Plugin {
    /// The manifest, JSON.
    const MANIFEST: &'static str;

    /// Returns the cell of the instance of a Wasm module.
    fn cell() -> &'static OnceLock<Self>;

    /// Calls a method by name with JSON.
    ///
    /// # Errors
    /// That of the method, `unknown_method` or `invalid_params`.
    fn call(&self, cx: &Context, name: &str, params: &[u8]) -> Result<Vec<u8>, Error>;
}

/// The schemas of a method.
#[derive(Debug)]
pub struct Method {
    /// JSON Schema of the parameters.
    pub params: &'static str,
    /// JSON Schema of the result.
    pub result: &'static str,
}

impl Method {
    /// Returns the schemas of a method's types.
    pub const fn of<T, P: Schema, R: Schema>(_: fn(&T, &Context, P) -> Result<R, Error>) -> Self {
        Self {
            params: P::JSON,
            result: R::JSON,
        }
    }

    /// Calls a method with JSON.
    ///
    /// # Errors
    /// That of the method, or `invalid_params`.
    pub fn call<T, P: serde::de::DeserializeOwned, R: serde::Serialize>(
        method: fn(&T, &Context, P) -> Result<R, Error>,
        plugin: &T,
        cx: &Context,
        params: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let params = serde_json::from_slice(params).map_err(|error| Error::new("invalid_params", error.to_string()))?;
        let result = method(plugin, cx, params)?;
        serde_json::to_vec(&result).map_err(|error| Error::new("invalid_result", error.to_string()))
    }
}

/// Registers a plugin: its manifest, its hooks and its methods.
///
/// ```
/// use courtyard_plugin_sdk::prelude::*;
///
/// struct Hello;
///
/// record! {
///     /// Whom to greet.
///     pub struct Greet { pub name: String }
/// }
/// record! {
///     /// A greeting.
///     pub struct Greeting { pub text: String }
/// }
///
/// impl Plugin for Hello {
///     fn start(_configuration: &str) -> Result<Self, Error> {
///         Ok(Hello)
///     }
/// }
///
/// impl Hello {
///     fn greet(&self, _cx: &Context, params: Greet) -> Result<Greeting, Error> {
///         Ok(Greeting { text: format!("Hello, {}!", params.name) })
///     }
/// }
///
/// register! {
///     plugin: Hello,
///     id: "hello",
///     description: "Says hello.",
///     capabilities: [],
///     hooks: [],
///     methods: [greet],
/// }
/// # fn main() {}
/// ```
///
/// The hooks are `authenticate`, `before_send(guard)` or `before_send(transform)`, `after_send`, `render`, `timer`,
/// `connected`, `disconnected`, `before_act`, `after_act`, `before_change`, `after_change`, `push`, `event`, `http`, `before_upload`,
/// `complete_upload`, `before_download`, `before_remove`, `action`, each with
/// optional filters: `before_send(guard) { conversations: ["direct"], contents: ["text"] }`, `after_send { watched }`. `name(anonymous)`
/// declares a method that needs no sign-in. `after: ["users"],` after the description makes the host call the plugin after
/// another one.
///
/// A hook, class, capability, filter or id that doesn't exist doesn't compile:
///
/// ```compile_fail,E0425
/// # use courtyard_plugin_sdk::prelude::*;
/// # struct Hello;
/// # impl Plugin for Hello { fn start(_: &str) -> Result<Self, Error> { Ok(Hello) } }
/// register! { plugin: Hello, id: "hello", description: "", capabilities: [], hooks: [after_sent], methods: [] }
/// # fn main() {}
/// ```
///
/// ```compile_fail,E0425
/// # use courtyard_plugin_sdk::prelude::*;
/// # struct Hello;
/// # impl Plugin for Hello { fn start(_: &str) -> Result<Self, Error> { Ok(Hello) } }
/// register! { plugin: Hello, id: "hello", description: "", capabilities: [], hooks: [before_send(gard)], methods: [] }
/// # fn main() {}
/// ```
///
/// ```compile_fail,E0425
/// # use courtyard_plugin_sdk::prelude::*;
/// # struct Hello;
/// # impl Plugin for Hello { fn start(_: &str) -> Result<Self, Error> { Ok(Hello) } }
/// register! { plugin: Hello, id: "hello", description: "", capabilities: [kw], hooks: [], methods: [] }
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// # use courtyard_plugin_sdk::prelude::*;
/// # struct Hello;
/// # impl Plugin for Hello { fn start(_: &str) -> Result<Self, Error> { Ok(Hello) } }
/// register! { plugin: Hello, id: "hello", description: "", capabilities: [], hooks: [after_send { kinds: ["text"] }], methods: [] }
/// # fn main() {}
/// ```
///
/// ```compile_fail,E0080
/// # use courtyard_plugin_sdk::prelude::*;
/// # struct Hello;
/// # impl Plugin for Hello { fn start(_: &str) -> Result<Self, Error> { Ok(Hello) } }
/// register! { plugin: Hello, id: "Hello", description: "", capabilities: [], hooks: [], methods: [] }
/// # fn main() {}
/// ```
///
/// Neither does a filter on a hook that doesn't take it, nor a hook without its capability:
///
/// ```compile_fail,E0080
/// # use courtyard_plugin_sdk::prelude::*;
/// # struct Hello;
/// # impl Plugin for Hello { fn start(_: &str) -> Result<Self, Error> { Ok(Hello) } }
/// register! { plugin: Hello, id: "hello", description: "", capabilities: [watches], hooks: [render { watched }], methods: [] }
/// # fn main() {}
/// ```
///
/// ```compile_fail,E0080
/// # use courtyard_plugin_sdk::prelude::*;
/// # struct Hello;
/// # impl Plugin for Hello { fn start(_: &str) -> Result<Self, Error> { Ok(Hello) } }
/// register! { plugin: Hello, id: "hello", description: "", capabilities: [], hooks: [timer], methods: [] }
/// # fn main() {}
/// ```
///
/// Nor does a hook that is implemented but not declared, since the host would never call it:
///
/// ```compile_fail,E0053
/// # use courtyard_plugin_sdk::prelude::*;
/// # struct Hello;
/// impl Plugin for Hello {
/// #   fn start(_: &str) -> Result<Self, Error> { Ok(Hello) }
///     fn after_send(&self, _cx: &Context, _message: &Message<'_>) -> Result<(), Error> { Ok(()) }
/// }
/// register! { plugin: Hello, id: "hello", description: "", capabilities: [], hooks: [], methods: [] }
/// # fn main() {}
/// ```
///
/// Declared, it does:
///
/// ```
/// # use courtyard_plugin_sdk::prelude::*;
/// # struct Hello;
/// impl Plugin for Hello {
/// #   fn start(_: &str) -> Result<Self, Error> { Ok(Hello) }
///     fn after_send(&self, _cx: &Context, _message: &Message<'_>) -> Result<(), Error> { Ok(()) }
/// }
/// register! { plugin: Hello, id: "hello", description: "", capabilities: [], hooks: [after_send { contents: ["text"] }], methods: [] }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! register {
    (
        plugin: $plugin:ident,
        id: $id:literal,
        description: $description:literal,
        $(after: [$($after:literal),* $(,)?],)?
        capabilities: [$($capability:ident),* $(,)?],
        hooks: [$($hook:ident $(($class:ident))? $({ $($filter:ident $(: [$($value:literal),* $(,)?])?),* $(,)? })?),* $(,)?],
        methods: [$($method:ident $(($anonymous:ident))?),* $(,)?] $(,)?
    ) => {
        const _: () = {
            use $crate::manifest::HookName;

            const HOOKS: &[HookName] = &[$($crate::manifest::hook_names::$hook()),*];
            const CAPABILITIES: &[&str] = &[$($crate::manifest::capability_names::$capability()),*];
            const DECLARATIONS: &[$crate::declare::Declaration] = &[$($crate::declare::Declaration {
                hook: $crate::manifest::hook_names::$hook(),
                class: $crate::__class!($($class)?),
                filters: &[$($(stringify!($filter)),*)?],
                events: &[$($($crate::__events!($filter $(: [$($value),*])?)),*)?],
            }),*];
            $crate::declare::check(
                $id,
                &[$($($after),*)?],
                CAPABILITIES,
                DECLARATIONS,
                &[$(stringify!($method)),*],
            );

            impl $crate::Declared for $plugin {
                type Authenticate = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::Authenticate) }> as $crate::declare::Chosen>::Context;
                type BeforeSend = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::BeforeSend) }> as $crate::declare::Chosen>::Context;
                type AfterSend = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::AfterSend) }> as $crate::declare::Chosen>::Context;
                type Render = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::Render) }> as $crate::declare::Chosen>::Context;
                type Timer = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::Timer) }> as $crate::declare::Chosen>::Context;
                type Connected = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::Connected) }> as $crate::declare::Chosen>::Context;
                type Disconnected = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::Disconnected) }> as $crate::declare::Chosen>::Context;
                type BeforeAct = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::BeforeAct) }> as $crate::declare::Chosen>::Context;
                type AfterAct = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::AfterAct) }> as $crate::declare::Chosen>::Context;
                type BeforeChange = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::BeforeChange) }> as $crate::declare::Chosen>::Context;
                type AfterChange = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::AfterChange) }> as $crate::declare::Chosen>::Context;
                type Push = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::Push) }> as $crate::declare::Chosen>::Context;
                type Event = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::Event) }> as $crate::declare::Chosen>::Context;
                type Http = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::Http) }> as $crate::declare::Chosen>::Context;
                type BeforeUpload = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::BeforeUpload) }> as $crate::declare::Chosen>::Context;
                type CompleteUpload = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::CompleteUpload) }> as $crate::declare::Chosen>::Context;
                type BeforeDownload = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::BeforeDownload) }> as $crate::declare::Chosen>::Context;
                type BeforeRemove = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::BeforeRemove) }> as $crate::declare::Chosen>::Context;
                type Action = <$crate::declare::Choice<{ $crate::declare::declares(HOOKS, HookName::Action) }> as $crate::declare::Chosen>::Context;
            }
        };

        impl $crate::Registered for $plugin {
            const MANIFEST: &'static str = $crate::const_format::concatcp!(
                "{\"manifest\":1,\"id\":\"", $id,
                "\",\"version\":\"", env!("CARGO_PKG_VERSION"),
                "\",\"contract\":\"", $crate::CONTRACT_VERSION,
                "\",\"description\":\"", $description,
                "\",",
                $("\"after\":[", $crate::__texts!($($after),*), "],",)?
                "\"capabilities\":[", $crate::__texts!($(stringify!($capability)),*),
                "],\"hooks\":[", $crate::__without_leading_comma($crate::const_format::concatcp!("" $(,
                    ",{\"hook\":\"", stringify!($hook), "\""
                    $(, ",\"class\":\"", stringify!($class), "\"")?
                    $($(, $crate::__filter!($filter $(: [$($value),*])?))*)?,
                    "}"
                )*)),
                "],\"methods\":[", $crate::__without_leading_comma($crate::const_format::concatcp!("" $(,
                    ",{\"name\":\"", stringify!($method), "\""
                    $(, ",\"", stringify!($anonymous), "\":true")?,
                    ",\"params\":", $crate::Method::of(<$plugin>::$method).params,
                    ",\"result\":", $crate::Method::of(<$plugin>::$method).result,
                    "}"
                )*)),
                "]}"
            );

            fn cell() -> &'static ::std::sync::OnceLock<Self> {
                static CELL: ::std::sync::OnceLock<$plugin> = ::std::sync::OnceLock::new();
                &CELL
            }

            #[allow(unused_variables, reason = "a plugin may have no methods")]
            fn call(&self, cx: &$crate::Context, name: &str, params: &[u8]) -> ::std::result::Result<::std::vec::Vec<u8>, $crate::Error> {
                match name {
                    $(stringify!($method) => $crate::Method::call(<$plugin>::$method, self, cx, params),)*
                    _ => Err($crate::Error::new("unknown_method", "This method doesn't exist.")),
                }
            }
        }

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, missing_docs, reason = "exports and the custom section are unsafe by nature")]
        mod courtyard_exports {
            type Exports = $crate::wasm::Adapter<super::$plugin>;
            $crate::wasm::export!(Exports with_types_in $crate::wasm);

            #[unsafe(export_name = "courtyard-in-place#room")]
            extern "C" fn room(size: usize) -> *mut u8 {
                $crate::in_place::room(size)
            }

            #[unsafe(export_name = "courtyard-in-place#before-send")]
            extern "C" fn before_send(
                app_end: u32,
                conversation_end: u32,
                conversation_kind_end: u32,
                sender_end: u32,
                receiver_end: u32,
                kind_end: u32,
                client_id_end: u32,
                content_end: u32,
                seq: u64,
                edits: u64,
                time_ms: u64,
            ) -> *const usize {
                let ends = [
                    app_end,
                    conversation_end,
                    conversation_kind_end,
                    sender_end,
                    receiver_end,
                    kind_end,
                    client_id_end,
                    content_end,
                ];
                $crate::in_place::before_send::<super::$plugin>(ends, seq, edits, time_ms)
            }

            const TEXT: &str = <super::$plugin as $crate::Registered>::MANIFEST;
            #[used]
            #[unsafe(link_section = "courtyard:manifest")]
            static MANIFEST: [u8; TEXT.len()] = $crate::wasm::bytes(TEXT);
        }
    };
}

/// Joins texts to the members of a JSON list.
#[doc(hidden)]
#[macro_export]
macro_rules! __texts {
    ($($text:expr),*) => {
        $crate::__without_leading_comma($crate::const_format::concatcp!("" $(, ",\"", $text, "\"")*))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __filter {
    (conversations: [$($value:expr),*]) => {
        $crate::const_format::concatcp!(",\"conversation_kinds\":[", $crate::__texts!($($value),*), "]")
    };
    (contents: [$($value:expr),*]) => {
        $crate::const_format::concatcp!(",\"content_kinds\":[", $crate::__texts!($($value),*), "]")
    };
    (events: [$($value:expr),*]) => {
        $crate::const_format::concatcp!(",\"events\":[", $crate::__texts!($($value),*), "]")
    };
    (watched) => {
        ",\"watched\":true"
    };
    ($filter:ident $($rest:tt)*) => {
        compile_error!(concat!(
            "`", stringify!($filter), "` is not a filter of hooks: `conversations: […]`, `contents: […]`, `events: […]` or `watched`"
        ))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __events {
    (events: [$($value:expr),*]) => {
        &[$($value),*]
    };
    ($filter:ident $($rest:tt)*) => {
        &[]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __class {
    () => {
        ::std::option::Option::None
    };
    ($class:ident) => {
        ::std::option::Option::Some($crate::manifest::class_names::$class())
    };
}
