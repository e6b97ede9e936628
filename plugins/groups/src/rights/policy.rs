//! The charter of a group: all that decides what members may, in one small value.
//!
//! A message is decided about with the charter alone, whether the sender is an ordinary member or one of the first
//! [`LISTED`] that differ. Only where more differ, a member that is not listed costs a second read. Nothing that is
//! kept with a member depends on the group, so that no change of the group goes through its members.

use serde::{Deserialize, Serialize};

use super::{Permission, Permissions, Refusal, Role, RoleId, Standing, Terms};

/// How many members that differ from others stand in a charter.
pub(crate) const LISTED: usize = 128;

/// The two forms of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// Lasting, with an owner and roles.
    Group,
    /// Ad hoc, everybody is equal.
    Discussion,
}

impl Form {
    /// Returns the kind of its conversations.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Discussion => "discussion",
        }
    }
}

/// What a charter says about someone who is a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// These are the terms.
    Terms(Terms),
    /// The terms are with the member.
    Elsewhere,
}

/// All that decides what members of a group may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Charter {
    pub(crate) form: Form,
    /// Empty in a discussion.
    pub(crate) owner: String,
    pub(crate) dissolved: bool,
    pub(crate) all_muted: bool,
    /// Seconds between two messages of a member; 0 for no slow mode.
    pub(crate) slow_s: u32,
    pub(super) roles: Vec<Role>,
    pub(super) next_role: u32,
    /// Members that differ, but for the owner.
    listed: Vec<(String, Terms)>,
    /// How many others differ.
    unlisted: u32,
}

impl Charter {
    /// Makes the charter of a new group.
    pub(crate) fn group(owner: &str) -> Self {
        Self {
            form: Form::Group,
            owner: owner.to_owned(),
            dissolved: false,
            all_muted: false,
            slow_s: 0,
            roles: vec![Role::owner(), Role::admin(), Role::member(Role::OF_MEMBERS)],
            next_role: RoleId::CUSTOM.0,
            listed: Vec::new(),
            unlisted: 0,
        }
    }

    /// Makes the charter of a new discussion.
    pub(crate) fn discussion() -> Self {
        Self {
            form: Form::Discussion,
            owner: String::new(),
            roles: vec![Role::member(Role::OF_EQUALS)],
            ..Self::group("")
        }
    }

    /// Refuses whatever is to be done in a group that is dissolved.
    pub(crate) fn check_open(&self) -> Result<(), Refusal> {
        if self.dissolved {
            Err(Refusal::Dissolved)
        } else {
            Ok(())
        }
    }

    pub(crate) fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// Finds a role; one that was removed is that of members.
    pub(crate) fn role(&self, id: RoleId) -> Option<&Role> {
        let find = |id| self.roles.iter().find(|role| role.id == id);
        find(id).or_else(|| find(RoleId::MEMBER))
    }

    /// Returns what is known here about the terms of a member.
    pub(crate) fn known(&self, actor: &str) -> Known {
        if !self.owner.is_empty() && actor == self.owner {
            return Known::Terms(Terms::of(RoleId::OWNER));
        }
        match self.listed.iter().find(|(listed, _)| listed == actor) {
            Some((_, terms)) => Known::Terms(*terms),
            None if self.unlisted == 0 => Known::Terms(Terms::default()),
            None => Known::Elsewhere,
        }
    }

    /// Returns the members that are listed, and the owner.
    pub(crate) fn special(&self) -> impl Iterator<Item = (&str, Terms)> {
        let owner = Some((&*self.owner, Terms::of(RoleId::OWNER))).filter(|(owner, _)| !owner.is_empty());
        let listed = self.listed.iter().map(|(actor, terms)| (&**actor, *terms));
        owner.into_iter().chain(listed)
    }

    /// Takes note that the terms of a member change; those of somebody who is no member are the default ones.
    pub(crate) fn note(&mut self, actor: &str, old: &Terms, new: &Terms) {
        let place = self.listed.iter().position(|(listed, _)| listed == actor);
        match (place, old.are_special(), new.are_special()) {
            (Some(place), _, true) => self.listed[place].1 = *new,
            (Some(place), _, false) => drop(self.listed.swap_remove(place)),
            (None, was, true) => {
                let room = self.listed.len() < LISTED;
                if room {
                    self.listed.push((actor.to_owned(), *new));
                }
                match (was, room) {
                    (true, true) => self.unlisted = self.unlisted.saturating_sub(1),
                    (false, false) => self.unlisted = self.unlisted.saturating_add(1),
                    _ => {}
                }
            }
            (None, true, false) => self.unlisted = self.unlisted.saturating_sub(1),
            (None, false, false) => {}
        }
    }

    /// Works out where a member stands.
    pub(crate) fn standing(&self, terms: &Terms) -> Standing {
        let (rank, base) = match self.role(terms.role) {
            Some(role) => (role.rank, role.permissions),
            None => (Role::MEMBER_RANK, Permissions::NONE),
        };
        let rights = match terms.role {
            RoleId::OWNER => Permissions::ALL,
            _ => base.with(terms.allow).without(terms.deny),
        };
        Standing {
            rank,
            rights,
            muted_until_ms: terms.muted_until_ms,
        }
    }

    /// Decides whether a member may say something now.
    pub(crate) fn speak(&self, standing: &Standing, permission: Permission, now_ms: u64) -> Result<(), Refusal> {
        self.check_open()?;
        if Permissions::SPEECH.has(permission) {
            if standing.muted_until_ms > now_ms {
                return Err(Refusal::Muted {
                    until_ms: standing.muted_until_ms,
                });
            }
            if self.all_muted && !standing.rights.has(Permission::BypassMute) {
                return Err(Refusal::AllMuted);
            }
        }
        standing.check(permission)
    }
}
