//! Keys of conversations, their members, and what changes messages after they were sent.

use bytes::Bytes;

use super::{Range, build, starting_with, successor};
use crate::store::LogId;
use crate::wire::{ActorId, AppId, ConversationId};

/// The secret that client ids are hashed with.
pub const HASH_KEY: &[u8] = b"s\0hash_key";

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

/// The membership of an actor in a conversation: `m APP 0 ACTOR 0 ID`.
#[must_use]
pub fn membership(app: &AppId, actor: &ActorId, id: ConversationId) -> Bytes {
    build(b'm', &[app.as_str(), actor.as_str()], &id.0.to_be_bytes())
}

/// The range of all memberships of an actor.
#[must_use]
pub fn memberships(app: &AppId, actor: &ActorId) -> Range {
    starting_with(build(b'm', &[app.as_str(), actor.as_str()], &[]))
}

/// Returns the conversation that a membership key ends with.
#[must_use]
pub fn conversation_of_membership(key: &[u8]) -> Option<ConversationId> {
    let id = key.len().checked_sub(16)?;
    Some(ConversationId(u128::from_be_bytes(key[id..].try_into().ok()?)))
}

/// A version that every change of an actor's memberships replaces: `h APP 0 ACTOR 0`.
#[must_use]
pub fn memberships_version(app: &AppId, actor: &ActorId) -> Bytes {
    build(b'h', &[app.as_str(), actor.as_str()], &[])
}

/// The watermark of a member: `w APP 0 CONVERSATION ACTOR`.
#[must_use]
pub fn watermark(log: &LogId, actor: &ActorId) -> Bytes {
    let conversation = log.conversation.0.to_be_bytes();
    build(
        b'w',
        &[log.app.as_str()],
        &[&conversation[..], actor.as_str().as_bytes()].concat(),
    )
}

/// The range of the watermarks of a conversation: those of the actors after `after`, or all.
#[must_use]
pub fn watermarks(log: &LogId, after: Option<&ActorId>) -> Range {
    let all = build(b'w', &[log.app.as_str()], &log.conversation.0.to_be_bytes());
    let start = match after {
        // No id contains a zero byte.
        Some(actor) => [&watermark(log, actor)[..], &[0]].concat().into(),
        None => all.clone(),
    };
    (start, successor(&all))
}

/// Returns the actor of a watermark's key in `log`.
#[must_use]
pub fn actor_of_watermark(key: &[u8], log: &LogId) -> Option<ActorId> {
    let actor = key.get(1 + log.app.as_str().len() + 1 + 16..)?;
    std::str::from_utf8(actor).ok()?.parse().ok()
}

/// The revision of a message: `z APP 0 CONVERSATION SEQ`.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
