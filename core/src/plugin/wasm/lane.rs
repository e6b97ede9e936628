//! The action lane: an instance of its own for each job, on an engine and on threads of its own, so that work that takes
//! long holds up nothing else.

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
use super::exports::{Done, component_export};
use super::instance;
use super::state::{InstanceState, LIFTED_BYTES, PluginContext};
use crate::hooks::{Failure, Transact};
use crate::plugin::{LoadError, PluginLimits};

/// Threads that guests run on. They yield at each tick of the clock, so that none waits long for another.
const THREADS: usize = 2;

/// What the action lanes of all plugins share.
#[derive(Debug)]
pub(super) struct ActionLane {
    engine: WasmEngine,
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
        // It may be dropped on a thread that must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where a plugin is entered for a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobExports {
    start: ComponentExportIndex,
    run: Option<ComponentExportIndex>,
}

impl JobExports {
    /// Finds them; none if the component has no `lifecycle`.
    pub(super) fn find(component: &Component) -> Option<Self> {
        Some(Self {
            start: component_export(component, "lifecycle", "start")?,
            run: component_export(component, "action", "run"),
        })
    }
}

/// The action lane of one plugin.
pub(super) struct JobRunner {
    lane: Arc<ActionLane>,
    /// What instances are made of; there from the first job on.
    prepared: OnceLock<PreparedInstance>,
    preparing: Mutex<()>,
    prepare: Box<dyn Fn() -> Result<PreparedInstance, LoadError> + Send + Sync>,
    context: Arc<PluginContext>,
    configuration: String,
    limits: PluginLimits,
    permits: Semaphore,
}

/// A component that is linked, and where it is entered.
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

    /// Makes what instances are made of, so that the first job does not wait for the compiler. Nobody else does either: the
    /// plugin is running meanwhile.
    pub(super) fn prepare_in_background(self: &Arc<Self>) {
        let jobs = self.clone();
        let prepare = move || {
            if let Err(error) = jobs.prepared() {
                tracing::warn!(plugin = %jobs.context.services.id, %error, "it can't do jobs");
            }
        };
        if let Some(runtime) = &self.lane.runtime {
            runtime.spawn_blocking(prepare);
        }
    }

    /// Returns what instances are made of; makes it if it is not there, which takes a while.
    ///
    /// # Errors
    /// When the component can't be made.
    fn prepared(&self) -> Result<&PreparedInstance, LoadError> {
        // One makes it, and the others wait.
        let _preparing = self.preparing.lock();
        match self.prepared.get() {
            Some(form) => Ok(form),
            None => {
                let made = (self.prepare)()?;
                Ok(self.prepared.get_or_init(|| made))
            }
        }
    }

    /// Does one job. Dropping the future ends the guest at its next tick.
    pub(super) async fn run(self: Arc<Self>, request: Request, transact: Arc<dyn Transact>) -> Result<Reply, Failure> {
        let Some(runtime) = &self.lane.runtime else {
            return Err(Failure::NotRunning);
        };
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(Failure::Busy);
        };
        let deadline = self.limits.action;
        // A set of one, since it ends its task when it is dropped.
        let mut task = JoinSet::new();
        task.spawn_on(self.clone().run_task(request, transact), runtime.handle());
        match tokio::time::timeout(deadline, task.join_next()).await {
            Ok(Some(Ok(outcome))) => outcome,
            Ok(_) => Err(Failure::Trap("the task that it ran in ended".to_owned())),
            Err(_) => Err(Failure::Timeout(instance::milliseconds(deadline))),
        }
    }

    async fn run_task(self: Arc<Self>, request: Request, transact: Arc<dyn Transact>) -> Result<Reply, Failure> {
        let Request::Action(job) = request else {
            return Err(Failure::Contract("this is not for the action lane".to_owned()));
        };
        let mut store = Store::new(self.lane.engine.get(), InstanceState::new(self.context.clone()));
        store.limiter(|state| state);
        store.set_hostcall_fuel(LIFTED_BYTES);
        store.set_max_component_handles(1_000);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store.data_mut().transact = Some(transact);
        let outcome = self.enter(&mut store, job).await;
        outcome.map_err(|error| instance::failure(&mut store, error, Duration::ZERO))?
    }

    async fn enter(&self, store: &mut Store<InstanceState>, job: sdk::Job) -> wasmtime::Result<Result<Reply, Failure>> {
        let form = self.prepared.get().map(Ok);
        let (pre, entries) = match form.unwrap_or_else(|| tokio::task::block_in_place(|| self.prepared())) {
            Ok(form) => form,
            Err(error) => return Ok(Err(Failure::Contract(error.to_string()))),
        };
        let instance = pre.instantiate_async(&mut *store).await?;
        let start: TypedFunc<(String,), Done> = instance.get_typed_func(&mut *store, entries.start)?;
        if let (Err(error),) = start.call_async(&mut *store, (self.configuration.clone(),)).await? {
            return Ok(Err(Failure::Contract(format!(
                "it does not start again: {}: {}",
                error.code, error.message
            ))));
        }
        type Run = TypedFunc<(Job,), Done>;
        let run = entries
            .run
            .map(|run| -> wasmtime::Result<Run> { instance.get_typed_func(&mut *store, run) });
        let Some(Ok(run)) = run else {
            return Ok(Err(Failure::Contract(
                "it declares jobs and exports no action".to_owned(),
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
