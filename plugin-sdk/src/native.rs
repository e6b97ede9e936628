//! A plugin inside the host's own process: a value of an embedding service, a native library, or a test.
//!
//! Services are those of the host that entered the plugin on this thread. On a thread of its own a plugin has none: they
//! fail as unavailable.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::hook::{self, Reply, Request};
use crate::request::{ServiceRequest, ServiceResult};
use crate::{Context, Error, Registered, ServiceError};

/// The services of a host for a plugin during one call.
pub trait Services: Any {
    /// Runs a service.
    ///
    /// # Errors
    /// If the plugin may not use the service now, or an argument breaks a limit.
    fn handle(&mut self, request: ServiceRequest) -> ServiceResult;
}

thread_local! {
    static CURRENT: RefCell<Option<Box<dyn Services>>> = const { RefCell::new(None) };
}

/// The message of a plugin's panic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PluginPanic(pub String);

/// Provides services to the plugin while `work` runs on this thread, and returns them.
///
/// # Errors
/// If the plugin panics.
pub fn enter<S: Services, T>(services: S, work: impl FnOnce() -> T) -> (Option<S>, Result<T, PluginPanic>) {
    let outer = CURRENT.replace(Some(Box::new(services)));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let services = CURRENT.replace(outer);
    let services = services.and_then(|services| (services as Box<dyn Any>).downcast::<S>().ok());
    let message = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        PluginPanic(
            text.or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default(),
        )
    };
    (services.map(|services| *services), outcome.map_err(message))
}

/// A plugin of any type that can be started.
pub trait Native: Send + Sync + fmt::Debug {
    /// Returns the manifest, JSON.
    fn manifest(&self) -> &str;

    /// Starts it with a configuration, a JSON object.
    ///
    /// # Errors
    /// If the plugin rejects the configuration.
    fn start(&self, configuration: &str) -> Result<Box<dyn Started>, Error>;
}

/// A started plugin of any type.
pub trait Started: Send + Sync {
    /// Calls the function that a request names.
    fn serve(&self, cx: &Context, request: &Request) -> Reply;
}

/// A started plugin. Several of them share one value if the host starts the same value several times.
struct SharedPlugin<P>(Arc<P>);

impl<P: Registered> Started for SharedPlugin<P> {
    fn serve(&self, cx: &Context, request: &Request) -> Reply {
        hook::serve(&*self.0, cx, request)
    }
}

/// Starts plugins of a type, or returns one value.
struct PluginSource<P> {
    value: Option<Arc<P>>,
}

impl<P: Registered> Native for PluginSource<P> {
    fn manifest(&self) -> &str {
        P::MANIFEST
    }

    fn start(&self, configuration: &str) -> Result<Box<dyn Started>, Error> {
        let plugin = match &self.value {
            Some(value) => value.clone(),
            None => Arc::new(P::start(configuration)?),
        };
        Ok(Box::new(SharedPlugin(plugin)))
    }
}

impl<P> fmt::Debug for PluginSource<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Native({})", std::any::type_name::<P>())
    }
}

/// Returns a plugin of a type. The host starts it with the operator's configuration.
#[must_use]
pub fn of<P: Registered>() -> Arc<dyn Native> {
    Arc::new(PluginSource::<P> { value: None })
}

/// Returns a plugin of a value, which may refer to any part of the embedding service. The host doesn't call `start`, and
/// ignores its configuration.
#[must_use]
pub fn value<P: Registered>(plugin: P) -> Arc<dyn Native> {
    Arc::new(PluginSource {
        value: Some(Arc::new(plugin)),
    })
}

/// Sends a request to the host that entered the plugin on this thread.
pub(crate) fn send(request: ServiceRequest) -> ServiceResult {
    // Removed during the call: to answer, a host may enter another plugin on this thread.
    let Some(mut services) = CURRENT.take() else {
        return Err(ServiceError::Unavailable);
    };
    let result = services.handle(request);
    CURRENT.set(Some(services));
    result
}

/// The services as functions.
pub(crate) mod service {
    use super::send;
    use crate::request::{ServiceRequest, ServiceResponse};
    use crate::service::{Conversation, Entries, Level, StoredMessage};
    use crate::{Blob, Error, FetchRequest, HttpResponse, ServiceError};

    /// The error for a response of another service, which no host sends.
    const OTHER: ServiceError = ServiceError::Unavailable;

    /// Converts the error of a service for jobs, as the contract defines it.
    fn outside_of_jobs(error: ServiceError) -> Error {
        match error {
            ServiceError::Unavailable => Error::new("unavailable", "This is for jobs only."),
            error => error.into(),
        }
    }

    fn done(request: ServiceRequest) -> Result<(), ServiceError> {
        send(request).map(drop)
    }

    fn conversation(request: ServiceRequest) -> Result<Conversation, ServiceError> {
        match send(request)? {
            ServiceResponse::Conversation(conversation) => Ok(conversation),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn get(key: &[u8]) -> Result<Option<Vec<u8>>, ServiceError> {
        match send(ServiceRequest::Get(key.to_vec()))? {
            ServiceResponse::Value(value) => Ok(value),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn set(key: &[u8], value: &[u8]) -> Result<(), ServiceError> {
        done(ServiceRequest::Set(key.to_vec(), value.to_vec()))
    }

    pub(crate) fn set_until(key: &[u8], value: &[u8], until_ms: u64) -> Result<(), ServiceError> {
        done(ServiceRequest::SetUntil(key.to_vec(), value.to_vec(), until_ms))
    }

    pub(crate) fn count(name: &str, more: u64) {
        let _ = send(ServiceRequest::Count(name.to_owned(), more));
    }

    pub(crate) fn observe(name: &str, value: f64) {
        let _ = send(ServiceRequest::Observe(name.to_owned(), value));
    }

    pub(crate) fn secret(name: &str) -> Option<String> {
        match send(ServiceRequest::Secret(name.to_owned())) {
            Ok(ServiceResponse::Text(text)) => text,
            _ => None,
        }
    }

    pub(crate) fn delete(key: &[u8]) -> Result<(), ServiceError> {
        done(ServiceRequest::Delete(key.to_vec()))
    }

    pub(crate) fn scan(start: &[u8], end: &[u8], limit: u32, reverse: bool) -> Result<Entries, ServiceError> {
        match send(ServiceRequest::Scan(start.to_vec(), end.to_vec(), limit, reverse))? {
            ServiceResponse::Entries(entries) => Ok(entries),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn open(address: &str, kind: &str, members: &[String]) -> Result<Conversation, ServiceError> {
        conversation(ServiceRequest::Open(
            address.to_owned(),
            kind.to_owned(),
            members.to_vec(),
        ))
    }

    pub(crate) fn find(address: &str) -> Result<Conversation, ServiceError> {
        conversation(ServiceRequest::Find(address.to_owned()))
    }

    pub(crate) fn conversation_of(id: &str) -> Result<Conversation, ServiceError> {
        conversation(ServiceRequest::Conversation(id.to_owned()))
    }

    pub(crate) fn add_members(id: &str, members: &[String]) -> Result<(), ServiceError> {
        done(ServiceRequest::AddMembers(id.to_owned(), members.to_vec()))
    }

    pub(crate) fn remove_members(id: &str, members: &[String]) -> Result<(), ServiceError> {
        done(ServiceRequest::RemoveMembers(id.to_owned(), members.to_vec()))
    }

    pub(crate) fn append(conversation: &str, sender: &str, kind: &str, content: &[u8]) -> Result<(), ServiceError> {
        done(ServiceRequest::Append {
            conversation: conversation.to_owned(),
            sender: sender.to_owned(),
            kind: kind.to_owned(),
            content: content.to_vec(),
        })
    }

    pub(crate) fn read(id: &str, after: u64, limit: u32) -> Result<Vec<StoredMessage>, ServiceError> {
        match send(ServiceRequest::Read(id.to_owned(), after, limit))? {
            ServiceResponse::Messages(messages) => Ok(messages),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn recall(id: &str, seq: u64, actor: &str) -> Result<(), ServiceError> {
        done(ServiceRequest::Recall(id.to_owned(), seq, actor.to_owned()))
    }

    pub(crate) fn is_member(conversation: &str, actor: &str) -> Result<bool, ServiceError> {
        match send(ServiceRequest::IsMember(conversation.to_owned(), actor.to_owned()))? {
            ServiceResponse::Flags(flags) => Ok(flags.first() == Some(&true)),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn annotate(conversation: &str, seq: u64, name: &str, value: &[u8]) -> Result<(), ServiceError> {
        done(ServiceRequest::Annotate(
            conversation.to_owned(),
            seq,
            name.to_owned(),
            value.to_vec(),
        ))
    }

    pub(crate) fn watch_conversation(id: &str, on: bool) -> Result<(), ServiceError> {
        done(ServiceRequest::WatchConversation(id.to_owned(), on))
    }

    pub(crate) fn watch_actor(actor: &str, on: bool) -> Result<(), ServiceError> {
        done(ServiceRequest::WatchActor(actor.to_owned(), on))
    }

    pub(crate) fn publish(name: &str, payload: &[u8]) -> Result<(), ServiceError> {
        done(ServiceRequest::Publish(name.to_owned(), payload.to_vec()))
    }

    pub(crate) fn add_job(name: &str, at_ms: u64, payload: &[u8]) -> Result<(), ServiceError> {
        done(ServiceRequest::AddJob(name.to_owned(), at_ms, payload.to_vec()))
    }

    pub(crate) fn transact(name: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        match send(ServiceRequest::Transact(name.to_owned(), payload.to_vec())) {
            Ok(ServiceResponse::Called(called)) => called,
            Ok(_) => Err(OTHER.into()),
            Err(error) => Err(outside_of_jobs(error)),
        }
    }

    pub(crate) fn fetch(request: &FetchRequest) -> Result<HttpResponse, Error> {
        match send(ServiceRequest::Fetch(request.clone())) {
            Ok(ServiceResponse::Fetched(fetched)) => fetched,
            Ok(_) => Err(OTHER.into()),
            Err(error) => Err(outside_of_jobs(error)),
        }
    }

    pub(crate) fn blob(id: &str) -> Result<Blob, ServiceError> {
        match send(ServiceRequest::Blob(id.to_owned()))? {
            ServiceResponse::Blobs(blobs) => blobs.into_iter().next().ok_or(OTHER),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn blobs(after: &str, limit: u32) -> Result<Vec<Blob>, ServiceError> {
        match send(ServiceRequest::Blobs(after.to_owned(), limit))? {
            ServiceResponse::Blobs(blobs) => Ok(blobs),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn keep_blob(id: &str) -> Result<(), ServiceError> {
        done(ServiceRequest::KeepBlob(id.to_owned()))
    }

    pub(crate) fn remove_blob(id: &str) -> Result<(), ServiceError> {
        done(ServiceRequest::RemoveBlob(id.to_owned()))
    }

    pub(crate) fn read_blob(id: &str, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        match send(ServiceRequest::ReadBlob(id.to_owned(), offset, length)) {
            Ok(ServiceResponse::Called(read)) => read,
            Ok(_) => Err(OTHER.into()),
            Err(error) => Err(outside_of_jobs(error)),
        }
    }

    pub(crate) fn write_blob(name: &str, media_type: &str, conversation: &str, bytes: &[u8]) -> Result<String, Error> {
        let request = ServiceRequest::WriteBlob {
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            conversation: conversation.to_owned(),
            bytes: bytes.to_vec(),
        };
        match send(request) {
            Ok(ServiceResponse::Wrote(wrote)) => wrote,
            Ok(_) => Err(OTHER.into()),
            Err(error) => Err(outside_of_jobs(error)),
        }
    }

    pub(crate) fn end(actor: &str, credential: Option<&str>) {
        // Without a host no session exists.
        let _ = send(ServiceRequest::EndSessions(
            actor.to_owned(),
            credential.map(str::to_owned),
        ));
    }

    pub(crate) fn online(actors: &[String]) -> Vec<bool> {
        match send(ServiceRequest::Online(actors.to_vec())) {
            Ok(ServiceResponse::Flags(flags)) => flags,
            _ => vec![false; actors.len()],
        }
    }

    pub(crate) fn signal(actors: &[String], name: &str, payload: &[u8]) -> Result<(), ServiceError> {
        done(ServiceRequest::Signal(
            actors.to_vec(),
            name.to_owned(),
            payload.to_vec(),
        ))
    }

    pub(crate) fn call(method: &str, params: &[u8]) -> Result<Vec<u8>, Error> {
        match send(ServiceRequest::Call(method.to_owned(), params.to_vec())) {
            Ok(ServiceResponse::Called(called)) => called,
            Ok(_) => Err(OTHER.into()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn set_timer(name: &str, at_ms: u64, payload: &[u8]) -> Result<(), ServiceError> {
        done(ServiceRequest::SetTimer(name.to_owned(), at_ms, payload.to_vec()))
    }

    pub(crate) fn cancel_timer(name: &str) -> Result<bool, ServiceError> {
        match send(ServiceRequest::CancelTimer(name.to_owned()))? {
            ServiceResponse::Flags(flags) => Ok(flags.first() == Some(&true)),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn log(level: Level, text: &str) {
        let _ = send(ServiceRequest::Log(level, text.to_owned()));
    }

    pub(crate) fn now_ms() -> u64 {
        match send(ServiceRequest::NowMs) {
            Ok(ServiceResponse::NowMs(now)) => now,
            _ => 0,
        }
    }

    pub(crate) fn random(count: u32) -> Vec<u8> {
        match send(ServiceRequest::Random(count)) {
            Ok(ServiceResponse::Bytes(bytes)) => bytes,
            _ => Vec::new(),
        }
    }
}
