//! The functions of the contract that a plugin exports, in a component or in a module.

use courtyard_plugin_sdk::manifest::HookName;
use wasmtime::component::{self, Component, ComponentExportIndex, ComponentNamedList, Lift, Lower, TypedFunc};
use wasmtime::{Module, Store};

use super::abi;
use super::bindings::courtyard::plugin::types;
use super::bindings::exports::courtyard::plugin::{action, auth, conversation, event, http, message};
use super::state::InstanceState;
use crate::plugin::StartError;
use crate::plugin::contract;

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
            pub(super) start: Export,
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
                let name = |interface, function| format!("{}#{function}", contract::interface(interface));
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
            pub(super) fn find(store: &mut Store<InstanceState>, instance: &LinkedInstance, exports: &Exports) -> Result<Self, StartError> {
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
    let (_, interface) = component.get_export(None, contract::interface(interface))?;
    let (_, function) = component.get_export(Some(&interface), function)?;
    Some(function)
}

/// Returns a function of an instance, if the plugin exports it.
pub(super) fn function<P: Params, R: Results>(
    store: &mut Store<InstanceState>,
    instance: &LinkedInstance,
    export: Option<&Export>,
) -> Result<Option<Function<P, R>>, StartError> {
    let found = match (instance, export) {
        (_, None) => return Ok(None),
        (LinkedInstance::Component(instance), Some(Export::Component(export))) => {
            instance.get_typed_func(store, export).map(Function::Component)
        }
        (LinkedInstance::Module(instance), Some(Export::Module(export))) => {
            export.of(store, instance).map(Function::Module)
        }
        _ => Err(wasmtime::Error::msg("what it exports is from elsewhere")),
    };
    found
        .map(Some)
        .map_err(|error| StartError::Instantiate(format!("{error:#}")))
}

/// An instance whose functions are not looked up yet.
pub(super) enum LinkedInstance {
    Component(component::Instance),
    Module(wasmtime::Instance),
}
