//! Keys of blobs.

use bytes::Bytes;

use super::{Range, build, build_timed, starting_with, time_of, until};
use crate::wire::AppId;

/// A fingerprint that distinguishes the master key of the blobs from others.
pub const SECRET: &[u8] = b"s\0blob_key";

/// The record of a blob: `b APP 0 PLUGIN 0 ID`.
#[must_use]
pub fn record(app: &AppId, plugin: &str, id: u128) -> Bytes {
    build(b'b', &[app.as_str(), plugin], &id.to_be_bytes())
}

/// The range of the records of all blobs of a plugin in one app.
#[must_use]
pub fn records(app: &AppId, plugin: &str) -> Range {
    starting_with(build(b'b', &[app.as_str(), plugin], &[]))
}

/// Returns the id that the key of a record ends with.
#[must_use]
pub fn id_of_record(key: &[u8]) -> Option<u128> {
    let id = key.len().checked_sub(16)?;
    Some(u128::from_be_bytes(key[id..].try_into().ok()?))
}

/// The expiry of a blob, sorted by time: `u TIME APP 0 PLUGIN 0 ID`.
#[must_use]
pub fn expiry(until_ms: u64, app: &AppId, plugin: &str, id: u128) -> Bytes {
    build_timed(b'u', until_ms, &[app.as_str(), plugin], &id.to_be_bytes())
}

/// The range of all expiries of blobs up to and including `now_ms`.
#[must_use]
pub fn expired(now_ms: u64) -> Range {
    until(b'u', now_ms)
}

/// Returns the time, the app, the plugin and the id of a blob's expiry.
#[must_use]
pub fn parse_expiry(key: &[u8]) -> Option<(u64, AppId, &str, u128)> {
    let (app, plugin, id) = parse_name(key.get(9..)?)?;
    Some((time_of(key)?, app, plugin, id))
}

/// Marks a removed blob whose objects may still exist: `g APP 0 PLUGIN 0 ID`.
#[must_use]
pub fn garbage(app: &AppId, plugin: &str, id: u128) -> Bytes {
    build(b'g', &[app.as_str(), plugin], &id.to_be_bytes())
}

/// The range of all removed blobs whose objects may still exist.
#[must_use]
pub fn all_garbage() -> Range {
    (Bytes::from_static(b"g"), Bytes::from_static(b"h"))
}

/// Returns the app, the plugin and the id of a removed blob.
#[must_use]
pub fn parse_garbage(key: &[u8]) -> Option<(AppId, &str, u128)> {
    parse_name(key.get(1..)?)
}

fn parse_name(name: &[u8]) -> Option<(AppId, &str, u128)> {
    let (texts, id) = name.split_at_checked(name.len().checked_sub(16)?)?;
    let mut texts = texts.split(|byte| *byte == 0).map(std::str::from_utf8);
    let (app, plugin) = (texts.next()?.ok()?, texts.next()?.ok()?);
    Some((app.parse().ok()?, plugin, u128::from_be_bytes(id.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_blob_can_be_parsed() {
        let app = AppId::default_app();
        for id in [0, 1, u128::MAX] {
            assert_eq!(id_of_record(&record(&app, "files", id)), Some(id));
            assert_eq!(
                parse_garbage(&garbage(&app, "files", id)),
                Some((app.clone(), "files", id))
            );
            let expiry = expiry(7, &app, "files", id);
            assert_eq!(parse_expiry(&expiry), Some((7, app.clone(), "files", id)));
            assert!((expired(7).0..expired(7).1).contains(&expiry));
            assert!(!(expired(6).0..expired(6).1).contains(&expiry));
        }
    }
}
