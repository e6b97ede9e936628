//! The services of the host. In a Wasm plugin they are imports, and the linker drops those that the plugin doesn't use.
//! Natively they are those of the host that entered the plugin on this thread.

#[cfg(not(target_arch = "wasm32"))]
use crate::native::service as host;
#[cfg(target_arch = "wasm32")]
use crate::wasm::service as host;

/// Why a service fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum ServiceError {
    /// A key or a value exceeds the host's limit.
    #[error("the key or the value is too large")]
    TooLarge,
    /// The key space is full.
    #[error("the key space is full")]
    Quota,
    /// The call has no transaction that may do this.
    #[error("the call has no transaction that may do this")]
    Unavailable,
    /// The plugin has no such conversation or blob, or the message doesn't exist.
    #[error("not found")]
    NotFound,
    /// An argument breaks a limit.
    #[error("{0}")]
    Invalid(String),
    /// Another plugin rejects the change.
    #[error("{}", .0.message)]
    Refused(crate::Error),
    /// A value can't be converted to or from JSON of its type.
    #[error("a value can't be read: {0}")]
    Value(String),
}

/// Keys with their values.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The plugin's own ordered key space, one for each app, inside the transaction of the call.
#[derive(Clone, Copy, Debug)]
pub struct Kv;

impl Kv {
    /// Reads a key.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn get(self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, ServiceError> {
        host::get(key.as_ref())
    }

    /// Sets a key.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn set(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), ServiceError> {
        host::set(key.as_ref(), value.as_ref())
    }

    /// Sets a key that expires at a time in milliseconds since 1970; from then on it reads as deleted.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn set_until(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, until_ms: u64) -> Result<(), ServiceError> {
        host::set_until(key.as_ref(), value.as_ref(), until_ms)
    }

    /// Deletes a key, if it exists.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn delete(self, key: impl AsRef<[u8]>) -> Result<(), ServiceError> {
        host::delete(key.as_ref())
    }

    /// Lists up to `limit` entries with `start <= key < end` in order; an empty `end` is the end of the key space.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn scan(self, start: impl AsRef<[u8]>, end: impl AsRef<[u8]>, limit: u32) -> Result<Entries, ServiceError> {
        host::scan(start.as_ref(), end.as_ref(), limit, false)
    }

    /// Lists the last `limit` entries with `start <= key < end` at most, in descending order.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn scan_descending(
        self,
        start: impl AsRef<[u8]>,
        end: impl AsRef<[u8]>,
        limit: u32,
    ) -> Result<Entries, ServiceError> {
        host::scan(start.as_ref(), end.as_ref(), limit, true)
    }

    /// Reads a value that [`Kv::set_json`] or [`Kv::set_json_until`] wrote.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn get_json<T: serde::de::DeserializeOwned>(self, key: impl AsRef<[u8]>) -> Result<Option<T>, ServiceError> {
        self.get(key)?.map(|json| parse(&json)).transpose()
    }

    /// Sets a key to a value as JSON.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn set_json(self, key: impl AsRef<[u8]>, value: &impl serde::Serialize) -> Result<(), ServiceError> {
        self.set(key, json(value)?)
    }

    /// Sets a key to a value as JSON that expires at a time in milliseconds since 1970, as [`Kv::set_until`] does.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn set_json_until(
        self,
        key: impl AsRef<[u8]>,
        value: &impl serde::Serialize,
        until_ms: u64,
    ) -> Result<(), ServiceError> {
        self.set_until(key, json(value)?, until_ms)
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, ServiceError> {
    serde_json::to_vec(value).map_err(|error| ServiceError::Value(error.to_string()))
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(json).map_err(|error| ServiceError::Value(error.to_string()))
}

/// A conversation that the plugin owns.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Conversation {
    /// The id that clients use.
    pub id: String,
    /// The kind.
    pub kind: String,
    /// The members.
    pub members: Vec<String>,
}

/// Conversations that the plugin owns.
#[derive(Clone, Copy, Debug)]
pub struct Conversations;

impl Conversations {
    /// Returns the conversation at an address of the plugin; creates it if it doesn't exist.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn open(self, address: &str, kind: &str, members: &[String]) -> Result<Conversation, ServiceError> {
        host::open(address, kind, members)
    }

    /// Returns the conversation at an address of the plugin.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn find(self, address: &str) -> Result<Conversation, ServiceError> {
        host::find(address)
    }

    /// Returns a conversation of the plugin by its id.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn get(self, id: &str) -> Result<Conversation, ServiceError> {
        host::conversation_of(id)
    }

    /// Adds members to a conversation of the plugin, without an effect on actors who are members. New members see all of its
    /// history.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn add_members(self, id: &str, members: &[String]) -> Result<(), ServiceError> {
        host::add_members(id, members)
    }

    /// Removes members from a conversation of the plugin, without an effect on actors who aren't members.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn remove_members(self, id: &str, members: &[String]) -> Result<(), ServiceError> {
        host::remove_members(id, members)
    }

    /// Appends a message to a conversation of the plugin in the name of any actor, together with the transaction. Members
    /// and observers get it after the commit. Doesn't call `before_send`.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn append(
        self,
        id: &str,
        sender: &str,
        kind: &str,
        content: &impl serde::Serialize,
    ) -> Result<(), ServiceError> {
        let content = json(content)?;
        host::append(id, sender, kind, &content)
    }

    /// Recalls a message of a conversation of the plugin, in the name of any actor. Doesn't call `before_act`.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn recall(self, id: &str, seq: u64, actor: &str) -> Result<(), ServiceError> {
        host::recall(id, seq, actor)
    }

    /// Lists up to `limit` messages after the number `after`, in order, without those that this call appends.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn read(self, id: &str, after: u64, limit: u32) -> Result<Vec<StoredMessage>, ServiceError> {
        host::read(id, after, limit)
    }
}

/// Members of conversations, also of those of other plugins.
#[derive(Clone, Copy, Debug)]
pub struct Memberships;

impl Memberships {
    /// Returns whether an actor is a member of a conversation of the app; false if the conversation doesn't exist. If the
    /// answer changes before the transaction commits, the hook runs again.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn is_member(self, conversation: &str, actor: &str) -> Result<bool, ServiceError> {
        host::is_member(conversation, actor)
    }
}

/// Annotations of messages, in any conversation of the app.
#[derive(Clone, Copy, Debug)]
pub struct Annotations;

impl Annotations {
    /// Annotates a message, and replaces the plugin's earlier value under this name. Readers get it with the message. A name
    /// is 1 to 64 lower-case letters, digits, `_`, `.` and `-`.
    ///
    /// # Errors
    /// See [`ServiceError`]; `NotFound` for a message that doesn't exist or was recalled.
    pub fn set(
        self,
        conversation: &str,
        seq: u64,
        name: &str,
        value: &impl serde::Serialize,
    ) -> Result<(), ServiceError> {
        let value = json(value)?;
        host::annotate(conversation, seq, name, &value)
    }
}

/// The conversations that `watched` hooks see.
#[derive(Clone, Copy, Debug)]
pub struct Watches;

impl Watches {
    /// Starts to watch a conversation, or stops it if `on` is false, with the transaction of the call.
    ///
    /// # Errors
    /// See [`ServiceError`]; `Invalid` if `id` is not a conversation id.
    pub fn conversation(self, id: &str, on: bool) -> Result<(), ServiceError> {
        host::watch_conversation(id, on)
    }

    /// Starts to watch all conversations of an actor, or stops it if `on` is false, with the transaction of the call.
    ///
    /// # Errors
    /// See [`ServiceError`]; `Invalid` if `actor` is not an actor id.
    pub fn actor(self, actor: &str, on: bool) -> Result<(), ServiceError> {
        host::watch_actor(actor, on)
    }
}

/// Events for other plugins.
#[derive(Clone, Copy, Debug)]
pub struct Events;

impl Events {
    /// Publishes an event with the transaction of the call. Plugins that declare a hook for it get it after the commit. A name
    /// is 1 to 32 lower-case letters, digits and `_`.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn publish(self, name: &str, payload: &impl serde::Serialize) -> Result<(), ServiceError> {
        let payload = json(payload)?;
        host::publish(name, &payload)
    }
}

/// Durable jobs for the action lane, added with the transaction of the call.
#[derive(Clone, Copy, Debug)]
pub struct Jobs;

impl Jobs {
    /// Adds a job that starts after the commit.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn add(self, name: &str, payload: &impl serde::Serialize) -> Result<(), ServiceError> {
        self.add_at(name, 0, payload)
    }

    /// Adds a job that starts at a time in milliseconds since 1970, or later.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn add_at(self, name: &str, at_ms: u64, payload: &impl serde::Serialize) -> Result<(), ServiceError> {
        let payload = json(payload)?;
        host::add_job(name, at_ms, &payload)
    }
}

/// Calls the plugin's own `transact` in a transaction of its own.
pub(crate) fn transact(name: &str, payload: &[u8]) -> Result<Vec<u8>, crate::Error> {
    host::transact(name, payload)
}

/// Sends a request to another server.
pub(crate) fn fetch(request: &crate::FetchRequest) -> Result<crate::HttpResponse, crate::Error> {
    host::fetch(request)
}

/// The plugin's blobs.
#[derive(Clone, Copy, Debug)]
pub struct Blobs;

impl Blobs {
    /// Returns the description of a blob, complete or not.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn get(self, id: &str) -> Result<crate::Blob, ServiceError> {
        host::blob(id)
    }

    /// Lists up to `limit` blobs after the id `after`, complete or not, in the order of the start of their uploads.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn list(self, after: &str, limit: u32) -> Result<Vec<crate::Blob>, ServiceError> {
        host::blobs(after, limit)
    }

    /// Keeps a blob that a job wrote. The host removes a blob that isn't kept within an hour.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn keep(self, id: &str) -> Result<(), ServiceError> {
        host::keep_blob(id)
    }

    /// Removes a blob with the transaction. Doesn't call `before_remove`.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn remove(self, id: &str) -> Result<(), ServiceError> {
        host::remove_blob(id)
    }

    /// Reads up to `length` bytes, 4 MiB at most, of a complete blob. Returns fewer only at its end. Only in
    /// [`Plugin::action`](crate::Plugin::action).
    ///
    /// # Errors
    /// A code with the prefix `blob_`, or `unavailable` outside of jobs.
    pub fn read(self, id: &str, offset: u64, length: u32) -> Result<Vec<u8>, crate::Error> {
        host::read_blob(id, offset, length)
    }

    /// Writes a new blob of up to 4 MiB and returns its id. The host removes it after an hour unless a transaction calls
    /// [`Blobs::keep`]. Only in [`Plugin::action`](crate::Plugin::action).
    ///
    /// # Errors
    /// As [`Blobs::read`].
    pub fn write(self, name: &str, media_type: &str, conversation: &str, bytes: &[u8]) -> Result<String, crate::Error> {
        host::write_blob(name, media_type, conversation, bytes)
    }
}

/// A message in the log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredMessage {
    /// Its number in the conversation.
    pub seq: u64,
    /// The time of the commit, in milliseconds since 1970.
    pub time_ms: u64,
    /// The sender.
    pub sender: String,
    /// The kind of the content.
    pub kind: String,
    /// The content, a JSON object.
    pub content: Vec<u8>,
}

/// Methods of other plugins.
#[derive(Clone, Copy, Debug)]
pub struct Methods;

impl Methods {
    /// Calls `PLUGIN.NAME` for the caller of the current call, inside its transaction; the other plugin sees which plugin calls
    /// on the caller's behalf. An error rolls back the other plugin's writes.
    ///
    /// # Errors
    /// That of the other plugin, with its id in front of the code; `methods.cycle` if that plugin is already part of the current
    /// call.
    pub fn call<R: serde::de::DeserializeOwned>(
        self,
        method: &str,
        params: &impl serde::Serialize,
    ) -> Result<R, crate::Error> {
        let result = host::call(method, &json(params)?)?;
        Ok(parse(&result)?)
    }
}

/// Live sessions.
#[derive(Clone, Copy, Debug)]
pub struct Sessions;

impl Sessions {
    /// Ends the sessions of an actor, all or those of one credential, once the call has committed.
    pub fn end(self, actor: &str, credential: Option<&str>) {
        host::end(actor, credential);
    }

    /// Returns for each actor whether it has a live session on this node.
    #[must_use]
    pub fn online(self, actors: &[String]) -> Vec<bool> {
        host::online(actors)
    }

    /// Sends a signal to the live sessions of actors once the call has committed. It is not stored: actors who are offline
    /// miss it. A name is 1 to 32 lower-case letters, digits and `_`.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn signal(self, actors: &[String], name: &str, payload: &impl serde::Serialize) -> Result<(), ServiceError> {
        let payload = json(payload)?;
        host::signal(actors, name, &payload)
    }
}

/// Timers, with the transaction of the call.
#[derive(Clone, Copy, Debug)]
pub struct Timers;

impl Timers {
    /// Sets a timer for a time in milliseconds since 1970; replaces a timer of the same name in this app.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn set(self, name: &str, at_ms: u64, payload: &impl serde::Serialize) -> Result<(), ServiceError> {
        let payload = json(payload)?;
        host::set_timer(name, at_ms, &payload)
    }

    /// Cancels a timer. Returns whether it existed.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn cancel(self, name: &str) -> Result<bool, ServiceError> {
        host::cancel_timer(name)
    }
}

/// Figures among the metrics of the host, under the plugin's id. They count at once, also if the call fails later.
#[derive(Clone, Copy, Debug)]
pub struct Metrics;

impl Metrics {
    /// Adds to a counter. A name is 1 to 48 lower-case letters, digits and `_`; a plugin has up to 64 of them.
    pub fn count(self, name: &str, more: u64) {
        host::count(name, more);
    }

    /// Adds a value to a histogram whose bounds are the powers of ten from 0.001 to 1,000,000.
    pub fn observe(self, name: &str, value: f64) {
        host::observe(name, value);
    }
}

/// Reads a secret that the operator set.
pub(crate) fn secret(name: &str) -> Option<String> {
    host::secret(name)
}

/// The level of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Level {
    /// A failure.
    Error,
    /// A warning.
    Warn,
    /// An event of normal operation.
    Info,
    /// Details for the author.
    Debug,
}

/// The host's log; the rate and the length of lines are limited.
#[derive(Clone, Copy, Debug)]
pub struct Log;

impl Log {
    /// Logs a failure.
    pub fn error(self, text: &str) {
        host::log(Level::Error, text);
    }

    /// Logs a warning.
    pub fn warn(self, text: &str) {
        host::log(Level::Warn, text);
    }

    /// Logs an event of normal operation.
    pub fn info(self, text: &str) {
        host::log(Level::Info, text);
    }

    /// Logs details for the author.
    pub fn debug(self, text: &str) {
        host::log(Level::Debug, text);
    }
}

pub(crate) fn now_ms() -> u64 {
    host::now_ms()
}

pub(crate) fn random(count: u32) -> Vec<u8> {
    host::random(count)
}
