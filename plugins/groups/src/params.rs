//! Parameters and results that several methods share.

use courtyard_plugin_sdk::prelude::*;

use crate::error;
use crate::rights::FOREVER_MS;

/// Maximum size of a page.
const PAGE: u32 = 100;

record! {
    /// No parameters, or no result.
    pub(crate) struct Nothing {}
}
record! {
    /// One group.
    pub(crate) struct GroupParams { pub(crate) group: String }
}
record! {
    /// A person and a group.
    pub(crate) struct MemberParams { pub(crate) group: String, pub(crate) actor: String }
}
record! {
    /// GroupActors people and a group.
    pub(crate) struct GroupActors { pub(crate) group: String, pub(crate) actors: Vec<String> }
}
record! {
    /// A page of a list of a group.
    pub(crate) struct GroupPage { pub(crate) group: String, pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// A page of a list of the caller.
    pub(crate) struct OwnPage { pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// One message of a group.
    pub(crate) struct MessageParams { pub(crate) group: String, pub(crate) seq: u64 }
}
record! {
    /// A switch of a group.
    pub(crate) struct SwitchParams { pub(crate) group: String, pub(crate) on: bool }
}

/// Returns the size of a page: 50 by default, 1 to 100.
pub(crate) fn page_size(limit: Option<u32>) -> usize {
    limit.unwrap_or(50).clamp(1, PAGE) as usize
}

/// Rejects an empty list, more than 50 actors, and texts that can't be ids of actors.
pub(crate) fn check_actors(actors: &[String]) -> Result<(), Error> {
    if (1..=50).contains(&actors.len()) && actors.iter().all(|actor| is_actor(actor)) {
        Ok(())
    } else {
        Err(Error::new(error::INVALID_ACTORS, "`actors` takes 1 to 50 actor ids."))
    }
}

/// True if a text can be the id of an actor.
pub(crate) fn is_actor(actor: &str) -> bool {
    (1..=128).contains(&actor.len()) && !actor.chars().any(char::is_control)
}

/// Sorts actors, and removes repetitions.
pub(crate) fn distinct(mut actors: Vec<String>) -> Vec<String> {
    actors.sort_unstable();
    actors.dedup();
    actors
}

/// Returns the end of a period that starts now, at most [`FOREVER_MS`]; `None` stands for no end.
pub(crate) fn end_ms(cx: &Context, seconds: Option<u64>) -> u64 {
    match seconds {
        None => FOREVER_MS,
        Some(seconds) => cx
            .now_ms()
            .saturating_add(seconds.saturating_mul(1_000))
            .min(FOREVER_MS),
    }
}

/// A day, in milliseconds.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
