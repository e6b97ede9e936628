//! Leaving, removing members, and bans.

use courtyard_plugin_sdk::prelude::*;

use crate::Groups;
use crate::counter::Counter;
use crate::deletion;
use crate::error;
use crate::group::GroupContext;
use crate::invitation::Invitation;
use crate::join_request::JoinRequest;
use crate::membership::Ban;
use crate::params::{
    GroupActors, GroupPage, GroupParams, MemberParams, Nothing, check_actors, distinct, end_ms, is_actor, page_size,
};
use crate::rights::{Form, Permission};
use crate::text;

record! {
    /// Parameters of `ban`. Without `seconds` the ban doesn't end.
    pub(crate) struct BanParams { group: String, actor: String, seconds: Option<u64>, reason: Option<String> }
}
record! {
    /// A ban.
    pub(crate) struct BanInfo { actor: String, by: String, reason: String, at_ms: u64, until_ms: u64 }
}
record! {
    /// A page of bans.
    pub(crate) struct BanPage { bans: Vec<BanInfo>, next: Option<Cursor> }
}

impl Groups {
    pub(crate) fn leave(&self, cx: &Context, params: GroupParams) -> Result<Nothing, Error> {
        let (mut group, member) = GroupContext::find_own(cx, &params.group)?;
        if group.policy.owner == member.actor {
            let reason = "The owner can't leave. Transfer or dissolve the group first.";
            return Err(Error::new(error::CONFLICT, reason));
        }
        let is_last = group.policy.form == Form::Discussion && Counter::Members(&group.id).get(cx)? <= 1;
        if is_last {
            deletion::start(group)?;
        } else {
            group.remove_members(&[member])?;
        }
        Ok(Nothing {})
    }

    pub(crate) fn remove(&self, cx: &Context, params: GroupActors) -> Result<Nothing, Error> {
        check_actors(&params.actors)?;
        let (mut group, standing) = GroupContext::find_permitted(cx, &params.group, Permission::Remove)?;
        let mut members = Vec::new();
        for actor in distinct(params.actors) {
            let (member, other) = group.target(&actor)?;
            standing.outranks(&other)?;
            members.push(member);
        }
        group.remove_members(&members)?;
        Ok(Nothing {})
    }

    pub(crate) fn ban(&self, cx: &Context, params: BanParams) -> Result<Nothing, Error> {
        let (mut group, standing) = GroupContext::find_permitted(cx, &params.group, Permission::Ban)?;
        if !is_actor(&params.actor) {
            return Err(Error::new(error::INVALID_ACTORS, "Not an actor id."));
        }
        let reason = text::lines(params.reason.as_deref().unwrap_or_default(), 200, error::INVALID_REASON)?;
        if let Some(member) = group.member(&params.actor)? {
            standing.outranks(&group.policy.standing(&member.policy))?;
            group.remove_members(&[member])?;
        }
        let key = (&*group.id, &*params.actor);
        if cx.table::<Invitation>().remove(key)?.is_some() {
            Counter::Invitations(&group.id).subtract(cx, 1)?;
        }
        if cx.table::<JoinRequest>().remove(key)?.is_some() {
            Counter::Requests(&group.id).subtract(cx, 1)?;
        }
        let old = cx.table::<Ban>().put(&Ban {
            group: group.id.clone(),
            actor: params.actor.clone(),
            by: cx.caller.actor.clone(),
            reason,
            at_ms: cx.now_ms(),
            until_ms: end_ms(cx, params.seconds),
        })?;
        if old.is_none() && Counter::Bans(&group.id).add(cx, 1)? > u64::from(self.settings.bans) {
            return Err(Error::new(
                error::LIMIT_BANS,
                "The group has reached the limit of bans. Remove one first.",
            ));
        }
        Ok(Nothing {})
    }

    pub(crate) fn unban(&self, cx: &Context, params: MemberParams) -> Result<Nothing, Error> {
        let (group, _) = GroupContext::find_permitted(cx, &params.group, Permission::Ban)?;
        let ban = cx.table::<Ban>().remove((&*group.id, &*params.actor))?;
        ban.ok_or_else(|| Error::new(error::UNKNOWN_BAN, "This person isn't banned."))?;
        Counter::Bans(&group.id).subtract(cx, 1)?;
        Ok(Nothing {})
    }

    pub(crate) fn bans(&self, cx: &Context, params: GroupPage) -> Result<BanPage, Error> {
        let (group, _) = GroupContext::find_permitted(cx, &params.group, Permission::Ban)?;
        let scan = cx.table::<Ban>().scan((&*group.id,)).after(params.after);
        let (found, now_ms) = (scan.page(page_size(params.limit))?, cx.now_ms());
        let info = |ban: Ban| BanInfo {
            actor: ban.actor,
            by: ban.by,
            reason: ban.reason,
            at_ms: ban.at_ms,
            until_ms: ban.until_ms,
        };
        let bans = found.rows.into_iter().filter(|ban| ban.until_ms > now_ms).map(info);
        Ok(BanPage {
            bans: bans.collect(),
            next: found.next,
        })
    }
}
