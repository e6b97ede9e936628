//! A plugin in the host's own process behind [`Guest`].
//!
//! It is trusted: nothing ends it when it takes too long, and its memory is the host's. A panic ends the call alone.

mod library;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use courtyard_plugin_sdk::hook::{Reply, Request};
use courtyard_plugin_sdk::manifest::HookName;
use courtyard_plugin_sdk::native::{self, Native, Services, Started};
use courtyard_plugin_sdk::request::{ServiceRequest, ServiceResponse, ServiceResult};
use courtyard_plugin_sdk::{self as sdk, ServiceError};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

pub(super) use library::{is_library, open};

use crate::hooks::{Acting, Answer, Call, Failure, Guest, Transact};
use crate::plugin::output_limits::{self, SlowCalls};
use crate::plugin::{PluginLimits, StartError};
use crate::services::ServiceContext;

/// A started plugin.
pub(super) struct NativePlugin {
    started: Arc<dyn Started>,
    services: Arc<ServiceContext>,
    limits: PluginLimits,
    /// What it declared and was granted.
    capabilities: Arc<[String]>,
    slow_calls: SlowCalls,
    /// Places for jobs.
    places: Arc<Semaphore>,
}

/// What a plugin has of the host during one call.
struct CurrentCall {
    /// None while it starts, and in the action lane.
    call: Option<Box<Call>>,
    /// What carries out its transactions, in the action lane; and where its requests to other servers run.
    action: Option<(Arc<dyn Transact>, Handle)>,
    services: Arc<ServiceContext>,
    capabilities: Arc<[String]>,
    host_calls: u32,
    /// Why the call can't end well, whatever the plugin makes of it.
    cause: Option<Failure>,
}

impl CurrentCall {
    fn new(call: Option<Box<Call>>, services: &Arc<ServiceContext>, capabilities: &Arc<[String]>) -> Self {
        Self {
            call,
            action: None,
            services: services.clone(),
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

impl Services for CurrentCall {
    fn handle(&mut self, request: ServiceRequest) -> ServiceResult {
        let services = &self.services;
        self.host_calls += 1;
        if self.host_calls > services.limits.host_calls {
            return Err(self.end(Failure::Limit("host calls")));
        }
        let granted = |wanted: &str| self.capabilities.iter().any(|granted| granted == wanted);
        if !request.capability().is_none_or(granted) {
            return Err(ServiceError::Unavailable);
        }
        let request = match (request, &self.action) {
            (ServiceRequest::Transact(name, payload), Some((transact, _))) => {
                return Ok(ServiceResponse::Called(transact.transact(&name, &payload)));
            }
            (ServiceRequest::Fetch(request), Some((_, runtime))) => {
                return Ok(ServiceResponse::Fetched(runtime.block_on(services.fetch(request))));
            }
            (ServiceRequest::ReadBlob(id, offset, length), Some((transact, runtime))) => {
                let read = services.read_blob(transact.app(), &id, offset, length);
                return Ok(ServiceResponse::Called(runtime.block_on(read)));
            }
            (
                ServiceRequest::WriteBlob {
                    name,
                    media_type,
                    conversation,
                    bytes,
                },
                Some((transact, runtime)),
            ) => {
                let wrote = services.write_blob(transact.app(), name, media_type, &conversation, bytes);
                return Ok(ServiceResponse::Wrote(runtime.block_on(wrote)));
            }
            (request, _) => request,
        };
        let (call, answer) = services.answer(self.call.take(), request);
        self.call = call;
        answer.map_err(|failure| match failure.for_plugin() {
            Ok(error) => error,
            Err(reason) => self.end(Failure::Store(reason)),
        })
    }
}

impl NativePlugin {
    pub(super) fn start(
        source: &dyn Native,
        services: Arc<ServiceContext>,
        configuration: &str,
        capabilities: Vec<String>,
        limits: PluginLimits,
    ) -> Result<Self, StartError> {
        let capabilities: Arc<[String]> = capabilities.into();
        let lent = CurrentCall::new(None, &services, &capabilities);
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
            started: started.into(),
            places: Arc::new(Semaphore::new(limits.actions)),
            services,
            limits,
            capabilities,
            slow_calls: SlowCalls::default(),
        })
    }

    fn enter<T>(&self, call: Box<Call>, work: impl FnOnce(&dyn Started) -> T) -> Answer<T> {
        let (app, store) = (call.app.clone(), call.draft.store().clone());
        let lent = CurrentCall::new(Some(call), &self.services, &self.capabilities);
        let (lent, outcome) = native::enter(lent, || work(&*self.started));
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
        let begun = Instant::now();
        let (call, reply) = self.enter(call, |plugin| plugin.serve(&cx, &request));
        // Only this hook runs on threads that others wait for.
        if request.hook() == HookName::BeforeSend {
            self.slow_calls.record(begun.elapsed() >= self.limits.hook);
        }
        (
            call,
            reply.and_then(|reply| output_limits::checked(reply, self.limits.result_bytes)),
        )
    }

    /// Runs on a thread that may wait. Nothing ends it when it takes too long, or when the host stops.
    fn act(self: Arc<Self>, request: Request, transact: Arc<dyn Transact>) -> Acting {
        Box::pin(async move {
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                return Err(Failure::Busy);
            };
            let runtime = Handle::current();
            let worked = tokio::task::spawn_blocking(move || {
                let mut lent = CurrentCall::new(None, &self.services, &self.capabilities);
                lent.action = Some((transact, runtime));
                let (lent, outcome) = native::enter(lent, || self.started.serve(&sdk::Context::default(), &request));
                drop(place);
                match (outcome, lent.and_then(|lent| lent.cause)) {
                    (_, Some(cause)) => Err(cause),
                    (Ok(reply), None) => Ok(reply),
                    (Err(panicked), None) => Err(Failure::Trap(panicked.0)),
                }
            });
            worked.await.unwrap_or_else(|_| Err(Failure::Trap(String::new())))
        })
    }

    fn actions(&self) -> usize {
        self.limits.actions
    }

    fn job_attempts(&self) -> u32 {
        self.limits.job_attempts
    }

    fn is_slow(&self) -> bool {
        self.slow_calls.is_slow()
    }
}

impl fmt::Debug for NativePlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativePlugin")
            .field("id", &self.services.id)
            .finish_non_exhaustive()
    }
}
