//! Members ask others in.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Groups;
use crate::counter::Counter;
use crate::group::OpenGroup;
use crate::membership::check_people;
use crate::params::{DAY_MS, Nothing, OfGroup, OfMember, Onward, Several, check_actors, distinct, page};
use crate::rights::Permission;
use crate::settings::Inviting;

/// Someone who was asked in.
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

    /// The invitations of somebody.
    pub(crate) many ByInvited in "invited", key (actor: String);

    /// Those to a group, the first to end first.
    pub(crate) many ByEnd in "end", key (group: String, until_ms: u64);
}

record! {
    /// Who is a member now, and who has to accept first; those who were members before are in neither.
    pub(crate) struct Invited { added: Vec<String>, invited: Vec<String> }
}
record! {
    /// An invitation.
    pub(crate) struct Offer { group: String, name: String, by: String, at_ms: u64, until_ms: u64 }
}
record! {
    /// Some invitations, and where the next ones begin.
    pub(crate) struct Offers { invitations: Vec<Offer>, next: Option<Cursor> }
}

fn no_invitation() -> Error {
    Error::new("no_invitation", "There is no such invitation, or it has ended.")
}

impl Groups {
    pub(crate) fn invite(&self, cx: &Context, params: Several) -> Result<Invited, Error> {
        check_actors(&params.actors)?;
        let (mut group, _) = OpenGroup::find_for(cx, &params.group, Permission::Invite)?;
        let mut actors = Vec::new();
        for actor in distinct(params.actors) {
            if group.member(&actor)?.is_none() {
                actors.push(actor);
            }
        }
        check_people(cx, &self.settings, &actors)?;
        match self.inviting(group.charter.form) {
            Inviting::Add => {
                group.admit(&self.settings, &actors, &cx.caller.actor)?;
                Ok(Invited {
                    added: actors,
                    invited: Vec::new(),
                })
            }
            Inviting::Ask => {
                self.ask_in(&group, &actors)?;
                Ok(Invited {
                    added: Vec::new(),
                    invited: actors,
                })
            }
        }
    }

    /// Leaves invitations of the caller, each in the place of an older one.
    pub(crate) fn ask_in(&self, group: &OpenGroup<'_>, actors: &[String]) -> Result<(), Error> {
        if actors.is_empty() {
            return Ok(());
        }
        let (cx, now_ms) = (group.cx, group.cx.now_ms());
        let table = cx.table::<Invitation>();
        let ended = table.by(ByEnd).range((&*group.id, 0)..=(&*group.id, now_ms));
        for invitation in ended.page(20)?.rows {
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
            return Err(Error::new("too_many_invitations", "Too many invitations are open."));
        }
        let payload = json!({"group": group.id, "name": group.row()?.name, "by": cx.caller.actor});
        Ok(cx.sessions().signal(&new, "invited", &payload)?)
    }

    pub(crate) fn invitations(&self, cx: &Context, params: Onward) -> Result<Offers, Error> {
        let table = cx.table::<Invitation>().by(ByInvited);
        let scan = table.scan(&*cx.caller.actor).after(params.after);
        let (found, now_ms) = (scan.page(page(params.limit))?, cx.now_ms());
        let mut invitations = Vec::new();
        for invitation in found.rows.into_iter().filter(|invitation| invitation.until_ms > now_ms) {
            let Some(group) = OpenGroup::find_if_open(cx, &invitation.group)? else {
                continue;
            };
            invitations.push(Offer {
                name: group.row()?.name,
                group: invitation.group,
                by: invitation.by,
                at_ms: invitation.at_ms,
                until_ms: invitation.until_ms,
            });
        }
        Ok(Offers {
            invitations,
            next: found.next,
        })
    }

    pub(crate) fn accept(&self, cx: &Context, params: OfGroup) -> Result<Nothing, Error> {
        let mut group = OpenGroup::find(cx, &params.group)?;
        let own = cx.caller.actor.clone();
        let invitation = cx.table::<Invitation>().get((&*group.id, &*own))?;
        let invitation = invitation.filter(|invitation| invitation.until_ms > cx.now_ms());
        let invitation = invitation.ok_or_else(no_invitation)?;
        // Whoever lost the permission, or left, does not let people in any more.
        if !group.still_invites(&invitation.by)? {
            return Err(no_invitation());
        }
        group.admit(&self.settings, std::slice::from_ref(&own), &invitation.by)?;
        Ok(Nothing {})
    }

    pub(crate) fn decline(&self, cx: &Context, params: OfGroup) -> Result<Nothing, Error> {
        take(cx, &params.group, &cx.caller.actor)?;
        Ok(Nothing {})
    }

    pub(crate) fn uninvite(&self, cx: &Context, params: OfMember) -> Result<Nothing, Error> {
        let group = OpenGroup::find(cx, &params.group)?;
        let (_, standing) = group.caller()?;
        let invitation = take(cx, &group.id, &params.actor)?;
        if invitation.by != cx.caller.actor {
            standing.check(Permission::ManageJoins)?;
        }
        Ok(Nothing {})
    }
}

/// Takes an invitation away.
fn take(cx: &Context, group: &str, actor: &str) -> Result<Invitation, Error> {
    let invitation = cx.table::<Invitation>().remove((group, actor))?;
    let invitation = invitation.ok_or_else(no_invitation)?;
    Counter::Invitations(group).subtract(cx, 1)?;
    Ok(invitation)
}
