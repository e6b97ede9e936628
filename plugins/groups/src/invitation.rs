//! Invitations.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Groups;
use crate::counter::Counter;
use crate::error;
use crate::group::GroupContext;
use crate::membership::check_people;
use crate::params::{
    DAY_MS, GroupActors, GroupParams, MemberParams, Nothing, OwnPage, check_actors, distinct, page_size,
};
use crate::rights::Permission;
use crate::settings::InviteMode;

/// A pending invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invitation {
    pub(crate) group: String,
    pub(crate) actor: String,
    pub(crate) by: String,
    pub(crate) at_ms: u64,
    pub(crate) until_ms: u64,
}

table! {
    Invitation in "invitations", key (group: String, actor: String);

    /// Invitations by invited person.
    pub(crate) many ByInvited in "invited", key (actor: String);

    /// Invitations by group, the first to expire first.
    pub(crate) many ByEnd in "end", key (group: String, until_ms: u64);
}

record! {
    /// Result of `invite`: new members, and people who have to accept. Earlier members are in neither list.
    pub(crate) struct InviteResult { added: Vec<String>, invited: Vec<String> }
}
record! {
    /// An invitation of the caller.
    pub(crate) struct InvitationInfo { group: String, name: String, by: String, at_ms: u64, until_ms: u64 }
}
record! {
    /// A page of invitations.
    pub(crate) struct InvitationPage { invitations: Vec<InvitationInfo>, next: Option<Cursor> }
}

fn unknown_invitation() -> Error {
    Error::new(error::UNKNOWN_INVITATION, "This invitation is unknown or has expired.")
}

impl Groups {
    pub(crate) fn invite(&self, cx: &Context, params: GroupActors) -> Result<InviteResult, Error> {
        check_actors(&params.actors)?;
        let (mut group, _) = GroupContext::find_permitted(cx, &params.group, Permission::Invite)?;
        let mut actors = Vec::new();
        for actor in distinct(params.actors) {
            if group.member(&actor)?.is_none() {
                actors.push(actor);
            }
        }
        check_people(cx, &self.settings, &actors)?;
        match self.invite_mode(group.policy.form) {
            InviteMode::Add => {
                group.add_members(&self.settings, &actors, &cx.caller.actor)?;
                Ok(InviteResult {
                    added: actors,
                    invited: Vec::new(),
                })
            }
            InviteMode::Ask => {
                self.send_invitations(&group, &actors)?;
                Ok(InviteResult {
                    added: Vec::new(),
                    invited: actors,
                })
            }
        }
    }

    /// Stores invitations by the caller, which replace older ones, and signals the new ones.
    pub(crate) fn send_invitations(&self, group: &GroupContext<'_>, actors: &[String]) -> Result<(), Error> {
        if actors.is_empty() {
            return Ok(());
        }
        let (cx, now_ms) = (group.cx, group.cx.now_ms());
        let table = cx.table::<Invitation>();
        let expired = table.by(ByEnd).range((&*group.id, 0)..=(&*group.id, now_ms));
        for invitation in expired.page(20)?.rows {
            table.remove(invitation.key())?;
            Counter::Invitations(&group.id).subtract(cx, 1)?;
        }
        let mut new = Vec::new();
        for actor in actors {
            group.check_ban(actor)?;
            let old = table.put(&Invitation {
                group: group.id.clone(),
                actor: actor.clone(),
                by: cx.caller.actor.clone(),
                at_ms: now_ms,
                until_ms: now_ms.saturating_add(self.settings.invitation_days.saturating_mul(DAY_MS)),
            })?;
            if old.is_none() {
                new.push(actor.clone());
            }
        }
        if Counter::Invitations(&group.id).add(cx, new.len() as u64)? > u64::from(self.settings.waiting) {
            return Err(Error::new(
                error::LIMIT_INVITATIONS,
                "Too many invitations to this group are pending. Try again later.",
            ));
        }
        let payload = json!({"group": group.id, "name": group.row()?.name, "by": cx.caller.actor});
        Ok(cx.sessions().signal(&new, "invited", &payload)?)
    }

    pub(crate) fn invitations(&self, cx: &Context, params: OwnPage) -> Result<InvitationPage, Error> {
        let table = cx.table::<Invitation>().by(ByInvited);
        let scan = table.scan(&*cx.caller.actor).after(params.after);
        let (found, now_ms) = (scan.page(page_size(params.limit))?, cx.now_ms());
        let mut invitations = Vec::new();
        for invitation in found.rows.into_iter().filter(|invitation| invitation.until_ms > now_ms) {
            let Some(group) = GroupContext::find_if_active(cx, &invitation.group)? else {
                continue;
            };
            invitations.push(InvitationInfo {
                name: group.row()?.name,
                group: invitation.group,
                by: invitation.by,
                at_ms: invitation.at_ms,
                until_ms: invitation.until_ms,
            });
        }
        Ok(InvitationPage {
            invitations,
            next: found.next,
        })
    }

    pub(crate) fn accept(&self, cx: &Context, params: GroupParams) -> Result<Nothing, Error> {
        let mut group = GroupContext::find(cx, &params.group)?;
        let own = cx.caller.actor.clone();
        let invitation = cx.table::<Invitation>().get((&*group.id, &*own))?;
        let invitation = invitation.filter(|invitation| invitation.until_ms > cx.now_ms());
        let invitation = invitation.ok_or_else(unknown_invitation)?;
        // The inviter must still be a member with the permission.
        if !group.may_still_invite(&invitation.by)? {
            return Err(unknown_invitation());
        }
        group.add_members(&self.settings, std::slice::from_ref(&own), &invitation.by)?;
        Ok(Nothing {})
    }

    pub(crate) fn decline(&self, cx: &Context, params: GroupParams) -> Result<Nothing, Error> {
        delete(cx, &params.group, &cx.caller.actor)?;
        Ok(Nothing {})
    }

    pub(crate) fn uninvite(&self, cx: &Context, params: MemberParams) -> Result<Nothing, Error> {
        let group = GroupContext::find(cx, &params.group)?;
        let (_, standing) = group.caller()?;
        let invitation = delete(cx, &group.id, &params.actor)?;
        if invitation.by != cx.caller.actor {
            standing.check(Permission::ManageJoins)?;
        }
        Ok(Nothing {})
    }
}

/// Deletes an invitation, and returns it.
fn delete(cx: &Context, group: &str, actor: &str) -> Result<Invitation, Error> {
    let invitation = cx.table::<Invitation>().remove((group, actor))?;
    let invitation = invitation.ok_or_else(unknown_invitation)?;
    Counter::Invitations(group).subtract(cx, 1)?;
    Ok(invitation)
}
