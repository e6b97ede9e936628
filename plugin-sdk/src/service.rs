//! What the host does for a plugin. In a Wasm plugin these are imports, and those that a plugin does not use are not
//! even there; natively they are those of the host that entered the plugin on this thread.

#[cfg(not(target_arch = "wasm32"))]
use crate::native::service as host;
#[cfg(target_arch = "wasm32")]
use crate::wasm::service as host;

/// Why a service does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum ServiceError {
    /// A key or a value is over the host's limit.
    #[error("the key or the value is too large")]
    TooLarge,
    /// The key space is full.
    #[error("the key space is full")]
    Quota,
    /// There is no transaction that may do this.
    #[error("there is no transaction that may do this")]
    Unavailable,
    /// There is no such thing.
    #[error("there is no such thing")]
    NotFound,
    /// An argument breaks a limit.
    #[error("{0}")]
    Invalid(String),
    /// Another plugin refuses.
    #[error("{}", .0.message)]
    Refused(crate::Error),
    /// A value is not what was expected.
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

    /// Sets a key until a time in milliseconds since 1970; from then on it is as if it were deleted.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn set_until(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, until_ms: u64) -> Result<(), ServiceError> {
        host::set_until(key.as_ref(), value.as_ref(), until_ms)
    }

    /// Deletes a key; nothing happens if it is not there.
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

    /// Reads a value that [`Kv::set_json`] wrote.
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

    /// Sets a key to a value as JSON until a time in milliseconds since 1970, as [`Kv::set_until`] does.
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
    /// Who takes part.
    pub members: Vec<String>,
}

/// Conversations that the plugin owns.
#[derive(Clone, Copy, Debug)]
pub struct Conversations;

impl Conversations {
    /// Returns the conversation at an address of the plugin; creates it if there is none.
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

    /// Makes actors members of a conversation of the plugin; those who are stay so. They see all of its history.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn add_members(self, id: &str, members: &[String]) -> Result<(), ServiceError> {
        host::add_members(id, members)
    }

    /// Takes members out of a conversation of the plugin; those who are none stay so.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn remove_members(self, id: &str, members: &[String]) -> Result<(), ServiceError> {
        host::remove_members(id, members)
    }

    /// Appends a message to a conversation of the plugin in the name of any actor, together with the transaction. Members
    /// and observers get it after the commit; no `before_send` is asked.
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

    /// Takes back a message of a conversation of the plugin, in the name of any actor; no `before_act` is asked.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn recall(self, id: &str, seq: u64, actor: &str) -> Result<(), ServiceError> {
        host::recall(id, seq, actor)
    }

    /// Lists up to `limit` messages behind the number `after`, in order; without those that this call appends.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn read(self, id: &str, after: u64, limit: u32) -> Result<Vec<StoredMessage>, ServiceError> {
        host::read(id, after, limit)
    }
}

/// Who takes part in conversations, also in those of other plugins.
#[derive(Clone, Copy, Debug)]
pub struct Memberships;

impl Memberships {
    /// Tells whether an actor is a member of a conversation of the app; nobody is one of a conversation that is not there. If
    /// that changes before the transaction is committed, the hook runs again.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn is_member(self, conversation: &str, actor: &str) -> Result<bool, ServiceError> {
        host::is_member(conversation, actor)
    }
}

/// What the plugin says about messages, in any conversation of the app.
#[derive(Clone, Copy, Debug)]
pub struct Annotations;

impl Annotations {
    /// Says something about a message, in the place of what the plugin said before under this name. Readers get it with the
    /// message. A name is 1 to 64 lower-case letters, digits, `_`, `.` and `-`.
    ///
    /// # Errors
    /// See [`ServiceError`]; `NotFound` for a message that is not there or was recalled.
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

/// What hooks that are declared as `watched` see.
#[derive(Clone, Copy, Debug)]
pub struct Watches;

impl Watches {
    /// Watches a conversation, or stops to, with the transaction of the call.
    ///
    /// # Errors
    /// See [`ServiceError`]; `Invalid` for what is no id of a conversation.
    pub fn conversation(self, id: &str, on: bool) -> Result<(), ServiceError> {
        host::watch_conversation(id, on)
    }

    /// Watches all conversations of an actor, or stops to, with the transaction of the call.
    ///
    /// # Errors
    /// See [`ServiceError`]; `Invalid` for what is no id of an actor.
    pub fn actor(self, actor: &str, on: bool) -> Result<(), ServiceError> {
        host::watch_actor(actor, on)
    }
}

/// Events for other plugins.
#[derive(Clone, Copy, Debug)]
pub struct Events;

impl Events {
    /// Publishes an event with the transaction of the call; plugins that want it get it after the commit. A name is 1 to 32
    /// lower-case letters, digits and `_`.
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
    /// Adds a job that begins soon.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn add(self, name: &str, payload: &impl serde::Serialize) -> Result<(), ServiceError> {
        self.add_at(name, 0, payload)
    }

    /// Adds a job that begins at a time in milliseconds since 1970, or later.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn add_at(self, name: &str, at_ms: u64, payload: &impl serde::Serialize) -> Result<(), ServiceError> {
        let payload = json(payload)?;
        host::add_job(name, at_ms, &payload)
    }
}

/// Calls the plugin's own `transact` in a transaction.
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
    /// Returns what is known about a blob, also about one whose upload is not complete.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn get(self, id: &str) -> Result<crate::Blob, ServiceError> {
        host::blob(id)
    }

    /// Lists up to `limit` blobs behind the id `after`, in the order in which they were begun.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn list(self, after: &str, limit: u32) -> Result<Vec<crate::Blob>, ServiceError> {
        host::blobs(after, limit)
    }

    /// Keeps a blob that a job wrote; one that is not kept within an hour is removed.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn keep(self, id: &str) -> Result<(), ServiceError> {
        host::keep_blob(id)
    }

    /// Removes a blob with the transaction; `before_remove` is not asked.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn remove(self, id: &str) -> Result<(), ServiceError> {
        host::remove_blob(id)
    }

    /// Reads up to `length` bytes, 4 MiB at most, of a complete blob; fewer only at its end. Only in
    /// [`Plugin::action`](crate::Plugin::action).
    ///
    /// # Errors
    /// A code that begins with `blob_`, or `unavailable` outside of jobs.
    pub fn read(self, id: &str, offset: u64, length: u32) -> Result<Vec<u8>, crate::Error> {
        host::read_blob(id, offset, length)
    }

    /// Writes a new blob of up to 4 MiB and returns its id. It is removed after an hour unless [`Blobs::keep`] is called in a
    /// transaction. Only in [`Plugin::action`](crate::Plugin::action).
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
    /// When it was committed, in milliseconds since 1970.
    pub time_ms: u64,
    /// Who sent it.
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
    /// Calls `PLUGIN.NAME` for the caller of the current call, inside its transaction; the other plugin sees who asks on the
    /// caller's behalf. After an error nothing is left of what the other plugin wrote.
    ///
    /// # Errors
    /// The other plugin's, with its id in front of the code; `methods.cycle` when that plugin is in the current call
    /// already.
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
    /// Ends the sessions of an actor, all or those of one credential, once the call is committed.
    pub fn end(self, actor: &str, credential: Option<&str>) {
        host::end(actor, credential);
    }

    /// Tells which of the actors have live sessions on this node.
    #[must_use]
    pub fn online(self, actors: &[String]) -> Vec<bool> {
        host::online(actors)
    }

    /// Sends a signal to the live sessions of actors once the call is committed. It is not stored, and lost for those who
    /// are not online. A name is 1 to 32 lower-case letters, digits and `_`.
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
    /// Sets a timer for a time in milliseconds since 1970, in the place of one of the same name in this app.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn set(self, name: &str, at_ms: u64, payload: &impl serde::Serialize) -> Result<(), ServiceError> {
        let payload = json(payload)?;
        host::set_timer(name, at_ms, &payload)
    }

    /// Cancels a timer. Returns whether there was one.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub fn cancel(self, name: &str) -> Result<bool, ServiceError> {
        host::cancel_timer(name)
    }
}

/// Figures among those of the host, under the plugin's id. They count at once, whatever becomes of the call.
#[derive(Clone, Copy, Debug)]
pub struct Metrics;

impl Metrics {
    /// Adds to a counter. A name is 1 to 48 lower-case letters, digits and `_`; a plugin has up to 64 of them.
    pub fn count(self, name: &str, more: u64) {
        host::count(name, more);
    }

    /// Puts a value into a histogram whose bounds are the powers of ten from 0.001 to 1,000,000.
    pub fn observe(self, name: &str, value: f64) {
        host::observe(name, value);
    }
}

/// Reads a secret of the operator's.
pub(crate) fn secret(name: &str) -> Option<String> {
    host::secret(name)
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something looks wrong.
    Warn,
    /// Something happened.
    Info,
    /// For the author.
    Debug,
}

/// The host's log; the rate and the length of lines are limited.
#[derive(Clone, Copy, Debug)]
pub struct Log;

impl Log {
    /// Says that something failed.
    pub fn error(self, text: &str) {
        host::log(Level::Error, text);
    }

    /// Says that something looks wrong.
    pub fn warn(self, text: &str) {
        host::log(Level::Warn, text);
    }

    /// Says that something happened.
    pub fn info(self, text: &str) {
        host::log(Level::Info, text);
    }

    /// Says something for the author.
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
