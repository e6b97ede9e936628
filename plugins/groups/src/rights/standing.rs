//! The stored policy of a member, and the standing that follows from it.

use serde::{Deserialize, Serialize};

use super::{Permission, Permissions, Refusal, RoleId};

/// Stands for no end, in milliseconds since 1970: the greatest integer that JavaScript reads exactly.
pub(crate) const FOREVER_MS: u64 = (1 << 53) - 1;

/// The role, overrides and mute of a member. Most members have the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberPolicy {
    pub(crate) role: RoleId,
    pub(crate) allow: Permissions,
    pub(crate) deny: Permissions,
    /// Milliseconds since 1970; 0 if not muted.
    pub(crate) muted_until_ms: u64,
}

impl Default for MemberPolicy {
    fn default() -> Self {
        Self::of(RoleId::MEMBER)
    }
}

impl MemberPolicy {
    /// Returns the policy of a role without overrides.
    pub(crate) const fn of(role: RoleId) -> Self {
        Self {
            role,
            allow: Permissions::NONE,
            deny: Permissions::NONE,
            muted_until_ms: 0,
        }
    }

    /// Returns the part that survives leaving: denied permissions and an active mute. Leaving and joining again must not lift
    /// them.
    pub(crate) fn restrictions(&self, now_ms: u64) -> Self {
        let muted_until_ms = if self.muted_until_ms > now_ms {
            self.muted_until_ms
        } else {
            0
        };
        Self {
            deny: self.deny,
            muted_until_ms,
            ..Self::default()
        }
    }

    /// True if the group's policy has to list the member. It names the owner in any case.
    pub(crate) fn is_special(&self) -> bool {
        *self != Self::default() && self.role != RoleId::OWNER
    }
}

/// The rank and the rights of a member under the current policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) rank: u16,
    pub(crate) rights: Permissions,
    pub(crate) muted_until_ms: u64,
}

impl Standing {
    /// Checks a permission, without regard to mutes.
    pub(crate) fn check(&self, permission: Permission) -> Result<(), Refusal> {
        if self.rights.has(permission) {
            Ok(())
        } else {
            Err(Refusal::NoPermission(permission))
        }
    }

    /// Checks that the rank is higher than another one.
    pub(crate) fn outranks(&self, other: &Self) -> Result<(), Refusal> {
        if self.rank > other.rank {
            Ok(())
        } else {
            Err(Refusal::Outranked)
        }
    }

    /// Checks a permission for an act on another member.
    pub(crate) fn check_on(&self, permission: Permission, other: &Self) -> Result<(), Refusal> {
        self.check(permission)?;
        self.outranks(other)
    }
}
