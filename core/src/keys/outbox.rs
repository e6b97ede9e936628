//! Keys of the notes in observers' outboxes, and of dead letters.

use bytes::Bytes;

use super::{Range, build, starting_with};
use crate::store::LogId;

/// A pending observation of a plugin: `q PLUGIN 0 APP 0 CONVERSATION ORDER`.
#[must_use]
pub fn observation(plugin: &str, log: &LogId, order: u128) -> Bytes {
    let mut last = [0; 32];
    last[..16].copy_from_slice(&log.conversation.0.to_be_bytes());
    last[16..].copy_from_slice(&order.to_be_bytes());
    build(b'q', &[plugin, log.app.as_str()], &last)
}

/// The range of all pending observations of a plugin.
#[must_use]
pub fn observations(plugin: &str) -> Range {
    starting_with(build(b'q', &[plugin], &[]))
}

/// The dead letter of a note: `x`, then the rest of the note's key.
///
/// # Panics
/// On an empty key.
#[must_use]
pub fn dead_letter(note: &[u8]) -> Bytes {
    let mut key = note.to_vec();
    key[0] = b'x';
    key.into()
}

/// The range of all dead letters of a plugin.
#[must_use]
pub fn dead_letters(plugin: &str) -> Range {
    starting_with(build(b'x', &[plugin], &[]))
}

/// Returns the key of the note that became a dead letter.
///
/// # Panics
/// On an empty key.
#[must_use]
pub fn observation_of(dead_letter: &[u8]) -> Bytes {
    let mut key = dead_letter.to_vec();
    key[0] = b'q';
    key.into()
}
