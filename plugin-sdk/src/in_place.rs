//! The short path into `before_send`, which every message passes: the host writes the texts of a message into a buffer of
//! the plugin, and enters the plugin once. The path of the contract takes three entries: one to allocate, one for the hook,
//! and one to free the result. Hosts that don't know the short path use that one.

use std::cell::{Cell, RefCell};

use crate::declare::DeclaredHooks;
use crate::wasm::plugin;
use crate::{Context, Message, Registered, Verdict};

thread_local! {
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// A verdict in the memory layout of the contract's `verdict`. The post-return function of `before-send` frees what it
    /// points to.
    static VERDICT: Cell<[usize; 6]> = const { Cell::new([0; 6]) };
}

/// Returns the address of a buffer of at least `size` bytes. The address stays valid until a call with a larger size.
#[must_use]
pub fn room(size: usize) -> *mut u8 {
    ROOM.with_borrow_mut(|room| {
        if room.len() < size {
            room.resize(size, 0);
        }
        room.as_mut_ptr()
    })
}

/// Calls `before_send` with the message whose texts are in the buffer, end to end. Returns null for acceptance, else the
/// address of the verdict.
#[must_use]
pub fn before_send<P: Registered>(ends: [u32; 8], seq: u64, edits: u64, time_ms: u64) -> *const usize {
    let verdict = ROOM.with_borrow(|room| {
        let message = Message::new(room, ends, seq, edits, time_ms);
        DeclaredHooks(plugin::<P>()).before_send(&Context::default(), &message)
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

/// Hands bytes over to the host, and returns their address and length.
fn handed_over(bytes: Vec<u8>) -> (usize, usize) {
    let bytes = Box::leak(bytes.into_boxed_slice());
    (bytes.as_ptr().addr(), bytes.len())
}
