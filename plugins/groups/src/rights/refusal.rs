//! Why something is not allowed.

use super::Permission;

/// Why something is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The group is dissolved.
    Dissolved,
    /// The member does not have this permission.
    NoPermission(Permission),
    /// The other one is of equal or higher rank.
    Outranked,
    /// It would give a permission that the giver does not have.
    NotYours,
    /// The member is muted until then.
    Muted { until_ms: u64 },
    /// Everybody is muted.
    AllMuted,
    /// There is no such role.
    UnknownRole,
    /// This role can't be changed so.
    FixedRole,
    /// The group has as many roles as it can have.
    TooManyRoles,
    /// A rank is 0 to 999.
    BadRank,
}

impl Refusal {
    /// Returns the code that clients see.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Dissolved => "dissolved",
            Self::NoPermission(_) => "no_permission",
            Self::Outranked => "outranked",
            Self::NotYours => "not_yours_to_give",
            Self::Muted { .. } => "muted",
            Self::AllMuted => "all_muted",
            Self::UnknownRole => "unknown_role",
            Self::FixedRole => "fixed_role",
            Self::TooManyRoles => "too_many_roles",
            Self::BadRank => "bad_rank",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dissolved => f.write_str("This group was dissolved."),
            Self::NoPermission(permission) => write!(f, "You need the permission `{}`.", permission.name()),
            Self::Outranked => f.write_str("You can't do that to someone of equal or higher rank."),
            Self::NotYours => f.write_str("You can't give a permission or a rank that you don't have."),
            Self::Muted { .. } => f.write_str("You are muted."),
            Self::AllMuted => f.write_str("Everybody is muted."),
            Self::UnknownRole => f.write_str("There is no such role."),
            Self::FixedRole => f.write_str("This role can't be changed so."),
            Self::TooManyRoles => f.write_str("The group has as many roles as it can have."),
            Self::BadRank => f.write_str("A rank is 0 to 999."),
        }
    }
}
