//! Conversations of two.
//!
//! `direct/ACTOR/OTHER` is there on both sides once there is a conversation, and `shut/ONE+OTHER`, the ids in order, while
//! nothing goes between the two. The plugin watches the conversations that are shut, so that messages of all others are
//! none of its business.

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::{Whom, other};
use crate::social::block;

/// Conversations that are shut in one transaction, when an account is closed.
const BATCH: u32 = 200;

record! {
    /// A conversation.
    pub(crate) struct Opened { conversation: String }
}

/// Why nothing goes between two people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    /// One of the accounts is closed.
    Closed,
    /// One of them keeps the other one out.
    Blocked,
}

impl Shut {
    const fn text(self) -> &'static [u8] {
        match self {
            Self::Closed => b"closed",
            Self::Blocked => b"blocked",
        }
    }

    pub(crate) fn error(self) -> Error {
        match self {
            Self::Closed => Error::new("account_closed", "This account was closed."),
            // The same for both, so that nobody learns from it who keeps whom out.
            Self::Blocked => Error::new("blocked", "You and this person can't reach each other."),
        }
    }
}

fn shut_key(one: &str, other: &str) -> String {
    ["shut/", &address(one, other)].concat()
}

fn direct_key(actor: &str, other: &str) -> String {
    format!("direct/{actor}/{other}")
}

/// Tells whether something keeps two people apart. Reads one key.
pub(crate) fn shut(cx: &Context, one: &str, other: &str) -> Result<Option<Shut>, Error> {
    let found = cx.kv().get(shut_key(one, other))?;
    Ok(found.map(|text| {
        if text == Shut::Closed.text() {
            Shut::Closed
        } else {
            Shut::Blocked
        }
    }))
}

/// Refuses if something keeps two people apart.
pub(crate) fn check(cx: &Context, one: &str, other: &str) -> Result<(), Error> {
    shut(cx, one, other)?.map_or(Ok(()), |shut| Err(shut.error()))
}

/// Writes down anew what keeps two people apart.
pub(crate) fn settle(cx: &Context, one: &str, other: &str) -> Result<(), Error> {
    let shut = if account::is_closed(cx, one)? || account::is_closed(cx, other)? {
        Some(Shut::Closed)
    } else if block::blocks(cx, one, other)? || block::blocks(cx, other, one)? {
        Some(Shut::Blocked)
    } else {
        None
    };
    set_shut(cx, one, other, shut)
}

fn set_shut(cx: &Context, one: &str, other: &str, shut: Option<Shut>) -> Result<(), Error> {
    let key = shut_key(one, other);
    match shut {
        Some(shut) => cx.kv().set(key, shut.text())?,
        None => cx.kv().delete(key)?,
    }
    match cx.conversations().find(&address(one, other)) {
        Ok(conversation) => cx.watches().conversation(&conversation.id, shut.is_some())?,
        // None begins while it is shut.
        Err(ServiceError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Names the conversation of two people.
fn address(one: &str, other: &str) -> String {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    [first, "+", second].concat()
}

/// Tells whether two people have a conversation.
pub(crate) fn have_one(cx: &Context, actor: &str, other: &str) -> Result<bool, Error> {
    Ok(cx.kv().get(direct_key(actor, other))?.is_some())
}

/// What is left to do of shutting all conversations of an account that was closed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shutting {
    pub(crate) actor: String,
    after: String,
}

impl Shutting {
    pub(crate) fn of(actor: &str) -> Self {
        Self {
            actor: actor.to_owned(),
            after: String::new(),
        }
    }

    /// Shuts some more conversations; returns what is left.
    pub(crate) fn go_on(self, cx: &Context) -> Result<Option<Self>, Error> {
        let first = direct_key(&self.actor, "");
        let end = format!("direct/{}0", self.actor);
        let start = if self.after.is_empty() {
            first.clone()
        } else {
            format!("{first}{}\0", self.after)
        };
        let found = cx.kv().scan(start, end, BATCH)?;
        let mut last = None;
        for (key, _) in found {
            let other = String::from_utf8_lossy(&key[first.len()..]).into_owned();
            set_shut(cx, &self.actor, &other, Some(Shut::Closed))?;
            last = Some(other);
        }
        Ok(last.map(|after| Self {
            actor: self.actor,
            after,
        }))
    }
}

impl Users {
    pub(crate) fn open_direct(&self, cx: &Context, params: Whom) -> Result<Opened, Error> {
        let own = cx.caller.actor.as_str();
        if own == params.actor {
            return Err(Error::new("not_with_yourself", "A conversation takes two."));
        }
        let other = other(cx, &params.actor)?.actor;
        check(cx, own, &other)?;
        let mut members = [own.to_owned(), other.clone()];
        members.sort();
        let conversation = cx.conversations().open(&address(own, &other), "direct", &members)?;
        if !have_one(cx, own, &other)? {
            cx.kv().set(direct_key(own, &other), "")?;
            cx.kv().set(direct_key(&other, own), "")?;
        }
        Ok(Opened {
            conversation: conversation.id,
        })
    }

    /// Nobody writes to an account that was closed, or to whom something keeps apart.
    pub(crate) fn check_message(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        match check(cx, message.sender(), message.receiver()) {
            Ok(()) => Verdict::Accept,
            Err(error) => Verdict::Reject(error),
        }
    }

    /// Nobody reacts to messages of people who are kept apart from them; what one has sent, one may always take back.
    pub(crate) fn check_act(&self, cx: &Context, act: &Act) -> Result<(), Error> {
        if act.name == "recall" {
            return Ok(());
        }
        let members = match cx.conversations().get(&act.conversation) {
            Ok(conversation) => conversation.members,
            // It is another plugin's.
            Err(ServiceError::NotFound) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let other = members.iter().find(|member| **member != act.actor);
        other.map_or(Ok(()), |other| check(cx, &act.actor, other))
    }
}
