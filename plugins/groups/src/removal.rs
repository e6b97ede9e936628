//! Members go, or are made to.

use courtyard_plugin_sdk::prelude::*;

use crate::Groups;
use crate::counter::Counter;
use crate::deletion;
use crate::group::OpenGroup;
use crate::invitation::Invitation;
use crate::join_request::Request;
use crate::membership::Ban;
use crate::params::{Nothing, OfGroup, OfMember, Paged, Several, check_actors, distinct, end_ms, is_actor, page};
use crate::rights::{Form, Permission};
use crate::text;

record! {
    /// Who is to be kept out, for how many seconds (left out for no end), and why.
    pub(crate) struct NewBan { group: String, actor: String, seconds: Option<u64>, reason: Option<String> }
}
record! {
    /// Someone who is kept out.
    pub(crate) struct BanInfo { actor: String, by: String, reason: String, at_ms: u64, until_ms: u64 }
}
record! {
    /// Some who are kept out, and where the next ones begin.
    pub(crate) struct Bans { bans: Vec<BanInfo>, next: Option<Cursor> }
}

impl Groups {
    pub(crate) fn leave(&self, cx: &Context, params: OfGroup) -> Result<Nothing, Error> {
        let (mut group, member) = OpenGroup::find_own(cx, &params.group)?;
        if group.charter.owner == member.actor {
            let reason = "The owner transfers or dissolves the group before leaving it.";
            return Err(Error::new("owner_must_stay", reason));
        }
        let is_last = group.charter.form == Form::Discussion && Counter::Members(&group.id).get(cx)? <= 1;
        if is_last {
            deletion::begin(group)?;
        } else {
            group.expel(&[member])?;
        }
        Ok(Nothing {})
    }

    pub(crate) fn remove(&self, cx: &Context, params: Several) -> Result<Nothing, Error> {
        check_actors(&params.actors)?;
        let (mut group, standing) = OpenGroup::find_for(cx, &params.group, Permission::Remove)?;
        let mut members = Vec::new();
        for actor in distinct(params.actors) {
            let (member, other) = group.other(&actor)?;
            standing.outranks(&other)?;
            members.push(member);
        }
        group.expel(&members)?;
        Ok(Nothing {})
    }

    pub(crate) fn ban(&self, cx: &Context, params: NewBan) -> Result<Nothing, Error> {
        let (mut group, standing) = OpenGroup::find_for(cx, &params.group, Permission::Ban)?;
        if !is_actor(&params.actor) {
            return Err(Error::new("bad_actors", "This is nobody."));
        }
        let reason = text::lines(params.reason.as_deref().unwrap_or_default(), 200, "bad_reason")?;
        if let Some(member) = group.member(&params.actor)? {
            standing.outranks(&group.charter.standing(&member.terms))?;
            group.expel(&[member])?;
        }
        let key = (&*group.id, &*params.actor);
        if cx.table::<Invitation>().remove(key)?.is_some() {
            Counter::Invitations(&group.id).subtract(cx, 1)?;
        }
        if cx.table::<Request>().remove(key)?.is_some() {
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
                "too_many_bans",
                "The group has as many bans as it can have.",
            ));
        }
        Ok(Nothing {})
    }

    pub(crate) fn unban(&self, cx: &Context, params: OfMember) -> Result<Nothing, Error> {
        let (group, _) = OpenGroup::find_for(cx, &params.group, Permission::Ban)?;
        let ban = cx.table::<Ban>().remove((&*group.id, &*params.actor))?;
        ban.ok_or_else(|| Error::new("not_banned", "There is no such ban."))?;
        Counter::Bans(&group.id).subtract(cx, 1)?;
        Ok(Nothing {})
    }

    pub(crate) fn bans(&self, cx: &Context, params: Paged) -> Result<Bans, Error> {
        let (group, _) = OpenGroup::find_for(cx, &params.group, Permission::Ban)?;
        let scan = cx.table::<Ban>().scan((&*group.id,)).after(params.after);
        let (found, now_ms) = (scan.page(page(params.limit))?, cx.now_ms());
        let info = |ban: Ban| BanInfo {
            actor: ban.actor,
            by: ban.by,
            reason: ban.reason,
            at_ms: ban.at_ms,
            until_ms: ban.until_ms,
        };
        let bans = found.rows.into_iter().filter(|ban| ban.until_ms > now_ms).map(info);
        Ok(Bans {
            bans: bans.collect(),
            next: found.next,
        })
    }
}
