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

use crate::service::{Conversation, Entries, Level};
use crate::{Context, Error, Identity, Message, Registered, ServiceError, Verdict};

/// What a host does for a plugin during one call. See the types of the crate for what each is.
#[allow(missing_docs, reason = "each is the service of that name")]
pub trait Services: Any {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ServiceError>;
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), ServiceError>;
    fn delete(&mut self, key: &[u8]) -> Result<(), ServiceError>;
    fn scan(&mut self, start: &[u8], end: &[u8], limit: u32, reverse: bool) -> Result<Entries, ServiceError>;
    fn open(&mut self, address: &str, kind: &str, members: &[String]) -> Result<Conversation, ServiceError>;
    fn find(&mut self, address: &str) -> Result<Conversation, ServiceError>;
    fn end(&mut self, actor: &str, credential: Option<&str>);
    fn log(&mut self, level: Level, text: &str);
    fn now_ms(&mut self) -> u64;
    fn random(&mut self, count: u32) -> Vec<u8>;
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

/// A plugin that was started, of whatever type. Its functions are those of [`Plugin`](crate::Plugin).
#[allow(missing_docs, reason = "each is the function of that name of `Plugin`")]
pub trait Started: Send + Sync {
    fn migrate(&self, cx: &Context, from: &str) -> Result<(), Error>;
    fn authenticate(&self, cx: &Context, app: &str, token: &str) -> Result<Option<Identity>, Error>;
    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict;
    fn after_send(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error>;
    fn render(&self, cx: &Context, viewer: &str, messages: &[Message<'_>]) -> Result<Vec<Option<Vec<u8>>>, Error>;
    fn call(&self, cx: &Context, name: &str, params: &[u8]) -> Result<Vec<u8>, Error>;
}

/// Keeps the started plugin, alone or with others that start the same value.
struct Running<P>(Arc<P>);

impl<P: Registered> Started for Running<P> {
    fn migrate(&self, cx: &Context, from: &str) -> Result<(), Error> {
        self.0.migrate(cx, from)
    }

    fn authenticate(&self, cx: &Context, app: &str, token: &str) -> Result<Option<Identity>, Error> {
        self.0.authenticate(cx, app, token)
    }

    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        self.0.before_send(cx, message)
    }

    fn after_send(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        self.0.after_send(cx, message)
    }

    fn render(&self, cx: &Context, viewer: &str, messages: &[Message<'_>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.0.render(cx, viewer, messages)
    }

    fn call(&self, cx: &Context, name: &str, params: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.call(cx, name, params)
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

/// The services of the host that entered the plugin.
pub(crate) mod service {
    use super::CURRENT;
    use crate::ServiceError;
    use crate::service::{Conversation, Entries, Level};

    fn with<T>(ask: impl FnOnce(&mut dyn super::Services) -> T) -> Option<T> {
        CURRENT.with_borrow_mut(|current| current.as_deref_mut().map(ask))
    }

    pub(crate) fn get(key: &[u8]) -> Result<Option<Vec<u8>>, ServiceError> {
        with(|host| host.get(key)).unwrap_or(Err(ServiceError::Unavailable))
    }

    pub(crate) fn set(key: &[u8], value: &[u8]) -> Result<(), ServiceError> {
        with(|host| host.set(key, value)).unwrap_or(Err(ServiceError::Unavailable))
    }

    pub(crate) fn delete(key: &[u8]) -> Result<(), ServiceError> {
        with(|host| host.delete(key)).unwrap_or(Err(ServiceError::Unavailable))
    }

    pub(crate) fn scan(start: &[u8], end: &[u8], limit: u32, reverse: bool) -> Result<Entries, ServiceError> {
        with(|host| host.scan(start, end, limit, reverse)).unwrap_or(Err(ServiceError::Unavailable))
    }

    pub(crate) fn open(address: &str, kind: &str, members: &[String]) -> Result<Conversation, ServiceError> {
        with(|host| host.open(address, kind, members)).unwrap_or(Err(ServiceError::Unavailable))
    }

    pub(crate) fn find(address: &str) -> Result<Conversation, ServiceError> {
        with(|host| host.find(address)).unwrap_or(Err(ServiceError::Unavailable))
    }

    pub(crate) fn end(actor: &str, credential: Option<&str>) {
        // Without a host there are no sessions to end.
        let _ = with(|host| host.end(actor, credential));
    }

    pub(crate) fn log(level: Level, text: &str) {
        let _ = with(|host| host.log(level, text));
    }

    pub(crate) fn now_ms() -> u64 {
        with(|host| host.now_ms()).unwrap_or_default()
    }

    pub(crate) fn random(count: u32) -> Vec<u8> {
        with(|host| host.random(count)).unwrap_or_default()
    }
}
