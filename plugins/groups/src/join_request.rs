//! People come by themselves: at once, or once somebody approves.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Groups;
use crate::counter::Counter;
use crate::group::{Join, OpenGroup, unknown_group};
use crate::params::{Nothing, OfGroup, OfMember, Paged, page};
use crate::rights::{Permission, Terms};
use crate::text;

/// Someone who asks to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) group: String,
    pub(crate) actor: String,
    pub(crate) note: String,
    pub(crate) at_ms: u64,
}

table! {
    Request in "requests", key (group: String, actor: String);
}

record! {
    /// Which group, and a line to those who decide.
    pub(crate) struct AskIn { group: String, note: Option<String> }
}
record! {
    /// Whether one is a member now, or somebody has to approve.
    pub(crate) struct Joined { pub(crate) group: String, pub(crate) joined: bool }
}
record! {
    /// Someone who asks to be let in.
    pub(crate) struct Asking { actor: String, note: String, at_ms: u64 }
}
record! {
    /// Some who ask to be let in, and where the next ones begin.
    pub(crate) struct Requests { requests: Vec<Asking>, next: Option<Cursor> }
}

impl Groups {
    pub(crate) fn join(&self, cx: &Context, params: AskIn) -> Result<Joined, Error> {
        let mut group = OpenGroup::find(cx, &params.group)?;
        let own = cx.caller.actor.clone();
        if group.member(&own)?.is_some() {
            return Err(Error::new("already_member", "You are a member."));
        }
        match group.row()?.join {
            Join::Invite => Err(unknown_group()),
            Join::Open => {
                group.admit(&self.settings, std::slice::from_ref(&own), &own)?;
                Ok(Joined {
                    group: group.id,
                    joined: true,
                })
            }
            Join::Approval => {
                let note = text::lines(params.note.as_deref().unwrap_or_default(), 200, "bad_note")?;
                self.ask(&group, &own, note)?;
                Ok(Joined {
                    group: group.id,
                    joined: false,
                })
            }
        }
    }

    fn ask(&self, group: &OpenGroup<'_>, own: &str, note: String) -> Result<(), Error> {
        let cx = group.cx;
        group.check_ban(own)?;
        let request = Request {
            group: group.id.clone(),
            actor: own.to_owned(),
            note,
            at_ms: cx.now_ms(),
        };
        if cx.table::<Request>().put(&request)?.is_some() {
            return Ok(());
        }
        if Counter::Requests(&group.id).add(cx, 1)? > u64::from(self.settings.waiting) {
            return Err(Error::new("too_many_requests", "Too many people ask for this group."));
        }
        let decides = |terms: &Terms| group.charter.standing(terms).rights.has(Permission::ManageJoins);
        let told = group.charter.special().filter(|(_, terms)| decides(terms));
        let told: Vec<String> = told.map(|(actor, _)| actor.to_owned()).collect();
        let payload = json!({"group": group.id, "actor": own, "note": request.note});
        Ok(cx.sessions().signal(&told, "join_request", &payload)?)
    }

    pub(crate) fn withdraw(&self, cx: &Context, params: OfGroup) -> Result<Nothing, Error> {
        take(cx, &params.group, &cx.caller.actor)?;
        Ok(Nothing {})
    }

    pub(crate) fn requests(&self, cx: &Context, params: Paged) -> Result<Requests, Error> {
        let (group, _) = OpenGroup::find_for(cx, &params.group, Permission::ManageJoins)?;
        let scan = cx.table::<Request>().scan((&*group.id,)).after(params.after);
        let found = scan.page(page(params.limit))?;
        let asking = |request: Request| Asking {
            actor: request.actor,
            note: request.note,
            at_ms: request.at_ms,
        };
        Ok(Requests {
            requests: found.rows.into_iter().map(asking).collect(),
            next: found.next,
        })
    }

    pub(crate) fn approve(&self, cx: &Context, params: OfMember) -> Result<Nothing, Error> {
        let (mut group, _) = OpenGroup::find_for(cx, &params.group, Permission::ManageJoins)?;
        take(cx, &params.group, &params.actor)?;
        group.admit(&self.settings, std::slice::from_ref(&params.actor), &cx.caller.actor)?;
        Ok(Nothing {})
    }

    pub(crate) fn refuse(&self, cx: &Context, params: OfMember) -> Result<Nothing, Error> {
        OpenGroup::find_for(cx, &params.group, Permission::ManageJoins)?;
        take(cx, &params.group, &params.actor)?;
        let payload = json!({"group": params.group});
        cx.sessions().signal(&[params.actor], "join_refused", &payload)?;
        Ok(Nothing {})
    }
}

/// Takes a request away.
fn take(cx: &Context, group: &str, actor: &str) -> Result<(), Error> {
    let request = cx.table::<Request>().remove((group, actor))?;
    request.ok_or_else(|| Error::new("no_request", "There is no such request."))?;
    Counter::Requests(group).subtract(cx, 1)?;
    Ok(())
}
