//! The policy of a group: one small value that decides what members may do.
//!
//! It lists up to [`LISTED`] members whose own policy isn't the default. A message of a listed or an ordinary member is
//! checked with the group's policy alone. Only if more members differ, a member that isn't listed costs a second read. The
//! rows of members don't depend on the policy, so a change of the policy doesn't touch them.

use serde::{Deserialize, Serialize};

use super::{MemberPolicy, Permission, Permissions, Refusal, Role, RoleId, Standing};

/// Maximum number of listed members.
pub(crate) const LISTED: usize = 128;

/// The two forms of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// Permanent, with an owner and roles.
    Group,
    /// Ad hoc, all members are equal.
    Discussion,
}

impl Form {
    /// Returns the kind of the conversation.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Discussion => "discussion",
        }
    }
}

/// The result of looking up a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PolicyLookup {
    /// The policy of the member.
    Found(MemberPolicy),
    /// The member's row holds the policy.
    InMemberRow,
}

/// Everything that decides what the members of a group may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupPolicy {
    pub(crate) form: Form,
    /// Empty in a discussion.
    pub(crate) owner: String,
    pub(crate) dissolved: bool,
    pub(crate) all_muted: bool,
    /// Seconds between two messages of a member; 0 for no slow mode.
    pub(crate) slow_s: u32,
    pub(super) roles: Vec<Role>,
    pub(super) next_role: u32,
    /// Members whose policy isn't the default, without the owner.
    listed: Vec<(String, MemberPolicy)>,
    /// Number of such members beyond the listed ones.
    unlisted: u32,
}

impl GroupPolicy {
    /// Returns the policy of a new group.
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

    /// Returns the policy of a new discussion.
    pub(crate) fn discussion() -> Self {
        Self {
            form: Form::Discussion,
            owner: String::new(),
            roles: vec![Role::member(Role::OF_EQUALS)],
            ..Self::group("")
        }
    }

    /// Rejects any act in a dissolved group.
    pub(crate) fn check_active(&self) -> Result<(), Refusal> {
        if self.dissolved {
            Err(Refusal::Dissolved)
        } else {
            Ok(())
        }
    }

    pub(crate) fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// Returns a role, or the role `member` for one that was removed.
    pub(crate) fn role(&self, id: RoleId) -> Option<&Role> {
        let find = |id| self.roles.iter().find(|role| role.id == id);
        find(id).or_else(|| find(RoleId::MEMBER))
    }

    /// Looks up the policy of a member.
    pub(crate) fn lookup(&self, actor: &str) -> PolicyLookup {
        if !self.owner.is_empty() && actor == self.owner {
            return PolicyLookup::Found(MemberPolicy::of(RoleId::OWNER));
        }
        match self.listed.iter().find(|(listed, _)| listed == actor) {
            Some((_, policy)) => PolicyLookup::Found(*policy),
            None if self.unlisted == 0 => PolicyLookup::Found(MemberPolicy::default()),
            None => PolicyLookup::InMemberRow,
        }
    }

    /// Returns the owner and the listed members.
    pub(crate) fn listed_members(&self) -> impl Iterator<Item = (&str, MemberPolicy)> {
        let owner = Some((&*self.owner, MemberPolicy::of(RoleId::OWNER))).filter(|(owner, _)| !owner.is_empty());
        let listed = self.listed.iter().map(|(actor, policy)| (&**actor, *policy));
        owner.into_iter().chain(listed)
    }

    /// Records that the policy of a member changes. Joining changes it from the default, leaving changes it to the default.
    pub(crate) fn record_change(&mut self, actor: &str, old: &MemberPolicy, new: &MemberPolicy) {
        let index = self.listed.iter().position(|(listed, _)| listed == actor);
        match (index, old.is_special(), new.is_special()) {
            (Some(index), _, true) => self.listed[index].1 = *new,
            (Some(index), _, false) => drop(self.listed.swap_remove(index)),
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

    /// Returns the standing of a member.
    pub(crate) fn standing(&self, member: &MemberPolicy) -> Standing {
        let (rank, base) = match self.role(member.role) {
            Some(role) => (role.rank, role.permissions),
            None => (Role::MEMBER_RANK, Permissions::NONE),
        };
        let rights = match member.role {
            RoleId::OWNER => Permissions::ALL,
            _ => base.with(member.allow).without(member.deny),
        };
        Standing {
            rank,
            rights,
            muted_until_ms: member.muted_until_ms,
        }
    }

    /// Checks a permission, and for permissions of speech also mutes.
    pub(crate) fn check_now(&self, standing: &Standing, permission: Permission, now_ms: u64) -> Result<(), Refusal> {
        self.check_active()?;
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
