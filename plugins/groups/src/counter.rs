//! Counters. Each has a small key of its own, so that counting doesn't read or write larger rows.

use courtyard_plugin_sdk::prelude::*;

/// A counter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter<'a> {
    /// Members of a group.
    Members(&'a str),
    /// Groups of an actor.
    Memberships(&'a str),
    /// JoinRequestPage to join a group.
    Requests(&'a str),
    /// Invitations to a group.
    Invitations(&'a str),
    /// BanPage of a group.
    Bans(&'a str),
    /// Number of the latest announcement of a group.
    Announcements(&'a str),
    /// Uncleared mentions of an actor in a group.
    Mentions(&'a str, &'a str),
}

impl Counter<'_> {
    fn key(self) -> String {
        match self {
            Self::Members(group) => format!("count/members/{group}"),
            Self::Memberships(actor) => format!("count/memberships/{actor}"),
            Self::Requests(group) => format!("count/requests/{group}"),
            Self::Invitations(group) => format!("count/invitations/{group}"),
            Self::Bans(group) => format!("count/bans/{group}"),
            Self::Announcements(group) => format!("count/announcements/{group}"),
            Self::Mentions(group, actor) => format!("count/mentions/{group}/{actor}"),
        }
    }

    pub(crate) fn get(self, cx: &Context) -> Result<u64, Error> {
        Ok(cx.kv().get_json(self.key())?.unwrap_or_default())
    }

    pub(crate) fn set(self, cx: &Context, count: u64) -> Result<(), Error> {
        match count {
            0 => cx.kv().delete(self.key())?,
            _ => cx.kv().set_json(self.key(), &count)?,
        }
        Ok(())
    }

    /// Adds, and returns the new count.
    pub(crate) fn add(self, cx: &Context, more: u64) -> Result<u64, Error> {
        let count = self.get(cx)?.saturating_add(more);
        self.set(cx, count)?;
        Ok(count)
    }

    /// Subtracts, stops at 0, and returns the new count.
    pub(crate) fn subtract(self, cx: &Context, fewer: u64) -> Result<u64, Error> {
        let count = self.get(cx)?.saturating_sub(fewer);
        self.set(cx, count)?;
        Ok(count)
    }
}
