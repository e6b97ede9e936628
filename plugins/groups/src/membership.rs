//! Adding and removing members, with their counters, requests, invitations and restrictions.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::counter::Counter;
use crate::error;
use crate::group::GroupContext;
use crate::invitation::Invitation;
use crate::join_request::JoinRequest;
use crate::member::{Member, Notify};
use crate::moderation;
use crate::rights::{MemberPolicy, RoleId};
use crate::settings::Settings;

/// A ban from a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ban {
    pub(crate) group: String,
    pub(crate) actor: String,
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) at_ms: u64,
    pub(crate) until_ms: u64,
}

table! {
    Ban in "bans", key (group: String, actor: String);
}

/// Checks with the directory that people exist and are reachable for the caller.
pub(crate) fn check_people(cx: &Context, settings: &Settings, actors: &[String]) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Person {
        actor: String,
    }
    #[derive(Deserialize)]
    struct People {
        people: Vec<Person>,
    }
    if settings.directory.is_empty() || actors.is_empty() {
        return Ok(());
    }
    let params = serde_json::json!({ "actors": actors });
    let found: People = cx.methods().call(&settings.directory, &params)?;
    let is_unknown = |actor: &&String| !found.people.iter().any(|person| person.actor == **actor);
    match actors.iter().find(is_unknown) {
        Some(actor) => Err(Error::new(error::UNKNOWN_PERSON, format!("No such person: {actor:?}."))),
        None => Ok(()),
    }
}

impl GroupContext<'_> {
    /// Rejects a banned person, and deletes a ban that has expired.
    pub(crate) fn check_ban(&self, actor: &str) -> Result<(), Error> {
        let bans = self.cx.table::<Ban>();
        match bans.get((&*self.id, actor))? {
            None => Ok(()),
            Some(ban) if ban.until_ms <= self.cx.now_ms() => {
                bans.remove((&*self.id, actor))?;
                Counter::Bans(&self.id).subtract(self.cx, 1)?;
                Ok(())
            }
            Some(_) => Err(Error::new(
                error::FORBIDDEN,
                format!("{actor:?} is banned from this group."),
            )),
        }
    }

    /// Adds members, all or none.
    ///
    /// # Errors
    /// `forbidden`, `conflict`, `limit_groups`, `limit_members`.
    pub(crate) fn add_members(&mut self, settings: &Settings, actors: &[String], by: &str) -> Result<(), Error> {
        if actors.is_empty() {
            return Ok(());
        }
        let (cx, now_ms) = (self.cx, self.cx.now_ms());
        let members = cx.table::<Member>();
        let mut policy_changed = false;
        for actor in actors {
            self.check_ban(actor)?;
            if members.contains((&*self.id, &**actor))? {
                return Err(Error::new(error::CONFLICT, format!("{actor:?} is a member already.")));
            }
            let policy = moderation::restore_restrictions(cx, &self.id, actor)?;
            if policy.is_special() {
                self.policy.record_change(actor, &MemberPolicy::default(), &policy);
                policy_changed = true;
            }
            members.insert(&Member {
                group: self.id.clone(),
                actor: actor.clone(),
                policy,
                joined_ms: now_ms,
                by: by.to_owned(),
                notify: Notify::default(),
                mentions_read: 0,
            })?;
            if Counter::Memberships(actor).add(cx, 1)? > u64::from(settings.groups_per_actor) {
                let reason = format!("{actor:?} has reached the limit of groups.");
                return Err(Error::new(error::LIMIT_GROUPS, reason));
            }
            if cx.table::<JoinRequest>().remove((&*self.id, &**actor))?.is_some() {
                Counter::Requests(&self.id).subtract(cx, 1)?;
            }
            if cx.table::<Invitation>().remove((&*self.id, &**actor))?.is_some() {
                Counter::Invitations(&self.id).subtract(cx, 1)?;
            }
        }
        let count = Counter::Members(&self.id).add(cx, actors.len() as u64)?;
        if count > u64::from(self.row()?.capacity) {
            return Err(Error::new(error::LIMIT_MEMBERS, "This group is full."));
        }
        if policy_changed {
            self.save()?;
        }
        Ok(cx.conversations().add_members(&self.id, actors)?)
    }

    /// Removes members, and keeps their restrictions.
    pub(crate) fn remove_members(&mut self, members: &[Member]) -> Result<(), Error> {
        let cx = self.cx;
        let mut policy_changed = false;
        for member in members {
            cx.table::<Member>().remove((&*self.id, &*member.actor))?;
            Counter::Memberships(&member.actor).subtract(cx, 1)?;
            moderation::cancel_unmute(cx, &self.id, &member.actor, &member.policy)?;
            moderation::store_restrictions(cx, &self.id, &member.actor, &member.policy)?;
            if member.policy.is_special() {
                self.policy
                    .record_change(&member.actor, &member.policy, &MemberPolicy::default());
                policy_changed = true;
            }
        }
        if policy_changed {
            self.save()?;
        }
        Counter::Members(&self.id).subtract(cx, members.len() as u64)?;
        let actors: Vec<String> = members.iter().map(|member| member.actor.clone()).collect();
        Ok(cx.conversations().remove_members(&self.id, &actors)?)
    }

    /// True if the creator of an invitation or link is still a member who may invite.
    pub(crate) fn may_still_invite(&self, actor: &str) -> Result<bool, Error> {
        let member = self.member(actor)?;
        Ok(member.is_some_and(|member| {
            let standing = self.policy.standing(&member.policy);
            standing.check(crate::rights::Permission::Invite).is_ok()
        }))
    }

    /// Adds the founder as the first member.
    pub(crate) fn add_founder(&self, founder: &str, settings: &Settings) -> Result<(), Error> {
        let owns = self.policy.owner == founder;
        let policy = MemberPolicy::of(if owns { RoleId::OWNER } else { RoleId::MEMBER });
        self.cx.table::<Member>().insert(&Member {
            group: self.id.clone(),
            actor: founder.to_owned(),
            policy,
            joined_ms: self.cx.now_ms(),
            by: founder.to_owned(),
            notify: Notify::default(),
            mentions_read: 0,
        })?;
        Counter::Members(&self.id).set(self.cx, 1)?;
        if Counter::Memberships(founder).add(self.cx, 1)? > u64::from(settings.groups_per_actor) {
            return Err(Error::new(error::LIMIT_GROUPS, "You have reached the limit of groups."));
        }
        Ok(())
    }
}
