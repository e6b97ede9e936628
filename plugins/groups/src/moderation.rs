//! Who may say something now: the decisions about messages and acts, and what changes them.

use courtyard_plugin_sdk::prelude::*;
use serde_json::json;

use crate::Groups;
use crate::group::{ANNOUNCEMENT, NOTICE, OpenGroup, charter, standing};
use crate::mention;
use crate::params::{Nothing, OfMember, OfMessage, Switch, end_ms};
use crate::pin;
use crate::rights::{FOREVER_MS, Permission, Permissions, Terms};
use crate::settings::Settings;

/// What the names of timers begin with that end mutes.
pub(crate) const TIMER: &str = "unmute/";

/// The longest slow mode, in seconds.
const MAX_SLOW_S: u32 = 24 * 60 * 60;

record! {
    /// Whom in which group, and for how many seconds; left out for no end.
    pub(crate) struct Mute { group: String, actor: String, seconds: Option<u64> }
}
record! {
    /// Seconds between two messages of a member; 0 for no slow mode.
    pub(crate) struct SlowMode { group: String, seconds: u32 }
}

/// Returns what it takes to send a content of a kind.
fn needed(kind: &str) -> Permission {
    match kind {
        "image" | "file" | "voice" | "video" => Permission::SendFiles,
        "sticker" => Permission::SendStickers,
        _ => Permission::Send,
    }
}

/// Decides about a message or an edit: one read, unless the charter does not know the sender, the group is in slow mode,
/// or somebody is mentioned.
pub(crate) fn check_message(cx: &Context, settings: &Settings, message: &Message<'_>) -> Result<(), Error> {
    let group = message.conversation();
    let charter = charter(cx, group)?;
    let standing = standing(cx, &charter, group, message.sender())?;
    if matches!(message.kind(), NOTICE | ANNOUNCEMENT) {
        return Err(Error::new("reserved_kind", "Only the server sends this kind."));
    }
    charter.speak(&standing, needed(message.kind()), message.time_ms())?;
    let mentions = mention::read(message.content(), settings.mentions)?;
    if mentions.all {
        charter.speak(&standing, Permission::MentionAll, message.time_ms())?;
    }
    mention::check(cx, group, &mentions)?;
    if charter.slow_s > 0 && message.edits() == 0 && !standing.rights.has(Permission::BypassSlow) {
        slow_down(cx, group, message.sender(), charter.slow_s)?;
    }
    Ok(())
}

fn slow_key(group: &str, actor: &str) -> String {
    format!("slow/{group}/{actor}")
}

/// Lets a member go on, and not again for a while.
fn slow_down(cx: &Context, group: &str, actor: &str, seconds: u32) -> Result<(), Error> {
    let (key, now_ms) = (slow_key(group, actor), cx.now_ms());
    if let Some(until_ms) = cx.kv().get_json::<u64>(&key)? {
        let left = until_ms.saturating_sub(now_ms).div_ceil(1_000);
        let reason = format!("Slow mode: the next message in {left} seconds.");
        return Err(Error::new("slow_mode", reason).retryable());
    }
    let until_ms = now_ms.saturating_add(u64::from(seconds) * 1_000);
    Ok(cx.kv().set_until(&key, until_ms.to_string(), until_ms)?)
}

/// Decides about something done about a message: reactions are speech, what takes something of one's own back is not.
pub(crate) fn check_act(cx: &Context, act: &Act) -> Result<(), Error> {
    let charter = charter(cx, &act.conversation)?;
    let standing = standing(cx, &charter, &act.conversation, &act.actor)?;
    match &*act.name {
        "receipt" => {}
        "unreact" => charter.check_open()?,
        "recall" if act.actor == act.target_sender => {
            charter.check_open()?;
            pin::forget(cx, &act.conversation, act.target)?;
        }
        "recall" => {
            standing.check(Permission::RecallOthers)?;
            charter.check_open()?;
        }
        "react" => charter.speak(&standing, Permission::React, act.time_ms)?,
        // What comes later is not for those who are muted.
        _ => charter.speak(&standing, Permission::Send, act.time_ms)?,
    }
    Ok(())
}

/// Lets the timer go that would end the mute of somebody who is no member any more. What slow mode keeps ends by itself.
pub(crate) fn forget(cx: &Context, group: &str, actor: &str, terms: &Terms) -> Result<(), Error> {
    if terms.muted_until_ms > 0 {
        cx.timers().cancel(&timer(group, actor))?;
    }
    Ok(())
}

/// What the keys begin with of those who left with less than others may.
pub(crate) fn left_prefix(group: &str) -> String {
    format!("left/{group}/")
}

/// Keeps what was taken from somebody who leaves, as long as it holds.
pub(crate) fn keep(cx: &Context, group: &str, actor: &str, terms: &Terms) -> Result<(), Error> {
    let taken = terms.taken(cx.now_ms());
    let key = format!("{}{actor}", left_prefix(group));
    if taken == Terms::default() {
        return Ok(());
    }
    match (taken.deny == Permissions::NONE, taken.muted_until_ms) {
        (true, until_ms) if until_ms < FOREVER_MS => cx.kv().set_json_until(key, &taken, until_ms)?,
        _ => cx.kv().set_json(key, &taken)?,
    }
    Ok(())
}

/// Takes up what was kept of somebody who comes back, and lets the mute end in time.
pub(crate) fn resume(cx: &Context, group: &str, actor: &str) -> Result<Terms, Error> {
    let key = format!("{}{actor}", left_prefix(group));
    let Some(kept) = cx.kv().get_json::<Terms>(&key)? else {
        return Ok(Terms::default());
    };
    cx.kv().delete(key)?;
    let terms = kept.taken(cx.now_ms());
    if (1..FOREVER_MS).contains(&terms.muted_until_ms) {
        cx.timers().set(&timer(group, actor), terms.muted_until_ms, &())?;
    }
    Ok(terms)
}

fn timer(group: &str, actor: &str) -> String {
    format!("{TIMER}{group}/{actor}")
}

/// Ends a mute whose time is over, so that the charter need not go on listing it.
pub(crate) fn mute_ended(cx: &Context, name: &str) -> Result<(), Error> {
    let Some((id, actor)) = name.split_once('/') else {
        return Ok(());
    };
    let Some(mut group) = OpenGroup::find_if_open(cx, id)? else {
        return Ok(());
    };
    let Some(mut member) = group.member(actor)? else {
        return Ok(());
    };
    let until_ms = member.terms.muted_until_ms;
    if until_ms > 0 && until_ms <= cx.now_ms() {
        let terms = Terms {
            muted_until_ms: 0,
            ..member.terms
        };
        group.set_terms(&mut member, terms)?;
    }
    Ok(())
}

impl Groups {
    pub(crate) fn mute(&self, cx: &Context, params: Mute) -> Result<Nothing, Error> {
        set_mute(cx, &params.group, &params.actor, end_ms(cx, params.seconds))
    }

    pub(crate) fn unmute(&self, cx: &Context, params: OfMember) -> Result<Nothing, Error> {
        set_mute(cx, &params.group, &params.actor, 0)
    }

    pub(crate) fn mute_all(&self, cx: &Context, params: Switch) -> Result<Nothing, Error> {
        let (mut group, _) = OpenGroup::find_for(cx, &params.group, Permission::MuteAll)?;
        group.charter.all_muted = params.on;
        group.save()?;
        group.tell(&json!({"event": "all_muted", "on": params.on}))?;
        Ok(Nothing {})
    }

    pub(crate) fn slow_mode(&self, cx: &Context, params: SlowMode) -> Result<Nothing, Error> {
        let (mut group, _) = OpenGroup::find_for(cx, &params.group, Permission::MuteAll)?;
        if params.seconds > MAX_SLOW_S {
            return Err(Error::new("bad_seconds", "Slow mode is a day at most."));
        }
        group.charter.slow_s = params.seconds;
        group.save()?;
        group.tell(&json!({"event": "slow_mode", "seconds": params.seconds}))?;
        Ok(Nothing {})
    }

    /// Takes back a message of somebody else, who is of lower rank or gone, or one's own.
    pub(crate) fn recall(&self, cx: &Context, params: OfMessage) -> Result<Nothing, Error> {
        let group = OpenGroup::find(cx, &params.group)?;
        let (_, standing) = group.caller()?;
        let own = &cx.caller.actor;
        let message = pin::message(cx, &group.id, params.seq)?;
        if message.sender != *own {
            standing.check(Permission::RecallOthers)?;
            if let Some(sender) = group.member(&message.sender)? {
                standing.outranks(&group.charter.standing(&sender.terms))?;
            }
        }
        pin::forget(cx, &group.id, params.seq)?;
        cx.conversations().recall(&group.id, params.seq, own)?;
        Ok(Nothing {})
    }
}

fn set_mute(cx: &Context, group: &str, actor: &str, until_ms: u64) -> Result<Nothing, Error> {
    let (mut group, standing) = OpenGroup::find_for(cx, group, Permission::Mute)?;
    let (mut member, other) = group.other(actor)?;
    standing.outranks(&other)?;
    let terms = Terms {
        muted_until_ms: until_ms,
        ..member.terms
    };
    group.set_terms(&mut member, terms)?;
    match until_ms {
        0 | FOREVER_MS => drop(cx.timers().cancel(&timer(&group.id, actor))?),
        _ => cx.timers().set(&timer(&group.id, actor), until_ms, &())?,
    }
    group.tell(&json!({"event": "muted", "actor": actor, "until_ms": until_ms}))?;
    Ok(Nothing {})
}
