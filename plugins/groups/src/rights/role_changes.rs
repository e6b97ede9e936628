//! Changes of roles and overrides, each checked against the standing of the member who makes it.

use super::{GroupPolicy, MemberPolicy, Permission, Permissions, Refusal, Role, RoleId, Standing};

/// Rejects a grant of permissions that the doer doesn't have.
fn check_grant(doer: &Standing, grant: Permissions) -> Result<(), Refusal> {
    if grant.is_within(doer.rights) {
        Ok(())
    } else {
        Err(Refusal::NotHeld)
    }
}

/// Rejects a rank that isn't below the doer's, and the owner's rank.
fn check_rank(doer: &Standing, rank: u16) -> Result<(), Refusal> {
    if rank >= Role::OWNER_RANK {
        Err(Refusal::BadRank)
    } else if rank >= doer.rank {
        Err(Refusal::NotHeld)
    } else {
        Ok(())
    }
}

/// A change of a role; `None` keeps a property.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoleChange {
    pub(crate) title: Option<String>,
    pub(crate) rank: Option<u16>,
    pub(crate) permissions: Option<Permissions>,
}

impl GroupPolicy {
    /// Returns the policy of a member with another role.
    pub(crate) fn assign_role(
        &self,
        doer: &Standing,
        member: &MemberPolicy,
        id: RoleId,
    ) -> Result<MemberPolicy, Refusal> {
        doer.check_on(Permission::ManageRoles, &self.standing(member))?;
        if id == RoleId::OWNER {
            return Err(Refusal::FixedRole);
        }
        let role = self.roles.iter().find(|role| role.id == id);
        let role = role.ok_or(Refusal::UnknownRole)?;
        check_rank(doer, role.rank)?;
        let before = self
            .role(member.role)
            .map_or(Permissions::NONE, |role| role.permissions);
        check_grant(doer, role.permissions.without(before))?;
        Ok(MemberPolicy { role: id, ..*member })
    }

    /// Returns the policy of a member with these overrides.
    pub(crate) fn set_overrides(
        &self,
        doer: &Standing,
        member: &MemberPolicy,
        allow: Permissions,
        deny: Permissions,
    ) -> Result<MemberPolicy, Refusal> {
        doer.check_on(Permission::ManageRoles, &self.standing(member))?;
        let allowed = allow.without(member.allow);
        let no_longer_denied = member.deny.without(deny);
        check_grant(doer, allowed.with(no_longer_denied))?;
        Ok(MemberPolicy { allow, deny, ..*member })
    }

    /// Adds a role.
    pub(crate) fn add_role(
        &mut self,
        doer: &Standing,
        (title, rank, permissions): (String, u16, Permissions),
        most: usize,
    ) -> Result<RoleId, Refusal> {
        doer.check(Permission::ManageRoles)?;
        check_rank(doer, rank)?;
        check_grant(doer, permissions)?;
        if self.roles.len() >= most {
            return Err(Refusal::TooManyRoles);
        }
        let id = RoleId(self.next_role);
        self.next_role = self.next_role.checked_add(1).ok_or(Refusal::TooManyRoles)?;
        self.roles.push(Role {
            id,
            title,
            rank,
            permissions,
        });
        Ok(id)
    }

    /// Changes a role, and thereby the permissions of all its members.
    pub(crate) fn change_role(&mut self, doer: &Standing, id: RoleId, change: RoleChange) -> Result<(), Refusal> {
        doer.check(Permission::ManageRoles)?;
        let role = self.roles.iter_mut().find(|role| role.id == id);
        let role = role.ok_or(Refusal::UnknownRole)?;
        if id == RoleId::OWNER || (id == RoleId::MEMBER && change.rank.is_some()) {
            return Err(Refusal::FixedRole);
        }
        if role.rank >= doer.rank {
            return Err(Refusal::Outranked);
        }
        let rank = change.rank.unwrap_or(role.rank);
        check_rank(doer, rank)?;
        let permissions = change.permissions.unwrap_or(role.permissions);
        check_grant(doer, permissions.without(role.permissions))?;
        (role.rank, role.permissions) = (rank, permissions);
        if let Some(title) = change.title {
            role.title = title;
        }
        Ok(())
    }

    /// Removes a role. Its members have the role `member` from then on.
    pub(crate) fn remove_role(&mut self, doer: &Standing, id: RoleId) -> Result<(), Refusal> {
        doer.check(Permission::ManageRoles)?;
        if id < RoleId::CUSTOM {
            return Err(Refusal::FixedRole);
        }
        let index = self.roles.iter().position(|role| role.id == id);
        let index = index.ok_or(Refusal::UnknownRole)?;
        if self.roles[index].rank >= doer.rank {
            return Err(Refusal::Outranked);
        }
        let remaining = self
            .role(RoleId::MEMBER)
            .map_or(Permissions::NONE, |role| role.permissions);
        check_grant(doer, remaining.without(self.roles[index].permissions))?;
        self.roles.remove(index);
        Ok(())
    }
}
