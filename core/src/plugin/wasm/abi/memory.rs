//! The memory of a guest, and its allocator.

use wasmtime::{AsContextMut, Extern, ExternType, Func, Instance, Memory, Module, ModuleExport, Result, ValType, bail};

use super::HasGuest;
use super::function::export;

/// Memory of a guest, and the function that allocates in it.
#[derive(Clone, Copy, Debug)]
pub(in crate::plugin::wasm) struct GuestMemory {
    pub(super) memory: Memory,
    pub(super) realloc: Func,
}

/// Locations in a module of what every guest exports.
#[derive(Clone)]
pub(in crate::plugin::wasm) struct GuestExports {
    memory: ModuleExport,
    realloc: ModuleExport,
    /// Runs before any other function of the guest.
    initialize: Option<ModuleExport>,
}

impl GuestExports {
    /// Finds the exports of a module; `None` if it lacks a 32-bit memory or the allocator, or one has another type.
    pub(in crate::plugin::wasm) fn find(module: &Module) -> Option<Self> {
        let memory = match module.get_export("memory")? {
            ExternType::Memory(memory) if !memory.is_64() && !memory.is_shared() => {
                module.get_export_index("memory")?
            }
            _ => return None,
        };
        let numbers = vec![ValType::I32; 4];
        Some(Self {
            memory,
            realloc: export(module, "cabi_realloc", numbers, Some(ValType::I32)).ok()??,
            initialize: export(module, "_initialize", Vec::new(), None).ok()?,
        })
    }

    /// Prepares a new instance of that module for calls, and runs its `_initialize`. The store must have no other guest.
    ///
    /// # Errors
    /// If the instance belongs to another module, or the guest traps.
    pub(in crate::plugin::wasm) fn attach(
        &self,
        mut store: impl AsContextMut<Data: HasGuest>,
        instance: &Instance,
    ) -> Result<()> {
        let mut store = store.as_context_mut();
        let mut find = |export| instance.get_module_export(&mut store, export);
        let (memory, realloc) = (find(&self.memory), find(&self.realloc));
        let initialize = self.initialize.as_ref().and_then(find).and_then(Extern::into_func);
        let (Some(Extern::Memory(memory)), Some(Extern::Func(realloc))) = (memory, realloc) else {
            bail!("the instance has no memory or no allocator");
        };
        store.data_mut().guest().memory = Some(GuestMemory { memory, realloc });
        if let Some(initialize) = initialize {
            initialize.call(&mut store, &[], &mut [])?;
        }
        Ok(())
    }
}
