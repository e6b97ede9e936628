//! Plugins in the host's own process.
//!
//! They are trusted: nothing interrupts a call that runs too long, and they share the host's memory. A panic ends only the
//! call.

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

pub(super) use library::{is_library, open_library};

use crate::hooks::{Call, CallOutcome, Failure, JobFuture, JobTransactions, PluginBackend};
use crate::plugin::output_limits::{self, SlowCalls};
use crate::plugin::{PluginLimits, PluginStartError};
use crate::services::ServiceContext;

/// A started plugin.
pub(super) struct NativePlugin {
    started: Arc<dyn Started>,
    services: Arc<ServiceContext>,
    limits: PluginLimits,
    /// Capabilities that are declared and granted.
    capabilities: Arc<[String]>,
    slow_calls: SlowCalls,
    /// Permits for concurrent jobs.
    permits: Arc<Semaphore>,
}

/// The services during one call.
struct CurrentCall {
    /// `None` during `start` and in the action lane.
    call: Option<Box<Call>>,
    /// In the action lane: runs transactions, and the runtime for outbound requests and the bytes of blobs.
    action: Option<(Arc<dyn JobTransactions>, Handle)>,
    services: Arc<ServiceContext>,
    capabilities: Arc<[String]>,
    /// Number of service calls so far.
    host_calls: u32,
    /// The host's reason to fail the call. It takes precedence over the plugin's reply.
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

    /// Fails the whole call; the plugin gets [`ServiceError::Unavailable`].
    fn fail(&mut self, cause: Failure) -> ServiceError {
        self.cause = Some(cause);
        ServiceError::Unavailable
    }
}

impl Services for CurrentCall {
    fn handle(&mut self, request: ServiceRequest) -> ServiceResult {
        let services = &self.services;
        self.host_calls += 1;
        if self.host_calls > services.limits.host_calls {
            return Err(self.fail(Failure::Limit("host calls")));
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
            Err(reason) => self.fail(Failure::Store(reason)),
        })
    }
}

impl NativePlugin {
    /// Starts a plugin.
    ///
    /// # Errors
    /// If its `start` returns an error or panics.
    pub(super) fn start(
        source: &dyn Native,
        services: Arc<ServiceContext>,
        configuration: &str,
        capabilities: Vec<String>,
        limits: PluginLimits,
    ) -> Result<Self, PluginStartError> {
        let capabilities: Arc<[String]> = capabilities.into();
        let current = CurrentCall::new(None, &services, &capabilities);
        let started = match native::enter(current, || source.start(configuration)).1 {
            Ok(Ok(started)) => started,
            Ok(Err(error)) => {
                return Err(PluginStartError::Refused {
                    code: error.code,
                    message: error.message,
                });
            }
            Err(panicked) => return Err(PluginStartError::Failed(Failure::Trap(panicked.0))),
        };
        Ok(Self {
            started: started.into(),
            permits: Arc::new(Semaphore::new(limits.actions)),
            services,
            limits,
            capabilities,
            slow_calls: SlowCalls::default(),
        })
    }

    /// Runs `work` while the plugin can use the services with `call`.
    fn with_call<T>(&self, call: Box<Call>, work: impl FnOnce(&dyn Started) -> T) -> CallOutcome<T> {
        let (app, store) = (call.app.clone(), call.draft.store().clone());
        let current = CurrentCall::new(Some(call), &self.services, &self.capabilities);
        let (current, outcome) = native::enter(current, || work(&*self.started));
        let (call, cause) = current.map_or((None, None), |current| (current.call, current.cause));
        // `native::enter` always returns what it got. Should that ever break, the caller gets a call without any access.
        let call =
            call.unwrap_or_else(|| Call::new(app, crate::hooks::StoreAccess::None, crate::store::Draft::new(store)));
        match (outcome, cause) {
            (_, Some(cause)) => (call, Err(cause)),
            (Ok(value), None) => (call, Ok(value)),
            (Err(panicked), None) => (call, Err(Failure::Trap(panicked.0))),
        }
    }
}

impl PluginBackend for NativePlugin {
    fn serve(&self, call: Box<Call>, request: Request) -> CallOutcome<Reply> {
        let mut cx = sdk::Context::default();
        if request.names_caller() {
            cx.caller = call.caller();
        }
        let begun = Instant::now();
        let (call, reply) = self.with_call(call, |plugin| plugin.serve(&cx, &request));
        // Only this hook runs on threads that others wait for.
        if request.hook() == HookName::BeforeSend {
            self.slow_calls.record(begun.elapsed() >= self.limits.hook);
        }
        (
            call,
            reply.and_then(|reply| output_limits::checked(reply, self.limits.result_bytes)),
        )
    }

    /// Runs a job on a thread that may block. Nothing interrupts it when it runs too long, or when the host stops.
    fn run_job(self: Arc<Self>, request: Request, transact: Arc<dyn JobTransactions>) -> JobFuture {
        Box::pin(async move {
            let Ok(permit) = self.permits.clone().try_acquire_owned() else {
                return Err(Failure::Busy);
            };
            let runtime = Handle::current();
            let task = tokio::task::spawn_blocking(move || {
                let mut current = CurrentCall::new(None, &self.services, &self.capabilities);
                current.action = Some((transact, runtime));
                let (current, outcome) =
                    native::enter(current, || self.started.serve(&sdk::Context::default(), &request));
                drop(permit);
                match (outcome, current.and_then(|current| current.cause)) {
                    (_, Some(cause)) => Err(cause),
                    (Ok(reply), None) => Ok(reply),
                    (Err(panicked), None) => Err(Failure::Trap(panicked.0)),
                }
            });
            task.await.unwrap_or_else(|_| Err(Failure::Trap(String::new())))
        })
    }

    fn max_jobs(&self) -> usize {
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
