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
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker, TypedFunc};
use wasmtime::{Store, StoreContextMut};

use super::bindings::courtyard::plugin as wit;
use super::bindings::exports::courtyard::plugin::action::Job;
use super::engine::{EngineLimits, WasmEngine};
use super::instance::{self, Done, LIFTED_BYTES};
use super::state::{Shared, State, foreseen};
use super::wasm::plugin_error;
use super::{LoadError, PluginLimits};
use crate::hooks::{Failure, Transact};

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
pub(super) struct Entries {
    start: ComponentExportIndex,
    run: Option<ComponentExportIndex>,
}

impl Entries {
    /// Finds them; none if the component has no `lifecycle`.
    pub(super) fn find(component: &Component) -> Option<Self> {
        Some(Self {
            start: instance::component_export(component, "lifecycle", "start")?,
            run: instance::component_export(component, "action", "run"),
        })
    }
}

/// The action lane of one plugin.
pub(super) struct Actions {
    lane: Arc<ActionLane>,
    /// What instances are made of; there from the first job on.
    form: OnceLock<Form>,
    making: Mutex<()>,
    make: Box<dyn Fn() -> Result<Form, LoadError> + Send + Sync>,
    shared: Arc<Shared>,
    configuration: String,
    limits: PluginLimits,
    places: Semaphore,
}

/// A component that is linked, and where it is entered.
type Form = (InstancePre<State>, Entries);

impl Actions {
    pub(super) fn new(
        lane: Arc<ActionLane>,
        make: impl Fn() -> Result<Form, LoadError> + Send + Sync + 'static,
        shared: Arc<Shared>,
        configuration: String,
        limits: PluginLimits,
    ) -> Arc<Self> {
        Arc::new(Self {
            lane,
            form: OnceLock::new(),
            making: Mutex::new(()),
            make: Box::new(make),
            shared,
            configuration,
            limits,
            places: Semaphore::new(limits.actions),
        })
    }

    /// Makes what instances are made of, so that the first job does not wait for the compiler. Nobody else does either: the
    /// plugin is running meanwhile.
    pub(super) fn prepare(self: &Arc<Self>) {
        let actions = self.clone();
        let prepare = move || {
            if let Err(error) = actions.form() {
                tracing::warn!(plugin = %actions.shared.asker.id, %error, "it can't do jobs");
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
    fn form(&self) -> Result<&Form, LoadError> {
        // One makes it, and the others wait.
        let _making = self.making.lock();
        match self.form.get() {
            Some(form) => Ok(form),
            None => {
                let made = (self.make)()?;
                Ok(self.form.get_or_init(|| made))
            }
        }
    }

    /// Does one job. Dropping the future ends the guest at its next tick.
    pub(super) async fn act(self: Arc<Self>, request: Request, transact: Arc<dyn Transact>) -> Result<Reply, Failure> {
        let Some(runtime) = &self.lane.runtime else {
            return Err(Failure::NotRunning);
        };
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Failure::Busy);
        };
        let deadline = self.limits.action;
        // A set of one, since it ends its task when it is dropped.
        let mut task = JoinSet::new();
        task.spawn_on(self.clone().run(request, transact), runtime.handle());
        match tokio::time::timeout(deadline, task.join_next()).await {
            Ok(Some(Ok(outcome))) => outcome,
            Ok(_) => Err(Failure::Trap("the task that it ran in ended".to_owned())),
            Err(_) => Err(Failure::Timeout(instance::milliseconds(deadline))),
        }
    }

    async fn run(self: Arc<Self>, request: Request, transact: Arc<dyn Transact>) -> Result<Reply, Failure> {
        let Request::Action(job) = request else {
            return Err(Failure::Contract("this is not for the action lane".to_owned()));
        };
        let mut store = Store::new(self.lane.engine.get(), State::new(self.shared.clone()));
        store.limiter(|state| state);
        store.set_hostcall_fuel(LIFTED_BYTES);
        store.set_max_component_handles(1_000);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store.data_mut().transact = Some(transact);
        let outcome = self.enter(&mut store, job).await;
        outcome.map_err(|error| instance::failure(&mut store, error, Duration::ZERO))?
    }

    async fn enter(&self, store: &mut Store<State>, job: sdk::Job) -> wasmtime::Result<Result<Reply, Failure>> {
        let form = self.form.get().map(Ok);
        let (pre, entries) = match form.unwrap_or_else(|| tokio::task::block_in_place(|| self.form())) {
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

/// Links the transactions of jobs.
pub(super) fn link_transactions(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type Params = (String, Vec<u8>);
    type Results = (Result<Vec<u8>, wit::types::Error>,);
    let name = format!("courtyard:plugin/transactions@{}", super::CONTRACT);
    let run = |mut store: StoreContextMut<'_, State>, (name, payload): Params| {
        let counted = store.data_mut().count();
        let transact = store.data().transact.clone();
        async move {
            counted?;
            let Some(transact) = transact else {
                return Ok::<Results, wasmtime::Error>((Err(unavailable("There is no job.")),));
            };
            let done = tokio::task::spawn_blocking(move || transact.transact(&name, &payload)).await;
            let done = done.unwrap_or_else(|_| Err(sdk::Error::new("failed", "The transaction panicked.")));
            Ok((done.map_err(foreseen),))
        }
    };
    linker
        .instance(&name)?
        .func_wrap_async("run", move |store, params| Box::new(run(store, params)))
}

/// Links requests to other servers.
pub(super) fn link_fetch(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type Params = (wit::fetch::Request,);
    type Results = (Result<wit::fetch::Response, wit::types::Error>,);
    let name = format!("courtyard:plugin/fetch@{}", super::CONTRACT);
    let send = |mut store: StoreContextMut<'_, State>, (request,): Params| {
        let counted = store.data_mut().count();
        let shared = store.data().shared.clone();
        async move {
            counted?;
            let request = sdk::FetchRequest {
                method: request.method,
                url: request.url,
                headers: request
                    .headers
                    .into_iter()
                    .map(|header| (header.name, header.value))
                    .collect(),
                body: request.body,
                follow: request.follow,
            };
            let header = |(name, value)| wit::fetch::Header { name, value };
            let response = |response: sdk::HttpResponse| wit::fetch::Response {
                status: response.status,
                headers: response.headers.into_iter().map(header).collect(),
                body: response.body,
            };
            let fetched = shared.asker.fetch(request).await;
            Ok::<Results, wasmtime::Error>((fetched.map(response).map_err(foreseen),))
        }
    };
    linker
        .instance(&name)?
        .func_wrap_async("send", move |store, params| Box::new(send(store, params)))
}

/// Links the bytes of blobs.
pub(super) fn link_contents(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type Reads = (Result<Vec<u8>, wit::types::Error>,);
    type Writes = (Result<String, wit::types::Error>,);
    let name = format!("courtyard:plugin/contents@{}", super::CONTRACT);
    let read = |mut store: StoreContextMut<'_, State>, (id, offset, length): (String, u64, u32)| {
        let counted = store.data_mut().count();
        let (shared, transact) = (store.data().shared.clone(), store.data().transact.clone());
        async move {
            counted?;
            let Some(transact) = transact else {
                return Ok::<Reads, wasmtime::Error>((Err(unavailable("There is no job.")),));
            };
            let read = shared.asker.read_blob(transact.app(), &id, offset, length).await;
            Ok((read.map_err(foreseen),))
        }
    };
    type Written = (String, String, String, Vec<u8>);
    let write = |mut store: StoreContextMut<'_, State>, (file, media_type, conversation, bytes): Written| {
        let counted = store.data_mut().count();
        let (shared, transact) = (store.data().shared.clone(), store.data().transact.clone());
        async move {
            counted?;
            let Some(transact) = transact else {
                return Ok::<Writes, wasmtime::Error>((Err(unavailable("There is no job.")),));
            };
            let asker = &shared.asker;
            let wrote = asker.write_blob(transact.app(), file, media_type, &conversation, bytes);
            Ok((wrote.await.map_err(foreseen),))
        }
    };
    let mut instance = linker.instance(&name)?;
    instance.func_wrap_async("read", move |store, params| Box::new(read(store, params)))?;
    instance.func_wrap_async("write", move |store, params| Box::new(write(store, params)))
}

fn unavailable(message: &str) -> wit::types::Error {
    wit::types::Error {
        code: "unavailable".to_owned(),
        message: message.to_owned(),
        retry: false,
    }
}
