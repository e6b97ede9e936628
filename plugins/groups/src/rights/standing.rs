//! Where a member stands: what is kept of it, and what follows.

use serde::{Deserialize, Serialize};

use super::{Permission, Permissions, Refusal, RoleId};

/// Stands for no end, in milliseconds since 1970: the greatest number that JavaScript reads without loss.
pub(crate) const FOREVER_MS: u64 = (1 << 53) - 1;

/// How a member differs from others; most don't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) role: RoleId,
    pub(crate) allow: Permissions,
    pub(crate) deny: Permissions,
    /// 0 for not muted, else milliseconds since 1970.
    pub(crate) muted_until_ms: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self::of(RoleId::MEMBER)
    }
}

impl Terms {
    /// Makes the terms of a role without overrides.
    pub(crate) const fn of(role: RoleId) -> Self {
        Self {
            role,
            allow: Permissions::NONE,
            deny: Permissions::NONE,
            muted_until_ms: 0,
        }
    }

    /// Returns what stays of them when somebody leaves: what was taken from them, so that leaving and coming back does not
    /// give it back.
    pub(crate) fn taken(&self, now_ms: u64) -> Self {
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

    /// Whether a charter has to say something about a member on these terms. The owner stands in it anyway.
    pub(crate) fn are_special(&self) -> bool {
        *self != Self::default() && self.role != RoleId::OWNER
    }
}

/// What a member is and may, in the group as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) rank: u16,
    pub(crate) rights: Permissions,
    pub(crate) muted_until_ms: u64,
}

impl Standing {
    /// Decides whether a permission is there, without regard to mutes.
    pub(crate) fn check(&self, permission: Permission) -> Result<(), Refusal> {
        if self.rights.has(permission) {
            Ok(())
        } else {
            Err(Refusal::NoPermission(permission))
        }
    }

    /// Decides whether it is above another one.
    pub(crate) fn outranks(&self, other: &Self) -> Result<(), Refusal> {
        if self.rank > other.rank {
            Ok(())
        } else {
            Err(Refusal::Outranked)
        }
    }

    /// Decides about something done to another member.
    pub(crate) fn check_on(&self, permission: Permission, other: &Self) -> Result<(), Refusal> {
        self.check(permission)?;
        self.outranks(other)
    }
}
