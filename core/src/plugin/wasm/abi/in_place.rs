//! The short way into `before-send`, for modules made with the SDK, whose `in_place` is the other side of it.

use wasmtime::{Extern, Func, Instance, Module, ModuleExport, Result, Store, ValRaw, ValType};

use super::function::{Returned, export};
use super::{Guest, Lifting, OtherType, address, enter, enter_quietly, outside, place};
use crate::hooks::Message;
use crate::plugin::wasm::bindings::exports::courtyard::plugin::message::Verdict;
use crate::plugin::wasm::state::InstanceState;

/// Room that is asked for at first, in bytes: most messages fit.
const ROOM: usize = 1 << 10;

/// Where a module exports it.
#[derive(Clone)]
pub(in crate::plugin::wasm) struct InPlaceExport {
    room: ModuleExport,
    before_send: ModuleExport,
    post_return: ModuleExport,
}

impl InPlaceExport {
    /// Finds it.
    ///
    /// # Errors
    /// When the functions are of other types.
    pub(in crate::plugin::wasm) fn find(module: &Module) -> Result<Option<Self>, OtherType> {
        let number = Some(ValType::I32);
        let message = [vec![ValType::I32; 8], vec![ValType::I64; 3]].concat();
        let post_return = format!(
            "cabi_post_{}#before-send",
            crate::plugin::contract::interface("message")
        );
        let room = export(module, "courtyard-in-place#room", vec![ValType::I32], number.clone())?;
        let before_send = export(module, "courtyard-in-place#before-send", message, number)?;
        let post_return = export(module, &post_return, vec![ValType::I32], None)?;
        let all = room.zip(before_send).zip(post_return);
        Ok(all.map(|((room, before_send), post_return)| Self {
            room,
            before_send,
            post_return,
        }))
    }

    /// Returns the way into an instance of that module.
    pub(in crate::plugin::wasm) fn of(&self, store: &mut Store<InstanceState>, instance: &Instance) -> Option<InPlace> {
        let mut find = |export| {
            instance
                .get_module_export(&mut *store, export)
                .and_then(Extern::into_func)
        };
        Some(InPlace {
            room: find(&self.room)?,
            before_send: find(&self.before_send)?,
            post_return: find(&self.post_return)?,
            at: 0,
            size: 0,
        })
    }
}

/// The way into one instance.
pub(in crate::plugin::wasm) struct InPlace {
    room: Func,
    before_send: Func,
    post_return: Func,
    /// Where the guest has room, and how much.
    at: usize,
    size: usize,
}

impl InPlace {
    /// Asks the guest about a message; none if it accepts.
    ///
    /// # Errors
    /// A trap, or why the message or the verdict can't be handed over.
    #[expect(unsafe_code, reason = "see `enter`")]
    pub(in crate::plugin::wasm) fn before_send(
        &mut self,
        store: &mut Store<InstanceState>,
        message: &Message<'_>,
    ) -> Result<Option<Box<Verdict>>> {
        let guest = store.data().guest()?;
        let texts = message.texts();
        let length = texts.iter().map(|text| text.len()).sum();
        if self.size < length {
            self.grow(store, guest, length)?;
        }
        let mut values = [ValRaw::u32(0); 11];
        let room = guest.memory.data_mut(&mut *store).get_mut(self.at..self.at + length);
        let (mut room, mut end) = (room.ok_or_else(outside)?, 0);
        for (text, value) in texts.into_iter().zip(&mut values) {
            let (place, rest) = room.split_at_mut_checked(text.len()).ok_or_else(outside)?;
            copy(text, place);
            (room, end) = (rest, end + text.len());
            *value = address(end)?;
        }
        for (number, value) in [message.seq, message.edits, message.time_ms]
            .into_iter()
            .zip(&mut values[8..])
        {
            *value = ValRaw::u64(number);
        }
        // SAFETY: `InPlaceExport::find` saw that it takes eleven numbers and returns one.
        unsafe { enter(&mut *store, self.before_send, &mut values) }?;
        let [returned, ..] = values;
        if returned.get_u32() == 0 {
            return Ok(None);
        }
        let (memory, state) = guest.memory.data_and_store_mut(&mut *store);
        let (verdict,) = Returned::lift(&mut Lifting::new(memory, state), returned)?;
        // SAFETY: `InPlaceExport::find` saw that it takes a number and returns nothing.
        unsafe { enter_quietly(&mut *store, self.post_return, &mut [returned]) }?;
        Ok(Some(Box::new(verdict)))
    }

    /// Has the guest make more room.
    #[expect(unsafe_code, reason = "see `enter`")]
    fn grow(&mut self, store: &mut Store<InstanceState>, guest: Guest, length: usize) -> Result<()> {
        let size = length.next_power_of_two().max(ROOM);
        let mut values = [address(size)?];
        // SAFETY: `InPlaceExport::find` saw that it takes a number and returns one.
        unsafe { enter_quietly(&mut *store, self.room, &mut values) }?;
        self.at = place(values[0].get_u32(), 1, size, guest.memory.data_size(&*store))?;
        self.size = size;
        Ok(())
    }
}

/// Copies a text. Most are short, and done before a call for it would have begun.
#[inline]
fn copy(from: &[u8], to: &mut [u8]) {
    if !(copy_ends::<16>(from, to) || copy_ends::<8>(from, to) || copy_ends::<4>(from, to)) {
        to.copy_from_slice(from);
    }
}

/// Copies the first and the last `N` bytes, if that is all.
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
