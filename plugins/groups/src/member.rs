//! Members: one row for each member of each group.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error;
use crate::rights::{MemberPolicy, RoleId};

/// The messages of a group about which a member gets notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Notify {
    #[default]
    All,
    ContentMentions,
    None,
}

impl Notify {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "all" => Ok(Self::All),
            "mentions" => Ok(Self::ContentMentions),
            "none" => Ok(Self::None),
            _ => Err(Error::new(
                error::INVALID_NOTIFY,
                "`notify` must be `all`, `mentions` or `none`.",
            )),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::ContentMentions => "mentions",
            Self::None => "none",
        }
    }
}

/// A stored member. No field depends on the group's policy, so changes of the policy don't touch members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) group: String,
    pub(crate) actor: String,
    #[serde(rename = "terms")]
    pub(crate) policy: MemberPolicy,
    pub(crate) joined_ms: u64,
    /// Who added the member; the member itself after joining on its own.
    pub(crate) by: String,
    #[serde(default)]
    pub(crate) notify: Notify,
    /// The sequence number up to which the member has cleared mentions.
    #[serde(default)]
    pub(crate) mentions_read: u64,
}

table! {
    Member in "members", key (group: String, actor: String);

    /// Memberships by actor.
    pub(crate) many ByActor in "actor", key (actor: String);

    /// Members by role, without those of the role `member`.
    pub(crate) many ByRole in "role", key (String, u32) = |member| {
        let role = member.policy.role;
        (role != RoleId::MEMBER).then(|| (member.group.clone(), role.0))
    };
}
