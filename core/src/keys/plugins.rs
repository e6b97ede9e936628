//! Keys of plugins: their own key spaces, versions and watches.

use bytes::Bytes;

use super::{Range, build, build_timed, starting_with, successor, time_of, until};
use crate::wire::{ActorId, AppId, ConversationId};

/// A key of a plugin's own key space: `k APP 0 PLUGIN 0 KEY`.
#[must_use]
pub fn value(app: &AppId, plugin: &str, key: &[u8]) -> Bytes {
    build(b'k', &[app.as_str(), plugin], key)
}

/// The range of a plugin's whole key space in one app.
#[must_use]
pub fn values(app: &AppId, plugin: &str) -> Range {
    starting_with(value(app, plugin, &[]))
}

/// The plugin version that wrote the key space of an app: `v APP 0 PLUGIN 0`.
#[must_use]
pub fn version(app: &AppId, plugin: &str) -> Bytes {
    build(b'v', &[app.as_str(), plugin], &[])
}

/// The expiry of a plugin's key, sorted by time: `e TIME PLUGIN 0 APP 0 KEY`.
#[must_use]
pub fn expiry(until_ms: u64, plugin: &str, app: &AppId, key: &[u8]) -> Bytes {
    build_timed(b'e', until_ms, &[plugin, app.as_str()], key)
}

/// The range of all expiries up to and including `now_ms`.
#[must_use]
pub fn expired(now_ms: u64) -> Range {
    until(b'e', now_ms)
}

/// Returns the time, the plugin, the app and the plugin's key of an expiry.
#[must_use]
pub fn parse_expiry(key: &[u8]) -> Option<(u64, &str, AppId, &[u8])> {
    let until_ms = time_of(key)?;
    let mut parts = key[9..].splitn(3, |byte| *byte == 0);
    let (plugin, app) = (parts.next()?, parts.next()?);
    let (plugin, app) = (std::str::from_utf8(plugin).ok()?, std::str::from_utf8(app).ok()?);
    Some((until_ms, plugin, app.parse().ok()?, parts.next()?))
}

/// The watch of a plugin on an actor: `i APP 0 PLUGIN 0 "a" ACTOR`.
#[must_use]
pub fn watched_actor(app: &AppId, plugin: &str, actor: &ActorId) -> Bytes {
    build(
        b'i',
        &[app.as_str(), plugin],
        &[b"a", actor.as_str().as_bytes()].concat(),
    )
}

/// The watch of a plugin on a conversation: `i APP 0 PLUGIN 0 "c" ID`.
#[must_use]
pub fn watched_conversation(app: &AppId, plugin: &str, id: ConversationId) -> Bytes {
    build(
        b'i',
        &[app.as_str(), plugin],
        &[&b"c"[..], &id.0.to_be_bytes()].concat(),
    )
}

/// A version that every change of a plugin's watches replaces: `i APP 0 PLUGIN 0`.
#[must_use]
pub fn watches_version(app: &AppId, plugin: &str) -> Bytes {
    build(b'i', &[app.as_str(), plugin], &[])
}

/// The range of all watches of a plugin, without their version.
#[must_use]
pub fn watches(app: &AppId, plugin: &str) -> Range {
    let version = watches_version(app, plugin);
    ([&version[..], b"\0"].concat().into(), successor(&version))
}

/// Marks a plugin as disabled by an operator: `d PLUGIN 0`.
#[must_use]
pub fn disabled(plugin: &str) -> Bytes {
    build(b'd', &[plugin], &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_can_be_parsed_and_is_in_the_range_of_its_time() {
        let app = AppId::default_app();
        let key = expiry(7, "users", &app, b"a\0b");
        assert_eq!(parse_expiry(&key), Some((7, "users", app, &b"a\0b"[..])));
        let inside = |now_ms| (expired(now_ms).0..expired(now_ms).1).contains(&key);
        assert!(inside(7) && inside(u64::MAX) && !inside(6));
    }
}
