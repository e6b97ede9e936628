//! Roles: a rank and permissions under a title.

use serde::{Deserialize, Serialize};

use super::{Permission, Permissions};

/// The id of a role. A group never reuses one, so former holders of a removed role don't get the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RoleId(pub(crate) u32);

impl RoleId {
    pub(crate) const OWNER: Self = Self(0);
    pub(crate) const ADMIN: Self = Self(1);
    pub(crate) const MEMBER: Self = Self(2);
    /// The first id of a custom role.
    pub(crate) const CUSTOM: Self = Self(3);

    /// Parses the displayed form of a [`RoleId`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "owner" => Some(Self::OWNER),
            "admin" => Some(Self::ADMIN),
            "member" => Some(Self::MEMBER),
            // Accept no other spelling, such as `r03`.
            _ => {
                let id = Self(text.strip_prefix('r')?.parse().ok()?);
                (id >= Self::CUSTOM && id.to_string() == text).then_some(id)
            }
        }
    }
}

impl std::fmt::Display for RoleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::OWNER => f.write_str("owner"),
            Self::ADMIN => f.write_str("admin"),
            Self::MEMBER => f.write_str("member"),
            Self(number) => write!(f, "r{number}"),
        }
    }
}

/// A role of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) id: RoleId,
    pub(crate) title: String,
    /// 0 to 999; only the owner's role has 1,000.
    pub(crate) rank: u16,
    pub(crate) permissions: Permissions,
}

impl Role {
    pub(crate) const OWNER_RANK: u16 = 1_000;
    pub(crate) const ADMIN_RANK: u16 = 500;
    pub(crate) const MEMBER_RANK: u16 = 0;

    /// The permissions of members of a new group.
    pub(crate) const OF_MEMBERS: Permissions = Permissions::of(&[
        Permission::Send,
        Permission::SendFiles,
        Permission::SendStickers,
        Permission::React,
        Permission::Invite,
    ]);
    /// The permissions of everybody in a discussion.
    pub(crate) const OF_EQUALS: Permissions = Self::OF_MEMBERS.with(Permissions::of(&[
        Permission::MentionAll,
        Permission::Pin,
        Permission::Announce,
        Permission::EditProfile,
    ]));
    /// The permissions of admins of a new group.
    pub(crate) const OF_ADMINS: Permissions = Permissions::ALL.without(Permissions::of(&[Permission::ManageRoles]));

    /// Returns the role of the owner.
    pub(crate) fn owner() -> Self {
        Self {
            id: RoleId::OWNER,
            title: "Owner".to_owned(),
            rank: Self::OWNER_RANK,
            permissions: Permissions::ALL,
        }
    }

    /// Returns the role of admins in a new group.
    pub(crate) fn admin() -> Self {
        Self {
            id: RoleId::ADMIN,
            title: "Admin".to_owned(),
            rank: Self::ADMIN_RANK,
            permissions: Self::OF_ADMINS,
        }
    }

    /// Returns the role of everybody else.
    pub(crate) fn member(permissions: Permissions) -> Self {
        Self {
            id: RoleId::MEMBER,
            title: "Member".to_owned(),
            rank: Self::MEMBER_RANK,
            permissions,
        }
    }
}
