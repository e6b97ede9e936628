//! Whom people keep out.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::{Nothing, Paging, Person, Whom, page_size, unknown};
use crate::social::{direct, friend, presence};

/// That somebody keeps somebody out.
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
    /// Someone who is kept out.
    pub(crate) struct Blocked { person: Person, since_ms: u64 }
}
record! {
    /// Some of those who are kept out, and where the next ones begin.
    pub(crate) struct Blocklist { blocked: Vec<Blocked>, next: Option<Cursor> }
}

/// Tells whether somebody keeps somebody out.
pub(crate) fn blocks(cx: &Context, owner: &str, other: &str) -> Result<bool, Error> {
    Ok(cx.table::<Block>().contains((owner, other))?)
}

/// Keeps people from bringing somebody in whom something keeps apart from them.
pub(crate) fn check_change(cx: &Context, change: &Change) -> Result<(), Error> {
    let by = change.actor.as_str();
    let mut others = change.joined.iter().filter(|joined| !by.is_empty() && *joined != by);
    others.try_for_each(|other| direct::check(cx, by, other))
}

impl Users {
    pub(crate) fn block(&self, cx: &Context, params: Whom) -> Result<Nothing, Error> {
        let (own, other) = (cx.caller.actor.as_str(), params.actor.as_str());
        if own == other {
            return Err(Error::new("not_with_yourself", "You can't keep yourself out."));
        }
        account::of_actor(cx, other)?.ok_or_else(unknown)?;
        let table = cx.table::<Block>();
        if table.contains((own, other))? {
            return Ok(Nothing {});
        }
        if table.scan((own,)).count(self.settings.blocks)? >= self.settings.blocks {
            return Err(Error::new("too_many_blocked", "Your list is full."));
        }
        // Before the friendship ends, since nobody sees the presence after it.
        presence::hide_from(cx, own, other)?;
        friend::part(cx, own, other)?;
        table.insert(&Block {
            owner: own.to_owned(),
            other: other.to_owned(),
            since_ms: cx.now_ms(),
        })?;
        direct::settle(cx, own, other)?;
        tell(cx, other, true)?;
        Ok(Nothing {})
    }

    pub(crate) fn unblock(&self, cx: &Context, params: Whom) -> Result<Nothing, Error> {
        let (own, other) = (cx.caller.actor.as_str(), params.actor.as_str());
        if cx.table::<Block>().remove((own, other))?.is_some() {
            direct::settle(cx, own, other)?;
            tell(cx, other, false)?;
        }
        Ok(Nothing {})
    }

    pub(crate) fn blocked(&self, cx: &Context, params: Paging) -> Result<Blocklist, Error> {
        let own = cx.caller.actor.as_str();
        let scan = cx.table::<Block>().scan((own,)).after(params.after);
        let page = scan.page(page_size(params.limit))?;
        let mut blocked = Vec::new();
        for block in page.rows {
            let person = account::of_actor(cx, &block.other)?.map(Person::from);
            blocked.extend(person.map(|person| Blocked {
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

/// Tells the other devices of the caller, and other plugins; the other person learns nothing.
fn tell(cx: &Context, other: &str, blocked: bool) -> Result<(), Error> {
    let own = cx.caller.actor.as_str();
    let change = json!({ "actor": other, "blocked": blocked });
    cx.sessions().signal(&[own.to_owned()], "block", &change)?;
    let name = if blocked { "blocked" } else { "unblocked" };
    cx.events().publish(name, &json!({ "actor": own, "other": other }))?;
    Ok(())
}
