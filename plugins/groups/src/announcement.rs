//! Announcements: pushed to all members, and who has seen them.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Groups;
use crate::counter::Counter;
use crate::group::{ANNOUNCEMENT, OpenGroup};
use crate::member::Member;
use crate::params::{Nothing, Paged, page};
use crate::rights::{Permission, Standing};
use crate::text;

/// An announcement as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announcement {
    pub(crate) group: String,
    pub(crate) id: u64,
    pub(crate) text: String,
    pub(crate) by: String,
    pub(crate) at_ms: u64,
}

table! {
    Announcement in "announcements", key (group: String, id: u64);
}

/// Someone has seen an announcement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) group: String,
    pub(crate) id: u64,
    pub(crate) actor: String,
    pub(crate) at_ms: u64,
}

table! {
    Seen in "seen", key (group: String, id: u64, actor: String);
}

record! {
    /// What is announced.
    pub(crate) struct Announce { group: String, text: String }
}
record! {
    /// Which announcement.
    pub(crate) struct OfAnnouncement { group: String, announcement: u64 }
}
record! {
    /// An announcement that was made.
    pub(crate) struct Announced { announcement: u64 }
}
record! {
    /// An announcement, and whether one has seen it.
    pub(crate) struct AnnouncementInfo { announcement: u64, text: String, by: String, at_ms: u64, seen: bool }
}
record! {
    /// Announcements, the newest first, and where the next ones begin.
    pub(crate) struct Announcements { announcements: Vec<AnnouncementInfo>, next: Option<Cursor> }
}
record! {
    /// Of which announcement, and where to go on.
    pub(crate) struct PagedReaders {
        group: String,
        announcement: u64,
        after: Option<Cursor>,
        limit: Option<u32>,
    }
}
record! {
    /// Someone who has seen it, and when.
    pub(crate) struct Reader { actor: String, at_ms: u64 }
}
record! {
    /// Some who have seen it, and where the next ones begin.
    pub(crate) struct Readers { readers: Vec<Reader>, next: Option<Cursor> }
}
record! {
    /// Some who have not seen it, and where the next ones begin: a page may be short, or empty, while there are more.
    pub(crate) struct NotYet { actors: Vec<String>, next: Option<Cursor> }
}

fn find(group: &OpenGroup<'_>, id: u64) -> Result<Announcement, Error> {
    let found = group.cx.table::<Announcement>().get((&*group.id, id))?;
    found.ok_or_else(|| Error::new("unknown_announcement", "There is no such announcement."))
}

/// Finds an announcement for whoever made it, or may make some.
fn find_as_author<'a>(cx: &'a Context, group: &str, id: u64) -> Result<(OpenGroup<'a>, Standing, Announcement), Error> {
    let group = OpenGroup::find(cx, group)?;
    let (_, standing) = group.caller()?;
    let announcement = find(&group, id)?;
    if announcement.by != cx.caller.actor {
        standing.check(Permission::Announce)?;
    }
    Ok((group, standing, announcement))
}

/// Removes an announcement with some of those who have seen it; the others are removed by a timer.
fn remove(cx: &Context, group: &str, id: u64) -> Result<(), Error> {
    cx.table::<Announcement>().remove((group, id))?;
    forget_readers(cx, group, id)
}

/// What the names of timers begin with that go on forgetting who has seen what is gone.
pub(crate) const TIMER: &str = "unseen/";

/// How many of those who have seen an announcement are forgotten at a time.
const STEP: usize = 500;

fn forget_readers(cx: &Context, group: &str, id: u64) -> Result<(), Error> {
    let table = cx.table::<Seen>();
    let page = table.scan((group, id)).page(STEP)?;
    for seen in &page.rows {
        table.remove(seen.key())?;
    }
    if page.next.is_some() {
        cx.timers().set(&format!("{TIMER}{group}/{id}"), cx.now_ms(), &())?;
    }
    Ok(())
}

/// Goes on where a step ended.
pub(crate) fn go_on(cx: &Context, name: &str) -> Result<(), Error> {
    match name.split_once('/').map(|(group, id)| (group, id.parse())) {
        Some((group, Ok(id))) => forget_readers(cx, group, id),
        _ => Ok(()),
    }
}

impl Groups {
    pub(crate) fn announce(&self, cx: &Context, params: Announce) -> Result<Announced, Error> {
        let group = OpenGroup::find(cx, &params.group)?;
        let (_, standing) = group.caller()?;
        group.charter.speak(&standing, Permission::Announce, cx.now_ms())?;
        let text = text::lines(&params.text, self.settings.announcement_characters, "bad_text")?;
        if text.is_empty() {
            return Err(Error::new("bad_text", "An announcement says something."));
        }
        let id = Counter::Announcements(&group.id).add(cx, 1)?;
        let by = cx.caller.actor.clone();
        let content = json!({"announcement": id, "text": text});
        cx.table::<Announcement>().insert(&Announcement {
            group: group.id.clone(),
            id,
            text,
            by: by.clone(),
            at_ms: cx.now_ms(),
        })?;
        let most = self.settings.announcements as usize;
        let table = cx.table::<Announcement>();
        if table.scan((&*group.id,)).count(most + 1)? > most
            && let Some(oldest) = table.scan((&*group.id,)).first()?
        {
            remove(cx, &group.id, oldest.id)?;
        }
        cx.conversations().append(&group.id, &by, ANNOUNCEMENT, &content)?;
        Ok(Announced { announcement: id })
    }

    pub(crate) fn announcements(&self, cx: &Context, params: Paged) -> Result<Announcements, Error> {
        let (group, _) = OpenGroup::find_own(cx, &params.group)?;
        let scan = cx.table::<Announcement>().scan((&*group.id,)).descending();
        let found = scan.after(params.after).page(page(params.limit))?;
        let mut announcements = Vec::new();
        for announcement in found.rows {
            let key = (&*group.id, announcement.id, &*cx.caller.actor);
            announcements.push(AnnouncementInfo {
                seen: cx.table::<Seen>().contains(key)?,
                announcement: announcement.id,
                text: announcement.text,
                by: announcement.by,
                at_ms: announcement.at_ms,
            });
        }
        Ok(Announcements {
            announcements,
            next: found.next,
        })
    }

    pub(crate) fn mark_seen(&self, cx: &Context, params: OfAnnouncement) -> Result<Nothing, Error> {
        let (group, member) = OpenGroup::find_own(cx, &params.group)?;
        find(&group, params.announcement)?;
        let seen = Seen {
            group: group.id,
            id: params.announcement,
            actor: member.actor,
            at_ms: cx.now_ms(),
        };
        match cx.table::<Seen>().insert(&seen) {
            // The first time counts.
            Ok(()) | Err(TableError::Exists { .. }) => Ok(Nothing {}),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn seen(&self, cx: &Context, params: PagedReaders) -> Result<Readers, Error> {
        let (group, ..) = find_as_author(cx, &params.group, params.announcement)?;
        let scan = cx.table::<Seen>().scan((&*group.id, params.announcement));
        let found = scan.after(params.after).page(page(params.limit))?;
        let reader = |seen: Seen| Reader {
            actor: seen.actor,
            at_ms: seen.at_ms,
        };
        Ok(Readers {
            readers: found.rows.into_iter().map(reader).collect(),
            next: found.next,
        })
    }

    pub(crate) fn unseen(&self, cx: &Context, params: PagedReaders) -> Result<NotYet, Error> {
        let (group, ..) = find_as_author(cx, &params.group, params.announcement)?;
        let scan = cx.table::<Member>().scan((&*group.id,)).after(params.after);
        let found = scan.page(page(params.limit))?;
        let mut actors = Vec::new();
        // Both are in the order of the actors, so that one page of members takes one range of readers.
        if let (Some(first), Some(last)) = (found.rows.first(), found.rows.last()) {
            let (id, key) = (&*group.id, params.announcement);
            let range = (id, key, &*first.actor)..=(id, key, &*last.actor);
            let seen: Result<Vec<String>, TableError> = cx
                .table::<Seen>()
                .range(range)
                .into_iter()
                .map(|seen| Ok(seen?.actor))
                .collect();
            let seen = seen?;
            let not_yet = found.rows.iter().map(|member| &member.actor);
            actors.extend(not_yet.filter(|actor| seen.binary_search(actor).is_err()).cloned());
        }
        Ok(NotYet {
            actors,
            next: found.next,
        })
    }

    pub(crate) fn remove_announcement(&self, cx: &Context, params: OfAnnouncement) -> Result<Nothing, Error> {
        let (group, standing, announcement) = find_as_author(cx, &params.group, params.announcement)?;
        if announcement.by != cx.caller.actor
            && let Some(author) = group.member(&announcement.by)?
            && group.charter.form == crate::rights::Form::Group
        {
            standing.outranks(&group.charter.standing(&author.terms))?;
        }
        remove(cx, &group.id, announcement.id)?;
        Ok(Nothing {})
    }
}
