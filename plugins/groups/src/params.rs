//! Parameters and results that several methods share.

use courtyard_plugin_sdk::prelude::*;

use crate::rights::FOREVER_MS;

/// Most entries of a page.
const PAGE: u32 = 100;

record! {
    /// Nothing.
    pub(crate) struct Nothing {}
}
record! {
    /// Which group.
    pub(crate) struct OfGroup { pub(crate) group: String }
}
record! {
    /// Whom in which group.
    pub(crate) struct OfMember { pub(crate) group: String, pub(crate) actor: String }
}
record! {
    /// Several people and a group.
    pub(crate) struct Several { pub(crate) group: String, pub(crate) actors: Vec<String> }
}
record! {
    /// Which group, and where to go on.
    pub(crate) struct Paged { pub(crate) group: String, pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// Where to go on.
    pub(crate) struct Onward { pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// Which message.
    pub(crate) struct OfMessage { pub(crate) group: String, pub(crate) seq: u64 }
}
record! {
    /// Whether something is to be on.
    pub(crate) struct Switch { pub(crate) group: String, pub(crate) on: bool }
}

/// Returns how long a page is to be: 50 if nobody says, 1 to 100.
pub(crate) fn page(limit: Option<u32>) -> usize {
    limit.unwrap_or(50).clamp(1, PAGE) as usize
}

/// Refuses more actors than one call takes, and nobody.
pub(crate) fn check_actors(actors: &[String]) -> Result<(), Error> {
    if (1..=50).contains(&actors.len()) && actors.iter().all(|actor| is_actor(actor)) {
        Ok(())
    } else {
        Err(Error::new("bad_actors", "These are 1 to 50 people."))
    }
}

/// Whether this can be the id of somebody.
pub(crate) fn is_actor(actor: &str) -> bool {
    (1..=128).contains(&actor.len()) && !actor.chars().any(char::is_control)
}

/// Returns each actor once.
pub(crate) fn distinct(mut actors: Vec<String>) -> Vec<String> {
    actors.sort_unstable();
    actors.dedup();
    actors
}

/// Returns when something ends that lasts so long from now on; nothing lasts longer than for ever.
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
