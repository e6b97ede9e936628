//! The short way into `before_send`, which every message passes: the host writes the texts of a message into a place that
//! the plugin keeps for it, and enters the plugin once. The way of the contract takes three entries, one to make room, one
//! for the hook and one to give the result back; hosts that don't know the short one take it.

use std::cell::{Cell, RefCell};

use crate::wasm::plugin;
use crate::{Context, Message, Registered, Verdict};

thread_local! {
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// A verdict as the contract's `verdict` lies in memory; what it points to is given back by `before-send`'s post-return.
    static VERDICT: Cell<[usize; 6]> = const { Cell::new([0; 6]) };
}

/// Makes room for texts of so many bytes together, and returns where. It stays there until more is asked for.
#[must_use]
pub fn room(size: usize) -> *mut u8 {
    ROOM.with_borrow_mut(|room| {
        if room.len() < size {
            room.resize(size, 0);
        }
        room.as_mut_ptr()
    })
}

/// Decides about the message whose texts are in the room, end to end. Returns null to accept it, or where the verdict is.
#[must_use]
pub fn before_send<P: Registered>(ends: [u32; 8], seq: u64, edits: u64, time_ms: u64) -> *const usize {
    let verdict = ROOM.with_borrow(|room| {
        let message = Message::new(room, ends, seq, edits, time_ms);
        plugin::<P>().before_send(&Context::default(), &message)
    });
    let words = match verdict {
        Verdict::Accept => return std::ptr::null(),
        Verdict::Replace(content) => {
            let (at, length) = handed_over(content);
            [1, at, length, 0, 0, 0]
        }
        Verdict::Reject(error) => {
            let (code, code_length) = handed_over(error.code.into_bytes());
            let (message, message_length) = handed_over(error.message.into_bytes());
            [2, code, code_length, message, message_length, error.retry.into()]
        }
    };
    VERDICT.with(|verdict| {
        verdict.set(words);
        verdict.as_ptr().cast()
    })
}

/// Leaves bytes to the host, and returns where they are.
fn handed_over(bytes: Vec<u8>) -> (usize, usize) {
    let bytes = Box::leak(bytes.into_boxed_slice());
    (bytes.as_ptr().addr(), bytes.len())
}
