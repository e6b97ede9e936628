//! A plugin in the host's own process behind [`Guest`].
//!
//! It is trusted: nothing ends it when it takes too long, and its memory is the host's. A panic ends the call alone.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use courtyard_plugin_sdk::ask::{Answered, Ask};
use courtyard_plugin_sdk::native::{self, Native, Services, Started};
use courtyard_plugin_sdk::{self as sdk, ServiceError};

use super::answers::{self, Pace};
use super::state::Shared;
use super::wasm::joined;
use super::{PluginLimits, StartError};
use crate::hooks::{Answer, Call, Caller, Failure, Guest, Identity, Message, PluginError, SessionChange, Verdict};
use crate::services::told;

/// A started plugin.
pub(super) struct NativePlugin {
    started: Box<dyn Started>,
    shared: Arc<Shared>,
    limits: PluginLimits,
    /// What it declared and was granted.
    capabilities: Arc<[String]>,
    pace: Pace,
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

    fn end(&mut self, cause: Failure) -> ServiceError {
        self.cause = Some(cause);
        ServiceError::Unavailable
    }
}

impl Services for Lent {
    fn ask(&mut self, ask: Ask) -> Answered {
        let asker = &self.shared.asker;
        self.host_calls += 1;
        if self.host_calls > asker.limits.host_calls {
            return Err(self.end(Failure::Limit("host calls")));
        }
        let granted = |wanted: &str| self.capabilities.iter().any(|granted| granted == wanted);
        if !ask.capability().is_none_or(granted) {
            return Err(ServiceError::Unavailable);
        }
        let (call, answer) = asker.answer(self.call.take(), ask);
        self.call = call;
        answer.map_err(|refused| match told(refused) {
            Ok(error) => error,
            Err(reason) => self.end(Failure::Store(reason)),
        })
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
            pace: Pace::default(),
        })
    }

    fn enter<T>(&self, call: Box<Call>, work: impl FnOnce(&dyn Started) -> T) -> Answer<T> {
        let (app, store) = (call.app.clone(), call.draft.store().clone());
        let begun = Instant::now();
        let lent = Lent::new(Some(call), &self.shared, &self.capabilities);
        let (lent, outcome) = native::enter(lent, || work(&*self.started));
        self.pace.note(begun.elapsed() >= self.limits.hook);
        let (call, cause) = lent.map_or((None, None), |lent| (lent.call, lent.cause));
        // The lent services come back from each call; a new one stands in if that should ever break.
        let call = call.unwrap_or_else(|| Call::new(app, crate::hooks::Access::None, crate::log::Draft::new(store)));
        match (outcome, cause) {
            (_, Some(cause)) => (call, Err(cause)),
            (Ok(value), None) => (call, Ok(value)),
            (Err(panicked), None) => (call, Err(Failure::Trap(panicked.0))),
        }
    }
}

fn context(call: &Call, caller: Caller<'_>) -> sdk::Context {
    sdk::Context {
        caller: sdk::Caller {
            app: call.app.as_str().to_owned(),
            actor: caller.actor.to_owned(),
            device: caller.device.to_owned(),
            credential: caller.credential.to_owned(),
            plugin: caller.plugin.to_owned(),
        },
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
        let identity = answer.and_then(|answer| {
            let found = |identity: sdk::Identity| (identity.actor, identity.credential, identity.expires_at_ms);
            answers::identity(answer.map(|known| known.map(found)).map_err(plugin_error))
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
            sdk::Verdict::Replace(content) => answers::sized(content, self.limits.result_bytes).map(Verdict::Replace),
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
        let most = self.limits.result_bytes;
        let contents = answer.and_then(|answer| answers::contents(answer.map_err(plugin_error), most));
        (call, contents)
    }

    fn call(
        &self,
        call: Box<Call>,
        caller: Caller<'_>,
        method: &str,
        params: &str,
    ) -> Answer<Result<Bytes, PluginError>> {
        let cx = context(&call, caller);
        let (call, answer) = self.enter(call, |plugin| plugin.call(&cx, method, params.as_bytes()));
        let most = self.limits.result_bytes;
        let value = answer.and_then(|answer| answers::method_result(answer.map_err(plugin_error), most));
        (call, value)
    }

    fn migrate(&self, call: Box<Call>, from: &str) -> Answer<Result<(), PluginError>> {
        let (call, outcome) = self.enter(call, |plugin| plugin.migrate(&sdk::Context::default(), from));
        (call, outcome.map(|outcome| outcome.map_err(plugin_error)))
    }

    fn session(&self, call: Box<Call>, caller: Caller<'_>, change: SessionChange) -> Answer<()> {
        let cx = context(&call, caller);
        self.enter(call, |plugin| match change {
            SessionChange::Connected => plugin.connected(&cx),
            SessionChange::Disconnected => plugin.disconnected(&cx),
        })
    }

    fn timer(&self, call: Box<Call>, name: &str, payload: &[u8]) -> Answer<Result<(), PluginError>> {
        let (call, outcome) = self.enter(call, |plugin| plugin.timer(&sdk::Context::default(), name, payload));
        (call, outcome.map(|outcome| outcome.map_err(plugin_error)))
    }

    fn is_slow(&self) -> bool {
        self.pace.is_slow()
    }
}

impl fmt::Debug for NativePlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativePlugin")
            .field("id", &self.shared.asker.id)
            .finish_non_exhaustive()
    }
}
