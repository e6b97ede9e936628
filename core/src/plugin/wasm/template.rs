//! What instances are created from.

use wasmtime::component::{self, Component};
use wasmtime::{Extern, ExternType, InstancePre, Module, ModuleExport, Store, ValType, bail};

use super::abi::{self, GuestMemory, InPlace, InPlaceExports};
use super::bindings::exports::courtyard::plugin::message::Verdict;
use super::exports::{Exports, LinkedInstance};
use super::state::InstanceState;
use crate::plugin::contract::interface;

/// Compiled code, linked with the granted services, from which instances are created.
pub(super) struct Template {
    code: LinkedCode,
    pub(super) exports: Exports,
}

/// Linked code.
enum LinkedCode {
    Component(component::InstancePre<InstanceState>),
    Module {
        pre: InstancePre<InstanceState>,
        memory: ModuleExport,
        realloc: ModuleExport,
        /// Runs before any other function of the guest.
        initialize: Option<ModuleExport>,
        in_place: Option<InPlaceExports>,
    },
}

impl Template {
    /// Creates a template from a component; `None` if it has no `lifecycle`.
    pub(super) fn of_component(component: &Component, pre: component::InstancePre<InstanceState>) -> Option<Self> {
        Some(Self {
            code: LinkedCode::Component(pre),
            exports: Exports::of_component(component)?,
        })
    }

    /// Creates a template from a module that is called without a component around it. `None` if it lacks `lifecycle`, the
    /// memory or the allocator, or if an export has another type than in the contract.
    pub(super) fn of_module(module: &Module, pre: InstancePre<InstanceState>) -> Option<Self> {
        let number = ValType::I32;
        let function = |name, params, result| abi::export(module, name, vec![number.clone(); params], result).ok();
        let memory = match module.get_export("memory")? {
            ExternType::Memory(memory) if !memory.is_64() && !memory.is_shared() => {
                module.get_export_index("memory")?
            }
            _ => return None,
        };
        Some(Self {
            code: LinkedCode::Module {
                pre,
                memory,
                realloc: function("cabi_realloc", 4, Some(ValType::I32))??,
                initialize: function("_initialize", 0, None)?,
                in_place: InPlaceExports::find(module, &interface("message")).ok()?,
            },
            exports: Exports::of_module(module).ok()??,
        })
    }

    pub(super) fn instantiate(&self, store: &mut Store<InstanceState>) -> wasmtime::Result<LinkedInstance> {
        let (pre, memory, realloc, initialize) = match &self.code {
            LinkedCode::Component(pre) => return pre.instantiate(store).map(LinkedInstance::Component),
            LinkedCode::Module {
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
            bail!("the instance has no memory or no allocator");
        };
        store.data_mut().guest.set_memory(GuestMemory::new(memory, realloc));
        if let Some(initialize) = initialize {
            initialize.call(&mut *store, &[], &mut [])?;
        }
        Ok(LinkedInstance::Module(instance))
    }

    /// Returns the in-place `before-send` of an instance; `None` if the plugin has none.
    pub(super) fn in_place(
        &self,
        store: &mut Store<InstanceState>,
        instance: &LinkedInstance,
    ) -> Option<InPlace<Verdict>> {
        match (&self.code, instance) {
            (LinkedCode::Module { in_place, .. }, LinkedInstance::Module(instance)) => {
                in_place.as_ref()?.of(store, instance)
            }
            _ => None,
        }
    }
}
