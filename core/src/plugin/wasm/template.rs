//! What instances are created from.

use wasmtime::component::{self, Component};
use wasmtime::{Extern, ExternType, InstancePre, Module, ModuleExport, Store, ValType, bail};

use super::abi::{self, InPlace, InPlaceExport};
use super::exports::{Exports, LinkedInstance};
use super::state::InstanceState;

/// What instances are made of: compiled code, linked with what is granted.
pub(super) struct Template {
    pre: Pre,
    pub(super) exports: Exports,
}

/// Code that is linked.
enum Pre {
    Component(component::InstancePre<InstanceState>),
    Module {
        pre: InstancePre<InstanceState>,
        memory: ModuleExport,
        realloc: ModuleExport,
        /// What the guest wants to run before anything else.
        initialize: Option<ModuleExport>,
        in_place: Option<InPlaceExport>,
    },
}

impl Template {
    /// Takes a component; none if it has no `lifecycle`.
    pub(super) fn of_component(component: &Component, pre: component::InstancePre<InstanceState>) -> Option<Self> {
        Some(Self {
            pre: Pre::Component(pre),
            exports: Exports::of_component(component)?,
        })
    }

    /// Takes a module, to be entered without a component around it; none if it does not export what that takes.
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

    pub(super) fn instantiate(&self, store: &mut Store<InstanceState>) -> wasmtime::Result<LinkedInstance> {
        let (pre, memory, realloc, initialize) = match &self.pre {
            Pre::Component(pre) => return pre.instantiate(store).map(LinkedInstance::Component),
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
        Ok(LinkedInstance::Module(instance))
    }

    /// Returns the short way into an instance, if there is one.
    pub(super) fn in_place(&self, store: &mut Store<InstanceState>, made: &LinkedInstance) -> Option<InPlace> {
        match (&self.pre, made) {
            (Pre::Module { in_place, .. }, LinkedInstance::Module(instance)) => in_place.as_ref()?.of(store, instance),
            _ => None,
        }
    }
}
