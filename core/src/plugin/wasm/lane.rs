//! The action lane. Each job gets its own instance, on a separate engine and separate threads, so that long work delays
//! nothing else.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use courtyard_plugin_sdk as sdk;
use courtyard_plugin_sdk::hook::{Reply, Request};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, TypedFunc};

use super::bindings::exports::courtyard::plugin::action::Job;
use super::convert::plugin_error;
use super::engine::{EngineLimits, WasmEngine};
use super::exports::{UnitResult, component_export};
use super::instance;
use super::state::{InstanceState, LIFTED_BYTES, PluginContext};
use crate::hooks::{Failure, JobTransactions};
use crate::plugin::{LoadError, PluginLimits};

/// Threads that run guests. Guests yield at each tick of the clock, so that none waits long for another.
const THREADS: usize = 2;

/// The engine and the threads, shared by the jobs of all plugins.
#[derive(Debug)]
pub(super) struct ActionLane {
    engine: WasmEngine,
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
}

impl ActionLane {
    pub(super) fn new(limits: &EngineLimits) -> Result<Self, wasmtime::Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("action")
            .on_thread_start(crate::workers::become_nicer)
            .enable_all()
            .build()?;
        Ok(Self {
            engine: WasmEngine::new(limits)?,
            runtime: Some(runtime),
        })
    }

    pub(super) fn engine(&self) -> &WasmEngine {
        &self.engine
    }
}

impl Drop for ActionLane {
    fn drop(&mut self) {
        // Doesn't wait: the current thread may be one that must not block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Locations of the functions that a job calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobExports {
    start: ComponentExportIndex,
    run: Option<ComponentExportIndex>,
}

impl JobExports {
    /// Finds the functions; `None` if the component has no `lifecycle`.
    pub(super) fn find(component: &Component) -> Option<Self> {
        Some(Self {
            start: component_export(component, "lifecycle", "start")?,
            run: component_export(component, "action", "run"),
        })
    }
}

/// Runs the jobs of one plugin.
pub(super) struct JobRunner {
    lane: Arc<ActionLane>,
    /// Set before the first job runs.
    prepared: OnceLock<PreparedInstance>,
    /// Held during the preparation, so that it runs once.
    preparing: Mutex<()>,
    prepare: Box<dyn Fn() -> Result<PreparedInstance, LoadError> + Send + Sync>,
    context: Arc<PluginContext>,
    configuration: String,
    limits: PluginLimits,
    /// Permits for concurrent jobs.
    permits: Semaphore,
}

/// A linked component, ready to be instantiated, and its functions.
type PreparedInstance = (InstancePre<InstanceState>, JobExports);

impl JobRunner {
    pub(super) fn new(
        lane: Arc<ActionLane>,
        prepare: impl Fn() -> Result<PreparedInstance, LoadError> + Send + Sync + 'static,
        context: Arc<PluginContext>,
        configuration: String,
        limits: PluginLimits,
    ) -> Arc<Self> {
        Arc::new(Self {
            lane,
            prepared: OnceLock::new(),
            preparing: Mutex::new(()),
            prepare: Box::new(prepare),
            context,
            configuration,
            limits,
            permits: Semaphore::new(limits.actions),
        })
    }

    /// Compiles and links the component in the background, so that the first job doesn't wait for the compiler. The plugin
    /// serves everything else meanwhile.
    pub(super) fn prepare_in_background(self: &Arc<Self>) {
        let jobs = self.clone();
        let prepare = move || {
            if let Err(error) = jobs.prepared() {
                tracing::warn!(plugin = %jobs.context.services.id, %error, "the plugin can't run jobs");
            }
        };
        if let Some(runtime) = &self.lane.runtime {
            runtime.spawn_blocking(prepare);
        }
    }

    /// Returns the linked component; compiles and links it first if necessary, which may take seconds.
    ///
    /// # Errors
    /// If the component can't be compiled or linked.
    fn prepared(&self) -> Result<&PreparedInstance, LoadError> {
        // The first caller prepares it; the others wait.
        let _preparing = self.preparing.lock();
        match self.prepared.get() {
            Some(prepared) => Ok(prepared),
            None => {
                let prepared = (self.prepare)()?;
                Ok(self.prepared.get_or_init(|| prepared))
            }
        }
    }

    /// Runs one job. Dropping the future stops the guest at the next tick of the clock.
    pub(super) async fn run(
        self: Arc<Self>,
        request: Request,
        transact: Arc<dyn JobTransactions>,
    ) -> Result<Reply, Failure> {
        let Some(runtime) = &self.lane.runtime else {
            return Err(Failure::NotRunning);
        };
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(Failure::Busy);
        };
        let deadline = self.limits.action;
        // A set of one task: dropping the set aborts the task.
        let mut task = JoinSet::new();
        task.spawn_on(self.clone().run_task(request, transact), runtime.handle());
        match tokio::time::timeout(deadline, task.join_next()).await {
            Ok(Some(Ok(outcome))) => outcome,
            Ok(_) => Err(Failure::Trap("its task panicked or was aborted".to_owned())),
            Err(_) => Err(Failure::Timeout(instance::milliseconds(deadline))),
        }
    }

    async fn run_task(self: Arc<Self>, request: Request, transact: Arc<dyn JobTransactions>) -> Result<Reply, Failure> {
        let Request::Action(job) = request else {
            return Err(Failure::Contract("the action lane runs only jobs".to_owned()));
        };
        let mut store = Store::new(self.lane.engine.get(), InstanceState::new(self.context.clone()));
        store.limiter(|state| state);
        store.set_hostcall_fuel(LIFTED_BYTES);
        store.set_max_component_handles(1_000);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store.data_mut().transact = Some(transact);
        let outcome = self.call_guest(&mut store, job).await;
        outcome.map_err(|error| instance::failure(&mut store, error, Duration::ZERO))?
    }

    async fn call_guest(
        &self,
        store: &mut Store<InstanceState>,
        job: sdk::Job,
    ) -> wasmtime::Result<Result<Reply, Failure>> {
        let prepared = self.prepared.get().map(Ok);
        let (pre, exports) = match prepared.unwrap_or_else(|| tokio::task::block_in_place(|| self.prepared())) {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Err(Failure::Contract(error.to_string()))),
        };
        let instance = pre.instantiate_async(&mut *store).await?;
        let start: TypedFunc<(String,), UnitResult> = instance.get_typed_func(&mut *store, exports.start)?;
        if let (Err(error),) = start.call_async(&mut *store, (self.configuration.clone(),)).await? {
            return Ok(Err(Failure::Contract(format!(
                "`start` returned an error for a job: {}: {}",
                error.code, error.message
            ))));
        }
        type Run = TypedFunc<(Job,), UnitResult>;
        let run = exports
            .run
            .map(|run| -> wasmtime::Result<Run> { instance.get_typed_func(&mut *store, run) });
        let Some(Ok(run)) = run else {
            return Ok(Err(Failure::Contract(
                "it declares jobs but does not export `action`".to_owned(),
            )));
        };
        let job = Job {
            app: job.app,
            id: job.id,
            name: job.name,
            payload: job.payload,
            attempt: job.attempt,
        };
        let (done,) = run.call_async(&mut *store, (job,)).await?;
        Ok(Ok(Reply::Done(done.map_err(plugin_error))))
    }
}
