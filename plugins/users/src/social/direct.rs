//! Direct conversations, and what blocks them.
//!
//! `direct/ACTOR/OTHER` exists in both directions once two people have a conversation. `shut/ONE+OTHER`, the ids in order,
//! exists while the two can't reach each other. The plugin watches blocked conversations alone, so it isn't called for
//! messages in all others.

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::{PersonParams, find_other};
use crate::error;
use crate::social::block;

/// Conversations that are blocked in one transaction when an account is closed.
const BATCH: u32 = 200;

record! {
    /// Result of `open_direct`.
    pub(crate) struct OpenDirectResult { conversation: String }
}

/// Why two people can't reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockReason {
    /// One of the accounts is closed.
    Closed,
    /// One of them blocks the other.
    Blocked,
}

impl BlockReason {
    /// Returns the stored value.
    const fn text(self) -> &'static [u8] {
        match self {
            Self::Closed => b"closed",
            Self::Blocked => b"blocked",
        }
    }

    pub(crate) fn error(self) -> Error {
        match self {
            Self::Closed => Error::new(error::CONFLICT_CLOSED, "This account is closed."),
            // The same for both, so that it doesn't reveal who blocks whom.
            Self::Blocked => Error::new(error::FORBIDDEN, "You and this person can't reach each other."),
        }
    }
}

fn block_key(one: &str, other: &str) -> String {
    ["shut/", &conversation_address(one, other)].concat()
}

fn direct_key(actor: &str, other: &str) -> String {
    format!("direct/{actor}/{other}")
}

/// Returns why two people can't reach each other, or `None` if they can. Reads one key.
pub(crate) fn block_reason(cx: &Context, one: &str, other: &str) -> Result<Option<BlockReason>, Error> {
    let stored = cx.kv().get(block_key(one, other))?;
    Ok(stored.map(|text| {
        if text == BlockReason::Closed.text() {
            BlockReason::Closed
        } else {
            BlockReason::Blocked
        }
    }))
}

/// Rejects two people who can't reach each other.
pub(crate) fn check_reachable(cx: &Context, one: &str, other: &str) -> Result<(), Error> {
    block_reason(cx, one, other)?.map_or(Ok(()), |reason| Err(reason.error()))
}

/// Recomputes and stores why two people can't reach each other.
pub(crate) fn refresh_block(cx: &Context, one: &str, other: &str) -> Result<(), Error> {
    let reason = if account::is_closed(cx, one)? || account::is_closed(cx, other)? {
        Some(BlockReason::Closed)
    } else if block::has_blocked(cx, one, other)? || block::has_blocked(cx, other, one)? {
        Some(BlockReason::Blocked)
    } else {
        None
    };
    set_block_reason(cx, one, other, reason)
}

/// Stores or deletes the reason, and watches the conversation while there is one.
fn set_block_reason(cx: &Context, one: &str, other: &str, reason: Option<BlockReason>) -> Result<(), Error> {
    let key = block_key(one, other);
    match reason {
        Some(reason) => cx.kv().set(key, reason.text())?,
        None => cx.kv().delete(key)?,
    }
    match cx.conversations().find(&conversation_address(one, other)) {
        Ok(conversation) => cx.watches().conversation(&conversation.id, reason.is_some())?,
        // No conversation can start while the reason holds.
        Err(ServiceError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Returns the address of the conversation of two people: their ids in order.
fn conversation_address(one: &str, other: &str) -> String {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    [first, "+", second].concat()
}

/// True if two people have a conversation.
pub(crate) fn exists(cx: &Context, actor: &str, other: &str) -> Result<bool, Error> {
    Ok(cx.kv().get(direct_key(actor, other))?.is_some())
}

/// The remaining work of blocking all direct conversations of a closed account.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CloseConversationsTask {
    pub(crate) actor: String,
    /// The last person that is done; empty at the start.
    after: String,
}

impl CloseConversationsTask {
    pub(crate) fn new(actor: &str) -> Self {
        Self {
            actor: actor.to_owned(),
            after: String::new(),
        }
    }

    /// Blocks one batch of conversations, and returns the remaining work, or `None` at the end.
    pub(crate) fn run_batch(self, cx: &Context) -> Result<Option<Self>, Error> {
        let first = direct_key(&self.actor, "");
        let end = format!("direct/{}0", self.actor);
        let start = if self.after.is_empty() {
            first.clone()
        } else {
            format!("{first}{}\0", self.after)
        };
        let rows = cx.kv().scan(start, end, BATCH)?;
        let mut last = None;
        for (key, _) in rows {
            let other = String::from_utf8_lossy(&key[first.len()..]).into_owned();
            set_block_reason(cx, &self.actor, &other, Some(BlockReason::Closed))?;
            last = Some(other);
        }
        Ok(last.map(|after| Self {
            actor: self.actor,
            after,
        }))
    }
}

impl Users {
    pub(crate) fn open_direct(&self, cx: &Context, params: PersonParams) -> Result<OpenDirectResult, Error> {
        let own = cx.caller.actor.as_str();
        if own == params.actor {
            return Err(Error::new(
                error::INVALID_ACTOR,
                "A direct conversation needs another person than yourself.",
            ));
        }
        let other = find_other(cx, &params.actor)?.actor;
        check_reachable(cx, own, &other)?;
        let mut members = [own.to_owned(), other.clone()];
        members.sort();
        let conversation = cx
            .conversations()
            .open(&conversation_address(own, &other), "direct", &members)?;
        if !exists(cx, own, &other)? {
            cx.kv().set(direct_key(own, &other), "")?;
            cx.kv().set(direct_key(&other, own), "")?;
        }
        Ok(OpenDirectResult {
            conversation: conversation.id,
        })
    }

    /// Rejects messages between people who can't reach each other.
    pub(crate) fn check_message(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        match check_reachable(cx, message.sender(), message.receiver()) {
            Ok(()) => Verdict::Accept,
            Err(error) => Verdict::Reject(error),
        }
    }

    /// Rejects acts between people who can't reach each other, except recalling one's own messages.
    pub(crate) fn check_act(&self, cx: &Context, act: &Act) -> Result<(), Error> {
        if act.name == "recall" {
            return Ok(());
        }
        let members = match cx.conversations().get(&act.conversation) {
            Ok(conversation) => conversation.members,
            // The conversation isn't one of this plugin.
            Err(ServiceError::NotFound) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let other = members.iter().find(|member| **member != act.actor);
        other.map_or(Ok(()), |other| check_reachable(cx, &act.actor, other))
    }
}
