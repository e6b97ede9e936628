//! Blocks: people who keep others from reaching them.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::{Nothing, PageParams, Person, PersonParams, page_size, unknown_person};
use crate::error;
use crate::social::{direct, friend, presence};

/// A block: `owner` blocks `other`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Block {
    owner: String,
    other: String,
    since_ms: u64,
}

table! {
    Block in "blocks", key (owner: String, other: String);
}

record! {
    /// A blocked person.
    pub(crate) struct BlockedPerson { person: Person, since_ms: u64 }
}
record! {
    /// A page of blocked people.
    pub(crate) struct Blocklist { blocked: Vec<BlockedPerson>, next: Option<Cursor> }
}

/// True if `owner` blocks `other`.
pub(crate) fn has_blocked(cx: &Context, owner: &str, other: &str) -> Result<bool, Error> {
    Ok(cx.table::<Block>().contains((owner, other))?)
}

/// Rejects a change by which somebody adds a member who is unreachable for them.
pub(crate) fn check_change(cx: &Context, change: &Change) -> Result<(), Error> {
    let by = change.actor.as_str();
    let mut others = change.joined.iter().filter(|joined| !by.is_empty() && *joined != by);
    others.try_for_each(|other| direct::check_reachable(cx, by, other))
}

impl Users {
    pub(crate) fn block(&self, cx: &Context, params: PersonParams) -> Result<Nothing, Error> {
        let (own, other) = (cx.caller.actor.as_str(), params.actor.as_str());
        if own == other {
            return Err(Error::new(error::INVALID_ACTOR, "You can't block yourself."));
        }
        account::find_by_actor(cx, other)?.ok_or_else(unknown_person)?;
        let table = cx.table::<Block>();
        if table.contains((own, other))? {
            return Ok(Nothing {});
        }
        if table.scan((own,)).count(self.settings.blocks)? >= self.settings.blocks {
            return Err(Error::new(
                error::LIMIT_BLOCKS,
                "You have reached the limit of blocked people. Unblock somebody first.",
            ));
        }
        // Must come first: the presence is no longer visible after the friendship has ended.
        presence::hide_from(cx, own, other)?;
        friend::unfriend(cx, own, other)?;
        table.insert(&Block {
            owner: own.to_owned(),
            other: other.to_owned(),
            since_ms: cx.now_ms(),
        })?;
        direct::refresh_block(cx, own, other)?;
        announce(cx, other, true)?;
        Ok(Nothing {})
    }

    pub(crate) fn unblock(&self, cx: &Context, params: PersonParams) -> Result<Nothing, Error> {
        let (own, other) = (cx.caller.actor.as_str(), params.actor.as_str());
        if cx.table::<Block>().remove((own, other))?.is_some() {
            direct::refresh_block(cx, own, other)?;
            announce(cx, other, false)?;
        }
        Ok(Nothing {})
    }

    pub(crate) fn blocked(&self, cx: &Context, params: PageParams) -> Result<Blocklist, Error> {
        let own = cx.caller.actor.as_str();
        let scan = cx.table::<Block>().scan((own,)).after(params.after);
        let page = scan.page(page_size(params.limit))?;
        let mut blocked = Vec::new();
        for block in page.rows {
            let person = account::find_by_actor(cx, &block.other)?.map(Person::from);
            blocked.extend(person.map(|person| BlockedPerson {
                person,
                since_ms: block.since_ms,
            }));
        }
        Ok(Blocklist {
            blocked,
            next: page.next,
        })
    }
}

/// Signals the caller's devices and notifies other plugins. The other person gets nothing.
fn announce(cx: &Context, other: &str, blocked: bool) -> Result<(), Error> {
    let own = cx.caller.actor.as_str();
    let change = json!({ "actor": other, "blocked": blocked });
    cx.sessions().signal(&[own.to_owned()], "block", &change)?;
    let name = if blocked { "blocked" } else { "unblocked" };
    cx.events().publish(name, &json!({ "actor": own, "other": other }))?;
    Ok(())
}
