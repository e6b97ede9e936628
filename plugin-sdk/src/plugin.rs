//! The trait of plugins and the macro that registers one.

use std::sync::OnceLock;

use crate::Metrics;
use crate::{
    Act, Annotations, Blob, Blobs, Change, Conversations, Event, Events, FetchRequest, HttpRequest, HttpResponse, Job,
    Jobs, Kv, Log, Memberships, Message, Methods, Schema, ServiceError, Sessions, Timers, Verdict, Watches, service,
};

/// A failure that the author foresaw; it reaches the client as it is, with the plugin's id in front of the code.
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
    /// Makes an error that no retry helps.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            retry: false,
        }
    }

    /// Says that the same request can succeed later.
    #[must_use]
    pub fn retryable(self) -> Self {
        Self { retry: true, ..self }
    }
}

impl From<ServiceError> for Error {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Refused(error) => error,
            error => Self::new("service", error.to_string()),
        }
    }
}

/// Who a token stands for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Opaque, stable, unique in the app, 1 to 128 bytes.
    pub actor: String,
    /// What sessions can be ended by; may be empty.
    pub credential: String,
    /// When it ends, in milliseconds since 1970; 0 for never.
    pub expires_at_ms: u64,
}

/// Who makes a request. All empty but `app` for a session that is not signed in.
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
    /// The plugin that asks on the actor's behalf; empty when the client itself asks.
    pub plugin: String,
}

/// What a call may use: the services of the host, and who calls.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Who calls: in methods, [`Plugin::http`], [`Plugin::connected`] and [`Plugin::disconnected`]; empty in other hooks.
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

    /// Returns who takes part in conversations, also in those of other plugins. Capability `memberships`.
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

    /// Returns what the plugin says about messages. Capability `annotations`.
    #[must_use]
    pub fn annotations(&self) -> Annotations {
        Annotations
    }

    /// Returns what hooks that are declared as `watched` see. Capability `watches`.
    #[must_use]
    pub fn watches(&self) -> Watches {
        Watches
    }

    /// Returns the jobs of the plugin. Capability `jobs`.
    #[must_use]
    pub fn jobs(&self) -> Jobs {
        Jobs
    }

    /// Calls [`Plugin::transact`] in a transaction of its own, with JSON; returns once what it wrote is durable. Only in
    /// [`Plugin::action`]. Capability `jobs`.
    ///
    /// # Errors
    /// That of [`Plugin::transact`]; `conflict` when too many others change the same things.
    pub fn transact<R: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        payload: &impl serde::Serialize,
    ) -> Result<R, Error> {
        let value = |error: serde_json::Error| Error::new("bad_value", error.to_string());
        let result = service::transact(name, &serde_json::to_vec(payload).map_err(value)?)?;
        serde_json::from_slice(&result).map_err(value)
    }

    /// Sends a request to another server and waits for the response. Only in [`Plugin::action`]. Capability `fetch`, and
    /// only to what the operator lists.
    ///
    /// # Errors
    /// A code that begins with `fetch_`, and whether a retry may help.
    pub fn fetch(&self, request: &FetchRequest) -> Result<HttpResponse, Error> {
        service::fetch(request)
    }

    /// Returns the blobs of the plugin. Capability `blobs`.
    #[must_use]
    pub fn blobs(&self) -> Blobs {
        Blobs
    }

    /// Returns the plugin's figures among those of the host.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics
    }

    /// Reads a text that the operator keeps out of the configuration; none if there is none of this name. Capability
    /// `secrets`.
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
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        let drawn = service::random(u32::try_from(N).unwrap_or(u32::MAX));
        assert!(drawn.len() == N, "the host gives at most 1,024 random bytes at a time");
        bytes.copy_from_slice(&drawn);
        bytes
    }
}

/// A plugin. Every hook has a default, so that a plugin is only what it needs; those that it declares in [`register!`]
/// are called.
///
/// There may be several instances at a time, and one may be replaced whenever it fails: what is to last belongs into
/// [`Context::kv`].
///
/// [`register!`]: crate::register!
#[diagnostic::on_unimplemented(note = "implement `Plugin` for the type that you `register!`")]
pub trait Plugin: Sized + Send + Sync + 'static {
    /// Prepares an instance from the operator's configuration, a JSON object. Only clock, random and log may be used.
    ///
    /// # Errors
    /// When the configuration can't be used; the plugin is then not loaded.
    fn start(configuration: &str) -> Result<Self, Error>;

    /// Changes the keys of one app from what another version of the plugin left, also from what a later one left (a
    /// roll-back). Called once for each app before anything else but [`Plugin::start`] when the last version that ran was
    /// another; all apps are one transaction.
    ///
    /// # Errors
    /// When that can't be done: the other version then goes on running.
    fn migrate(&self, _cx: &Context, _from: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Says who a token stands for; none when the token is not this plugin's.
    ///
    /// # Errors
    /// When the token is this plugin's, but no good.
    fn authenticate(&self, _cx: &Context, _app: &str, _token: &str) -> Result<Option<Identity>, Error> {
        Ok(None)
    }

    /// Decides about a message on its way into the log.
    fn before_send(&self, _cx: &Context, _message: &Message<'_>) -> Verdict {
        Verdict::Accept
    }

    /// Observes a message that is in the log, at least once.
    ///
    /// # Errors
    /// When the message is to be shown again.
    fn after_send(&self, _cx: &Context, _message: &Message<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Decides about something that is done to a message in the log, such as a recall, and whether the others may know that
    /// somebody is writing (`typing`) or has received and read (`receipt`, in conversations of two), both about no message,
    /// and read only. An edit asks [`Plugin::before_send`].
    ///
    /// # Errors
    /// When it is not to be done.
    fn before_act(&self, _cx: &Context, _act: &Act) -> Result<(), Error> {
        Ok(())
    }

    /// Observes an act that is in the log, at least once.
    ///
    /// # Errors
    /// When the act is to be shown again.
    fn after_act(&self, _cx: &Context, _act: &Act) -> Result<(), Error> {
        Ok(())
    }

    /// Decides about a change of a conversation that another plugin makes, inside its transaction.
    ///
    /// # Errors
    /// When the change is not to be made; the other plugin is told.
    fn before_change(&self, _cx: &Context, _change: &Change) -> Result<(), Error> {
        Ok(())
    }

    /// Observes a change of a conversation that is committed, at least once.
    ///
    /// # Errors
    /// When the change is to be shown again.
    fn after_change(&self, _cx: &Context, _change: &Change) -> Result<(), Error> {
        Ok(())
    }

    /// Is told which members of a conversation had no live session when a message was shown to them, at least once.
    ///
    /// # Errors
    /// When it is to be told again.
    fn push(&self, _cx: &Context, _message: &Message<'_>, _recipients: &[String]) -> Result<(), Error> {
        Ok(())
    }

    /// Observes an event of another plugin, at least once.
    ///
    /// # Errors
    /// When the event is to be shown again.
    fn event(&self, _cx: &Context, _event: &Event) -> Result<(), Error> {
        Ok(())
    }

    /// Answers a request to the plugin's own part of the HTTP interface, `/v1/plugins/ID/…`. After an error, or a status from
    /// 400 on, nothing is left of what it wrote.
    ///
    /// # Errors
    /// What the client is told, with status 400, or 503 if it may retry.
    fn http(&self, _cx: &Context, _request: &HttpRequest) -> Result<HttpResponse, Error> {
        Ok(HttpResponse::new(404, "text/plain", "There is nothing here.\n"))
    }

    /// Decides about an upload of a blob of the plugin that begins; `is_member` is whether the caller is a member of the
    /// conversation that it is for. What is written and the beginning of the upload are one transaction.
    ///
    /// # Errors
    /// When it is not to begin.
    fn before_upload(&self, _cx: &Context, _blob: &Blob, _is_member: bool) -> Result<(), Error> {
        Ok(())
    }

    /// Decides about a blob of the plugin all of whose bytes are there. What is written and the blob's being there are one
    /// transaction.
    ///
    /// # Errors
    /// When it is to be discarded.
    fn complete_upload(&self, _cx: &Context, _blob: &Blob) -> Result<(), Error> {
        Ok(())
    }

    /// Decides about a download of a blob of the plugin; `is_member` is whether the caller is now a member of the conversation
    /// that it is for. May not write.
    ///
    /// # Errors
    /// When the caller is not to have it.
    fn before_download(&self, _cx: &Context, _blob: &Blob, _is_member: bool) -> Result<(), Error> {
        Ok(())
    }

    /// Decides about the removal of a blob of the plugin that a client asks for. One whose upload is not complete is removed by
    /// its uploader without asking.
    ///
    /// # Errors
    /// When it is to stay.
    fn before_remove(&self, _cx: &Context, _blob: &Blob) -> Result<(), Error> {
        Ok(())
    }

    /// Does a job that the plugin added, at least once; several at a time, in no order. It may take long, and use
    /// [`Context::fetch`]; there is no transaction: what it is to keep it hands to [`Context::transact`].
    ///
    /// # Errors
    /// When it failed. It comes again if a retry may help, and is a dead letter otherwise.
    fn action(&self, _cx: &Context, _job: &Job) -> Result<(), Error> {
        Ok(())
    }

    /// Does something inside a transaction for a job, by way of [`Context::transact`].
    ///
    /// # Errors
    /// What the job is told; nothing is left then of what it wrote.
    fn transact(&self, _cx: &Context, name: &str, _payload: &[u8]) -> Result<Vec<u8>, Error> {
        Err(Error::new(
            "unknown_transaction",
            format!("There is no transaction {name:?}."),
        ))
    }

    /// Is told that the caller has signed in. At most once: a host that is killed tells nobody.
    fn connected(&self, _cx: &Context) {}

    /// Is told that a connection of the caller has ended; there may be others. At most once.
    fn disconnected(&self, _cx: &Context) {}

    /// Is told that a timer is due, at least once, in the app that it was set in. Setting the same timer again is fine.
    ///
    /// # Errors
    /// When it is to fire again later.
    fn timer(&self, _cx: &Context, _name: &str, _payload: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    /// Returns for each message the content that one viewer sees, or none to leave it as it is.
    ///
    /// # Errors
    /// When all are to be left as they are.
    fn render(&self, _cx: &Context, _viewer: &str, messages: &[Message<'_>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        Ok(vec![None; messages.len()])
    }
}

/// Answers [`Plugin::transact`] with types: parses the payload, and returns the result of `work` as JSON.
///
/// # Errors
/// That of `work`; `bad_value` when the payload doesn't parse as a `P`, or the result can't be written as JSON.
pub fn typed<P: serde::de::DeserializeOwned, R: serde::Serialize>(
    payload: &[u8],
    work: impl FnOnce(P) -> Result<R, Error>,
) -> Result<Vec<u8>, Error> {
    let value = |error: serde_json::Error| Error::new("bad_value", error.to_string());
    let result = work(serde_json::from_slice(payload).map_err(value)?)?;
    serde_json::to_vec(&result).map_err(value)
}

/// What [`register!`](crate::register!) adds to a plugin.
pub trait Registered: Plugin {
    /// The manifest, JSON.
    const MANIFEST: &'static str;

    /// Returns where the instance is kept.
    fn cell() -> &'static OnceLock<Self>;

    /// Calls a method by name with JSON.
    ///
    /// # Errors
    /// The method's own, `unknown_method` or `bad_params`.
    fn call(&self, cx: &Context, name: &str, params: &[u8]) -> Result<Vec<u8>, Error>;
}

/// A typed method.
#[derive(Debug)]
pub struct Method {
    /// JSON Schema of the parameters.
    pub params: &'static str,
    /// JSON Schema of the result.
    pub result: &'static str,
}

impl Method {
    /// Describes a method by its types.
    pub const fn of<T, P: Schema, R: Schema>(_: fn(&T, &Context, P) -> Result<R, Error>) -> Self {
        Self {
            params: P::JSON,
            result: R::JSON,
        }
    }

    /// Calls a method with JSON.
    ///
    /// # Errors
    /// The method's own, or `bad_params`.
    pub fn call<T, P: serde::de::DeserializeOwned, R: serde::Serialize>(
        method: fn(&T, &Context, P) -> Result<R, Error>,
        plugin: &T,
        cx: &Context,
        params: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let params = serde_json::from_slice(params).map_err(|error| Error::new("bad_params", error.to_string()))?;
        let result = method(plugin, cx, params)?;
        serde_json::to_vec(&result).map_err(|error| Error::new("bad_result", error.to_string()))
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
/// Hooks are written `authenticate`, `before_send(guard)` or `before_send(transform)`, `after_send`, `render`, `timer`,
/// `connected`, `disconnected`, `before_act`, `after_act`, `before_change`, `after_change`, `push`, `event`, `http`, `before_upload`,
/// `complete_upload`, `before_download`, `before_remove`, `action`, each with
/// filters behind it: `before_send(guard) { conversations: ["direct"], contents: ["text"] }`, `after_send { watched }`. A method that needs no
/// sign-in is written `name(anonymous)`. `after: ["users"],` behind the description asks for a place behind another plugin.
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
                    _ => Err($crate::Error::new("unknown_method", "There is no such method.")),
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

/// Joins texts to the entries of a list.
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
}
