//! One running instance of a Wasm plugin.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Lower, TypedFunc};
use wasmtime::{Store, Trap};

use super::bindings::courtyard::plugin::types;
use super::bindings::exports::courtyard::plugin::{auth, message};
use super::engine::WasmEngine;
use super::state::{Shared, State};
use crate::hooks::{Answer, Call, Failure};

/// Bytes that one call may lift out of the guest, over all arguments and results.
const LIFTED_BYTES: usize = 8 << 20;

type Start = TypedFunc<(String,), (Result<(), types::Error>,)>;
type Migrate = TypedFunc<(String,), (Result<(), types::Error>,)>;
type Authenticate = TypedFunc<(String, String), (Result<Option<auth::Identity>, types::Error>,)>;
type BeforeSend = TypedFunc<(message::Message,), (message::Verdict,)>;
type AfterSend = TypedFunc<(message::Message,), (Result<(), types::Error>,)>;
type Render = TypedFunc<(String, Vec<message::Message>), (Result<Vec<Option<Vec<u8>>>, types::Error>,)>;
type SessionChanged = TypedFunc<(types::Caller,), ()>;
type Fire = TypedFunc<(String, Vec<u8>), (Result<(), types::Error>,)>;
type CallMethod = TypedFunc<(types::Caller, String, Vec<u8>), (Result<Vec<u8>, types::Error>,)>;

/// Where a component exports the functions of the contract.
#[derive(Debug)]
pub(super) struct Exports {
    start: ComponentExportIndex,
    migrate: Option<ComponentExportIndex>,
    authenticate: Option<ComponentExportIndex>,
    before_send: Option<ComponentExportIndex>,
    after_send: Option<ComponentExportIndex>,
    render: Option<ComponentExportIndex>,
    call: Option<ComponentExportIndex>,
    fire: Option<ComponentExportIndex>,
    connected: Option<ComponentExportIndex>,
    disconnected: Option<ComponentExportIndex>,
}

impl Exports {
    /// Finds the exports of a component; none if it has no `lifecycle`.
    pub(super) fn find(component: &wasmtime::component::Component) -> Option<Self> {
        let find = |interface: &str, function: &str| {
            let interface = format!("courtyard:plugin/{interface}@{}", super::CONTRACT);
            let (_, interface) = component.get_export(None, &interface)?;
            let (_, function) = component.get_export(Some(&interface), function)?;
            Some(function)
        };
        Some(Self {
            start: find("lifecycle", "start")?,
            migrate: find("migration", "migrate"),
            authenticate: find("auth", "authenticate"),
            before_send: find("message", "before-send"),
            after_send: find("message", "after-send"),
            render: find("message", "render"),
            call: find("method", "call"),
            fire: find("timer", "fire"),
            connected: find("session", "connected"),
            disconnected: find("session", "disconnected"),
        })
    }
}

impl Exports {
    /// Whether the plugin has a say in what becomes of its keys.
    pub(super) fn migrates(&self) -> bool {
        self.migrate.is_some()
    }
}

/// An instance with its functions looked up.
pub(super) struct Instance {
    store: Store<State>,
    pub(super) migrate: Option<Migrate>,
    pub(super) authenticate: Option<Authenticate>,
    pub(super) before_send: Option<BeforeSend>,
    pub(super) after_send: Option<AfterSend>,
    pub(super) render: Option<Render>,
    pub(super) call: Option<CallMethod>,
    pub(super) fire: Option<Fire>,
    pub(super) connected: Option<SessionChanged>,
    pub(super) disconnected: Option<SessionChanged>,
}

/// Why there is no new instance.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The instance can't be made, or does not have the functions of the contract.
    #[error("it can't be instantiated: {0}")]
    Instantiate(String),
    /// It refuses its configuration.
    #[error("it does not start: {code}: {message}")]
    Refused {
        /// The plugin's code.
        code: String,
        /// The plugin's sentence.
        message: String,
    },
    /// It broke down.
    #[error("it broke down in start: {0}")]
    Failed(#[source] Failure),
}

impl Instance {
    /// Makes an instance and starts it.
    pub(super) fn start(
        engine: &WasmEngine,
        pre: &InstancePre<State>,
        exports: &Exports,
        shared: &Arc<Shared>,
        configuration: &str,
        deadline: Duration,
    ) -> Result<Self, StartError> {
        let mut store = Store::new(engine.get(), State::new(shared.clone()));
        store.limiter(|state| state);
        store.set_hostcall_fuel(LIFTED_BYTES);
        store.set_max_component_handles(1_000);
        // The start section of a core module is the guest's code as well.
        store.set_epoch_deadline(WasmEngine::ticks_in(deadline));
        let instance = pre
            .instantiate(&mut store)
            .map_err(|error| match failure(&mut store, error, deadline) {
                Failure::Trap(reason) => StartError::Instantiate(reason),
                failure => StartError::Failed(failure),
            })?;
        let start: Start = function(&mut store, &instance, Some(&exports.start))?
            .ok_or_else(|| StartError::Instantiate("it exports no start".to_owned()))?;
        let mut instance = Self {
            migrate: function(&mut store, &instance, exports.migrate.as_ref())?,
            authenticate: function(&mut store, &instance, exports.authenticate.as_ref())?,
            before_send: function(&mut store, &instance, exports.before_send.as_ref())?,
            after_send: function(&mut store, &instance, exports.after_send.as_ref())?,
            render: function(&mut store, &instance, exports.render.as_ref())?,
            connected: function(&mut store, &instance, exports.connected.as_ref())?,
            disconnected: function(&mut store, &instance, exports.disconnected.as_ref())?,
            fire: function(&mut store, &instance, exports.fire.as_ref())?,
            call: function(&mut store, &instance, exports.call.as_ref())?,
            store,
        };
        match instance.run(&start, (configuration.to_owned(),), deadline) {
            Ok((Ok(()),)) => Ok(instance),
            Ok((Err(error),)) => Err(StartError::Refused {
                code: error.code,
                message: error.message,
            }),
            Err(failure) => Err(StartError::Failed(failure)),
        }
    }

    /// Enters the guest with a call. After a failure the instance must not be used again.
    pub(super) fn enter<P, R>(
        &mut self,
        call: Box<Call>,
        function: &TypedFunc<P, R>,
        params: P,
        deadline: Duration,
    ) -> Answer<R>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let app = call.app.clone();
        let draft_store = call.draft.store().clone();
        self.store.data_mut().begin(Some(call));
        let outcome = self.run(function, params, deadline);
        let call = self.store.data_mut().call.take();
        // The state keeps the call for as long as it is entered; a new one stands in if that should ever break.
        let call =
            call.unwrap_or_else(|| Call::new(app, crate::hooks::Access::None, crate::log::Draft::new(draft_store)));
        (call, outcome)
    }

    fn run<P, R>(&mut self, function: &TypedFunc<P, R>, params: P, deadline: Duration) -> Result<R, Failure>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.store.set_epoch_deadline(WasmEngine::ticks_in(deadline));
        function
            .call(&mut self.store, params)
            .map_err(|error| failure(&mut self.store, error, deadline))
    }
}

fn function<P, R>(
    store: &mut Store<State>,
    instance: &wasmtime::component::Instance,
    export: Option<&ComponentExportIndex>,
) -> Result<Option<TypedFunc<P, R>>, StartError>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let Some(export) = export else { return Ok(None) };
    let found = instance.get_typed_func(store, export);
    found
        .map(Some)
        .map_err(|error| StartError::Instantiate(format!("{error:#}")))
}

/// Tells apart why the engine ended a call.
fn failure(store: &mut Store<State>, error: wasmtime::Error, deadline: Duration) -> Failure {
    let cause = store.data_mut().cause.take();
    match (error.downcast_ref::<Trap>(), cause) {
        (Some(Trap::Interrupt), _) => Failure::Timeout(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)),
        (_, Some(cause)) => cause,
        (Some(Trap::StackOverflow), None) => Failure::Limit("stack"),
        (Some(trap), None) => Failure::Trap(trap.to_string()),
        (None, None) => {
            let reason = format!("{:#}", error.root_cause());
            if reason.contains("fuel") {
                Failure::Limit("lifted bytes")
            } else {
                Failure::Contract(reason)
            }
        }
    }
}
