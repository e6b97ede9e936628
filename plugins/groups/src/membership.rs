//! Who comes in and who goes, with everything that is counted and kept of it.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::counter::Counter;
use crate::group::OpenGroup;
use crate::invitation::Invitation;
use crate::join_request::Request;
use crate::member::{Member, Notify};
use crate::moderation;
use crate::rights::{RoleId, Terms};
use crate::settings::Settings;

/// Someone who is kept out.
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

/// Asks the directory whether there are such people.
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
    let asked = serde_json::json!({ "actors": actors });
    let found: People = cx.methods().call(&settings.directory, &asked)?;
    let known = |actor: &&String| !found.people.iter().any(|person| person.actor == **actor);
    match actors.iter().find(known) {
        Some(actor) => Err(Error::new("unknown_person", format!("There is nobody {actor:?}."))),
        None => Ok(()),
    }
}

impl OpenGroup<'_> {
    /// Refuses someone who is kept out, and forgets a ban that has ended.
    pub(crate) fn check_ban(&self, actor: &str) -> Result<(), Error> {
        let bans = self.cx.table::<Ban>();
        match bans.get((&*self.id, actor))? {
            None => Ok(()),
            Some(ban) if ban.until_ms <= self.cx.now_ms() => {
                bans.remove((&*self.id, actor))?;
                Counter::Bans(&self.id).subtract(self.cx, 1)?;
                Ok(())
            }
            Some(_) => Err(Error::new("banned", format!("{actor:?} is banned from this group."))),
        }
    }

    /// Makes people members, all or none: refuses those who are kept out, and who there is no room for.
    pub(crate) fn admit(&mut self, settings: &Settings, actors: &[String], by: &str) -> Result<(), Error> {
        if actors.is_empty() {
            return Ok(());
        }
        let (cx, now_ms) = (self.cx, self.cx.now_ms());
        let members = cx.table::<Member>();
        let mut noted = false;
        for actor in actors {
            self.check_ban(actor)?;
            if members.contains((&*self.id, &**actor))? {
                return Err(Error::new("already_member", format!("{actor:?} is a member.")));
            }
            let terms = moderation::resume(cx, &self.id, actor)?;
            if terms.are_special() {
                self.charter.note(actor, &Terms::default(), &terms);
                noted = true;
            }
            members.insert(&Member {
                group: self.id.clone(),
                actor: actor.clone(),
                terms,
                joined_ms: now_ms,
                by: by.to_owned(),
                notify: Notify::default(),
                mentions_read: 0,
            })?;
            if Counter::Memberships(actor).add(cx, 1)? > u64::from(settings.groups_per_actor) {
                let reason = format!("{actor:?} is in as many groups as anybody can be.");
                return Err(Error::new("too_many_groups", reason));
            }
            if cx.table::<Request>().remove((&*self.id, &**actor))?.is_some() {
                Counter::Requests(&self.id).subtract(cx, 1)?;
            }
            if cx.table::<Invitation>().remove((&*self.id, &**actor))?.is_some() {
                Counter::Invitations(&self.id).subtract(cx, 1)?;
            }
        }
        let count = Counter::Members(&self.id).add(cx, actors.len() as u64)?;
        if count > u64::from(self.row()?.capacity) {
            return Err(Error::new("full", "This group is full."));
        }
        if noted {
            self.save()?;
        }
        Ok(cx.conversations().add_members(&self.id, actors)?)
    }

    /// Takes members out.
    pub(crate) fn expel(&mut self, members: &[Member]) -> Result<(), Error> {
        let cx = self.cx;
        let mut noted = false;
        for member in members {
            cx.table::<Member>().remove((&*self.id, &*member.actor))?;
            Counter::Memberships(&member.actor).subtract(cx, 1)?;
            moderation::forget(cx, &self.id, &member.actor, &member.terms)?;
            moderation::keep(cx, &self.id, &member.actor, &member.terms)?;
            if member.terms.are_special() {
                self.charter.note(&member.actor, &member.terms, &Terms::default());
                noted = true;
            }
        }
        if noted {
            self.save()?;
        }
        Counter::Members(&self.id).subtract(cx, members.len() as u64)?;
        let actors: Vec<String> = members.iter().map(|member| member.actor.clone()).collect();
        Ok(cx.conversations().remove_members(&self.id, &actors)?)
    }

    /// Whether someone who asked others in may still do so.
    pub(crate) fn still_invites(&self, actor: &str) -> Result<bool, Error> {
        let member = self.member(actor)?;
        Ok(member.is_some_and(|member| {
            let standing = self.charter.standing(&member.terms);
            standing.check(crate::rights::Permission::Invite).is_ok()
        }))
    }

    /// Makes the founder the first member.
    pub(crate) fn found(&self, founder: &str, settings: &Settings) -> Result<(), Error> {
        let owns = self.charter.owner == founder;
        let terms = Terms::of(if owns { RoleId::OWNER } else { RoleId::MEMBER });
        self.cx.table::<Member>().insert(&Member {
            group: self.id.clone(),
            actor: founder.to_owned(),
            terms,
            joined_ms: self.cx.now_ms(),
            by: founder.to_owned(),
            notify: Notify::default(),
            mentions_read: 0,
        })?;
        Counter::Members(&self.id).set(self.cx, 1)?;
        if Counter::Memberships(founder).add(self.cx, 1)? > u64::from(settings.groups_per_actor) {
            return Err(Error::new(
                "too_many_groups",
                "You are in as many groups as anybody can be.",
            ));
        }
        Ok(())
    }
}
