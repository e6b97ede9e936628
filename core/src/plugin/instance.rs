//! One running instance of a Wasm plugin.

use std::sync::Arc;
use std::time::Duration;

use courtyard_plugin_sdk::manifest::HookName;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Lower, TypedFunc};
use wasmtime::{Store, Trap};

use super::bindings::courtyard::plugin::types;
use super::bindings::exports::courtyard::plugin::{action, auth, conversation, event, http, message};
use super::engine::WasmEngine;
use super::state::{Shared, State};
use crate::hooks::{Access, Answer, Call, Failure};
use crate::log::Draft;

/// Bytes that one call may lift out of the guest, over all arguments and results.
pub(super) const LIFTED_BYTES: usize = 8 << 20;

pub(super) type Start = TypedFunc<(String,), (Result<(), types::Error>,)>;

/// Names the functions of the contract that a plugin may export: the hook that they are for, where they are, and their types.
macro_rules! functions {
    ($($name:ident $hook:ident: $interface:literal $function:literal $params:ty => $results:ty;)*) => {
        /// Where a component exports the functions of the contract.
        #[derive(Clone, Debug)]
        pub(super) struct Exports {
            start: ComponentExportIndex,
            $(pub(super) $name: Option<ComponentExportIndex>,)*
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
                    $($name: find($interface, $function),)*
                })
            }

            /// Whether the component exports what the host enters for a hook.
            pub(super) fn has(&self, hook: HookName) -> bool {
                match hook {
                    $(HookName::$hook => self.$name.is_some(),)*
                }
            }
        }

        /// The functions that an instance exports.
        pub(super) struct Functions {
            $(pub(super) $name: Option<TypedFunc<$params, $results>>,)*
        }

        impl Functions {
            pub(super) fn find(
                store: &mut Store<State>,
                instance: &wasmtime::component::Instance,
                exports: &Exports,
            ) -> Result<Self, StartError> {
                Ok(Self {
                    $($name: function(store, instance, exports.$name.as_ref())?,)*
                })
            }
        }
    };
}

pub(super) type Done = (Result<(), types::Error>,);

functions! {
    migrate Migrate: "migration" "migrate" (String,) => Done;
    authenticate Authenticate: "auth" "authenticate" (String, String) => (Result<Option<auth::Identity>, types::Error>,);
    before_send BeforeSend: "message" "before-send" (message::Message,) => (message::Verdict,);
    after_send AfterSend: "message" "after-send" (message::Message,) => Done;
    render Render: "message" "render" (String, Vec<message::Message>) => (Result<Vec<Option<Vec<u8>>>, types::Error>,);
    call Method: "method" "call" (types::Caller, String, Vec<u8>) => (Result<Vec<u8>, types::Error>,);
    timer Timer: "timer" "fire" (String, Vec<u8>) => Done;
    connected Connected: "session" "connected" (types::Caller,) => ();
    disconnected Disconnected: "session" "disconnected" (types::Caller,) => ();
    before_act BeforeAct: "message" "before-act" (message::Act,) => Done;
    after_act AfterAct: "message" "after-act" (message::Act,) => Done;
    before_change BeforeChange: "conversation" "before-change" (conversation::Change,) => Done;
    after_change AfterChange: "conversation" "after-change" (conversation::Change,) => Done;
    push Push: "push" "deliver" (message::Message, Vec<String>) => Done;
    event Event: "event" "receive" (event::Event,) => Done;
    action Action: "action" "run" (action::Job,) => Done;
    transaction Transaction: "transaction" "run" (String, Vec<u8>) => (Result<Vec<u8>, types::Error>,);
    before_upload BeforeUpload: "blob" "before-upload" (types::Caller, types::Blob, bool) => Done;
    complete_upload CompleteUpload: "blob" "complete-upload" (types::Caller, types::Blob) => Done;
    before_download BeforeDownload: "blob" "before-download" (types::Caller, types::Blob, bool) => Done;
    before_remove BeforeRemove: "blob" "before-remove" (types::Caller, types::Blob) => Done;
    http Http: "http" "handle" (types::Caller, http::Request) => (Result<http::Response, types::Error>,);
}

/// An instance with its functions looked up.
pub(super) struct Instance {
    store: Store<State>,
    pub(super) functions: Functions,
    /// What is handed back if the state should ever lose a call; made once, since making it takes a while.
    stand_in: Option<Box<Call>>,
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
            functions: Functions::find(&mut store, &instance, exports)?,
            store,
            stand_in: None,
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
        let stand_in = match self.stand_in.take() {
            Some(stand_in) => stand_in,
            None => Call::new(call.app.clone(), Access::None, Draft::new(call.draft.store().clone())),
        };
        self.store.data_mut().begin(Some(call));
        let outcome = self.run(function, params, deadline);
        let call = match self.store.data_mut().call.take() {
            Some(call) => {
                self.stand_in = Some(stand_in);
                call
            }
            None => stand_in,
        };
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

/// Finds the function that prepares an instance.
pub(super) fn find_start(
    store: &mut Store<State>,
    instance: &wasmtime::component::Instance,
    exports: &Exports,
) -> wasmtime::Result<Start> {
    instance.get_typed_func(store, exports.start)
}

/// Returns a duration in whole milliseconds.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
pub(super) fn failure(store: &mut Store<State>, error: wasmtime::Error, deadline: Duration) -> Failure {
    let cause = store.data_mut().cause.take();
    match (error.downcast_ref::<Trap>(), cause) {
        (Some(Trap::Interrupt), _) => Failure::Timeout(milliseconds(deadline)),
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
