//! Deleting a group: closed at once, and its rows deleted in steps.
//!
//! From the commit on every act in the group is rejected. Each step deletes a bounded number of rows, and a timer runs the
//! next one, so that groups of any size stay within the limits of one call.

use courtyard_plugin_sdk::prelude::*;
use serde_json::json;

use crate::announcement::{Announcement, Seen};
use crate::counter::Counter;
use crate::group::{Group, GroupContext};
use crate::invitation::Invitation;
use crate::invite_link::{self, InviteLink};
use crate::join_request::JoinRequest;
use crate::member::Member;
use crate::membership::Ban;
use crate::mention::{Mention, MentionOfAll};
use crate::moderation;
use crate::pin::Pin;

/// Prefix of the timers that run the next step.
pub(crate) const TIMER: &str = "dissolve/";

/// Number of rows that one step deletes. One row takes up to twenty calls of the host.
const STEP: usize = 250;

/// Milliseconds until the next step, so that other calls get their turn.
const PAUSE_MS: u64 = 20;

/// Dissolves a group, and runs the first step.
pub(crate) fn start(mut group: GroupContext<'_>) -> Result<(), Error> {
    group.policy.dissolved = true;
    group.save()?;
    group.append_notice(&json!({"event": "dissolved"}))?;
    run_step(group.cx, &group.id)
}

/// Deletes one batch of rows, and sets the timer of the next step if rows remain.
pub(crate) fn run_step(cx: &Context, group: &str) -> Result<(), Error> {
    let mut budget = STEP;
    remove_members(cx, group, &mut budget)?;
    delete(cx.table::<Ban>(), cx.table::<Ban>().scan((group,)), &mut budget)?;
    delete(
        cx.table::<JoinRequest>(),
        cx.table::<JoinRequest>().scan((group,)),
        &mut budget,
    )?;
    let invitations = cx.table::<Invitation>();
    delete(cx.table::<Invitation>(), invitations.scan((group,)), &mut budget)?;
    let links = cx.table::<InviteLink>().by(invite_link::ByGroup).scan(group);
    delete(cx.table::<InviteLink>(), links, &mut budget)?;
    delete(cx.table::<Pin>(), cx.table::<Pin>().scan((group,)), &mut budget)?;
    delete(cx.table::<Mention>(), cx.table::<Mention>().scan((group,)), &mut budget)?;
    let of_all = cx.table::<MentionOfAll>();
    delete(cx.table::<MentionOfAll>(), of_all.scan((group,)), &mut budget)?;
    delete(cx.table::<Seen>(), cx.table::<Seen>().scan((group,)), &mut budget)?;
    let announcements = cx.table::<Announcement>();
    delete(cx.table::<Announcement>(), announcements.scan((group,)), &mut budget)?;
    let prefix = moderation::restrictions_prefix(group);
    // `0` is the next character after the final slash.
    let end = format!("{}0", prefix.trim_end_matches('/'));
    for (key, _) in cx.kv().scan(&prefix, end, u32::try_from(budget).unwrap_or(0))? {
        cx.kv().delete(key)?;
        budget -= 1;
    }
    if budget == 0 {
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
    // The policy stays, and marks the group as dissolved.
    cx.table::<Group>().remove(group)?;
    Ok(())
}

/// Removes members, as many as the budget of the step allows.
fn remove_members(cx: &Context, group: &str, budget: &mut usize) -> Result<(), Error> {
    let members = cx.table::<Member>().scan((group,)).page((*budget).max(1))?.rows;
    let mut actors = Vec::new();
    for member in members.into_iter().take(*budget) {
        cx.table::<Member>().remove((group, &*member.actor))?;
        Counter::Memberships(&member.actor).subtract(cx, 1)?;
        Counter::Mentions(group, &member.actor).set(cx, 0)?;
        moderation::cancel_unmute(cx, group, &member.actor, &member.policy)?;
        actors.push(member.actor);
    }
    if !actors.is_empty() {
        *budget -= actors.len();
        cx.conversations().remove_members(group, &actors)?;
    }
    Ok(())
}

/// Deletes rows of a scan, as many as the budget of the step allows.
fn delete<R: Row>(
    table: courtyard_plugin_sdk::Table<R>,
    scan: courtyard_plugin_sdk::table::Scan<R>,
    budget: &mut usize,
) -> Result<(), Error> {
    if *budget == 0 {
        return Ok(());
    }
    for row in scan.page(*budget)?.rows {
        table.remove(row.key())?;
        *budget -= 1;
    }
    Ok(())
}
