//! One running instance of a Wasm plugin.

use std::sync::Arc;
use std::time::Duration;

use courtyard_plugin_sdk::manifest::HookName;
use wasmtime::component::{self, Component, ComponentExportIndex, ComponentNamedList, Lift, Lower, TypedFunc};
use wasmtime::{Extern, ExternType, InstancePre, Module, ModuleExport, Store, Trap, ValType, bail};

use super::abi::{self, InPlace, InPlaceExport};
use super::bindings::courtyard::plugin::types;
use super::bindings::exports::courtyard::plugin::{action, auth, conversation, event, http, message};
use super::engine::WasmEngine;
use super::state::{Shared, State};
use super::wasm::wit_message;
use crate::hooks::{Access, Answer, Call, Failure, Message};
use crate::log::Draft;

/// Bytes that one call may lift out of the guest, over all arguments and results.
pub(super) const LIFTED_BYTES: usize = 8 << 20;

pub(super) type Start = Function<(String,), (Result<(), types::Error>,)>;

/// What the host hands to a function, through a component or without one.
pub(super) trait Params: ComponentNamedList + Lower + abi::Pass {}

impl<T: ComponentNamedList + Lower + abi::Pass> Params for T {}

/// What a function returns, through a component or without one.
pub(super) trait Results: ComponentNamedList + Lift + abi::Returned {}

impl<T: ComponentNamedList + Lift + abi::Returned> Results for T {}

/// Where a plugin's code exports a function.
#[derive(Clone)]
pub(super) enum Export {
    Component(ComponentExportIndex),
    Module(abi::Export),
}

/// A function of one instance.
pub(super) enum Function<P, R> {
    Component(TypedFunc<P, R>),
    Module(abi::Function<P, R>),
}

/// Names the functions of the contract that a plugin may export: the hook that they are for, where they are, and their types.
macro_rules! functions {
    ($($(#[$attribute:meta])* $name:ident $hook:ident: $interface:literal $function:literal $params:ty => $results:ty;)*) => {
        /// Where a plugin's code exports the functions of the contract.
        #[derive(Clone)]
        pub(super) struct Exports {
            start: Export,
            $(pub(super) $name: Option<Export>,)*
        }

        impl Exports {
            /// Finds the exports of a component; none if it has no `lifecycle`.
            pub(super) fn of_component(component: &Component) -> Option<Self> {
                let find = |interface, function| component_export(component, interface, function).map(Export::Component);
                Some(Self {
                    start: find("lifecycle", "start")?,
                    $($name: find($interface, $function),)*
                })
            }

            /// Finds the exports of a module; none if it has no `lifecycle`.
            ///
            /// # Errors
            /// When one is of another type than the contract's.
            pub(super) fn of_module(module: &Module) -> Result<Option<Self>, abi::OtherType> {
                let name = |interface, function| format!("{}#{function}", super::interface(interface));
                let start = abi::Export::find::<(String,), Done>(module, &name("lifecycle", "start"))?;
                let Some(start) = start else { return Ok(None) };
                Ok(Some(Self {
                    start: Export::Module(start),
                    $($name: abi::Export::find::<$params, $results>(module, &name($interface, $function))?.map(Export::Module),)*
                }))
            }

            /// Whether the plugin exports what the host enters for a hook.
            pub(super) fn has(&self, hook: HookName) -> bool {
                match hook {
                    $(HookName::$hook => self.$name.is_some(),)*
                }
            }
        }

        /// The functions that an instance exports.
        pub(super) struct Functions {
            $($(#[$attribute])* pub(super) $name: Option<Function<$params, $results>>,)*
        }

        impl Functions {
            fn find(store: &mut Store<State>, instance: &Made, exports: &Exports) -> Result<Self, StartError> {
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
    #[expect(dead_code, reason = "the action lane enters it by itself")]
    action Action: "action" "run" (action::Job,) => Done;
    transaction Transaction: "transaction" "run" (String, Vec<u8>) => (Result<Vec<u8>, types::Error>,);
    before_upload BeforeUpload: "blob" "before-upload" (types::Caller, types::Blob, bool) => Done;
    complete_upload CompleteUpload: "blob" "complete-upload" (types::Caller, types::Blob) => Done;
    before_download BeforeDownload: "blob" "before-download" (types::Caller, types::Blob, bool) => Done;
    before_remove BeforeRemove: "blob" "before-remove" (types::Caller, types::Blob) => Done;
    http Http: "http" "handle" (types::Caller, http::Request) => (Result<http::Response, types::Error>,);
}

/// Finds a function of the contract in a component.
pub(super) fn component_export(component: &Component, interface: &str, function: &str) -> Option<ComponentExportIndex> {
    let (_, interface) = component.get_export(None, super::interface(interface))?;
    let (_, function) = component.get_export(Some(&interface), function)?;
    Some(function)
}

/// What instances are made of: compiled code, linked with what is granted.
pub(super) struct Template {
    pre: Pre,
    pub(super) exports: Exports,
}

/// Code that is linked.
enum Pre {
    Component(component::InstancePre<State>),
    Module {
        pre: InstancePre<State>,
        memory: ModuleExport,
        realloc: ModuleExport,
        /// What the guest wants to run before anything else.
        initialize: Option<ModuleExport>,
        in_place: Option<InPlaceExport>,
    },
}

/// An instance that was just made.
enum Made {
    Component(component::Instance),
    Module(wasmtime::Instance),
}

impl Template {
    /// Takes a component; none if it has no `lifecycle`.
    pub(super) fn of_component(component: &Component, pre: component::InstancePre<State>) -> Option<Self> {
        Some(Self {
            pre: Pre::Component(pre),
            exports: Exports::of_component(component)?,
        })
    }

    /// Takes a module, to be entered without a component around it; none if it does not export what that takes.
    pub(super) fn of_module(module: &Module, pre: InstancePre<State>) -> Option<Self> {
        let number = ValType::I32;
        let function = |name, params, result| abi::export(module, name, vec![number.clone(); params], result).ok();
        let memory = match module.get_export("memory")? {
            ExternType::Memory(memory) if !memory.is_64() && !memory.is_shared() => {
                module.get_export_index("memory")?
            }
            _ => return None,
        };
        Some(Self {
            pre: Pre::Module {
                pre,
                memory,
                realloc: function("cabi_realloc", 4, Some(ValType::I32))??,
                initialize: function("_initialize", 0, None)?,
                in_place: InPlaceExport::find(module).ok()?,
            },
            exports: Exports::of_module(module).ok()??,
        })
    }

    fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Made> {
        let (pre, memory, realloc, initialize) = match &self.pre {
            Pre::Component(pre) => return pre.instantiate(store).map(Made::Component),
            Pre::Module {
                pre,
                memory,
                realloc,
                initialize,
                ..
            } => (pre, memory, realloc, initialize),
        };
        let instance = pre.instantiate(&mut *store)?;
        let mut export = |place| instance.get_module_export(&mut *store, place);
        let (memory, realloc) = (export(memory), export(realloc));
        let initialize = initialize.as_ref().and_then(export).and_then(Extern::into_func);
        let (Some(Extern::Memory(memory)), Some(Extern::Func(realloc))) = (memory, realloc) else {
            bail!("it lost its memory");
        };
        store.data_mut().guest = Some(abi::Guest::new(memory, realloc));
        if let Some(initialize) = initialize {
            initialize.call(&mut *store, &[], &mut [])?;
        }
        Ok(Made::Module(instance))
    }

    /// Returns the short way into an instance, if there is one.
    fn in_place(&self, store: &mut Store<State>, made: &Made) -> Option<InPlace> {
        match (&self.pre, made) {
            (Pre::Module { in_place, .. }, Made::Module(instance)) => in_place.as_ref()?.of(store, instance),
            _ => None,
        }
    }
}

/// An instance with its functions looked up.
pub(super) struct Instance {
    store: Store<State>,
    functions: Functions,
    in_place: Option<InPlace>,
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
        template: &Template,
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
        let made = template
            .instantiate(&mut store)
            .map_err(|error| match failure(&mut store, error, deadline) {
                Failure::Trap(reason) => StartError::Instantiate(reason),
                failure => StartError::Failed(failure),
            })?;
        let start: Start = function(&mut store, &made, Some(&template.exports.start))?
            .ok_or_else(|| StartError::Instantiate("it exports no start".to_owned()))?;
        let functions = Functions::find(&mut store, &made, &template.exports)?;
        match run(&mut store, &start, (configuration.to_owned(),), deadline) {
            Ok((Ok(()),)) => Ok(Self {
                in_place: template.in_place(&mut store, &made),
                store,
                functions,
                stand_in: None,
            }),
            Ok((Err(error),)) => Err(StartError::Refused {
                code: error.code,
                message: error.message,
            }),
            Err(failure) => Err(StartError::Failed(failure)),
        }
    }

    /// Enters the guest with a call. After a failure the instance must not be used again.
    pub(super) fn enter<P: Params, R: Results>(
        &mut self,
        call: Box<Call>,
        pick: impl FnOnce(&Functions) -> Option<&Function<P, R>>,
        params: P,
        deadline: Duration,
    ) -> Answer<R> {
        let Some(function) = pick(&self.functions) else {
            let missing = "it declares a hook or a method that it does not export".to_owned();
            return (call, Err(Failure::Contract(missing)));
        };
        let entered = (&mut self.store, &mut self.stand_in);
        lend(entered, call, |store| run(store, function, params, deadline))
    }

    /// Asks the guest about a message, the shortest way that it has; none if it accepts.
    pub(super) fn before_send(
        &mut self,
        call: Box<Call>,
        message: &Message<'_>,
        deadline: Duration,
    ) -> (Box<Call>, Judgement) {
        if let Some(in_place) = &mut self.in_place {
            let entered = (&mut self.store, &mut self.stand_in);
            return lend(entered, call, |store| {
                store.set_epoch_deadline(WasmEngine::ticks_in(deadline));
                let outcome = in_place.before_send(store, message);
                outcome.map_err(|error| Box::new(failure(store, error, deadline)))
            });
        }
        let params = (wit_message(message.packed()),);
        let (call, answer) = self.enter(call, |on| on.before_send.as_ref(), params, deadline);
        let judgement = match answer {
            Ok((message::Verdict::Accept,)) => Ok(None),
            Ok((verdict,)) => Ok(Some(Box::new(verdict))),
            Err(failure) => Err(Box::new(failure)),
        };
        (call, judgement)
    }
}

/// What a guest has against a message.
pub(super) type Judgement = Result<Option<Box<message::Verdict>>, Box<Failure>>;

/// Lends a call to the guest while `work` runs.
fn lend<T>(
    (store, stand_in): (&mut Store<State>, &mut Option<Box<Call>>),
    call: Box<Call>,
    work: impl FnOnce(&mut Store<State>) -> T,
) -> (Box<Call>, T) {
    let substitute = match stand_in.take() {
        Some(substitute) => substitute,
        None => Call::new(call.app.clone(), Access::None, Draft::new(call.draft.store().clone())),
    };
    store.data_mut().begin(Some(call));
    let outcome = work(store);
    let call = match store.data_mut().call.take() {
        Some(call) => {
            *stand_in = Some(substitute);
            call
        }
        None => substitute,
    };
    (call, outcome)
}

fn run<P: Params, R: Results>(
    store: &mut Store<State>,
    function: &Function<P, R>,
    params: P,
    deadline: Duration,
) -> Result<R, Failure> {
    store.set_epoch_deadline(WasmEngine::ticks_in(deadline));
    let outcome = match function {
        Function::Component(function) => function.call(&mut *store, params),
        Function::Module(function) => function.call(store, &params),
    };
    outcome.map_err(|error| failure(store, error, deadline))
}

/// Returns a duration in whole milliseconds.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns a function of an instance, if the plugin exports it.
fn function<P: Params, R: Results>(
    store: &mut Store<State>,
    instance: &Made,
    export: Option<&Export>,
) -> Result<Option<Function<P, R>>, StartError> {
    let found = match (instance, export) {
        (_, None) => return Ok(None),
        (Made::Component(instance), Some(Export::Component(export))) => {
            instance.get_typed_func(store, export).map(Function::Component)
        }
        (Made::Module(instance), Some(Export::Module(export))) => export.of(store, instance).map(Function::Module),
        _ => Err(wasmtime::Error::msg("what it exports is from elsewhere")),
    };
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
