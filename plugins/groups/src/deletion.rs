//! The end of a group: at once for those who send, in steps for what is kept.
//!
//! From the commit on nothing can be done in the group. Members are taken out some hundred at a time, by a timer if there
//! are more, so that a group of any size ends within what one call may do.

use courtyard_plugin_sdk::prelude::*;
use serde_json::json;

use crate::announcement::{Announcement, Seen};
use crate::counter::Counter;
use crate::group::{Group, OpenGroup};
use crate::invitation::Invitation;
use crate::invite_link::{self, Link};
use crate::join_request::Request;
use crate::member::Member;
use crate::membership::Ban;
use crate::mention::{Mention, MentionOfAll};
use crate::moderation;
use crate::pin::Pin;

/// What the names of timers begin with that go on with it.
pub(crate) const TIMER: &str = "dissolve/";

/// How many rows go in one step: each takes up to twenty calls of the host.
const STEP: usize = 250;

/// How long the next step waits, in milliseconds: others have their turn.
const PAUSE_MS: u64 = 20;

/// Ends a group.
pub(crate) fn begin(mut group: OpenGroup<'_>) -> Result<(), Error> {
    group.charter.dissolved = true;
    group.save()?;
    group.tell(&json!({"event": "dissolved"}))?;
    go_on(group.cx, &group.id)
}

/// Does one step, and sees to the next one.
pub(crate) fn go_on(cx: &Context, group: &str) -> Result<(), Error> {
    let mut left = STEP;
    take_out(cx, group, &mut left)?;
    remove(cx.table::<Ban>(), cx.table::<Ban>().scan((group,)), &mut left)?;
    remove(cx.table::<Request>(), cx.table::<Request>().scan((group,)), &mut left)?;
    let invitations = cx.table::<Invitation>();
    remove(cx.table::<Invitation>(), invitations.scan((group,)), &mut left)?;
    let links = cx.table::<Link>().by(invite_link::ByGroup).scan(group);
    remove(cx.table::<Link>(), links, &mut left)?;
    remove(cx.table::<Pin>(), cx.table::<Pin>().scan((group,)), &mut left)?;
    remove(cx.table::<Mention>(), cx.table::<Mention>().scan((group,)), &mut left)?;
    let of_all = cx.table::<MentionOfAll>();
    remove(cx.table::<MentionOfAll>(), of_all.scan((group,)), &mut left)?;
    remove(cx.table::<Seen>(), cx.table::<Seen>().scan((group,)), &mut left)?;
    let announcements = cx.table::<Announcement>();
    remove(cx.table::<Announcement>(), announcements.scan((group,)), &mut left)?;
    let prefix = moderation::left_prefix(group);
    // Behind the slash that it ends with.
    let end = format!("{}0", prefix.trim_end_matches('/'));
    for (key, _) in cx.kv().scan(&prefix, end, u32::try_from(left).unwrap_or(0))? {
        cx.kv().delete(key)?;
        left -= 1;
    }
    if left == 0 {
        let next = cx.now_ms().saturating_add(PAUSE_MS);
        cx.timers().set(&format!("{TIMER}{group}"), next, &())?;
        return Ok(());
    }
    for counter in [
        Counter::Members(group),
        Counter::Requests(group),
        Counter::Invitations(group),
        Counter::Bans(group),
        Counter::Announcements(group),
    ] {
        counter.set(cx, 0)?;
    }
    // The charter stays, and says that the group is dissolved.
    cx.table::<Group>().remove(group)?;
    Ok(())
}

fn take_out(cx: &Context, group: &str, left: &mut usize) -> Result<(), Error> {
    let members = cx.table::<Member>().scan((group,)).page((*left).max(1))?.rows;
    let mut actors = Vec::new();
    for member in members.into_iter().take(*left) {
        cx.table::<Member>().remove((group, &*member.actor))?;
        Counter::Memberships(&member.actor).subtract(cx, 1)?;
        Counter::Mentions(group, &member.actor).set(cx, 0)?;
        moderation::forget(cx, group, &member.actor, &member.terms)?;
        actors.push(member.actor);
    }
    if !actors.is_empty() {
        *left -= actors.len();
        cx.conversations().remove_members(group, &actors)?;
    }
    Ok(())
}

fn remove<R: Row>(
    table: courtyard_plugin_sdk::Table<R>,
    scan: courtyard_plugin_sdk::table::Scan<R>,
    left: &mut usize,
) -> Result<(), Error> {
    if *left == 0 {
        return Ok(());
    }
    for row in scan.page(*left)?.rows {
        table.remove(row.key())?;
        *left -= 1;
    }
    Ok(())
}
