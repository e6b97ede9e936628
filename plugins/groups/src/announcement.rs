//! Announcements: pushed to all members, with a list of those who have seen them.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Groups;
use crate::counter::Counter;
use crate::error;
use crate::group::{ANNOUNCEMENT, GroupContext};
use crate::member::Member;
use crate::params::{GroupPage, Nothing, page_size};
use crate::rights::{Permission, Standing};
use crate::text;

/// A stored announcement.
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

/// A member who has seen an announcement.
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
    /// Parameters of `announce`.
    pub(crate) struct AnnounceParams { group: String, text: String }
}
record! {
    /// One announcement.
    pub(crate) struct AnnouncementParams { group: String, announcement: u64 }
}
record! {
    /// Result of `announce`.
    pub(crate) struct AnnounceResult { announcement: u64 }
}
record! {
    /// An announcement; `seen` is true if the caller has seen it.
    pub(crate) struct AnnouncementInfo { announcement: u64, text: String, by: String, at_ms: u64, seen: bool }
}
record! {
    /// A page of announcements, the newest first.
    pub(crate) struct AnnouncementPage { announcements: Vec<AnnouncementInfo>, next: Option<Cursor> }
}
record! {
    /// Parameters of `seen` and `unseen`.
    pub(crate) struct ReaderQuery {
        group: String,
        announcement: u64,
        after: Option<Cursor>,
        limit: Option<u32>,
    }
}
record! {
    /// A member who has seen it.
    pub(crate) struct Reader { actor: String, at_ms: u64 }
}
record! {
    /// A page of members who have seen it.
    pub(crate) struct ReaderPage { readers: Vec<Reader>, next: Option<Cursor> }
}
record! {
    /// A page of members who have not seen it. It may be short, or empty, while `next` is set.
    pub(crate) struct UnseenPage { actors: Vec<String>, next: Option<Cursor> }
}

fn find(group: &GroupContext<'_>, id: u64) -> Result<Announcement, Error> {
    let found = group.cx.table::<Announcement>().get((&*group.id, id))?;
    found.ok_or_else(|| Error::new(error::UNKNOWN_ANNOUNCEMENT, "This group has no such announcement."))
}

/// Returns an announcement if the caller is its author or has the permission `announce`.
fn find_as_author<'a>(
    cx: &'a Context,
    group: &str,
    id: u64,
) -> Result<(GroupContext<'a>, Standing, Announcement), Error> {
    let group = GroupContext::find(cx, group)?;
    let (_, standing) = group.caller()?;
    let announcement = find(&group, id)?;
    if announcement.by != cx.caller.actor {
        standing.check(Permission::Announce)?;
    }
    Ok((group, standing, announcement))
}

/// Deletes an announcement and one batch of its readers; a timer deletes the others.
fn delete(cx: &Context, group: &str, id: u64) -> Result<(), Error> {
    cx.table::<Announcement>().remove((group, id))?;
    delete_readers(cx, group, id)
}

/// Prefix of the timers that delete the readers of a deleted announcement.
pub(crate) const TIMER: &str = "unseen/";

/// Number of readers that are deleted in one step.
const STEP: usize = 500;

fn delete_readers(cx: &Context, group: &str, id: u64) -> Result<(), Error> {
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

/// Deletes the next batch of readers, from a timer.
pub(crate) fn resume_deletion(cx: &Context, name: &str) -> Result<(), Error> {
    match name.split_once('/').map(|(group, id)| (group, id.parse())) {
        Some((group, Ok(id))) => delete_readers(cx, group, id),
        _ => Ok(()),
    }
}

impl Groups {
    pub(crate) fn announce(&self, cx: &Context, params: AnnounceParams) -> Result<AnnounceResult, Error> {
        let group = GroupContext::find(cx, &params.group)?;
        let (_, standing) = group.caller()?;
        group.policy.check_now(&standing, Permission::Announce, cx.now_ms())?;
        let text = text::lines(&params.text, self.settings.announcement_characters, error::INVALID_TEXT)?;
        if text.is_empty() {
            return Err(Error::new(
                error::INVALID_TEXT,
                "The text of an announcement must not be empty.",
            ));
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
            delete(cx, &group.id, oldest.id)?;
        }
        cx.conversations().append(&group.id, &by, ANNOUNCEMENT, &content)?;
        Ok(AnnounceResult { announcement: id })
    }

    pub(crate) fn announcements(&self, cx: &Context, params: GroupPage) -> Result<AnnouncementPage, Error> {
        let (group, _) = GroupContext::find_own(cx, &params.group)?;
        let scan = cx.table::<Announcement>().scan((&*group.id,)).descending();
        let found = scan.after(params.after).page(page_size(params.limit))?;
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
        Ok(AnnouncementPage {
            announcements,
            next: found.next,
        })
    }

    pub(crate) fn mark_seen(&self, cx: &Context, params: AnnouncementParams) -> Result<Nothing, Error> {
        let (group, member) = GroupContext::find_own(cx, &params.group)?;
        find(&group, params.announcement)?;
        let seen = Seen {
            group: group.id,
            id: params.announcement,
            actor: member.actor,
            at_ms: cx.now_ms(),
        };
        match cx.table::<Seen>().insert(&seen) {
            // The first time stays.
            Ok(()) | Err(TableError::Exists { .. }) => Ok(Nothing {}),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn seen(&self, cx: &Context, params: ReaderQuery) -> Result<ReaderPage, Error> {
        let (group, ..) = find_as_author(cx, &params.group, params.announcement)?;
        let scan = cx.table::<Seen>().scan((&*group.id, params.announcement));
        let found = scan.after(params.after).page(page_size(params.limit))?;
        let reader = |seen: Seen| Reader {
            actor: seen.actor,
            at_ms: seen.at_ms,
        };
        Ok(ReaderPage {
            readers: found.rows.into_iter().map(reader).collect(),
            next: found.next,
        })
    }

    pub(crate) fn unseen(&self, cx: &Context, params: ReaderQuery) -> Result<UnseenPage, Error> {
        let (group, ..) = find_as_author(cx, &params.group, params.announcement)?;
        let scan = cx.table::<Member>().scan((&*group.id,)).after(params.after);
        let found = scan.page(page_size(params.limit))?;
        let mut actors = Vec::new();
        // Both tables are in the order of actors, so one page of members needs one range of readers.
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
            let unseen = found.rows.iter().map(|member| &member.actor);
            actors.extend(unseen.filter(|actor| seen.binary_search(actor).is_err()).cloned());
        }
        Ok(UnseenPage {
            actors,
            next: found.next,
        })
    }

    pub(crate) fn remove_announcement(&self, cx: &Context, params: AnnouncementParams) -> Result<Nothing, Error> {
        let (group, standing, announcement) = find_as_author(cx, &params.group, params.announcement)?;
        if announcement.by != cx.caller.actor
            && let Some(author) = group.member(&announcement.by)?
            && group.policy.form == crate::rights::Form::Group
        {
            standing.outranks(&group.policy.standing(&author.policy))?;
        }
        delete(cx, &group.id, announcement.id)?;
        Ok(Nothing {})
    }
}
