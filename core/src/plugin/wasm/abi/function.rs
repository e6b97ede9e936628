//! Functions that a guest exports, with their types.

use std::marker::PhantomData;

use wasmtime::{
    AsContextMut, Error, Extern, ExternType, Func, FuncType, Instance, Module, ModuleExport, Result, Store, ValRaw,
    ValType,
};

use super::value::{Lift, LowerParams};
use super::{Flat, HasGuest, Lifting, Lowering, call_allocator, call_raw, checked_address, number};

/// Location of an exported function in a module.
#[derive(Clone)]
pub(in crate::plugin::wasm) struct FunctionExport {
    function: ModuleExport,
    /// Frees the memory of the result.
    post_return: Option<ModuleExport>,
}

/// A function of a module has another type than in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plugin::wasm) struct TypeMismatch;

impl FunctionExport {
    /// Finds a function of the contract; `None` if it isn't exported.
    ///
    /// # Errors
    /// If its type is not that of `P` and `R`.
    pub(in crate::plugin::wasm) fn find<P: LowerParams, R: LiftResult>(
        module: &Module,
        name: &str,
    ) -> Result<Option<Self>, TypeMismatch> {
        let mut params = Vec::new();
        P::flatten(&mut params);
        if params.len() > Flat::MAX {
            params = vec![ValType::I32];
        }
        let results = R::IS_SOME.then_some(ValType::I32);
        let Some(function) = export(module, name, params, results)? else {
            return Ok(None);
        };
        let post_return = export(module, &format!("cabi_post_{name}"), vec![ValType::I32], None)?;
        Ok(Some(Self { function, post_return }))
    }

    /// Returns the function of an instance of that module.
    ///
    /// # Errors
    /// If the instance belongs to another module.
    pub(in crate::plugin::wasm) fn of<P, R>(
        &self,
        store: &mut Store<impl HasGuest>,
        instance: &Instance,
    ) -> Result<RawFunction<P, R>> {
        let mut find = |export| {
            let found = instance.get_module_export(&mut *store, export);
            found
                .and_then(Extern::into_func)
                .ok_or_else(|| Error::msg("the instance lacks a function of its module"))
        };
        Ok(RawFunction {
            function: find(&self.function)?,
            post_return: self.post_return.as_ref().map(find).transpose()?,
            types: PhantomData,
        })
    }
}

/// Finds an exported function; `None` if it isn't exported.
///
/// # Errors
/// If it has another type.
pub(super) fn export(
    module: &Module,
    name: &str,
    params: Vec<ValType>,
    result: Option<ValType>,
) -> Result<Option<ModuleExport>, TypeMismatch> {
    match module.get_export(name) {
        None => Ok(None),
        Some(ExternType::Func(found)) if FuncType::eq(&found, &FuncType::new(module.engine(), params, result)) => {
            Ok(module.get_export_index(name))
        }
        Some(_) => Err(TypeMismatch),
    }
}

/// What a function returns: nothing, or the address of its result. No function of the contract returns a single number.
pub(in crate::plugin::wasm) trait LiftResult: Sized {
    /// `true` if the function returns an address.
    const IS_SOME: bool;

    fn lift(cx: &mut Lifting<'_>, returned: ValRaw) -> Result<Self>;
}

impl LiftResult for () {
    const IS_SOME: bool = false;

    fn lift(_: &mut Lifting<'_>, _: ValRaw) -> Result<Self> {
        Ok(())
    }
}

impl<T: Lift> LiftResult for (T,) {
    const IS_SOME: bool = {
        assert!(T::FLAT > 1, "a single number would be returned directly");
        true
    };

    fn lift(cx: &mut Lifting<'_>, returned: ValRaw) -> Result<Self> {
        let at = checked_address(returned.get_u32(), T::ALIGN, T::SIZE, cx.memory.len())?;
        Ok((T::load(cx, at)?,))
    }
}

/// A function of one instance. [`FunctionExport::find`] checked its type against `P` and `R`.
#[derive(Debug)]
pub(in crate::plugin::wasm) struct RawFunction<P, R> {
    function: Func,
    post_return: Option<Func>,
    types: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for RawFunction<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for RawFunction<P, R> {}

impl<P: LowerParams, R: LiftResult> RawFunction<P, R> {
    /// Calls the function.
    ///
    /// # Errors
    /// If the guest traps, or a value can't be lowered or lifted.
    #[expect(unsafe_code, reason = "see `call_raw`")]
    pub(in crate::plugin::wasm) fn call(self, store: &mut Store<impl HasGuest>, params: &P) -> Result<R> {
        let guest = store.data_mut().guest().memory()?;
        let mut flat = Flat::new();
        let mut lowering = Lowering {
            store: store.as_context_mut(),
            guest,
        };
        if P::FLAT <= Flat::MAX {
            params.lower(&mut lowering, &mut flat)?;
        } else {
            let at = lowering.allocate(P::ALIGN, P::SIZE)?;
            params.store(&mut lowering, at)?;
            flat.push(number(at)?)?;
        }
        // SAFETY: `FunctionExport::find` checked that it takes the numbers of `P` and returns at most one number.
        unsafe { call_raw(&mut *store, self.function, &mut flat.values) }?;
        let returned = flat.values[0];
        let (memory, data) = guest.memory.data_and_store_mut(&mut *store);
        let result = R::lift(&mut Lifting::new(memory, data.guest()), returned)?;
        if let Some(post_return) = self.post_return {
            // SAFETY: `FunctionExport::find` checked that it takes the 32-bit number that the function returned, and
            // returns nothing.
            unsafe { call_allocator(&mut *store, post_return, &mut [returned]) }?;
        }
        Ok(result)
    }
}
