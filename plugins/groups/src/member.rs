//! Members: one row for each member of each group.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::rights::{RoleId, Terms};

/// Which messages of a group a member wants to be told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Notify {
    #[default]
    All,
    Mentions,
    None,
}

impl Notify {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "all" => Ok(Self::All),
            "mentions" => Ok(Self::Mentions),
            "none" => Ok(Self::None),
            _ => Err(Error::new("bad_rule", "A rule is `all`, `mentions` or `none`.")),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Mentions => "mentions",
            Self::None => "none",
        }
    }
}

/// A member as it is kept. It says nothing that depends on the group, so that changes of the group leave it alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) group: String,
    pub(crate) actor: String,
    pub(crate) terms: Terms,
    pub(crate) joined_ms: u64,
    /// Who let them in; themselves if nobody had to.
    pub(crate) by: String,
    #[serde(default)]
    pub(crate) notify: Notify,
    /// Up to which number they have seen who mentions them.
    #[serde(default)]
    pub(crate) mentions_read: u64,
}

table! {
    Member in "members", key (group: String, actor: String);

    /// The groups of an actor.
    pub(crate) many ByActor in "actor", key (actor: String);

    /// Members with a role; ordinary ones are not in it.
    pub(crate) many ByRole in "role", key (String, u32) = |member| {
        let role = member.terms.role;
        (role != RoleId::MEMBER).then(|| (member.group.clone(), role.0))
    };
}
