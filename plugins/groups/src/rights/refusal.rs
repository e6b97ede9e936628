//! Why an act is not allowed.

use super::Permission;
use crate::error;

/// Why an act is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The group is dissolved.
    Dissolved,
    /// The member does not have this permission.
    NoPermission(Permission),
    /// The target has an equal or higher rank.
    Outranked,
    /// The doer would grant a permission or a rank that they don't have.
    NotHeld,
    /// The member is muted until this time, in milliseconds since 1970.
    Muted { until_ms: u64 },
    /// Everybody is muted.
    AllMuted,
    /// The group has no such role.
    UnknownRole,
    /// This change of the role is not possible.
    FixedRole,
    /// The group has reached the limit of roles.
    TooManyRoles,
    /// The rank is not 0 to 999.
    BadRank,
}

impl Refusal {
    /// Returns the error code.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Dissolved => error::CONFLICT_DISSOLVED,
            Self::NoPermission(_) => error::FORBIDDEN,
            Self::Outranked => error::FORBIDDEN,
            Self::NotHeld => error::FORBIDDEN,
            Self::Muted { .. } => error::FORBIDDEN,
            Self::AllMuted => error::FORBIDDEN,
            Self::UnknownRole => error::UNKNOWN_ROLE,
            Self::FixedRole => error::CONFLICT,
            Self::TooManyRoles => error::LIMIT_ROLES,
            Self::BadRank => error::INVALID_RANK,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dissolved => f.write_str("This group is dissolved."),
            Self::NoPermission(permission) => write!(f, "This needs the permission `{}`.", permission.name()),
            Self::Outranked => f.write_str("You can't do this to a member or a role of equal or higher rank."),
            Self::NotHeld => f.write_str("You can't grant a permission or a rank that you don't have."),
            Self::Muted { .. } => f.write_str("You are muted."),
            Self::AllMuted => f.write_str("Everybody is muted."),
            Self::UnknownRole => f.write_str("This group has no such role."),
            Self::FixedRole => f.write_str("This role can't be changed in this way."),
            Self::TooManyRoles => f.write_str("The group has reached the limit of roles. Remove one first."),
            Self::BadRank => f.write_str("A rank must be 0 to 999."),
        }
    }
}
