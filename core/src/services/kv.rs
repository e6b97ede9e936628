//! The plugin's own ordered key space, one for each app.

use bytes::Bytes;

use super::{ServiceLimits, may_read};
use crate::clock::now_ms;
use crate::hooks::{Call, StoreAccess};
use crate::keys;
use crate::store::StoreError;

/// Why an operation on the key space fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvError {
    /// The key or the value is over its limit.
    #[error("the key or the value is too large")]
    TooLarge,
    /// The call has no transaction, or a read-only one.
    #[error("the call has no transaction that may do this")]
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
    match call.draft.get(keys::plugins::value(&call.app, plugin, key))? {
        Some(stored) => live(&stored),
        None => Ok(None),
    }
}

/// The first byte of a stored value that doesn't expire.
const STAYS: u8 = 0;
/// The first byte of a stored value that expires. Eight bytes of the time follow, then the value.
const UNTIL: u8 = 1;

/// Returns the value from its stored form; none if it has expired.
fn live(stored: &Bytes) -> Result<Option<Bytes>, KvError> {
    match stored.first() {
        Some(&STAYS) => Ok(Some(stored.slice(1..))),
        Some(&UNTIL) if stored.len() >= 9 => {
            let is_live = until(stored).is_some_and(|until_ms| until_ms > now_ms());
            Ok(is_live.then(|| stored.slice(9..)))
        }
        _ => Err(StoreError::Index("a value of a plugin can't be read".to_owned()).into()),
    }
}

/// Returns the time at which a value expires; none if it doesn't.
pub(super) fn until(stored: &[u8]) -> Option<u64> {
    let time = stored.strip_prefix(&[UNTIL])?.get(..8)?;
    Some(u64::from_be_bytes(time.try_into().ok()?))
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
    check(call, limits, key, value.as_deref())?;
    let stored = value.map(|value| [&[STAYS], &value[..]].concat());
    put(call, plugin, key, stored);
    Ok(())
}

/// Sets a key that expires at a time in milliseconds since 1970.
///
/// # Errors
/// See [`KvError`].
pub fn set_until(
    call: &mut Call,
    plugin: &str,
    limits: &ServiceLimits,
    key: &[u8],
    value: &[u8],
    until_ms: u64,
) -> Result<(), KvError> {
    check(call, limits, key, Some(value))?;
    put(
        call,
        plugin,
        key,
        Some([&[UNTIL], &until_ms.to_be_bytes()[..], value].concat()),
    );
    let expiry = keys::plugins::expiry(until_ms, plugin, &call.app, key);
    call.draft.set(expiry, Some(Bytes::new()));
    Ok(())
}

fn check(call: &Call, limits: &ServiceLimits, key: &[u8], value: Option<&[u8]>) -> Result<(), KvError> {
    if call.access != StoreAccess::Write {
        return Err(KvError::Unavailable);
    }
    if key.len() > limits.key_bytes || value.is_some_and(|value| value.len() > limits.value_bytes) {
        return Err(KvError::TooLarge);
    }
    Ok(())
}

fn put(call: &mut Call, plugin: &str, key: &[u8], stored: Option<Vec<u8>>) {
    // If another version of the plugin takes over before the commit, this write may not fit its keys: conflict then.
    call.draft.add_read_once(keys::plugins::version(&call.app, plugin));
    call.draft
        .set(keys::plugins::value(&call.app, plugin, key), stored.map(Bytes::from));
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
    let prefix = keys::plugins::value(&call.app, plugin, &[]);
    let first = keys::plugins::value(&call.app, plugin, start);
    let last = if end.is_empty() {
        keys::successor(&prefix)
    } else {
        keys::plugins::value(&call.app, plugin, end)
    };
    let most = limit.min(limits.scan_entries) as usize;
    let (mut first, mut last, mut found) = (first, last, Vec::new());
    loop {
        let wanted = most - found.len();
        let entries = call.draft.scan(first.clone(), last.clone(), wanted, reverse)?;
        let complete = entries.len() < wanted;
        if let Some((key, _)) = entries.last() {
            // Continue from there if some of these have expired.
            if reverse {
                last = key.clone();
            } else {
                first = [key, &[0][..]].concat().into();
            }
        }
        for (key, stored) in entries {
            if let Some(value) = live(&stored)? {
                found.push((key.slice(prefix.len()..), value));
            }
        }
        if complete || found.len() >= most {
            return Ok(found);
        }
    }
}
