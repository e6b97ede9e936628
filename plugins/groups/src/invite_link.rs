//! Invite links: everybody with the link can join, until it expires, is used up or is revoked.

use courtyard_plugin_sdk::prelude::*;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::Groups;
use crate::counter::Counter;
use crate::error;
use crate::group::GroupContext;
use crate::join_request::JoinResult;
use crate::params::{DAY_MS, GroupPage, Nothing, end_ms, page_size};
use crate::rights::{FOREVER_MS, Permission};

/// An invite link. It is valid as long as its creator may invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InviteLink {
    /// Random, 128 bits in hexadecimal digits.
    pub(crate) code: String,
    pub(crate) group: String,
    pub(crate) by: String,
    pub(crate) created_ms: u64,
    pub(crate) until_ms: u64,
    /// Maximum number of uses; `None` for no limit.
    pub(crate) uses: Option<u32>,
    pub(crate) used: u32,
}

table! {
    InviteLink in "links", key (code: String);

    /// LinkPage by group.
    pub(crate) many ByGroup in "group", key (group: String);
}

impl InviteLink {
    /// True if the link has neither expired nor been used up.
    fn is_valid_at(&self, now_ms: u64) -> bool {
        self.until_ms > now_ms && self.uses.is_none_or(|uses| self.used < uses)
    }

    fn info(self) -> LinkInfo {
        LinkInfo {
            code: self.code,
            by: self.by,
            created_ms: self.created_ms,
            until_ms: self.until_ms,
            uses: self.uses,
            used: self.used,
        }
    }
}

record! {
    /// Parameters of `create_link`: the lifetime in seconds (0 for no end) and the number of uses.
    pub(crate) struct CreateLinkParams { group: String, seconds: Option<u64>, uses: Option<u32> }
}
record! {
    /// An invite link.
    pub(crate) struct LinkInfo {
        code: String,
        by: String,
        created_ms: u64,
        until_ms: u64,
        uses: Option<u32>,
        used: u32,
    }
}
record! {
    /// A page of links.
    pub(crate) struct LinkPage { links: Vec<LinkInfo>, next: Option<Cursor> }
}
record! {
    /// One link.
    pub(crate) struct LinkParams { code: String }
}
record! {
    /// The group of a link, for people who may join.
    pub(crate) struct LinkPreview {
        group: String,
        name: String,
        description: String,
        picture: String,
        members: u64,
        capacity: u32,
    }
}

fn unknown_link() -> Error {
    Error::new(
        error::UNKNOWN_LINK,
        "This link is unknown, expired, used up or revoked.",
    )
}

/// Returns a valid link and its group.
fn find_valid<'a>(cx: &'a Context, code: &str) -> Result<(InviteLink, GroupContext<'a>), Error> {
    let found = (code.len() <= 64)
        .then(|| cx.table::<InviteLink>().get(code))
        .transpose()?;
    let link = found.flatten().filter(|link| link.is_valid_at(cx.now_ms()));
    let link = link.ok_or_else(unknown_link)?;
    let group = GroupContext::find(cx, &link.group).map_err(|_| unknown_link())?;
    if group.may_still_invite(&link.by)? {
        Ok((link, group))
    } else {
        Err(unknown_link())
    }
}

impl Groups {
    pub(crate) fn create_link(&self, cx: &Context, params: CreateLinkParams) -> Result<LinkInfo, Error> {
        let (group, _) = GroupContext::find_permitted(cx, &params.group, Permission::Invite)?;
        if params.uses == Some(0) {
            return Err(Error::new(error::INVALID_USES, "`uses` must be 1 or more."));
        }
        let (table, now_ms) = (cx.table::<InviteLink>(), cx.now_ms());
        let mut valid = 0;
        for link in table.by(ByGroup).scan(&*group.id) {
            let link = link?;
            if link.is_valid_at(now_ms) {
                valid += 1;
            } else {
                table.remove(&link.code)?;
            }
        }
        if valid >= self.settings.links {
            return Err(Error::new(
                error::LIMIT_LINKS,
                "The group has reached the limit of links. Revoke one first.",
            ));
        }
        let until_ms = match params.seconds {
            Some(0) => FOREVER_MS,
            Some(seconds) => end_ms(cx, Some(seconds)),
            None => now_ms.saturating_add(self.settings.link_days.saturating_mul(DAY_MS)),
        };
        let link = InviteLink {
            code: HEXLOWER.encode(&cx.random::<16>()),
            group: group.id,
            by: cx.caller.actor.clone(),
            created_ms: now_ms,
            until_ms,
            uses: params.uses,
            used: 0,
        };
        table.insert(&link)?;
        Ok(link.info())
    }

    /// Lists the valid links: all of them with the permission `manage_joins`, else those of the caller.
    pub(crate) fn links(&self, cx: &Context, params: GroupPage) -> Result<LinkPage, Error> {
        let (group, standing) = GroupContext::find_permitted(cx, &params.group, Permission::Invite)?;
        let all = standing.rights.has(Permission::ManageJoins);
        let scan = cx
            .table::<InviteLink>()
            .by(ByGroup)
            .scan(&*group.id)
            .after(params.after);
        let (found, now_ms) = (scan.page(page_size(params.limit))?, cx.now_ms());
        let shown = |link: &InviteLink| link.is_valid_at(now_ms) && (all || link.by == cx.caller.actor);
        Ok(LinkPage {
            links: found.rows.into_iter().filter(shown).map(InviteLink::info).collect(),
            next: found.next,
        })
    }

    pub(crate) fn revoke_link(&self, cx: &Context, params: LinkParams) -> Result<Nothing, Error> {
        let table = cx.table::<InviteLink>();
        let found = (params.code.len() <= 64).then(|| table.get(&params.code)).transpose()?;
        let link = found.flatten().ok_or_else(unknown_link)?;
        let group = GroupContext::find(cx, &link.group)?;
        let (_, standing) = group.caller()?;
        if link.by != cx.caller.actor {
            standing.check(Permission::ManageJoins)?;
        }
        table.remove(&link.code)?;
        Ok(Nothing {})
    }

    pub(crate) fn open_link(&self, cx: &Context, params: LinkParams) -> Result<LinkPreview, Error> {
        let (_, group) = find_valid(cx, &params.code)?;
        let row = group.row()?;
        Ok(LinkPreview {
            name: row.name,
            description: row.description,
            picture: row.picture,
            members: Counter::Members(&group.id).get(cx)?,
            capacity: row.capacity,
            group: group.id,
        })
    }

    pub(crate) fn join_link(&self, cx: &Context, params: LinkParams) -> Result<JoinResult, Error> {
        let (link, mut group) = find_valid(cx, &params.code)?;
        let own = cx.caller.actor.clone();
        group.add_members(&self.settings, std::slice::from_ref(&own), &link.by)?;
        let used = link.used.saturating_add(1);
        cx.table::<InviteLink>().put(&InviteLink { used, ..link })?;
        Ok(JoinResult {
            group: group.id,
            joined: true,
        })
    }
}
