//! Calls core modules by the canonical ABI of the component model, without a component around them: how typed values are
//! laid out in a guest's memory, and in the parameters and results of its functions.
//!
//! A call through a component takes three times as long. Specification: the component model's
//! [Canonical ABI](https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md), for 32-bit
//! memories and UTF-8.

mod function;
mod import;
mod in_place;
mod memory;
pub(super) mod record;
pub(super) mod value;

pub(super) use function::{FunctionExport, LiftResult, RawFunction, TypeMismatch};
pub(super) use import::import;
pub(super) use in_place::{InPlace, InPlaceExports};
pub(super) use memory::GuestExports;
pub(super) use value::LowerParams;

use wasmtime::{AsContextMut, Func, Result, StoreContextMut, ValRaw, bail};

use memory::GuestMemory;

/// State of a guest that is called by this ABI.
#[derive(Debug)]
pub(super) struct GuestState {
    memory: Option<GuestMemory>,
    /// `false` while the guest allocates or frees memory for the host: it must not call services then.
    may_call_host: bool,
    /// Bytes that the current call may still lift out of the guest.
    liftable: usize,
}

impl GuestState {
    /// Creates the state of a guest whose first call may lift `liftable` bytes.
    pub(super) fn new(liftable: usize) -> Self {
        Self {
            memory: None,
            may_call_host: true,
            liftable,
        }
    }

    /// Begins a call that may lift `liftable` bytes out of the guest.
    pub(super) fn begin_call(&mut self, liftable: usize) {
        self.liftable = liftable;
    }

    fn memory(&self) -> Result<GuestMemory> {
        self.memory
            .ok_or_else(|| wasmtime::Error::msg("the plugin called a service before it was instantiated"))
    }
}

/// Data of a store whose guest is called by this ABI.
pub(super) trait HasGuest: 'static {
    fn guest(&mut self) -> &mut GuestState;
}

/// A call lifted more bytes out of the guest than it may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the call lifted too many bytes")]
pub(super) struct LiftLimitExceeded;

/// Calls a function of the guest with parameters in an array, where its result is returned.
///
/// # Safety
/// The function takes no more numbers than `values` has and no references, and returns at most one number.
#[expect(unsafe_code, reason = "wasmtime's checked call costs more than the call itself")]
unsafe fn call_raw(mut store: impl AsContextMut, function: Func, values: &mut [ValRaw]) -> Result<()> {
    // SAFETY: the caller upholds the contract; and the store is synchronous, so that this is within no asynchronous call.
    unsafe { function.call_unchecked(&mut store, &raw mut *values) }
}

/// Calls a function with which the guest allocates or frees memory. The guest must not call services meanwhile.
///
/// # Safety
/// As for [`call_raw`].
#[expect(unsafe_code, reason = "see `call_raw`")]
unsafe fn call_allocator(
    mut store: impl AsContextMut<Data: HasGuest>,
    function: Func,
    values: &mut [ValRaw],
) -> Result<()> {
    store.as_context_mut().data_mut().guest().may_call_host = false;
    // SAFETY: the caller upholds the contract.
    unsafe { call_raw(&mut store, function, values) }?;
    store.as_context_mut().data_mut().guest().may_call_host = true;
    Ok(())
}

/// Writes values into the memory of a guest.
pub(super) struct Lowering<'a, T: HasGuest> {
    store: StoreContextMut<'a, T>,
    guest: GuestMemory,
}

impl<T: HasGuest> Lowering<'_, T> {
    fn memory(&mut self) -> &mut [u8] {
        self.guest.memory.data_mut(&mut self.store)
    }

    /// Allocates memory in the guest, and returns its address.
    #[expect(unsafe_code, reason = "see `call_raw`")]
    fn allocate(&mut self, align: usize, size: usize) -> Result<usize> {
        let mut values = [number(0)?, number(0)?, number(align)?, number(size)?];
        // SAFETY: `GuestExports::find` checked that it takes four 32-bit numbers and returns one.
        unsafe { call_allocator(&mut self.store, self.guest.realloc, &mut values) }?;
        checked_address(values[0].get_u32(), align, size, self.memory().len())
    }

    /// Writes bytes at an address that [`Lowering::allocate`] returned.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let target = self.memory().get_mut(at..at + bytes.len()).ok_or_else(out_of_bounds)?;
        target.copy_from_slice(bytes);
        Ok(())
    }
}

/// Reads values from the memory of a guest.
pub(super) struct Lifting<'a> {
    memory: &'a [u8],
    guest: &'a mut GuestState,
}

impl<'a> Lifting<'a> {
    fn new(memory: &'a [u8], guest: &'a mut GuestState) -> Self {
        Self { memory, guest }
    }

    /// Returns a part of the memory.
    fn bytes(&self, at: usize, length: usize) -> Result<&'a [u8]> {
        at.checked_add(length)
            .and_then(|end| self.memory.get(at..end))
            .ok_or_else(out_of_bounds)
    }

    pub(super) fn array<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let bytes = self.bytes(at, N)?.first_chunk();
        bytes.copied().ok_or_else(out_of_bounds)
    }

    /// Counts bytes against the limit of the call.
    fn count(&mut self, bytes: usize) -> Result<()> {
        match self.guest.liftable.checked_sub(bytes) {
            Some(liftable) => {
                self.guest.liftable = liftable;
                Ok(())
            }
            None => Err(LiftLimitExceeded.into()),
        }
    }
}

/// The numbers that are passed to a function.
pub(super) struct Flat {
    values: [ValRaw; Flat::MAX],
    count: usize,
}

impl Flat {
    /// Number of parameters above which they are passed in memory.
    const MAX: usize = 16;

    fn new() -> Self {
        Self {
            values: [ValRaw::u32(0); Self::MAX],
            count: 0,
        }
    }

    #[inline]
    fn push(&mut self, value: ValRaw) -> Result<()> {
        let Some(slot) = self.values.get_mut(self.count) else {
            bail!("too many parameters");
        };
        *slot = value;
        self.count += 1;
        Ok(())
    }
}

/// Returns an address or a length as a 32-bit number.
#[inline]
fn number(value: usize) -> Result<ValRaw> {
    Ok(ValRaw::u32(u32::try_from(value)?))
}

/// Returns an address that the guest passed, if it is aligned and its `size` bytes are within `memory` bytes.
fn checked_address(at: u32, align: usize, size: usize, memory: usize) -> Result<usize> {
    let at = at as usize;
    if !at.is_multiple_of(align) {
        bail!("a pointer of the guest is not aligned");
    }
    match at.checked_add(size) {
        Some(end) if end <= memory => Ok(at),
        _ => Err(out_of_bounds()),
    }
}

fn out_of_bounds() -> wasmtime::Error {
    wasmtime::Error::msg("a pointer of the guest is out of bounds of its memory")
}

pub(super) const fn aligned(at: usize, align: usize) -> usize {
    at.next_multiple_of(align)
}
