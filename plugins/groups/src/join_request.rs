//! Joining: at once, or by a request that somebody approves.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Groups;
use crate::counter::Counter;
use crate::error;
use crate::group::{GroupContext, JoinMode, unknown_group};
use crate::params::{GroupPage, GroupParams, MemberParams, Nothing, page_size};
use crate::rights::{MemberPolicy, Permission};
use crate::text;

/// A pending request to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    pub(crate) group: String,
    pub(crate) actor: String,
    pub(crate) note: String,
    pub(crate) at_ms: u64,
}

table! {
    JoinRequest in "requests", key (group: String, actor: String);
}

record! {
    /// Parameters of `join`: the group, and a note to those who decide.
    pub(crate) struct JoinParams { group: String, note: Option<String> }
}
record! {
    /// Result of `join`: true if the caller is a member now, false if somebody has to approve.
    pub(crate) struct JoinResult { pub(crate) group: String, pub(crate) joined: bool }
}
record! {
    /// A pending request.
    pub(crate) struct JoinRequestInfo { actor: String, note: String, at_ms: u64 }
}
record! {
    /// A page of requests.
    pub(crate) struct JoinRequestPage { requests: Vec<JoinRequestInfo>, next: Option<Cursor> }
}

impl Groups {
    pub(crate) fn join(&self, cx: &Context, params: JoinParams) -> Result<JoinResult, Error> {
        let mut group = GroupContext::find(cx, &params.group)?;
        let own = cx.caller.actor.clone();
        if group.member(&own)?.is_some() {
            return Err(Error::new(error::CONFLICT, "You are a member already."));
        }
        match group.row()?.join {
            JoinMode::Invite => Err(unknown_group()),
            JoinMode::Open => {
                group.add_members(&self.settings, std::slice::from_ref(&own), &own)?;
                Ok(JoinResult {
                    group: group.id,
                    joined: true,
                })
            }
            JoinMode::Approval => {
                let note = text::lines(params.note.as_deref().unwrap_or_default(), 200, error::INVALID_NOTE)?;
                self.request_to_join(&group, &own, note)?;
                Ok(JoinResult {
                    group: group.id,
                    joined: false,
                })
            }
        }
    }

    /// Stores a request, and signals it to the listed members who decide.
    fn request_to_join(&self, group: &GroupContext<'_>, own: &str, note: String) -> Result<(), Error> {
        let cx = group.cx;
        group.check_ban(own)?;
        let request = JoinRequest {
            group: group.id.clone(),
            actor: own.to_owned(),
            note,
            at_ms: cx.now_ms(),
        };
        if cx.table::<JoinRequest>().put(&request)?.is_some() {
            return Ok(());
        }
        if Counter::Requests(&group.id).add(cx, 1)? > u64::from(self.settings.waiting) {
            return Err(Error::new(
                error::LIMIT_REQUESTS,
                "Too many requests to join this group are pending. Try again later.",
            ));
        }
        let decides = |policy: &MemberPolicy| group.policy.standing(policy).rights.has(Permission::ManageJoins);
        let deciders = group.policy.listed_members().filter(|(_, policy)| decides(policy));
        let deciders: Vec<String> = deciders.map(|(actor, _)| actor.to_owned()).collect();
        let payload = json!({"group": group.id, "actor": own, "note": request.note});
        Ok(cx.sessions().signal(&deciders, "join_request", &payload)?)
    }

    pub(crate) fn withdraw(&self, cx: &Context, params: GroupParams) -> Result<Nothing, Error> {
        delete(cx, &params.group, &cx.caller.actor)?;
        Ok(Nothing {})
    }

    pub(crate) fn requests(&self, cx: &Context, params: GroupPage) -> Result<JoinRequestPage, Error> {
        let (group, _) = GroupContext::find_permitted(cx, &params.group, Permission::ManageJoins)?;
        let scan = cx.table::<JoinRequest>().scan((&*group.id,)).after(params.after);
        let found = scan.page(page_size(params.limit))?;
        let info = |request: JoinRequest| JoinRequestInfo {
            actor: request.actor,
            note: request.note,
            at_ms: request.at_ms,
        };
        Ok(JoinRequestPage {
            requests: found.rows.into_iter().map(info).collect(),
            next: found.next,
        })
    }

    pub(crate) fn approve(&self, cx: &Context, params: MemberParams) -> Result<Nothing, Error> {
        let (mut group, _) = GroupContext::find_permitted(cx, &params.group, Permission::ManageJoins)?;
        delete(cx, &params.group, &params.actor)?;
        group.add_members(&self.settings, std::slice::from_ref(&params.actor), &cx.caller.actor)?;
        Ok(Nothing {})
    }

    pub(crate) fn refuse(&self, cx: &Context, params: MemberParams) -> Result<Nothing, Error> {
        GroupContext::find_permitted(cx, &params.group, Permission::ManageJoins)?;
        delete(cx, &params.group, &params.actor)?;
        let payload = json!({"group": params.group});
        cx.sessions().signal(&[params.actor], "join_refused", &payload)?;
        Ok(Nothing {})
    }
}

/// Deletes a request.
fn delete(cx: &Context, group: &str, actor: &str) -> Result<(), Error> {
    let request = cx.table::<JoinRequest>().remove((group, actor))?;
    request.ok_or_else(|| Error::new(error::UNKNOWN_REQUEST, "This person has no pending request."))?;
    Counter::Requests(group).subtract(cx, 1)?;
    Ok(())
}
