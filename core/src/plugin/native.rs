//! A plugin in the host's own process behind [`Guest`].
//!
//! It is trusted: nothing ends it when it takes too long, and its memory is the host's. A panic ends the call alone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bytes::Bytes;
use courtyard_plugin_sdk::native::{self, Native, Services, Started};
use courtyard_plugin_sdk::{self as sdk, ServiceError};
use rand::RngCore;

use super::state::Shared;
use super::wasm::joined;
use super::{PluginLimits, StartError};
use crate::hooks::{Answer, Call, Caller, Failure, Guest, Identity, Message, PluginError, SessionEnd, Verdict};
use crate::services::{ConversationsError, KvError, Level, Opened, conversations, kv, now_ms};

/// Quick calls in a row until a slow plugin counts as quick again.
const QUICK_AGAIN: u32 = 100;

/// A started plugin.
pub(super) struct NativePlugin {
    started: Box<dyn Started>,
    shared: Arc<Shared>,
    limits: PluginLimits,
    /// What it declared and was granted.
    capabilities: Arc<[String]>,
    /// Counts down quick calls after a slow one.
    slow: AtomicU32,
}

/// What a plugin has of the host during one call.
struct Lent {
    /// None while it starts.
    call: Option<Box<Call>>,
    shared: Arc<Shared>,
    capabilities: Arc<[String]>,
    host_calls: u32,
    /// Why the call can't end well, whatever the plugin makes of it.
    cause: Option<Failure>,
}

impl Lent {
    fn new(call: Option<Box<Call>>, shared: &Arc<Shared>, capabilities: &Arc<[String]>) -> Self {
        Self {
            call,
            shared: shared.clone(),
            capabilities: capabilities.clone(),
            host_calls: 0,
            cause: None,
        }
    }

    fn count(&mut self) -> Result<(), ServiceError> {
        self.host_calls += 1;
        if self.host_calls > self.shared.limits.host_calls {
            self.cause = Some(Failure::Limit("host calls"));
            return Err(ServiceError::Unavailable);
        }
        Ok(())
    }

    /// Uses a capability in the call.
    fn with<T, E>(
        &mut self,
        capability: &str,
        ask: impl FnOnce(&mut Call, &Shared) -> Result<T, E>,
    ) -> Result<T, ServiceError>
    where
        E: Into<Refusal>,
    {
        self.count()?;
        let granted = self.capabilities.iter().any(|granted| granted == capability);
        let Some(call) = self.call.as_mut().filter(|_| granted) else {
            return Err(ServiceError::Unavailable);
        };
        ask(call, &self.shared).map_err(|error| match error.into() {
            Refusal::Service(error) => error,
            Refusal::Store(reason) => {
                self.cause = Some(Failure::Store(reason));
                ServiceError::Unavailable
            }
        })
    }
}

/// What the plugin is told, or why the call can't go on.
enum Refusal {
    Service(ServiceError),
    Store(String),
}

impl From<KvError> for Refusal {
    fn from(error: KvError) -> Self {
        match error {
            KvError::TooLarge => Self::Service(ServiceError::TooLarge),
            KvError::Unavailable => Self::Service(ServiceError::Unavailable),
            KvError::Store(error) => Self::Store(error.to_string()),
        }
    }
}

impl From<ConversationsError> for Refusal {
    fn from(error: ConversationsError) -> Self {
        match error {
            ConversationsError::NotFound => Self::Service(ServiceError::NotFound),
            ConversationsError::Invalid(reason) => Self::Service(ServiceError::Invalid(reason)),
            ConversationsError::Unavailable => Self::Service(ServiceError::Unavailable),
            ConversationsError::Log(error) => Self::Store(error.to_string()),
        }
    }
}

fn conversation(opened: Opened) -> sdk::Conversation {
    sdk::Conversation {
        id: opened.id.to_string(),
        kind: opened.kind,
        members: opened.members,
    }
}

impl Services for Lent {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ServiceError> {
        let value = self.with("kv", |call, shared| kv::get(call, &shared.id, &shared.limits, key))?;
        Ok(value.map(Vec::from))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), ServiceError> {
        let value = Some(value.to_vec());
        self.with("kv", |call, shared| {
            kv::set(call, &shared.id, &shared.limits, key, value)
        })
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), ServiceError> {
        self.with("kv", |call, shared| {
            kv::set(call, &shared.id, &shared.limits, key, None)
        })
    }

    fn scan(&mut self, start: &[u8], end: &[u8], limit: u32, reverse: bool) -> Result<sdk::Entries, ServiceError> {
        let found = self.with("kv", |call, shared| {
            kv::scan(call, &shared.id, &shared.limits, (start, end), limit, reverse)
        })?;
        Ok(found
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect())
    }

    fn open(&mut self, address: &str, kind: &str, members: &[String]) -> Result<sdk::Conversation, ServiceError> {
        let opened = self.with("conversations", |call, shared| {
            conversations::open(call, &shared.id, address, kind, members.to_vec())
        });
        opened.map(conversation)
    }

    fn find(&mut self, address: &str) -> Result<sdk::Conversation, ServiceError> {
        let found = self.with("conversations", |call, shared| {
            conversations::find(call, &shared.id, address)
        });
        found.map(conversation)
    }

    fn end(&mut self, actor: &str, credential: Option<&str>) {
        // An id that no actor can have has no sessions, and a plugin without the capability ends none.
        let _ = self.with("sessions", |call, _| {
            if let Ok(actor) = actor.parse() {
                let credential = credential.map(str::to_owned);
                call.ends.push(SessionEnd { actor, credential });
            }
            Ok::<_, KvError>(())
        });
    }

    fn log(&mut self, level: sdk::Level, text: &str) {
        let level = match level {
            sdk::Level::Error => Level::Error,
            sdk::Level::Warn => Level::Warn,
            sdk::Level::Info => Level::Info,
            sdk::Level::Debug => Level::Debug,
        };
        self.shared.log.write(&self.shared.id, &self.shared.limits, level, text);
    }

    fn now_ms(&mut self) -> u64 {
        now_ms()
    }

    fn random(&mut self, count: u32) -> Vec<u8> {
        let mut bytes = vec![0; count.min(1_024) as usize];
        rand::rngs::ThreadRng::default().fill_bytes(&mut bytes);
        bytes
    }
}

impl NativePlugin {
    pub(super) fn start(
        source: &dyn Native,
        shared: Arc<Shared>,
        configuration: &str,
        capabilities: Vec<String>,
        limits: PluginLimits,
    ) -> Result<Self, StartError> {
        let capabilities: Arc<[String]> = capabilities.into();
        let lent = Lent::new(None, &shared, &capabilities);
        let started = match native::enter(lent, || source.start(configuration)).1 {
            Ok(Ok(started)) => started,
            Ok(Err(error)) => {
                return Err(StartError::Refused {
                    code: error.code,
                    message: error.message,
                });
            }
            Err(panicked) => return Err(StartError::Failed(Failure::Trap(panicked.0))),
        };
        Ok(Self {
            started,
            shared,
            limits,
            capabilities,
            slow: AtomicU32::new(0),
        })
    }

    fn enter<T>(&self, call: Box<Call>, work: impl FnOnce(&dyn Started) -> T) -> Answer<T> {
        let (app, origin, store) = (call.app.clone(), call.origin, call.draft.store().clone());
        let begun = Instant::now();
        let lent = Lent::new(Some(call), &self.shared, &self.capabilities);
        let (lent, outcome) = native::enter(lent, || work(&*self.started));
        if begun.elapsed() >= self.limits.hook {
            self.slow.store(QUICK_AGAIN, Ordering::Relaxed);
        } else if self.slow.load(Ordering::Relaxed) > 0 {
            let less = |slow: u32| slow.checked_sub(1);
            let _ = self.slow.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        let (call, cause) = lent.map_or((None, None), |lent| (lent.call, lent.cause));
        // The lent services come back from each call; a new one stands in if that should ever break.
        let call =
            call.unwrap_or_else(|| Call::new(app, crate::hooks::Access::None, origin, crate::log::Draft::new(store)));
        match (outcome, cause) {
            (_, Some(cause)) => (call, Err(cause)),
            (Ok(value), None) => (call, Ok(value)),
            (Err(panicked), None) => (call, Err(Failure::Trap(panicked.0))),
        }
    }

    fn sized(&self, bytes: Vec<u8>) -> Result<Bytes, Failure> {
        if bytes.len() > self.limits.result_bytes {
            Err(Failure::Limit("result bytes"))
        } else {
            Ok(bytes.into())
        }
    }
}

fn plugin_error(error: sdk::Error) -> PluginError {
    PluginError {
        code: error.code,
        message: error.message,
        retry: error.retry,
    }
}

impl Guest for NativePlugin {
    fn authenticate(&self, call: Box<Call>, token: &str) -> Answer<Result<Option<Identity>, PluginError>> {
        let app = call.app.clone();
        let (call, answer) = self.enter(call, |plugin| {
            plugin.authenticate(&sdk::Context::default(), app.as_str(), token)
        });
        let identity = answer.and_then(|answer| match answer {
            Ok(None) => Ok(Ok(None)),
            Ok(Some(identity)) => match identity.actor.parse() {
                Ok(actor) => Ok(Ok(Some(Identity {
                    actor,
                    credential: identity.credential,
                    expires_at_ms: identity.expires_at_ms,
                }))),
                Err(error) => Err(Failure::Contract(error.to_string())),
            },
            Err(error) => Ok(Err(plugin_error(error))),
        });
        (call, identity)
    }

    fn before_send(&self, call: Box<Call>, message: &Message<'_>) -> Answer<Verdict> {
        let (bytes, ends) = joined(message);
        let (call, verdict) = self.enter(call, |plugin| {
            let message = sdk::Message::new(&bytes, ends, message.seq, message.time_ms);
            plugin.before_send(&sdk::Context::default(), &message)
        });
        let verdict = verdict.and_then(|verdict| match verdict {
            sdk::Verdict::Accept => Ok(Verdict::Accept),
            sdk::Verdict::Replace(content) => self.sized(content).map(Verdict::Replace),
            sdk::Verdict::Reject(error) => Ok(Verdict::Reject(plugin_error(error))),
        });
        (call, verdict)
    }

    fn after_send(&self, call: Box<Call>, message: &Message<'_>) -> Answer<Result<(), PluginError>> {
        let (bytes, ends) = joined(message);
        let (call, outcome) = self.enter(call, |plugin| {
            let message = sdk::Message::new(&bytes, ends, message.seq, message.time_ms);
            plugin.after_send(&sdk::Context::default(), &message)
        });
        (call, outcome.map(|outcome| outcome.map_err(plugin_error)))
    }

    fn render(
        &self,
        call: Box<Call>,
        viewer: &str,
        messages: &[Message<'_>],
    ) -> Answer<Result<Vec<Option<Bytes>>, PluginError>> {
        let packed: Vec<_> = messages.iter().map(joined).collect();
        let views: Vec<sdk::Message<'_>> = packed
            .iter()
            .zip(messages)
            .map(|((bytes, ends), message)| sdk::Message::new(bytes, *ends, message.seq, message.time_ms))
            .collect();
        let (call, answer) = self.enter(call, |plugin| plugin.render(&sdk::Context::default(), viewer, &views));
        let contents = answer.and_then(|answer| match answer {
            Ok(contents) => {
                let sized = contents
                    .into_iter()
                    .map(|content| content.map(|bytes| self.sized(bytes)).transpose());
                Ok(Ok(sized.collect::<Result<_, _>>()?))
            }
            Err(error) => Ok(Err(plugin_error(error))),
        });
        (call, contents)
    }

    fn call(
        &self,
        call: Box<Call>,
        caller: Caller<'_>,
        method: &str,
        params: &str,
    ) -> Answer<Result<Bytes, PluginError>> {
        let cx = sdk::Context {
            caller: sdk::Caller {
                app: call.app.as_str().to_owned(),
                actor: caller.actor.to_owned(),
                device: caller.device.to_owned(),
                credential: caller.credential.to_owned(),
            },
        };
        let (call, answer) = self.enter(call, |plugin| plugin.call(&cx, method, params.as_bytes()));
        let value = answer.and_then(|answer| match answer {
            Ok(json) => self.sized(json).map(Ok),
            Err(error) => Ok(Err(plugin_error(error))),
        });
        (call, value)
    }

    fn migrate(&self, call: Box<Call>, from: &str) -> Answer<Result<(), PluginError>> {
        let (call, outcome) = self.enter(call, |plugin| plugin.migrate(&sdk::Context::default(), from));
        (call, outcome.map(|outcome| outcome.map_err(plugin_error)))
    }

    fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed) > 0
    }
}

impl fmt::Debug for NativePlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativePlugin")
            .field("id", &self.shared.id)
            .finish_non_exhaustive()
    }
}
