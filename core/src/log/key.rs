//! The keys of the store. Every key begins with a letter for its kind; a zero byte ends each text, which no id contains.

use bytes::Bytes;

use crate::store::LogId;
use crate::wire::{ActorId, AppId, ConversationId};

/// The secret that client ids are hashed with.
pub const HASH_KEY: &[u8] = b"s\0hash_key";

/// What tells the master key of the blobs from others.
pub const BLOB_KEY: &[u8] = b"s\0blob_key";

/// The record of a conversation: `c APP 0 ID`.
#[must_use]
pub fn conversation(app: &AppId, id: ConversationId) -> Bytes {
    build(b'c', &[app.as_str()], &id.0.to_be_bytes())
}

/// The conversation at an address of a plugin: `a APP 0 PLUGIN 0 ADDRESS`.
#[must_use]
pub fn address(app: &AppId, plugin: &str, address: &str) -> Bytes {
    build(b'a', &[app.as_str(), plugin], address.as_bytes())
}

/// That an actor is a member of a conversation: `m APP 0 ACTOR 0 ID`.
#[must_use]
pub fn membership(app: &AppId, actor: &ActorId, id: ConversationId) -> Bytes {
    build(b'm', &[app.as_str(), actor.as_str()], &id.0.to_be_bytes())
}

/// All memberships of an actor, as the start and the end of a range.
#[must_use]
pub fn memberships(app: &AppId, actor: &ActorId) -> (Bytes, Bytes) {
    let start = build(b'm', &[app.as_str(), actor.as_str()], &[]);
    let end = successor(&start);
    (start, end)
}

/// Returns the conversation that a membership key ends with.
#[must_use]
pub fn conversation_of_membership(key: &[u8]) -> Option<ConversationId> {
    let id = key.len().checked_sub(16)?;
    Some(ConversationId(u128::from_be_bytes(key[id..].try_into().ok()?)))
}

/// What changes with each membership of an actor: `h APP 0 ACTOR 0`.
#[must_use]
pub fn memberships_version(app: &AppId, actor: &ActorId) -> Bytes {
    build(b'h', &[app.as_str(), actor.as_str()], &[])
}

/// Up to where a member has a conversation: `w APP 0 CONVERSATION ACTOR`.
#[must_use]
pub fn watermark(log: &LogId, actor: &ActorId) -> Bytes {
    let conversation = log.conversation.0.to_be_bytes();
    build(
        b'w',
        &[log.app.as_str()],
        &[&conversation[..], actor.as_str().as_bytes()].concat(),
    )
}

/// The watermarks of a conversation behind that of an actor, as the start and the end of a range.
#[must_use]
pub fn watermarks(log: &LogId, after: Option<&ActorId>) -> (Bytes, Bytes) {
    let all = build(b'w', &[log.app.as_str()], &log.conversation.0.to_be_bytes());
    let start = match after {
        // No id contains a zero byte.
        Some(actor) => [&watermark(log, actor)[..], &[0]].concat().into(),
        None => all.clone(),
    };
    (start, successor(&all))
}

/// Returns whose watermark a key of a conversation is for.
#[must_use]
pub fn actor_of_watermark(key: &[u8], log: &LogId) -> Option<ActorId> {
    let actor = key.get(1 + log.app.as_str().len() + 1 + 16..)?;
    std::str::from_utf8(actor).ok()?.parse().ok()
}

/// What became of a message: `z APP 0 CONVERSATION NUMBER`.
#[must_use]
pub fn revision(log: &LogId, seq: u64) -> Bytes {
    let mut last = [0; 24];
    last[..16].copy_from_slice(&log.conversation.0.to_be_bytes());
    last[16..].copy_from_slice(&seq.to_be_bytes());
    build(b'z', &[log.app.as_str()], &last)
}

/// Returns the number of the message that a revision's key ends with.
#[must_use]
pub fn seq_of_revision(key: &[u8]) -> Option<u64> {
    let seq = key.len().checked_sub(8)?;
    Some(u64::from_be_bytes(key[seq..].try_into().ok()?))
}

/// A key of a plugin's own key space: `k APP 0 PLUGIN 0 KEY`.
#[must_use]
pub fn plugin(app: &AppId, plugin: &str, key: &[u8]) -> Bytes {
    build(b'k', &[app.as_str(), plugin], key)
}

/// All keys of a plugin's own key space in one app, as the start and the end of a range.
#[must_use]
pub fn plugin_space(app: &AppId, plugin: &str) -> (Bytes, Bytes) {
    let start = self::plugin(app, plugin, &[]);
    let end = successor(&start);
    (start, end)
}

/// The version of a plugin that the keys of an app are for: `v APP 0 PLUGIN 0`.
#[must_use]
pub fn version(app: &AppId, plugin: &str) -> Bytes {
    build(b'v', &[app.as_str(), plugin], &[])
}

/// A timer: `t TIME PLUGIN 0 APP 0 NAME`, in the order in which they are due.
#[must_use]
pub fn timer(at_ms: u64, plugin: &str, app: &AppId, name: &str) -> Bytes {
    let rest = build(b't', &[plugin, app.as_str()], name.as_bytes());
    [&rest[..1], &at_ms.to_be_bytes(), &rest[1..]].concat().into()
}

/// When a timer is due: `n APP 0 PLUGIN 0 NAME`.
#[must_use]
pub fn timer_index(app: &AppId, plugin: &str, name: &str) -> Bytes {
    build(b'n', &[app.as_str(), plugin], name.as_bytes())
}

/// All timers, as the start and the end of a range.
#[must_use]
pub fn timers() -> (Bytes, Bytes) {
    (Bytes::from_static(b"t"), Bytes::from_static(b"u"))
}

/// Returns when the timer of a key is due, in milliseconds since 1970.
#[must_use]
pub fn timer_time(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?))
}

/// Returns when the timer of a key is due, whose it is, in which app, and its name.
#[must_use]
pub fn timer_parts(key: &[u8]) -> Option<(u64, &str, AppId, &str)> {
    let at_ms = timer_time(key)?;
    let mut texts = key[9..].splitn(3, |byte| *byte == 0).map(std::str::from_utf8);
    let (plugin, app, name) = (texts.next()?.ok()?, texts.next()?.ok()?, texts.next()?.ok()?);
    Some((at_ms, plugin, app.parse().ok()?, name))
}

/// That a key of a plugin is there until a time: `e TIME PLUGIN 0 APP 0 KEY`, in the order of time.
#[must_use]
pub fn expiry(until_ms: u64, plugin: &str, app: &AppId, key: &[u8]) -> Bytes {
    let rest = build(b'e', &[plugin, app.as_str()], key);
    [&rest[..1], &until_ms.to_be_bytes(), &rest[1..]].concat().into()
}

/// All keys whose time is over, as the start and the end of a range.
#[must_use]
pub fn expired(now_ms: u64) -> (Bytes, Bytes) {
    let end = [&b"e"[..], &now_ms.saturating_add(1).to_be_bytes()].concat();
    (Bytes::from_static(b"e"), end.into())
}

/// Returns until when a key of a plugin is there, whose it is, in which app, and the key.
#[must_use]
pub fn expiry_parts(key: &[u8]) -> Option<(u64, &str, AppId, &[u8])> {
    let until_ms = timer_time(key)?;
    let mut parts = key[9..].splitn(3, |byte| *byte == 0);
    let (plugin, app) = (parts.next()?, parts.next()?);
    let (plugin, app) = (std::str::from_utf8(plugin).ok()?, std::str::from_utf8(app).ok()?);
    Some((until_ms, plugin, app.parse().ok()?, parts.next()?))
}

/// A job: `j PLUGIN 0 TIME APP 0 ID`, those of a plugin in the order in which they are due.
#[must_use]
pub fn job(plugin: &str, at_ms: u64, app: &AppId, id: u128) -> Bytes {
    let start = build(b'j', &[plugin], &at_ms.to_be_bytes());
    [&start[..], app.as_str().as_bytes(), &[0], &id.to_be_bytes()]
        .concat()
        .into()
}

/// The jobs of a plugin that are due before a time, as the start and the end of a range.
#[must_use]
pub fn jobs(plugin: &str, before_ms: u64) -> (Bytes, Bytes) {
    (
        build(b'j', &[plugin], &[]),
        build(b'j', &[plugin], &before_ms.to_be_bytes()),
    )
}

/// Returns whose job it is, in which app, and its id.
#[must_use]
pub fn job_parts(key: &[u8]) -> Option<(&str, AppId, u128)> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let plugin = std::str::from_utf8(key.get(1..end)?).ok()?;
    let rest = key.get(end + 9..)?;
    let (app, id) = rest.split_at_checked(rest.len().checked_sub(16)?)?;
    let app = std::str::from_utf8(app.strip_suffix(&[0])?).ok()?;
    Some((plugin, app.parse().ok()?, u128::from_be_bytes(id.try_into().ok()?)))
}

/// What is known about a blob: `b APP 0 PLUGIN 0 ID`.
#[must_use]
pub fn blob(app: &AppId, plugin: &str, id: u128) -> Bytes {
    build(b'b', &[app.as_str(), plugin], &id.to_be_bytes())
}

/// All blobs of a plugin, as the start and the end of a range.
#[must_use]
pub fn blobs(app: &AppId, plugin: &str) -> (Bytes, Bytes) {
    let start = build(b'b', &[app.as_str(), plugin], &[]);
    let end = successor(&start);
    (start, end)
}

/// Returns the id that the key of a blob ends with.
#[must_use]
pub fn id_of_blob(key: &[u8]) -> Option<u128> {
    let id = key.len().checked_sub(16)?;
    Some(u128::from_be_bytes(key[id..].try_into().ok()?))
}

/// That a blob is there until a time: `u TIME APP 0 PLUGIN 0 ID`, in the order of time.
#[must_use]
pub fn blob_expiry(until_ms: u64, app: &AppId, plugin: &str, id: u128) -> Bytes {
    let rest = build(b'u', &[app.as_str(), plugin], &id.to_be_bytes());
    [&rest[..1], &until_ms.to_be_bytes(), &rest[1..]].concat().into()
}

/// All blobs whose time is over, as the start and the end of a range.
#[must_use]
pub fn blobs_expired(now_ms: u64) -> (Bytes, Bytes) {
    let end = [&b"u"[..], &now_ms.saturating_add(1).to_be_bytes()].concat();
    (Bytes::from_static(b"u"), end.into())
}

/// Returns until when a blob is there, its app, its plugin, and its id.
#[must_use]
pub fn blob_expiry_parts(key: &[u8]) -> Option<(u64, AppId, &str, u128)> {
    let (app, plugin, id) = named_blob(key.get(9..)?)?;
    Some((timer_time(key)?, app, plugin, id))
}

/// That a blob was removed and its objects may still be there: `g APP 0 PLUGIN 0 ID`.
#[must_use]
pub fn garbage(app: &AppId, plugin: &str, id: u128) -> Bytes {
    build(b'g', &[app.as_str(), plugin], &id.to_be_bytes())
}

/// Returns the app, the plugin and the id of a blob that was removed.
#[must_use]
pub fn garbage_parts(key: &[u8]) -> Option<(AppId, &str, u128)> {
    named_blob(key.get(1..)?)
}

fn named_blob(rest: &[u8]) -> Option<(AppId, &str, u128)> {
    let (names, id) = rest.split_at_checked(rest.len().checked_sub(16)?)?;
    let mut names = names.split(|byte| *byte == 0).map(std::str::from_utf8);
    let (app, plugin) = (names.next()?.ok()?, names.next()?.ok()?);
    Some((app.parse().ok()?, plugin, u128::from_be_bytes(id.try_into().ok()?)))
}

/// That a plugin watches an actor: `i APP 0 PLUGIN 0 "a" ACTOR`.
#[must_use]
pub fn watched_actor(app: &AppId, plugin: &str, actor: &ActorId) -> Bytes {
    build(
        b'i',
        &[app.as_str(), plugin],
        &[b"a", actor.as_str().as_bytes()].concat(),
    )
}

/// That a plugin watches a conversation: `i APP 0 PLUGIN 0 "c" ID`.
#[must_use]
pub fn watched_conversation(app: &AppId, plugin: &str, id: ConversationId) -> Bytes {
    build(
        b'i',
        &[app.as_str(), plugin],
        &[&b"c"[..], &id.0.to_be_bytes()].concat(),
    )
}

/// What changes with each thing that a plugin begins or ends to watch: `i APP 0 PLUGIN 0`.
#[must_use]
pub fn watches_version(app: &AppId, plugin: &str) -> Bytes {
    build(b'i', &[app.as_str(), plugin], &[])
}

/// That an operator disabled a plugin: `d PLUGIN 0`.
#[must_use]
pub fn disabled(plugin: &str) -> Bytes {
    build(b'd', &[plugin], &[])
}

/// All dead letters of an observer, as the start and the end of a range.
#[must_use]
pub fn dead_letters(plugin: &str) -> (Bytes, Bytes) {
    let start = build(b'x', &[plugin], &[]);
    let end = successor(&start);
    (start, end)
}

/// A message that an observer has not seen yet: `q PLUGIN 0 APP 0 CONVERSATION ORDER`.
#[must_use]
pub fn outbox(plugin: &str, log: &LogId, order: u128) -> Bytes {
    let mut last = [0; 32];
    last[..16].copy_from_slice(&log.conversation.0.to_be_bytes());
    last[16..].copy_from_slice(&order.to_be_bytes());
    build(b'q', &[plugin, log.app.as_str()], &last)
}

/// All messages that an observer has not seen yet, as the start and the end of a range.
#[must_use]
pub fn outboxes(plugin: &str) -> (Bytes, Bytes) {
    let start = build(b'q', &[plugin], &[]);
    let end = successor(&start);
    (start, end)
}

/// Where a message goes that an observer failed on again and again: `x`, then as in the outbox.
#[must_use]
pub fn dead_letter(outbox: &[u8]) -> Bytes {
    let mut key = outbox.to_vec();
    key[0] = b'x';
    key.into()
}

/// Returns where a dead letter came from.
#[must_use]
pub fn outbox_of(dead_letter: &[u8]) -> Bytes {
    let mut key = dead_letter.to_vec();
    key[0] = b'q';
    key.into()
}

/// Returns the first key behind all keys that begin with `prefix`.
#[must_use]
pub fn successor(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            break;
        }
        end.pop();
    }
    end.into()
}

fn build(kind: u8, texts: &[&str], last: &[u8]) -> Bytes {
    let length = 1 + texts.iter().map(|text| text.len() + 1).sum::<usize>() + last.len();
    let mut key = Vec::with_capacity(length);
    key.push(kind);
    for text in texts {
        key.extend_from_slice(text.as_bytes());
        key.push(0);
    }
    key.extend_from_slice(last);
    key.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_timer_come_back() {
        let app = AppId::default_app();
        let key = timer(7, "groups", &app, "mute/ann");
        assert_eq!(timer_parts(&key), Some((7, "groups", app, "mute/ann")));
        assert_eq!(timer_parts(b"t123"), None);
    }

    #[test]
    fn the_parts_of_an_expiry_come_back() {
        let app = AppId::default_app();
        let key = expiry(7, "users", &app, b"a\0b");
        assert_eq!(expiry_parts(&key), Some((7, "users", app, &b"a\0b"[..])));
        let inside = |now_ms| (expired(now_ms).0..expired(now_ms).1).contains(&key);
        assert!(inside(7) && inside(u64::MAX) && !inside(6));
    }

    #[test]
    fn the_parts_of_a_blob_come_back() {
        let app = AppId::default_app();
        for id in [0, 1, u128::MAX] {
            assert_eq!(id_of_blob(&blob(&app, "files", id)), Some(id));
            assert_eq!(
                garbage_parts(&garbage(&app, "files", id)),
                Some((app.clone(), "files", id))
            );
            let expiry = blob_expiry(7, &app, "files", id);
            assert_eq!(blob_expiry_parts(&expiry), Some((7, app.clone(), "files", id)));
            assert!((blobs_expired(7).0..blobs_expired(7).1).contains(&expiry));
            assert!(!(blobs_expired(6).0..blobs_expired(6).1).contains(&expiry));
        }
    }

    #[test]
    fn the_parts_of_a_job_come_back() {
        let app = AppId::default_app();
        for (at_ms, id) in [(0, 0), (u64::MAX, u128::MAX), (256, 1)] {
            assert_eq!(
                job_parts(&job("mail", at_ms, &app, id)),
                Some(("mail", app.clone(), id))
            );
        }
        assert_eq!(job_parts(b"jmail"), None);
        let (start, end) = jobs("mail", 7);
        assert!(start < job("mail", 6, &app, 0) && job("mail", 6, &app, u128::MAX) < end);
        assert!(end <= job("mail", 7, &app, 0));
    }

    #[test]
    fn keys_of_one_app_never_fall_into_the_range_of_another() {
        let (ann, anna): (ActorId, ActorId) = ("ann".parse().unwrap(), "anna".parse().unwrap());
        let (app, apple): (AppId, AppId) = ("app".parse().unwrap(), "apple".parse().unwrap());
        let (start, end) = memberships(&app, &ann);
        let inside = |key: Bytes| start <= key && key < end;
        assert!(inside(membership(&app, &ann, ConversationId(u128::MAX))));
        assert!(!inside(membership(&app, &anna, ConversationId(0))));
        assert!(!inside(membership(&apple, &ann, ConversationId(0))));
    }

    #[test]
    fn the_successor_is_behind_every_key_with_the_prefix() {
        assert_eq!(&successor(b"ab")[..], b"ac");
        assert_eq!(&successor(b"a\xff")[..], b"b");
        assert_eq!(&successor(b"\xff")[..], b"");
    }
}
