//! A plugin inside the host's own process: as a value that an embedding service hands over, in a native library, or in
//! a test.
//!
//! Services are those of the host that entered the plugin on this thread. A plugin that asks for one on a thread of its
//! own finds none.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::ask::{Answered, Ask};
use crate::hook::{self, Reply, Request};
use crate::{Context, Error, Registered, ServiceError};

/// What a host does for a plugin during one call.
pub trait Services: Any {
    /// Answers.
    ///
    /// # Errors
    /// When the plugin may not ask for it now, or an argument breaks a limit.
    fn ask(&mut self, ask: Ask) -> Answered;
}

thread_local! {
    static CURRENT: RefCell<Option<Box<dyn Services>>> = const { RefCell::new(None) };
}

/// A plugin panicked; what it said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Panicked(pub String);

/// Lends services to the plugin while `work` runs on this thread, and takes them back.
///
/// # Errors
/// When the plugin panics.
pub fn enter<S: Services, T>(services: S, work: impl FnOnce() -> T) -> (Option<S>, Result<T, Panicked>) {
    let outer = CURRENT.replace(Some(Box::new(services)));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let services = CURRENT.replace(outer);
    let services = services.and_then(|services| (services as Box<dyn Any>).downcast::<S>().ok());
    let said = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Panicked(
            text.or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default(),
        )
    };
    (services.map(|services| *services), outcome.map_err(said))
}

/// A plugin that can be started, of whatever type.
pub trait Native: Send + Sync + fmt::Debug {
    /// Returns the manifest, JSON.
    fn manifest(&self) -> &str;

    /// Starts it with a configuration, a JSON object.
    ///
    /// # Errors
    /// When the plugin refuses it.
    fn start(&self, configuration: &str) -> Result<Box<dyn Started>, Error>;
}

/// A plugin that was started, of whatever type.
pub trait Started: Send + Sync {
    /// Answers what a host asks.
    fn serve(&self, cx: &Context, request: &Request) -> Reply;
}

/// Keeps the started plugin, alone or with others that start the same value.
struct Running<P>(Arc<P>);

impl<P: Registered> Started for Running<P> {
    fn serve(&self, cx: &Context, request: &Request) -> Reply {
        hook::serve(&*self.0, cx, request)
    }
}

/// Starts plugins of a type, or goes on with one value.
struct Source<P> {
    value: Option<Arc<P>>,
}

impl<P: Registered> Native for Source<P> {
    fn manifest(&self) -> &str {
        P::MANIFEST
    }

    fn start(&self, configuration: &str) -> Result<Box<dyn Started>, Error> {
        let plugin = match &self.value {
            Some(value) => value.clone(),
            None => Arc::new(P::start(configuration)?),
        };
        Ok(Box::new(Running(plugin)))
    }
}

impl<P> fmt::Debug for Source<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Native({})", std::any::type_name::<P>())
    }
}

/// Makes a plugin of a type: the host starts it with the operator's configuration.
#[must_use]
pub fn of<P: Registered>() -> Arc<dyn Native> {
    Arc::new(Source::<P> { value: None })
}

/// Makes a plugin of a value, which may hold whatever the embedding service wants it to reach. It is never started; a
/// configuration means nothing to it.
#[must_use]
pub fn value<P: Registered>(plugin: P) -> Arc<dyn Native> {
    Arc::new(Source {
        value: Some(Arc::new(plugin)),
    })
}

/// Asks the host that entered the plugin on this thread.
pub(crate) fn ask(ask: Ask) -> Answered {
    // Taken out meanwhile: a host may enter another plugin to answer.
    let Some(mut services) = CURRENT.take() else {
        return Err(ServiceError::Unavailable);
    };
    let answered = services.ask(ask);
    CURRENT.set(Some(services));
    answered
}

/// The services as functions.
pub(crate) mod service {
    use super::ask;
    use crate::ask::{Answer, Ask};
    use crate::service::{Conversation, Entries, Level, StoredMessage};
    use crate::{Blob, Error, FetchRequest, HttpResponse, ServiceError};

    /// A host answers what it was asked; anything else is as good as no answer.
    const OTHER: ServiceError = ServiceError::Unavailable;

    /// Tells what is for jobs only, as the contract has it.
    fn outside_of_jobs(error: ServiceError) -> Error {
        match error {
            ServiceError::Unavailable => Error::new("unavailable", "This is for jobs only."),
            error => error.into(),
        }
    }

    fn done(asked: Ask) -> Result<(), ServiceError> {
        ask(asked).map(drop)
    }

    fn conversation(asked: Ask) -> Result<Conversation, ServiceError> {
        match ask(asked)? {
            Answer::Conversation(conversation) => Ok(conversation),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn get(key: &[u8]) -> Result<Option<Vec<u8>>, ServiceError> {
        match ask(Ask::Get(key.to_vec()))? {
            Answer::Value(value) => Ok(value),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn set(key: &[u8], value: &[u8]) -> Result<(), ServiceError> {
        done(Ask::Set(key.to_vec(), value.to_vec()))
    }

    pub(crate) fn set_until(key: &[u8], value: &[u8], until_ms: u64) -> Result<(), ServiceError> {
        done(Ask::SetUntil(key.to_vec(), value.to_vec(), until_ms))
    }

    pub(crate) fn count(name: &str, more: u64) {
        let _ = ask(Ask::Count(name.to_owned(), more));
    }

    pub(crate) fn observe(name: &str, value: f64) {
        let _ = ask(Ask::Observe(name.to_owned(), value));
    }

    pub(crate) fn secret(name: &str) -> Option<String> {
        match ask(Ask::Secret(name.to_owned())) {
            Ok(Answer::Text(text)) => text,
            _ => None,
        }
    }

    pub(crate) fn delete(key: &[u8]) -> Result<(), ServiceError> {
        done(Ask::Delete(key.to_vec()))
    }

    pub(crate) fn scan(start: &[u8], end: &[u8], limit: u32, reverse: bool) -> Result<Entries, ServiceError> {
        match ask(Ask::Scan(start.to_vec(), end.to_vec(), limit, reverse))? {
            Answer::Entries(entries) => Ok(entries),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn open(address: &str, kind: &str, members: &[String]) -> Result<Conversation, ServiceError> {
        conversation(Ask::Open(address.to_owned(), kind.to_owned(), members.to_vec()))
    }

    pub(crate) fn find(address: &str) -> Result<Conversation, ServiceError> {
        conversation(Ask::Find(address.to_owned()))
    }

    pub(crate) fn conversation_of(id: &str) -> Result<Conversation, ServiceError> {
        conversation(Ask::Conversation(id.to_owned()))
    }

    pub(crate) fn add_members(id: &str, members: &[String]) -> Result<(), ServiceError> {
        done(Ask::AddMembers(id.to_owned(), members.to_vec()))
    }

    pub(crate) fn remove_members(id: &str, members: &[String]) -> Result<(), ServiceError> {
        done(Ask::RemoveMembers(id.to_owned(), members.to_vec()))
    }

    pub(crate) fn append(conversation: &str, sender: &str, kind: &str, content: &[u8]) -> Result<(), ServiceError> {
        done(Ask::Append {
            conversation: conversation.to_owned(),
            sender: sender.to_owned(),
            kind: kind.to_owned(),
            content: content.to_vec(),
        })
    }

    pub(crate) fn read(id: &str, after: u64, limit: u32) -> Result<Vec<StoredMessage>, ServiceError> {
        match ask(Ask::Read(id.to_owned(), after, limit))? {
            Answer::Messages(messages) => Ok(messages),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn recall(id: &str, seq: u64, actor: &str) -> Result<(), ServiceError> {
        done(Ask::Recall(id.to_owned(), seq, actor.to_owned()))
    }

    pub(crate) fn is_member(conversation: &str, actor: &str) -> Result<bool, ServiceError> {
        match ask(Ask::IsMember(conversation.to_owned(), actor.to_owned()))? {
            Answer::Flags(flags) => Ok(flags.first() == Some(&true)),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn annotate(conversation: &str, seq: u64, name: &str, value: &[u8]) -> Result<(), ServiceError> {
        done(Ask::Annotate(
            conversation.to_owned(),
            seq,
            name.to_owned(),
            value.to_vec(),
        ))
    }

    pub(crate) fn watch_conversation(id: &str, on: bool) -> Result<(), ServiceError> {
        done(Ask::WatchConversation(id.to_owned(), on))
    }

    pub(crate) fn watch_actor(actor: &str, on: bool) -> Result<(), ServiceError> {
        done(Ask::WatchActor(actor.to_owned(), on))
    }

    pub(crate) fn publish(name: &str, payload: &[u8]) -> Result<(), ServiceError> {
        done(Ask::Publish(name.to_owned(), payload.to_vec()))
    }

    pub(crate) fn add_job(name: &str, at_ms: u64, payload: &[u8]) -> Result<(), ServiceError> {
        done(Ask::AddJob(name.to_owned(), at_ms, payload.to_vec()))
    }

    pub(crate) fn transact(name: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        match ask(Ask::Transact(name.to_owned(), payload.to_vec())) {
            Ok(Answer::Called(called)) => called,
            Ok(_) => Err(OTHER.into()),
            Err(error) => Err(outside_of_jobs(error)),
        }
    }

    pub(crate) fn fetch(request: &FetchRequest) -> Result<HttpResponse, Error> {
        match ask(Ask::Fetch(request.clone())) {
            Ok(Answer::Fetched(fetched)) => fetched,
            Ok(_) => Err(OTHER.into()),
            Err(error) => Err(outside_of_jobs(error)),
        }
    }

    pub(crate) fn blob(id: &str) -> Result<Blob, ServiceError> {
        match ask(Ask::Blob(id.to_owned()))? {
            Answer::Blobs(blobs) => blobs.into_iter().next().ok_or(OTHER),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn blobs(after: &str, limit: u32) -> Result<Vec<Blob>, ServiceError> {
        match ask(Ask::Blobs(after.to_owned(), limit))? {
            Answer::Blobs(blobs) => Ok(blobs),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn keep_blob(id: &str) -> Result<(), ServiceError> {
        done(Ask::KeepBlob(id.to_owned()))
    }

    pub(crate) fn remove_blob(id: &str) -> Result<(), ServiceError> {
        done(Ask::RemoveBlob(id.to_owned()))
    }

    pub(crate) fn read_blob(id: &str, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        match ask(Ask::ReadBlob(id.to_owned(), offset, length)) {
            Ok(Answer::Called(read)) => read,
            Ok(_) => Err(OTHER.into()),
            Err(error) => Err(outside_of_jobs(error)),
        }
    }

    pub(crate) fn write_blob(name: &str, media_type: &str, conversation: &str, bytes: &[u8]) -> Result<String, Error> {
        let asked = Ask::WriteBlob {
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            conversation: conversation.to_owned(),
            bytes: bytes.to_vec(),
        };
        match ask(asked) {
            Ok(Answer::Wrote(wrote)) => wrote,
            Ok(_) => Err(OTHER.into()),
            Err(error) => Err(outside_of_jobs(error)),
        }
    }

    pub(crate) fn end(actor: &str, credential: Option<&str>) {
        // Without a host there are no sessions to end.
        let _ = ask(Ask::EndSessions(actor.to_owned(), credential.map(str::to_owned)));
    }

    pub(crate) fn online(actors: &[String]) -> Vec<bool> {
        match ask(Ask::Online(actors.to_vec())) {
            Ok(Answer::Flags(flags)) => flags,
            _ => vec![false; actors.len()],
        }
    }

    pub(crate) fn signal(actors: &[String], name: &str, payload: &[u8]) -> Result<(), ServiceError> {
        done(Ask::Signal(actors.to_vec(), name.to_owned(), payload.to_vec()))
    }

    pub(crate) fn call(method: &str, params: &[u8]) -> Result<Vec<u8>, Error> {
        match ask(Ask::Call(method.to_owned(), params.to_vec())) {
            Ok(Answer::Called(called)) => called,
            Ok(_) => Err(OTHER.into()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn set_timer(name: &str, at_ms: u64, payload: &[u8]) -> Result<(), ServiceError> {
        done(Ask::SetTimer(name.to_owned(), at_ms, payload.to_vec()))
    }

    pub(crate) fn cancel_timer(name: &str) -> Result<bool, ServiceError> {
        match ask(Ask::CancelTimer(name.to_owned()))? {
            Answer::Flags(flags) => Ok(flags.first() == Some(&true)),
            _ => Err(OTHER),
        }
    }

    pub(crate) fn log(level: Level, text: &str) {
        let _ = ask(Ask::Log(level, text.to_owned()));
    }

    pub(crate) fn now_ms() -> u64 {
        match ask(Ask::NowMs) {
            Ok(Answer::NowMs(now)) => now,
            _ => 0,
        }
    }

    pub(crate) fn random(count: u32) -> Vec<u8> {
        match ask(Ask::Random(count)) {
            Ok(Answer::Bytes(bytes)) => bytes,
            _ => Vec::new(),
        }
    }
}
