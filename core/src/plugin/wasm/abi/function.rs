//! Functions that a guest exports, with their types.

use std::marker::PhantomData;

use wasmtime::{
    AsContextMut, Error, Extern, ExternType, Func, FuncType, Instance, Module, ModuleExport, Result, Store, ValRaw,
    ValType,
};

use super::value::{Lift, Pass};
use super::{Flat, Lifting, Lowering, address, enter, enter_quietly, place};
use crate::plugin::wasm::state::InstanceState;

/// Where a module exports a function.
#[derive(Clone)]
pub(in crate::plugin::wasm) struct Export {
    function: ModuleExport,
    /// What gives back the memory of its result.
    post_return: Option<ModuleExport>,
}

/// Why a function of a module can't be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plugin::wasm) struct OtherType;

impl Export {
    /// Finds a function of the contract, and holds its type against the contract.
    pub(in crate::plugin::wasm) fn find<P: Pass, R: Returned>(
        module: &Module,
        name: &str,
    ) -> Result<Option<Self>, OtherType> {
        let mut params = Vec::new();
        P::flatten(&mut params);
        if params.len() > Flat::MOST {
            params = vec![ValType::I32];
        }
        let results = R::IS_SOMETHING.then_some(ValType::I32);
        let Some(function) = export(module, name, params, results)? else {
            return Ok(None);
        };
        let post_return = export(module, &format!("cabi_post_{name}"), vec![ValType::I32], None)?;
        Ok(Some(Self { function, post_return }))
    }

    /// Returns the function of an instance of that module.
    ///
    /// # Errors
    /// When it is an instance of another module.
    pub(in crate::plugin::wasm) fn of<P, R>(
        &self,
        store: &mut Store<InstanceState>,
        instance: &Instance,
    ) -> Result<Function<P, R>> {
        let mut find = |export| {
            let found = instance.get_module_export(&mut *store, export);
            found
                .and_then(Extern::into_func)
                .ok_or_else(|| Error::msg("it lost a function"))
        };
        Ok(Function {
            function: find(&self.function)?,
            post_return: self.post_return.as_ref().map(find).transpose()?,
            types: PhantomData,
        })
    }
}

/// Finds an exported function of a type.
pub(in crate::plugin::wasm) fn export(
    module: &Module,
    name: &str,
    params: Vec<ValType>,
    result: Option<ValType>,
) -> Result<Option<ModuleExport>, OtherType> {
    match module.get_export(name) {
        None => Ok(None),
        Some(ExternType::Func(found)) if FuncType::eq(&found, &FuncType::new(module.engine(), params, result)) => {
            Ok(module.get_export_index(name))
        }
        Some(_) => Err(OtherType),
    }
}

/// What a function returns: nothing, or where its result is. No function of the contract returns a single number.
pub(in crate::plugin::wasm) trait Returned: Sized {
    const IS_SOMETHING: bool;

    fn lift(cx: &mut Lifting<'_>, returned: ValRaw) -> Result<Self>;
}

impl Returned for () {
    const IS_SOMETHING: bool = false;

    fn lift(_: &mut Lifting<'_>, _: ValRaw) -> Result<Self> {
        Ok(())
    }
}

impl<T: Lift> Returned for (T,) {
    const IS_SOMETHING: bool = {
        assert!(T::FLAT > 1, "a single number would be returned as it is");
        true
    };

    fn lift(cx: &mut Lifting<'_>, returned: ValRaw) -> Result<Self> {
        let at = place(returned.get_u32(), T::ALIGN, T::SIZE, cx.memory.len())?;
        Ok((T::load(cx, at)?,))
    }
}

/// A function of one instance. Its type was held against `P` and `R` when its place was found.
#[derive(Debug)]
pub(in crate::plugin::wasm) struct Function<P, R> {
    function: Func,
    post_return: Option<Func>,
    types: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for Function<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for Function<P, R> {}

impl<P: Pass, R: Returned> Function<P, R> {
    /// Calls the function.
    ///
    /// # Errors
    /// A trap, or why a value can't be handed over.
    #[expect(unsafe_code, reason = "see `enter`")]
    pub(in crate::plugin::wasm) fn call(self, store: &mut Store<InstanceState>, params: &P) -> Result<R> {
        let guest = store.data().guest()?;
        let mut flat = Flat::new();
        let mut lowering = Lowering {
            store: store.as_context_mut(),
            guest,
        };
        if P::FLAT <= Flat::MOST {
            params.pass(&mut lowering, &mut flat)?;
        } else {
            let at = lowering.allocate(P::ALIGN, P::SIZE)?;
            params.store(&mut lowering, at)?;
            flat.push(address(at)?)?;
        }
        // SAFETY: `Export::find` saw that it takes what `P` is handed over as, and returns one number or none.
        unsafe { enter(&mut *store, self.function, &mut flat.values) }?;
        let returned = flat.values[0];
        let (memory, state) = guest.memory.data_and_store_mut(&mut *store);
        let result = R::lift(&mut Lifting::new(memory, state), returned)?;
        if let Some(post_return) = self.post_return {
            // SAFETY: `Export::find` saw that it takes what the function returned, a 32-bit number, and returns nothing.
            unsafe { enter_quietly(&mut *store, post_return, &mut [returned]) }?;
        }
        Ok(result)
    }
}
