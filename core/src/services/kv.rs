//! The plugin's own ordered key space, one for each app.

use bytes::Bytes;

use super::{ServiceLimits, may_read};
use crate::hooks::{Access, Call};
use crate::log::key;
use crate::store::StoreError;

/// Why the key space does not do what a plugin asks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvError {
    /// The key or the value is over its limit.
    #[error("the key or the value is too large")]
    TooLarge,
    /// No transaction, or one that may not write.
    #[error("there is no transaction that may do this")]
    Unavailable,
    /// The store failed; the call can't go on.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Reads a key.
///
/// # Errors
/// See [`KvError`].
pub fn get(call: &mut Call, plugin: &str, limits: &ServiceLimits, key: &[u8]) -> Result<Option<Bytes>, KvError> {
    if !may_read(call.access) {
        return Err(KvError::Unavailable);
    }
    if key.len() > limits.key_bytes {
        return Err(KvError::TooLarge);
    }
    Ok(call.draft.get(key::plugin(&call.app, plugin, key))?)
}

/// Sets a key, or deletes it.
///
/// # Errors
/// See [`KvError`].
pub fn set(
    call: &mut Call,
    plugin: &str,
    limits: &ServiceLimits,
    key: &[u8],
    value: Option<Vec<u8>>,
) -> Result<(), KvError> {
    if call.access != Access::Write {
        return Err(KvError::Unavailable);
    }
    if key.len() > limits.key_bytes || value.as_ref().is_some_and(|value| value.len() > limits.value_bytes) {
        return Err(KvError::TooLarge);
    }
    // Another version of the plugin may take over meanwhile: what this one writes would not fit that one's keys.
    call.draft.rely_once(key::version(&call.app, plugin));
    call.draft
        .set(key::plugin(&call.app, plugin, key), value.map(Bytes::from));
    Ok(())
}

/// Lists entries with `start <= key < end` in order; an empty `end` is the end of the key space.
///
/// # Errors
/// See [`KvError`].
pub fn scan(
    call: &mut Call,
    plugin: &str,
    limits: &ServiceLimits,
    (start, end): (&[u8], &[u8]),
    limit: u32,
    reverse: bool,
) -> Result<Vec<(Bytes, Bytes)>, KvError> {
    if !may_read(call.access) {
        return Err(KvError::Unavailable);
    }
    if start.len() > limits.key_bytes || end.len() > limits.key_bytes {
        return Err(KvError::TooLarge);
    }
    let prefix = key::plugin(&call.app, plugin, &[]);
    let first = key::plugin(&call.app, plugin, start);
    let last = if end.is_empty() {
        key::successor(&prefix)
    } else {
        key::plugin(&call.app, plugin, end)
    };
    let entries = call
        .draft
        .scan(first, last, limit.min(limits.scan_entries) as usize, reverse)?;
    Ok(entries
        .into_iter()
        .map(|(key, value)| (key.slice(prefix.len()..), value))
        .collect())
}
