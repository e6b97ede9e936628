//! Packs, and who may see and use them.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::tokens;

/// Who may use a pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Visibility {
    /// Nobody: the pack is unfinished.
    #[default]
    Draft,
    /// Its owner; others see the stickers that they receive.
    Private,
    /// Everybody, and search finds it.
    Public,
}

impl Visibility {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "draft" => Ok(Self::Draft),
            "private" => Ok(Self::Private),
            "public" => Ok(Self::Public),
            _ => Err(Error::new(
                "invalid_visibility",
                "The visibility must be draft, private or public.",
            )),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Private => "private",
            Self::Public => "public",
        }
    }
}

/// A pack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pack {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) title: String,
    pub(crate) author: String,
    pub(crate) licence: String,
    /// Id of the sticker that represents it in lists.
    pub(crate) cover: Option<String>,
    pub(crate) visibility: Visibility,
    /// True if an operator took it out of use.
    #[serde(default)]
    pub(crate) withdrawn: bool,
    pub(crate) created_ms: u64,
    /// Number of stickers.
    pub(crate) count: u32,
    /// Place of the next sticker.
    pub(crate) next: u32,
    /// Number of changes of its visibility.
    #[serde(default)]
    pub(crate) revision: u64,
}

table! {
    Pack in "packs", key (id: String);

    /// Packs of an owner by age.
    pub(crate) many ByOwner in "owner", key (owner: String, created_ms: u64);

    /// Listed packs by age.
    pub(crate) many Listed in "listed", key (u64) = |pack| pack.is_listed().then_some(pack.created_ms);

    /// Listed packs by the words of their titles.
    pub(crate) many ByTitle in "title", key (String) = |pack| {
        let words = if pack.is_listed() {
            tokens::words(&pack.title)
        } else {
            Vec::new()
        };
        words.into_iter().take(10)
    };
}

impl Pack {
    /// Returns true if search finds it.
    pub(crate) fn is_listed(&self) -> bool {
        self.visibility == Visibility::Public && !self.withdrawn
    }

    /// Returns true if an actor may send its stickers.
    pub(crate) fn may_use(&self, actor: &str) -> bool {
        !self.withdrawn
            && match self.visibility {
                Visibility::Draft => false,
                Visibility::Private => self.owner == actor,
                Visibility::Public => true,
            }
    }

    /// Returns true if an actor may see it: recipients of a sticker must see its pack even if that is private.
    pub(crate) fn may_see(&self, actor: &str, is_admin: bool) -> bool {
        let is_shown = self.visibility != Visibility::Draft && !self.withdrawn;
        is_shown || is_admin || self.owner == actor
    }

    /// Sets who may see it, and counts the change.
    pub(crate) fn set_visibility(&mut self, visibility: Visibility, withdrawn: bool) {
        self.visibility = visibility;
        self.withdrawn = withdrawn;
        self.revision += 1;
    }
}

pub(crate) fn unknown() -> Error {
    Error::new("unknown_pack", "This pack doesn't exist.")
}

/// Returns a pack that the caller may change.
pub(crate) fn own(cx: &Context, id: &str, is_admin: bool) -> Result<Pack, Error> {
    let pack = cx.table::<Pack>().get(id)?.ok_or_else(unknown)?;
    if pack.owner == cx.caller.actor || is_admin {
        return Ok(pack);
    }
    let hidden = !pack.may_see(&cx.caller.actor, is_admin);
    Err(if hidden {
        unknown()
    } else {
        Error::new("forbidden", "Only the owner can change this pack.")
    })
}

/// Checks a text of a pack: 1 to 128 printable characters. Returns it without surrounding space.
pub(crate) fn text(name: &str, text: &str) -> Result<String, Error> {
    let text = text.trim();
    if (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(Error::new(
        "invalid_text",
        format!("{name} must have 1 to 128 printable characters."),
    ))
}
