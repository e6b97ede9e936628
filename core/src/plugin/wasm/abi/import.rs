//! Functions that a guest imports, with their types.

use wasmtime::{AsContextMut, Caller, FuncType, Linker, Result, Trap, ValRaw, ValType, bail};

use super::value::{LiftParams, Lower};
use super::{Flat, HasGuest, Lifting, Lowering, checked_address};

/// Links one function of a service.
#[expect(unsafe_code, reason = "see `call_raw`")]
pub(in crate::plugin::wasm) fn import<D: HasGuest, P: LiftParams + 'static, R: Lower + 'static>(
    linker: &mut Linker<D>,
    interface: &str,
    name: &str,
    service: fn(&mut D, P) -> Result<R>,
) -> Result<()> {
    const { assert!(P::FLAT <= Flat::MAX, "more parameters would be passed in memory") };
    let mut params = Vec::new();
    P::flatten(&mut params);
    // A result of several numbers is written to an address that the guest passes.
    let in_memory = R::FLAT > 1;
    if in_memory {
        params.push(ValType::I32);
    }
    let ty = FuncType::new(linker.engine(), params, R::NUMBER);
    let serve = move |mut caller: Caller<'_, D>, values: &mut [std::mem::MaybeUninit<ValRaw>]| {
        let state = caller.data_mut().guest();
        let guest = state.memory()?;
        if !state.may_call_host {
            // The guest is allocating or freeing memory for the host.
            bail!(Trap::CannotLeaveComponent);
        }
        let (memory, data) = guest.memory.data_and_store_mut(&mut caller);
        let size = memory.len();
        // SAFETY: wasmtime initializes as many values as `ty` has parameters.
        let mut flat = values.iter().map(|value| unsafe { value.assume_init() });
        let params = P::lift(&mut Lifting::new(memory, data.guest()), &mut flat)?;
        let result_at = if in_memory { flat.next() } else { None };
        let result = service(data, params)?;
        match (result_at, result.number(), values.first_mut()) {
            (Some(at), _, _) => {
                let at = checked_address(at.get_u32(), R::ALIGN, R::SIZE, size)?;
                let store = caller.as_context_mut();
                result.store(&mut Lowering { store, guest }, at)
            }
            (None, Some(number), Some(slot)) => {
                slot.write(number);
                Ok(())
            }
            (None, None, _) => Ok(()),
            (None, Some(_), None) => bail!("the function has no room for a result"),
        }
    };
    // SAFETY: it writes the number of the result, if `ty` has one, and no reference.
    unsafe { linker.func_new_unchecked(interface, name, ty, serve) }?;
    Ok(())
}
