//! A plugin in the host's own process behind [`Guest`].
//!
//! It is trusted: nothing ends it when it takes too long, and its memory is the host's. A panic ends the call alone.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use courtyard_plugin_sdk::ask::{Answered, Ask};
use courtyard_plugin_sdk::hook::{Reply, Request};
use courtyard_plugin_sdk::native::{self, Native, Services, Started};
use courtyard_plugin_sdk::{self as sdk, ServiceError};

use super::answers::{self, Pace};
use super::state::Shared;
use super::{PluginLimits, StartError};
use crate::hooks::{Answer, Call, Failure, Guest};
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

impl Guest for NativePlugin {
    fn serve(&self, call: Box<Call>, request: Request) -> Answer<Reply> {
        let mut cx = sdk::Context::default();
        if request.names_caller() {
            cx.caller = call.caller();
        }
        let (call, reply) = self.enter(call, |plugin| plugin.serve(&cx, &request));
        (
            call,
            reply.and_then(|reply| answers::checked(reply, self.limits.result_bytes)),
        )
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
