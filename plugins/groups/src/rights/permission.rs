//! The permissions.

use serde::{Deserialize, Serialize};

macro_rules! permissions {
    ($($variant:ident = $name:literal, $doc:literal;)*) => {
        /// A permission of a member.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Permission {
            $(#[doc = $doc] $variant,)*
        }

        impl Permission {
            /// All permissions in the order of their bits, which must never change: stored sets are bits.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns the name in the API.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

permissions! {
    Send = "send", "Texts, locations and custom messages.";
    SendFiles = "send_files", "Images, files, voice and video.";
    SendStickers = "send_stickers", "Stickers.";
    React = "react", "Reactions.";
    MentionAll = "mention_all", "ContentMentions of everybody at once.";
    Invite = "invite", "Invitations and links.";
    ManageJoins = "manage_joins", "JoinRequestPage to join, the join mode, and links of others.";
    Remove = "remove", "Removing members.";
    Ban = "ban", "Banning people.";
    Mute = "mute", "Muting single members.";
    MuteAll = "mute_all", "Muting everybody, and slow mode.";
    Pin = "pin", "Pinning messages.";
    Announce = "announce", "Announcements.";
    EditProfile = "edit_profile", "Name, description and picture.";
    RecallOthers = "recall_others", "Recalling messages of others.";
    ManageRoles = "manage_roles", "Roles and overrides.";
    BypassMute = "bypass_mute", "Speaking while everybody is muted.";
    BypassSlow = "bypass_slow", "Speaking without waiting in slow mode.";
}

impl Permission {
    /// Returns the permission of a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|permission| permission.name() == name)
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Permissions(u32);

impl Permissions {
    pub(crate) const NONE: Self = Self(0);
    /// All permissions.
    pub(crate) const ALL: Self = Self::of(Permission::ALL);
    /// The permissions that a mute suspends.
    pub(crate) const SPEECH: Self = Self::of(&[
        Permission::Send,
        Permission::SendFiles,
        Permission::SendStickers,
        Permission::React,
        Permission::MentionAll,
        Permission::Announce,
    ]);

    /// Returns the set of some permissions.
    pub(crate) const fn of(permissions: &[Permission]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < permissions.len() {
            bits |= permissions[index].bit();
            index += 1;
        }
        Self(bits)
    }

    /// Parses names.
    ///
    /// # Errors
    /// The first unknown name.
    pub(crate) fn parse(names: &[String]) -> Result<Self, String> {
        let mut set = Self::NONE;
        for name in names {
            let permission = Permission::parse(name).ok_or_else(|| name.clone())?;
            set = set.with(Self::of(&[permission]));
        }
        Ok(set)
    }

    /// Returns the names, in the order of [`Permission::ALL`].
    pub(crate) fn names(self) -> Vec<String> {
        let inside = Permission::ALL.iter().filter(|permission| self.has(**permission));
        inside.map(|permission| permission.name().to_owned()).collect()
    }

    /// True if the permission is in the set.
    pub(crate) const fn has(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    pub(crate) const fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    pub(crate) const fn without(self, fewer: Self) -> Self {
        Self(self.0 & !fewer.0)
    }

    /// True if all of these are in the other set as well.
    pub(crate) const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}
