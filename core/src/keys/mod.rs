//! The keys of the store, by subject.
//!
//! A key is one letter for its kind, then its parts. Each text but a last one ends with a zero byte, which no id contains.
//! Numbers are big-endian, so that the order of the keys is the order of the numbers. The bytes are a stored format:
//! `docs/internals/store-format.md` lists them, and a test in this module compares them with literal values.

pub mod blobs;
pub mod jobs;
pub mod log;
pub mod outbox;
pub mod plugins;
pub mod timers;

use bytes::Bytes;

/// The start and the end of a range of keys; the end is exclusive, and an empty end is no limit.
pub type Range = (Bytes, Bytes);

/// Returns the first key after all keys that begin with `prefix`; empty when no such key exists.
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

/// Returns the range of all keys that begin with `prefix`.
#[must_use]
pub fn starting_with(prefix: Bytes) -> Range {
    let end = successor(&prefix);
    (prefix, end)
}

/// Parses arbitrary bytes as a key of each kind. Must never panic; for fuzzing.
#[doc(hidden)]
pub fn fuzz_keys(bytes: &[u8]) {
    let log = crate::store::LogId {
        app: crate::wire::AppId::default_app(),
        conversation: crate::wire::ConversationId(0),
    };
    let _ = log::conversation_of_membership(bytes);
    let _ = log::actor_of_watermark(bytes, &log);
    let _ = log::seq_of_revision(bytes);
    let _ = plugins::parse_expiry(bytes);
    let _ = timers::parse(bytes);
    let _ = jobs::parse(bytes);
    let _ = blobs::id_of_record(bytes);
    let _ = blobs::parse_expiry(bytes);
    let _ = blobs::parse_garbage(bytes);
    let _ = successor(bytes);
}

/// Builds `KIND (TEXT 0)* LAST`.
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

/// Builds `KIND TIME (TEXT 0)* LAST`, which sorts by time.
fn build_timed(kind: u8, time_ms: u64, texts: &[&str], last: &[u8]) -> Bytes {
    let rest = build(kind, texts, last);
    [&rest[..1], &time_ms.to_be_bytes(), &rest[1..]].concat().into()
}

/// Returns the time of a key that [`build_timed`] made.
fn time_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?))
}

/// Returns the range of the keys of a kind that [`build_timed`] made for times up to and including `now_ms`.
fn until(kind: u8, now_ms: u64) -> Range {
    let end = [&[kind][..], &now_ms.saturating_add(1).to_be_bytes()].concat();
    (vec![kind].into(), end.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LogId;
    use crate::wire::{ActorId, AppId, ConversationId};

    #[test]
    fn the_bytes_of_the_keys_are_those_of_the_stored_format() {
        let app: AppId = "acme".parse().unwrap();
        let ann: ActorId = "ann".parse().unwrap();
        let id = ConversationId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        let id_bytes = b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10";
        let at = b"\0\0\x01\x8f\0\0\0\x2a";
        let at_ms = 0x018f_0000_002a;
        let log = LogId {
            app: app.clone(),
            conversation: id,
        };
        let with = |parts: &[&[u8]]| Bytes::from(parts.concat());

        assert_eq!(log::HASH_KEY, b"s\0hash_key");
        assert_eq!(log::conversation(&app, id), with(&[b"cacme\0", id_bytes]));
        assert_eq!(log::address(&app, "groups", "g/1"), with(&[b"aacme\0groups\0g/1"]));
        assert_eq!(log::membership(&app, &ann, id), with(&[b"macme\0ann\0", id_bytes]));
        assert_eq!(
            log::memberships(&app, &ann),
            (with(&[b"macme\0ann\0"]), with(&[b"macme\0ann\x01"]))
        );
        assert_eq!(log::memberships_version(&app, &ann), with(&[b"hacme\0ann\0"]));
        assert_eq!(log::watermark(&log, &ann), with(&[b"wacme\0", id_bytes, b"ann"]));
        assert_eq!(log::watermarks(&log, None).0, with(&[b"wacme\0", id_bytes]));
        assert_eq!(
            log::watermarks(&log, Some(&ann)).0,
            with(&[b"wacme\0", id_bytes, b"ann\0"])
        );
        assert_eq!(
            log::revision(&log, 7),
            with(&[b"zacme\0", id_bytes, b"\0\0\0\0\0\0\0\x07"])
        );

        assert_eq!(plugins::value(&app, "users", b"p\0q"), with(&[b"kacme\0users\0p\0q"]));
        assert_eq!(
            plugins::values(&app, "users"),
            (with(&[b"kacme\0users\0"]), with(&[b"kacme\0users\x01"]))
        );
        assert_eq!(plugins::version(&app, "users"), with(&[b"vacme\0users\0"]));
        assert_eq!(
            plugins::expiry(at_ms, "users", &app, b"p\0q"),
            with(&[b"e", at, b"users\0acme\0p\0q"])
        );
        assert_eq!(
            plugins::expired(at_ms),
            (with(&[b"e"]), with(&[b"e\0\0\x01\x8f\0\0\0\x2b"]))
        );
        assert_eq!(
            plugins::watched_actor(&app, "users", &ann),
            with(&[b"iacme\0users\0aann"])
        );
        assert_eq!(
            plugins::watched_conversation(&app, "users", id),
            with(&[b"iacme\0users\0c", id_bytes])
        );
        assert_eq!(plugins::watches_version(&app, "users"), with(&[b"iacme\0users\0"]));
        assert_eq!(
            plugins::watches(&app, "users"),
            (with(&[b"iacme\0users\0\0"]), with(&[b"iacme\0users\x01"]))
        );
        assert_eq!(plugins::disabled("users"), with(&[b"dusers\0"]));

        assert_eq!(
            timers::timer(at_ms, "users", &app, "t/1"),
            with(&[b"t", at, b"users\0acme\0t/1"])
        );
        assert_eq!(timers::due_time(&app, "users", "t/1"), with(&[b"nacme\0users\0t/1"]));
        assert_eq!(timers::timers(), (with(&[b"t"]), with(&[b"u"])));

        assert_eq!(
            jobs::job("users", at_ms, &app, id.0),
            with(&[b"jusers\0", at, b"acme\0", id_bytes])
        );
        assert_eq!(
            jobs::due_before("users", at_ms),
            (with(&[b"jusers\0"]), with(&[b"jusers\0", at]))
        );

        assert_eq!(
            outbox::observation("users", &log, id.0),
            with(&[b"qusers\0acme\0", id_bytes, id_bytes])
        );
        assert_eq!(
            outbox::observations("users"),
            (with(&[b"qusers\0"]), with(&[b"qusers\x01"]))
        );
        assert_eq!(
            outbox::dead_letters("users"),
            (with(&[b"xusers\0"]), with(&[b"xusers\x01"]))
        );

        assert_eq!(blobs::SECRET, b"s\0blob_key");
        assert_eq!(blobs::record(&app, "files", id.0), with(&[b"bacme\0files\0", id_bytes]));
        assert_eq!(
            blobs::records(&app, "files"),
            (with(&[b"bacme\0files\0"]), with(&[b"bacme\0files\x01"]))
        );
        assert_eq!(
            blobs::expiry(at_ms, &app, "files", id.0),
            with(&[b"u", at, b"acme\0files\0", id_bytes])
        );
        assert_eq!(
            blobs::expired(at_ms),
            (with(&[b"u"]), with(&[b"u\0\0\x01\x8f\0\0\0\x2b"]))
        );
        assert_eq!(
            blobs::garbage(&app, "files", id.0),
            with(&[b"gacme\0files\0", id_bytes])
        );
        assert_eq!(blobs::all_garbage(), (with(&[b"g"]), with(&[b"h"])));
    }

    #[test]
    fn the_successor_is_after_every_key_with_the_prefix() {
        assert_eq!(&successor(b"ab")[..], b"ac");
        assert_eq!(&successor(b"a\xff")[..], b"b");
        assert_eq!(&successor(b"\xff")[..], b"");
    }
}
