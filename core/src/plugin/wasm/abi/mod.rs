//! Core modules entered by the canonical ABI of the component model, without a component around them: how typed values lie
//! in a guest's memory, and in the parameters and results of its functions.
//!
//! A call through a component takes three times as long. Source: the component model's
//! [Canonical ABI](https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md), for 32-bit
//! memories and UTF-8.

mod contract;
mod function;
mod in_place;
mod record;
mod value;

pub(super) use contract::link;
pub(super) use function::{Export, Function, OtherType, Returned, export};
pub(super) use in_place::{InPlace, InPlaceExport};
pub(super) use value::Pass;

use wasmtime::{AsContextMut, Func, Memory, Result, StoreContextMut, ValRaw, bail};

use super::state::InstanceState;
use crate::hooks::Failure;

/// What the host uses of a guest besides the functions of the contract.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guest {
    memory: Memory,
    /// Makes room in the memory.
    realloc: Func,
}

impl Guest {
    /// Takes the memory and the allocator of an instance; they were checked when the module was.
    pub(super) fn new(memory: Memory, realloc: Func) -> Self {
        Self { memory, realloc }
    }
}

/// Enters a function of the guest with parameters in an array, where its result comes back.
///
/// # Safety
/// The function takes no more numbers than there are and no references, and returns one number or none.
#[expect(unsafe_code, reason = "the generic way in costs more than the call")]
unsafe fn enter(mut store: impl AsContextMut, function: Func, values: &mut [ValRaw]) -> Result<()> {
    // SAFETY: the caller's; and the store is synchronous, so that this is within no asynchronous call.
    unsafe { function.call_unchecked(&mut store, &raw mut *values) }
}

/// Enters a function with which the guest makes room or gives it back, and must not ask for services meanwhile.
///
/// # Safety
/// As for [`enter`].
#[expect(unsafe_code, reason = "see `enter`")]
unsafe fn enter_quietly(
    mut store: impl AsContextMut<Data = InstanceState>,
    function: Func,
    values: &mut [ValRaw],
) -> Result<()> {
    store.as_context_mut().data_mut().may_ask = false;
    // SAFETY: the caller's.
    unsafe { enter(&mut store, function, values) }?;
    store.as_context_mut().data_mut().may_ask = true;
    Ok(())
}

/// Values on their way into a guest.
pub(super) struct Lowering<'a> {
    store: StoreContextMut<'a, InstanceState>,
    guest: Guest,
}

impl Lowering<'_> {
    fn memory(&mut self) -> &mut [u8] {
        self.guest.memory.data_mut(&mut self.store)
    }

    /// Has the guest make room.
    #[expect(unsafe_code, reason = "see `enter`")]
    fn allocate(&mut self, align: usize, size: usize) -> Result<usize> {
        let mut values = [address(0)?, address(0)?, address(align)?, address(size)?];
        // SAFETY: `Template::of_module` saw that it takes four 32-bit numbers and returns one.
        unsafe { enter_quietly(&mut self.store, self.guest.realloc, &mut values) }?;
        place(values[0].get_u32(), align, size, self.memory().len())
    }

    /// Writes bytes at a place that [`Lowering::allocate`] found.
    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let room = self.memory().get_mut(at..at + bytes.len()).ok_or_else(outside)?;
        room.copy_from_slice(bytes);
        Ok(())
    }
}

/// Values on their way out of a guest.
pub(super) struct Lifting<'a> {
    memory: &'a [u8],
    state: &'a mut InstanceState,
}

impl<'a> Lifting<'a> {
    fn new(memory: &'a [u8], state: &'a mut InstanceState) -> Self {
        Self { memory, state }
    }

    /// Returns some bytes of the memory.
    fn bytes(&self, at: usize, length: usize) -> Result<&'a [u8]> {
        at.checked_add(length)
            .and_then(|end| self.memory.get(at..end))
            .ok_or_else(outside)
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let bytes = self.bytes(at, N)?.first_chunk();
        bytes.copied().ok_or_else(outside)
    }

    /// Counts bytes against what a call may lift.
    fn count(&mut self, bytes: usize) -> Result<()> {
        match self.state.liftable.checked_sub(bytes) {
            Some(left) => {
                self.state.liftable = left;
                Ok(())
            }
            None => Err(self.state.end(Failure::Limit("lifted bytes"))),
        }
    }
}

/// The numbers that a function gets, at most as many as go without memory.
pub(super) struct Flat {
    values: [ValRaw; Flat::MOST],
    count: usize,
}

impl Flat {
    /// More than so many are handed over in memory.
    const MOST: usize = 16;

    fn new() -> Self {
        Self {
            values: [ValRaw::u32(0); Self::MOST],
            count: 0,
        }
    }

    #[inline]
    fn push(&mut self, value: ValRaw) -> Result<()> {
        let Some(place) = self.values.get_mut(self.count) else {
            bail!("too many parameters");
        };
        *place = value;
        self.count += 1;
        Ok(())
    }
}

/// Returns a place or a length as the guest knows it.
#[inline]
fn address(value: usize) -> Result<ValRaw> {
    Ok(ValRaw::u32(u32::try_from(value)?))
}

/// Holds a place that a guest named against its memory.
fn place(at: u32, align: usize, size: usize, memory: usize) -> Result<usize> {
    let at = at as usize;
    if !at.is_multiple_of(align) {
        bail!("a pointer of the guest is not aligned");
    }
    match at.checked_add(size) {
        Some(end) if end <= memory => Ok(at),
        _ => Err(outside()),
    }
}

fn outside() -> wasmtime::Error {
    wasmtime::Error::msg("a pointer of the guest is out of bounds of its memory")
}

const fn aligned(at: usize, align: usize) -> usize {
    at.next_multiple_of(align)
}
