//! The services of the host for plugins of any kind. Each service works on the plugin's current call.

mod blobs;
pub mod conversations;
pub mod events;
mod expiry;
pub mod kv;
mod log;
mod metrics;
mod quota;
pub mod sessions;
mod watches;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use courtyard_plugin_sdk::request::{ServiceRequest, ServiceResponse};
use courtyard_plugin_sdk::{self as sdk, ServiceError};
use rand::RngCore;

pub use courtyard_plugin_sdk::manifest::{ALWAYS_GRANTED, CAPABILITIES};

pub use conversations::{ConversationsError, OwnedConversation};
pub use expiry::expire;
pub use kv::KvError;
pub use log::{Level, LogBudget};
pub use metrics::{HISTOGRAM_BOUNDS, Histogram, Metrics, PluginFigures};
pub use quota::Quota;

use crate::blobs::{Blobs, BlobsError};
use crate::clock::now_ms;
use crate::effects::{Timer, add_job, cancel_timer, set_timer};
use crate::fetch::Fetcher;
use crate::hooks::{Call, Hooks, StoreAccess};
use crate::keys;
use crate::log::LogError;
use crate::router::Router;
use crate::store::Store;
use crate::wire::RequestError;

/// The limits of a plugin's calls of services. Every limit has a key under `[plugins.limits]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// Calls of services in one call of the plugin.
    pub host_calls: u32,
    /// Bytes of a key.
    pub key_bytes: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Bytes of all keys and values of one app, and bytes of all waiting jobs; see [`Quota`].
    pub quota_bytes: u64,
    /// Entries of one scan.
    pub scan_entries: u32,
    /// Lines that the plugin may log per second.
    pub log_lines_per_s: u32,
    /// Bytes of a line.
    pub log_line_bytes: usize,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            host_calls: 10_000,
            key_bytes: 1_024,
            value_bytes: 256 * 1_024,
            quota_bytes: 1 << 30,
            scan_entries: 1_000,
            log_lines_per_s: 100,
            log_line_bytes: 1_024,
        }
    }
}

fn may_read(access: StoreAccess) -> bool {
    matches!(access, StoreAccess::Read | StoreAccess::Write)
}

/// The parts of the host that services use besides the transaction.
#[derive(Clone, Default)]
pub struct HostServices {
    hooks: Weak<Hooks>,
    router: Weak<Router>,
    metrics: Metrics,
    blobs: Option<(Arc<dyn Store>, Arc<Blobs>)>,
}

impl HostServices {
    /// Refers to the parts of a host. The references are weak, since these parts own the plugins.
    #[must_use]
    pub fn new(hooks: &Arc<Hooks>, router: &Arc<Router>, metrics: Metrics) -> Self {
        Self {
            hooks: Arc::downgrade(hooks),
            router: Arc::downgrade(router),
            metrics,
            blobs: None,
        }
    }

    /// Adds the blobs that jobs read and write.
    #[must_use]
    pub fn with_blobs(self, store: Arc<dyn Store>, blobs: Arc<Blobs>) -> Self {
        Self {
            blobs: Some((store, blobs)),
            ..self
        }
    }
}

impl std::fmt::Debug for HostServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostServices").finish_non_exhaustive()
    }
}

/// Why a service fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceFailure {
    /// The call has no transaction that may do this.
    Unavailable,
    /// A key or a value is over its limit.
    TooLarge,
    /// The key space is full.
    Quota,
    /// This plugin has no such conversation, message or blob.
    NotFound,
    /// An argument breaks a limit.
    Invalid(String),
    /// Another plugin rejects the change.
    Rejected(sdk::Error),
    /// The store failed; the call can't go on.
    Store(String),
}

impl From<KvError> for ServiceFailure {
    fn from(error: KvError) -> Self {
        match error {
            KvError::TooLarge => Self::TooLarge,
            KvError::Unavailable => Self::Unavailable,
            KvError::Store(error) => Self::Store(error.to_string()),
        }
    }
}

impl From<LogError> for ServiceFailure {
    fn from(error: LogError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<BlobsError> for ServiceFailure {
    fn from(error: BlobsError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<ConversationsError> for ServiceFailure {
    fn from(error: ConversationsError) -> Self {
        match error {
            ConversationsError::NotFound => Self::NotFound,
            ConversationsError::Invalid(reason) => Self::Invalid(reason),
            ConversationsError::Unavailable => Self::Unavailable,
            ConversationsError::Log(error) => Self::Store(error.to_string()),
        }
    }
}

impl ServiceFailure {
    /// Returns the error that the plugin gets.
    ///
    /// # Errors
    /// The reason of a failure of the store, which ends the plugin's call.
    pub fn for_plugin(self) -> Result<ServiceError, String> {
        Ok(match self {
            Self::Unavailable => ServiceError::Unavailable,
            Self::TooLarge => ServiceError::TooLarge,
            Self::Quota => ServiceError::Quota,
            Self::NotFound => ServiceError::NotFound,
            Self::Invalid(reason) => ServiceError::Invalid(reason),
            Self::Rejected(error) => ServiceError::Refused(error),
            Self::Store(reason) => return Err(reason),
        })
    }
}

/// The context of one plugin's calls of services.
#[derive(Debug)]
pub struct ServiceContext {
    /// The id of the plugin.
    pub id: Arc<str>,
    /// Its limits.
    pub limits: ServiceLimits,
    /// The rate of its log lines.
    pub log: LogBudget,
    /// The bytes of its keys and values.
    pub quota: Quota,
    /// The bytes of its waiting jobs.
    pub jobs: Quota,
    /// The host around it.
    pub host: HostServices,
    /// Its secrets, which the operator sets.
    pub secrets: Secrets,
    /// Sends its requests to other servers; none without the capability `fetch`.
    pub fetcher: Option<Fetcher>,
}

/// Texts by name. `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(pub BTreeMap<String, String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl ServiceContext {
    /// Runs a service in a call, which is none during `start`. Returns the call and the result.
    pub fn answer(
        &self,
        call: Option<Box<Call>>,
        request: ServiceRequest,
    ) -> (Option<Box<Call>>, Result<ServiceResponse, ServiceFailure>) {
        match request {
            ServiceRequest::Log(level, text) => {
                let level = match level {
                    sdk::Level::Error => Level::Error,
                    sdk::Level::Warn => Level::Warn,
                    sdk::Level::Info => Level::Info,
                    sdk::Level::Debug => Level::Debug,
                };
                self.log.write(&self.id, &self.limits, level, &text);
                (call, Ok(ServiceResponse::Done))
            }
            ServiceRequest::NowMs => (call, Ok(ServiceResponse::NowMs(now_ms()))),
            ServiceRequest::Count(name, more) => {
                self.host.metrics.count(&self.id, &name, more);
                (call, Ok(ServiceResponse::Done))
            }
            ServiceRequest::Observe(name, value) => {
                self.host.metrics.observe(&self.id, &name, value);
                (call, Ok(ServiceResponse::Done))
            }
            ServiceRequest::Secret(name) => (call, Ok(ServiceResponse::Text(self.secrets.0.get(&name).cloned()))),
            ServiceRequest::Random(count) => {
                let mut bytes = vec![0; count.min(1_024) as usize];
                rand::rngs::ThreadRng::default().fill_bytes(&mut bytes);
                (call, Ok(ServiceResponse::Bytes(bytes)))
            }
            request => match call {
                None => (None, Err(ServiceFailure::Unavailable)),
                Some(call) => {
                    let (call, answer) = self.answer_in(call, request);
                    (Some(call), answer)
                }
            },
        }
    }

    /// Sends a request of the plugin to another server.
    ///
    /// # Errors
    /// A code with the prefix `fetch_`.
    pub async fn fetch(&self, request: sdk::FetchRequest) -> Result<sdk::HttpResponse, sdk::Error> {
        let Some(fetcher) = &self.fetcher else {
            return Err(sdk::Error::new("unavailable", "The capability `fetch` is not granted."));
        };
        fetcher.fetch(request).await.map_err(|error| {
            let mut cause = String::new();
            let mut next = std::error::Error::source(&error);
            while let Some(source) = next {
                cause.push_str(&format!(": {source}"));
                next = source.source();
            }
            sdk::Error {
                code: error.code().to_owned(),
                message: format!("{error}{cause}"),
                retry: error.retry(),
            }
        })
    }

    fn answer_in(
        &self,
        mut call: Box<Call>,
        request: ServiceRequest,
    ) -> (Box<Call>, Result<ServiceResponse, ServiceFailure>) {
        if let ServiceRequest::Call(method, params) = request {
            return self.call_method(call, &method, &params);
        }
        if !matches!(
            request,
            ServiceRequest::Open(..) | ServiceRequest::AddMembers(..) | ServiceRequest::RemoveMembers(..)
        ) {
            let answer = self.answer_with(&mut call, request);
            return (call, answer);
        }
        let (mark, before) = (call.mark(), call.effects.changes.len());
        let answer = self.answer_with(&mut call, request);
        let change = call.effects.changes.get(before).map(|(_, change)| change.clone());
        let (Ok(_), Some(change), Some(hooks)) = (&answer, change, self.host.hooks.upgrade()) else {
            return (call, answer);
        };
        match hooks.before_change(call, &self.id, &change) {
            (call, Ok(())) => (call, answer),
            (mut call, Err(error)) => {
                call.roll_back(mark);
                (call, Err(ServiceFailure::Rejected(sdk_error(error))))
            }
        }
    }

    fn answer_with(&self, call: &mut Call, request: ServiceRequest) -> Result<ServiceResponse, ServiceFailure> {
        let (id, limits) = (&*self.id, &self.limits);
        Ok(match request {
            ServiceRequest::Get(key) => ServiceResponse::Value(kv::get(call, id, limits, &key)?.map(Vec::from)),
            ServiceRequest::Set(key, value) => {
                let (store, bytes) = (call.draft.store(), key.len() + value.len());
                let range = || keys::plugins::values(&call.app, id);
                if !self.quota.admit(store, &call.app, range, bytes, limits.quota_bytes) {
                    return Err(ServiceFailure::Quota);
                }
                kv::set(call, id, limits, &key, Some(value))?;
                ServiceResponse::Done
            }
            ServiceRequest::SetUntil(key, value, until_ms) => {
                // The index of expiry times holds the key as well.
                let (store, bytes) = (call.draft.store(), 2 * key.len() + value.len());
                let range = || keys::plugins::values(&call.app, id);
                if !self.quota.admit(store, &call.app, range, bytes, limits.quota_bytes) {
                    return Err(ServiceFailure::Quota);
                }
                kv::set_until(call, id, limits, &key, &value, until_ms)?;
                ServiceResponse::Done
            }
            ServiceRequest::Delete(key) => {
                kv::set(call, id, limits, &key, None)?;
                ServiceResponse::Done
            }
            ServiceRequest::Scan(start, end, limit, reverse) => {
                let found = kv::scan(call, id, limits, (&start, &end), limit, reverse)?;
                let entry = |(key, value): (bytes::Bytes, bytes::Bytes)| (key.into(), value.into());
                ServiceResponse::Entries(found.into_iter().map(entry).collect())
            }
            ServiceRequest::Open(address, kind, members) => {
                opened(conversations::open(call, id, &address, &kind, members)?)
            }
            ServiceRequest::Find(address) => opened(conversations::find(call, id, &address)?),
            ServiceRequest::Conversation(conversation) => opened(conversations::get(call, id, &conversation)?),
            ServiceRequest::AddMembers(conversation, members) => {
                conversations::change_members(call, id, &conversation, &members, &[])?;
                ServiceResponse::Done
            }
            ServiceRequest::RemoveMembers(conversation, members) => {
                conversations::change_members(call, id, &conversation, &[], &members)?;
                ServiceResponse::Done
            }
            ServiceRequest::Append {
                conversation,
                sender,
                kind,
                content,
            } => {
                conversations::append(call, id, &conversation, limits, &sender, (&kind, content.into()))?;
                ServiceResponse::Done
            }
            ServiceRequest::Read(conversation, after, limit) => {
                let limit = limit.min(limits.scan_entries) as usize;
                ServiceResponse::Messages(conversations::read(call, id, &conversation, after, limit)?)
            }
            ServiceRequest::Recall(conversation, seq, actor) => {
                conversations::recall(call, id, &conversation, seq, &actor)?;
                ServiceResponse::Done
            }
            ServiceRequest::Annotate(conversation, seq, name, value) => {
                conversations::annotate(call, id, limits, (&conversation, seq), &name, &value)?;
                ServiceResponse::Done
            }
            ServiceRequest::WatchConversation(conversation, on) => {
                watches::conversation(call, id, &conversation, on)?;
                ServiceResponse::Done
            }
            ServiceRequest::WatchActor(actor, on) => {
                watches::actor(call, id, &actor, on)?;
                ServiceResponse::Done
            }
            ServiceRequest::Publish(name, payload) => {
                events::publish(call, id, limits, name, payload)?;
                ServiceResponse::Done
            }
            ServiceRequest::EndSessions(actor, credential) => {
                sessions::end(call, &actor, credential)?;
                ServiceResponse::Done
            }
            ServiceRequest::Online(actors) => ServiceResponse::Flags(sessions::online(call, &self.host, &actors)?),
            ServiceRequest::Signal(actors, name, payload) => {
                if payload.len() > limits.value_bytes {
                    return Err(ServiceFailure::Invalid("the value is over `value_bytes`".to_owned()));
                }
                sessions::signal(call, id, &actors, &name, &payload)?;
                ServiceResponse::Done
            }
            ServiceRequest::SetTimer(name, at_ms, payload) => {
                check_timer(call, limits, &name, &payload)?;
                let timer = Timer {
                    name: &name,
                    at_ms,
                    payload: &payload,
                };
                set_timer(call, id, timer)?;
                ServiceResponse::Done
            }
            ServiceRequest::CancelTimer(name) => {
                check_timer(call, limits, &name, &[])?;
                ServiceResponse::Flags(vec![cancel_timer(call, id, &name)?])
            }
            ServiceRequest::AddJob(name, at_ms, payload) => {
                check_timer(call, limits, &name, &payload)?;
                let (store, bytes) = (call.draft.store(), name.len() + payload.len());
                // The jobs of all apps are in one queue.
                let range = || keys::jobs::due_before(id, u64::MAX);
                if !self.jobs.admit(store, &call.app, range, bytes, limits.quota_bytes) {
                    return Err(ServiceFailure::Quota);
                }
                add_job(call, id, &name, at_ms, payload);
                ServiceResponse::Done
            }
            ServiceRequest::Blob(blob) => ServiceResponse::Blobs(vec![blobs::get(call, id, &blob)?]),
            ServiceRequest::Blobs(after, limit) => {
                let limit = limit.min(limits.scan_entries) as usize;
                ServiceResponse::Blobs(blobs::list(call, id, &after, limit)?)
            }
            ServiceRequest::KeepBlob(blob) => {
                blobs::keep(call, id, &blob)?;
                ServiceResponse::Done
            }
            ServiceRequest::RemoveBlob(blob) => {
                blobs::remove(call, id, &blob)?;
                ServiceResponse::Done
            }
            ServiceRequest::IsMember(conversation, actor) => {
                ServiceResponse::Flags(vec![conversations::is_member(call, &conversation, &actor)?])
            }
            // Handled before this: they need no call, belong to the action lane, or change the call as a whole.
            ServiceRequest::Transact(..)
            | ServiceRequest::ReadBlob(..)
            | ServiceRequest::WriteBlob { .. }
            | ServiceRequest::Fetch(_)
            | ServiceRequest::Secret(_)
            | ServiceRequest::Count(..)
            | ServiceRequest::Observe(..)
            | ServiceRequest::Call(..)
            | ServiceRequest::Log(..)
            | ServiceRequest::NowMs
            | ServiceRequest::Random(_) => {
                return Err(ServiceFailure::Unavailable);
            }
        })
    }

    fn call_method(
        &self,
        call: Box<Call>,
        method: &str,
        params: &[u8],
    ) -> (Box<Call>, Result<ServiceResponse, ServiceFailure>) {
        let Some(hooks) = self.host.hooks.upgrade() else {
            return (call, Err(ServiceFailure::Unavailable));
        };
        let Ok(params) = std::str::from_utf8(params) else {
            return (
                call,
                Err(ServiceFailure::Invalid("the parameters are not UTF-8".to_owned())),
            );
        };
        if call.access != StoreAccess::Write {
            return (call, Err(ServiceFailure::Unavailable));
        }
        let (call, outcome) = hooks.call_between(call, &self.id, method, params);
        let called = outcome.map(Vec::from).map_err(sdk_error);
        (call, Ok(ServiceResponse::Called(called)))
    }
}

/// Converts the error of another plugin for the calling plugin.
fn sdk_error(error: RequestError) -> sdk::Error {
    sdk::Error {
        code: error.code.into_owned(),
        message: error.message.into_owned(),
        retry: error.retry,
    }
}

/// Whether a text is a name for signals and events.
fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn check_timer(call: &Call, limits: &ServiceLimits, name: &str, payload: &[u8]) -> Result<(), ServiceFailure> {
    if call.access != StoreAccess::Write {
        return Err(ServiceFailure::Unavailable);
    }
    let fits = (1..=limits.key_bytes).contains(&name.len()) && payload.len() <= limits.value_bytes;
    if fits { Ok(()) } else { Err(ServiceFailure::TooLarge) }
}

fn opened(opened: OwnedConversation) -> ServiceResponse {
    ServiceResponse::Conversation(sdk::Conversation {
        id: opened.id.to_string(),
        kind: opened.kind,
        members: opened.members,
    })
}
