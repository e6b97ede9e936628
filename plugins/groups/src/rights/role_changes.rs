//! Changes of roles and terms, each decided by where the one who makes it stands.

use super::{Charter, Permission, Permissions, Refusal, Role, RoleId, Standing, Terms};

/// Refuses what would be given by someone who does not have it.
fn check_gift(doer: &Standing, gift: Permissions) -> Result<(), Refusal> {
    if gift.is_within(doer.rights) {
        Ok(())
    } else {
        Err(Refusal::NotYours)
    }
}

/// Refuses a rank that is not under the doer's.
fn check_rank(doer: &Standing, rank: u16) -> Result<(), Refusal> {
    if rank >= Role::OWNER_RANK {
        Err(Refusal::BadRank)
    } else if rank >= doer.rank {
        Err(Refusal::NotYours)
    } else {
        Ok(())
    }
}

/// What of a role is to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoleChange {
    pub(crate) title: Option<String>,
    pub(crate) rank: Option<u16>,
    pub(crate) permissions: Option<Permissions>,
}

impl Charter {
    /// Returns the terms of a member who gets another role.
    pub(crate) fn assign(&self, doer: &Standing, terms: &Terms, id: RoleId) -> Result<Terms, Refusal> {
        doer.check_on(Permission::ManageRoles, &self.standing(terms))?;
        if id == RoleId::OWNER {
            return Err(Refusal::FixedRole);
        }
        let role = self.roles.iter().find(|role| role.id == id);
        let role = role.ok_or(Refusal::UnknownRole)?;
        check_rank(doer, role.rank)?;
        let before = self.role(terms.role).map_or(Permissions::NONE, |role| role.permissions);
        check_gift(doer, role.permissions.without(before))?;
        Ok(Terms { role: id, ..*terms })
    }

    /// Returns the terms of a member to whom these permissions are allowed and denied, whatever the role says.
    pub(crate) fn override_with(
        &self,
        doer: &Standing,
        terms: &Terms,
        allow: Permissions,
        deny: Permissions,
    ) -> Result<Terms, Refusal> {
        doer.check_on(Permission::ManageRoles, &self.standing(terms))?;
        let allowed = allow.without(terms.allow);
        let no_longer_denied = terms.deny.without(deny);
        check_gift(doer, allowed.with(no_longer_denied))?;
        Ok(Terms { allow, deny, ..*terms })
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
        check_gift(doer, permissions)?;
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

    /// Changes a role, and with it what all who have it may.
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
        check_gift(doer, permissions.without(role.permissions))?;
        (role.rank, role.permissions) = (rank, permissions);
        if let Some(title) = change.title {
            role.title = title;
        }
        Ok(())
    }

    /// Removes a role; those who have it are members without one from now on.
    pub(crate) fn remove_role(&mut self, doer: &Standing, id: RoleId) -> Result<(), Refusal> {
        doer.check(Permission::ManageRoles)?;
        if id < RoleId::CUSTOM {
            return Err(Refusal::FixedRole);
        }
        let place = self.roles.iter().position(|role| role.id == id);
        let place = place.ok_or(Refusal::UnknownRole)?;
        if self.roles[place].rank >= doer.rank {
            return Err(Refusal::Outranked);
        }
        let left = self
            .role(RoleId::MEMBER)
            .map_or(Permissions::NONE, |role| role.permissions);
        check_gift(doer, left.without(self.roles[place].permissions))?;
        self.roles.remove(place);
        Ok(())
    }
}
