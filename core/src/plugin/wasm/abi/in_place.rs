//! The in-place call of `before-send`, for modules built with the SDK. Its `in_place` module is the counterpart.
//!
//! The host writes the texts of a message into a buffer of the guest and calls it once, instead of once to allocate, once for
//! the hook and once to free the result.

use std::marker::PhantomData;

use wasmtime::{Extern, Func, Instance, Module, ModuleExport, Result, Store, ValRaw, ValType};

use super::function::{LiftResult, TypeMismatch, export};
use super::{GuestMemory, HasGuest, Lifting, call_allocator, call_raw, checked_address, number, out_of_bounds};

/// Smallest size of the buffer, in bytes. Most messages fit into it.
const MIN_BUFFER: usize = 1 << 10;

/// Number of texts of a message.
const TEXTS: usize = 8;
/// Number of 64-bit numbers of a message.
const NUMBERS: usize = 3;

/// Locations of the functions in a module.
#[derive(Clone)]
pub(in crate::plugin::wasm) struct InPlaceExports {
    /// Returns the address of a buffer of at least so many bytes.
    reserve: ModuleExport,
    before_send: ModuleExport,
    post_return: ModuleExport,
}

impl InPlaceExports {
    /// Finds the functions; `None` if one isn't exported. `interface` is the full name of the one with `before-send`.
    ///
    /// # Errors
    /// If one has another type.
    pub(in crate::plugin::wasm) fn find(module: &Module, interface: &str) -> Result<Option<Self>, TypeMismatch> {
        let address = Some(ValType::I32);
        let message = [vec![ValType::I32; TEXTS], vec![ValType::I64; NUMBERS]].concat();
        let post_return = format!("cabi_post_{interface}#before-send");
        let reserve = export(module, "courtyard-in-place#room", vec![ValType::I32], address.clone())?;
        let before_send = export(module, "courtyard-in-place#before-send", message, address)?;
        let post_return = export(module, &post_return, vec![ValType::I32], None)?;
        let all = reserve.zip(before_send).zip(post_return);
        Ok(all.map(|((reserve, before_send), post_return)| Self {
            reserve,
            before_send,
            post_return,
        }))
    }

    /// Returns the functions of an instance of that module; `None` if the instance belongs to another module.
    pub(in crate::plugin::wasm) fn of<V>(
        &self,
        store: &mut Store<impl HasGuest>,
        instance: &Instance,
    ) -> Option<InPlace<V>> {
        let mut find = |export| {
            instance
                .get_module_export(&mut *store, export)
                .and_then(Extern::into_func)
        };
        Some(InPlace {
            reserve: find(&self.reserve)?,
            before_send: find(&self.before_send)?,
            post_return: find(&self.post_return)?,
            buffer: 0,
            size: 0,
            verdict: PhantomData,
        })
    }
}

/// In-place calls of one instance, whose verdict is a `V`.
pub(in crate::plugin::wasm) struct InPlace<V> {
    reserve: Func,
    before_send: Func,
    post_return: Func,
    /// Address of the guest's buffer.
    buffer: usize,
    /// Size of the buffer, in bytes.
    size: usize,
    verdict: PhantomData<fn() -> V>,
}

impl<V> InPlace<V>
where
    (V,): LiftResult,
{
    /// Calls `before-send` with a message; `None` if the guest accepts it.
    ///
    /// # Errors
    /// If the guest traps, or the message can't be lowered or the verdict lifted.
    #[expect(unsafe_code, reason = "see `call_raw`")]
    pub(in crate::plugin::wasm) fn before_send(
        &mut self,
        store: &mut Store<impl HasGuest>,
        texts: [&[u8]; TEXTS],
        numbers: [u64; NUMBERS],
    ) -> Result<Option<Box<V>>> {
        let guest = store.data_mut().guest().memory()?;
        let length = texts.iter().map(|text| text.len()).sum();
        if self.size < length {
            self.grow(store, guest, length)?;
        }
        let mut values = [ValRaw::u32(0); TEXTS + NUMBERS];
        let buffer = guest
            .memory
            .data_mut(&mut *store)
            .get_mut(self.buffer..self.buffer + length);
        let (mut free, mut end) = (buffer.ok_or_else(out_of_bounds)?, 0);
        for (text, value) in texts.into_iter().zip(&mut values) {
            let (target, rest) = free.split_at_mut_checked(text.len()).ok_or_else(out_of_bounds)?;
            copy(text, target);
            (free, end) = (rest, end + text.len());
            *value = number(end)?;
        }
        for (number, value) in numbers.into_iter().zip(&mut values[TEXTS..]) {
            *value = ValRaw::u64(number);
        }
        // SAFETY: `InPlaceExports::find` checked that it takes eleven numbers and returns one.
        unsafe { call_raw(&mut *store, self.before_send, &mut values) }?;
        let [returned, ..] = values;
        if returned.get_u32() == 0 {
            return Ok(None);
        }
        let (memory, data) = guest.memory.data_and_store_mut(&mut *store);
        let (verdict,) = <(V,)>::lift(&mut Lifting::new(memory, data.guest()), returned)?;
        // SAFETY: `InPlaceExports::find` checked that it takes a number and returns nothing.
        unsafe { call_allocator(&mut *store, self.post_return, &mut [returned]) }?;
        Ok(Some(Box::new(verdict)))
    }

    /// Makes the guest enlarge its buffer to at least `length` bytes.
    #[expect(unsafe_code, reason = "see `call_raw`")]
    fn grow(&mut self, store: &mut Store<impl HasGuest>, guest: GuestMemory, length: usize) -> Result<()> {
        let size = length.next_power_of_two().max(MIN_BUFFER);
        let mut values = [number(size)?];
        // SAFETY: `InPlaceExports::find` checked that it takes a number and returns one.
        unsafe { call_allocator(&mut *store, self.reserve, &mut values) }?;
        self.buffer = checked_address(values[0].get_u32(), 1, size, guest.memory.data_size(&*store))?;
        self.size = size;
        Ok(())
    }
}

/// Copies a text. Most texts are short: copying their ends inline takes less time than a call of `memcpy`.
#[inline]
fn copy(from: &[u8], to: &mut [u8]) {
    if !(copy_ends::<16>(from, to) || copy_ends::<8>(from, to) || copy_ends::<4>(from, to)) {
        to.copy_from_slice(from);
    }
}

/// Copies the first and the last `N` bytes. Returns `false`, having copied nothing, unless that is the whole text.
#[inline]
fn copy_ends<const N: usize>(from: &[u8], to: &mut [u8]) -> bool {
    let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
        return false;
    };
    if from.len() > 2 * N || from.len() != to.len() {
        return false;
    }
    to[..N].copy_from_slice(first);
    let rest = to.len() - N;
    to[rest..].copy_from_slice(last);
    true
}

#[cfg(test)]
mod tests {
    #[test]
    fn texts_of_all_lengths_are_copied() {
        let from: Vec<u8> = (0..100).collect();
        for length in 0..=from.len() {
            let mut to = vec![255; length];
            super::copy(&from[..length], &mut to);
            assert_eq!(to, from[..length]);
        }
    }
}
