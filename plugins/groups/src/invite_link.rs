//! Links that let in whoever has one, until they end, are used up or are revoked.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Groups;
use crate::counter::Counter;
use crate::group::OpenGroup;
use crate::join_request::Joined;
use crate::params::{DAY_MS, Nothing, Paged, end_ms, page};
use crate::rights::{FOREVER_MS, Permission};

/// A link. It works as long as whoever made it may invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// Not to be guessed.
    pub(crate) code: String,
    pub(crate) group: String,
    pub(crate) by: String,
    pub(crate) created_ms: u64,
    pub(crate) until_ms: u64,
    /// How often it can be used; none for any number.
    pub(crate) uses: Option<u32>,
    pub(crate) used: u32,
}

table! {
    Link in "links", key (code: String);

    /// The links into a group.
    pub(crate) many ByGroup in "group", key (group: String);
}

impl Link {
    fn works_at(&self, now_ms: u64) -> bool {
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
    /// A new link: for how many seconds (0 for no end) and how many uses.
    pub(crate) struct NewLink { group: String, seconds: Option<u64>, uses: Option<u32> }
}
record! {
    /// A link.
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
    /// Some links, and where the next ones begin.
    pub(crate) struct Links { links: Vec<LinkInfo>, next: Option<Cursor> }
}
record! {
    /// Which link.
    pub(crate) struct Code { code: String }
}
record! {
    /// Where a link leads.
    pub(crate) struct Preview {
        group: String,
        name: String,
        description: String,
        picture: String,
        members: u64,
        capacity: u32,
    }
}

fn unknown_link() -> Error {
    Error::new("unknown_link", "This link does not work, or does not work any more.")
}

/// Finds a link that works, and the group it leads into.
fn working<'a>(cx: &'a Context, code: &str) -> Result<(Link, OpenGroup<'a>), Error> {
    let known = (code.len() <= 64).then(|| cx.table::<Link>().get(code)).transpose()?;
    let link = known.flatten().filter(|link| link.works_at(cx.now_ms()));
    let link = link.ok_or_else(unknown_link)?;
    let group = OpenGroup::find(cx, &link.group).map_err(|_| unknown_link())?;
    if group.still_invites(&link.by)? {
        Ok((link, group))
    } else {
        Err(unknown_link())
    }
}

impl Groups {
    pub(crate) fn create_link(&self, cx: &Context, params: NewLink) -> Result<LinkInfo, Error> {
        let (group, _) = OpenGroup::find_for(cx, &params.group, Permission::Invite)?;
        if params.uses == Some(0) {
            return Err(Error::new("bad_uses", "A link is used once at least."));
        }
        let (table, now_ms) = (cx.table::<Link>(), cx.now_ms());
        let mut working = 0;
        for link in table.by(ByGroup).scan(&*group.id) {
            let link = link?;
            if link.works_at(now_ms) {
                working += 1;
            } else {
                table.remove(&link.code)?;
            }
        }
        if working >= self.settings.links {
            return Err(Error::new(
                "too_many_links",
                "The group has as many links as it can have.",
            ));
        }
        let until_ms = match params.seconds {
            Some(0) => FOREVER_MS,
            Some(seconds) => end_ms(cx, Some(seconds)),
            None => now_ms.saturating_add(self.settings.link_days.saturating_mul(DAY_MS)),
        };
        let link = Link {
            code: cx.random::<16>().iter().map(|byte| format!("{byte:02x}")).collect(),
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

    /// Those of everybody for whoever manages how people join, one's own for others.
    pub(crate) fn links(&self, cx: &Context, params: Paged) -> Result<Links, Error> {
        let (group, standing) = OpenGroup::find_for(cx, &params.group, Permission::Invite)?;
        let all = standing.rights.has(Permission::ManageJoins);
        let scan = cx.table::<Link>().by(ByGroup).scan(&*group.id).after(params.after);
        let (found, now_ms) = (scan.page(page(params.limit))?, cx.now_ms());
        let shown = |link: &Link| link.works_at(now_ms) && (all || link.by == cx.caller.actor);
        Ok(Links {
            links: found.rows.into_iter().filter(shown).map(Link::info).collect(),
            next: found.next,
        })
    }

    pub(crate) fn revoke_link(&self, cx: &Context, params: Code) -> Result<Nothing, Error> {
        let table = cx.table::<Link>();
        let known = (params.code.len() <= 64).then(|| table.get(&params.code)).transpose()?;
        let link = known.flatten().ok_or_else(unknown_link)?;
        let group = OpenGroup::find(cx, &link.group)?;
        let (_, standing) = group.caller()?;
        if link.by != cx.caller.actor {
            standing.check(Permission::ManageJoins)?;
        }
        table.remove(&link.code)?;
        Ok(Nothing {})
    }

    pub(crate) fn open_link(&self, cx: &Context, params: Code) -> Result<Preview, Error> {
        let (_, group) = working(cx, &params.code)?;
        let row = group.row()?;
        Ok(Preview {
            name: row.name,
            description: row.description,
            picture: row.picture,
            members: Counter::Members(&group.id).get(cx)?,
            capacity: row.capacity,
            group: group.id,
        })
    }

    pub(crate) fn join_link(&self, cx: &Context, params: Code) -> Result<Joined, Error> {
        let (link, mut group) = working(cx, &params.code)?;
        let own = cx.caller.actor.clone();
        group.admit(&self.settings, std::slice::from_ref(&own), &link.by)?;
        let used = link.used.saturating_add(1);
        cx.table::<Link>().put(&Link { used, ..link })?;
        Ok(Joined {
            group: group.id,
            joined: true,
        })
    }
}
