//! The functions of the contract that a plugin exports, in a component or in a module.

use courtyard_plugin_sdk::manifest::HookName;
use wasmtime::component::{self, Component, ComponentExportIndex, ComponentNamedList, Lift, Lower, TypedFunc};
use wasmtime::{Module, Store};

use super::abi;
use super::bindings::courtyard::plugin::types;
use super::bindings::exports::courtyard::plugin::{action, auth, conversation, event, http, message};
use super::state::InstanceState;
use crate::plugin::PluginStartError;
use crate::plugin::contract;

pub(super) type Start = GuestFunction<(String,), (Result<(), types::Error>,)>;

/// Parameters of a function, for components and for modules.
pub(super) trait Params: ComponentNamedList + Lower + abi::LowerParams {}

impl<T: ComponentNamedList + Lower + abi::LowerParams> Params for T {}

/// Results of a function, from components and from modules.
pub(super) trait Results: ComponentNamedList + Lift + abi::LiftResult {}

impl<T: ComponentNamedList + Lift + abi::LiftResult> Results for T {}

/// Location of an exported function in the code of a plugin.
#[derive(Clone)]
pub(super) enum ExportLocation {
    Component(ComponentExportIndex),
    Module(abi::FunctionExport),
}

/// A function of one instance.
pub(super) enum GuestFunction<P, R> {
    Component(TypedFunc<P, R>),
    Module(abi::RawFunction<P, R>),
}

/// Lists the functions of the contract that a plugin may export: hook, interface, name and types.
macro_rules! functions {
    ($($(#[$attribute:meta])* $name:ident $hook:ident: $interface:literal $function:literal $params:ty => $results:ty;)*) => {
        /// Locations of the exported functions of the contract.
        #[derive(Clone)]
        pub(super) struct Exports {
            pub(super) start: ExportLocation,
            $(pub(super) $name: Option<ExportLocation>,)*
        }

        impl Exports {
            /// Finds the exports of a component; `None` if it has no `lifecycle`.
            pub(super) fn of_component(component: &Component) -> Option<Self> {
                let find = |interface, function| component_export(component, interface, function).map(ExportLocation::Component);
                Some(Self {
                    start: find("lifecycle", "start")?,
                    $($name: find($interface, $function),)*
                })
            }

            /// Finds the exports of a module; `None` if it has no `lifecycle`.
            ///
            /// # Errors
            /// If a function has another type than in the contract.
            pub(super) fn of_module(module: &Module) -> Result<Option<Self>, abi::TypeMismatch> {
                let name = |interface, function| format!("{}#{function}", contract::interface(interface));
                let start = abi::FunctionExport::find::<(String,), UnitResult>(module, &name("lifecycle", "start"))?;
                let Some(start) = start else { return Ok(None) };
                Ok(Some(Self {
                    start: ExportLocation::Module(start),
                    $($name: abi::FunctionExport::find::<$params, $results>(module, &name($interface, $function))?.map(ExportLocation::Module),)*
                }))
            }

            /// Returns `true` if the plugin exports the function that the host calls for a hook.
            pub(super) fn has(&self, hook: HookName) -> bool {
                match hook {
                    $(HookName::$hook => self.$name.is_some(),)*
                }
            }
        }

        /// The functions of one instance that the plugin exports.
        pub(super) struct Functions {
            $($(#[$attribute])* pub(super) $name: Option<GuestFunction<$params, $results>>,)*
        }

        impl Functions {
            pub(super) fn find(store: &mut Store<InstanceState>, instance: &LinkedInstance, exports: &Exports) -> Result<Self, PluginStartError> {
                Ok(Self {
                    $($name: function(store, instance, exports.$name.as_ref())?,)*
                })
            }
        }
    };
}

/// Result of a function that returns nothing or an error.
pub(super) type UnitResult = (Result<(), types::Error>,);

functions! {
    migrate Migrate: "migration" "migrate" (String,) => UnitResult;
    authenticate Authenticate: "auth" "authenticate" (String, String) => (Result<Option<auth::Identity>, types::Error>,);
    before_send BeforeSend: "message" "before-send" (message::Message,) => (message::Verdict,);
    after_send AfterSend: "message" "after-send" (message::Message,) => UnitResult;
    render Render: "message" "render" (String, Vec<message::Message>) => (Result<Vec<Option<Vec<u8>>>, types::Error>,);
    call Method: "method" "call" (types::Caller, String, Vec<u8>) => (Result<Vec<u8>, types::Error>,);
    timer Timer: "timer" "fire" (String, Vec<u8>) => UnitResult;
    connected Connected: "session" "connected" (types::Caller,) => ();
    disconnected Disconnected: "session" "disconnected" (types::Caller,) => ();
    before_act BeforeAct: "message" "before-act" (message::Act,) => UnitResult;
    after_act AfterAct: "message" "after-act" (message::Act,) => UnitResult;
    before_change BeforeChange: "conversation" "before-change" (conversation::Change,) => UnitResult;
    after_change AfterChange: "conversation" "after-change" (conversation::Change,) => UnitResult;
    push Push: "push" "deliver" (message::Message, Vec<String>) => UnitResult;
    event Event: "event" "receive" (event::Event,) => UnitResult;
    #[expect(dead_code, reason = "the action lane looks it up itself")]
    action Action: "action" "run" (action::Job,) => UnitResult;
    transaction Transaction: "transaction" "run" (String, Vec<u8>) => (Result<Vec<u8>, types::Error>,);
    before_upload BeforeUpload: "blob" "before-upload" (types::Caller, types::Blob, bool) => UnitResult;
    complete_upload CompleteUpload: "blob" "complete-upload" (types::Caller, types::Blob) => UnitResult;
    before_download BeforeDownload: "blob" "before-download" (types::Caller, types::Blob, bool) => UnitResult;
    before_remove BeforeRemove: "blob" "before-remove" (types::Caller, types::Blob) => UnitResult;
    http Http: "http" "handle" (types::Caller, http::Request) => (Result<http::Response, types::Error>,);
}

/// Finds a function of the contract in a component; `None` if it isn't exported.
pub(super) fn component_export(component: &Component, interface: &str, function: &str) -> Option<ComponentExportIndex> {
    let (_, interface) = component.get_export(None, contract::interface(interface))?;
    let (_, function) = component.get_export(Some(&interface), function)?;
    Some(function)
}

/// Returns a function of an instance; `None` if the plugin doesn't export it.
pub(super) fn function<P: Params, R: Results>(
    store: &mut Store<InstanceState>,
    instance: &LinkedInstance,
    export: Option<&ExportLocation>,
) -> Result<Option<GuestFunction<P, R>>, PluginStartError> {
    let found = match (instance, export) {
        (_, None) => return Ok(None),
        (LinkedInstance::Component(instance), Some(ExportLocation::Component(export))) => {
            instance.get_typed_func(store, export).map(GuestFunction::Component)
        }
        (LinkedInstance::Module(instance), Some(ExportLocation::Module(export))) => {
            export.of(store, instance).map(GuestFunction::Module)
        }
        _ => Err(wasmtime::Error::msg("the export belongs to another kind of code")),
    };
    found
        .map(Some)
        .map_err(|error| PluginStartError::Instantiate(format!("{error:#}")))
}

/// An instance before its functions are looked up.
pub(super) enum LinkedInstance {
    Component(component::Instance),
    Module(wasmtime::Instance),
}
