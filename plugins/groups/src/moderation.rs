//! Checks of messages and acts, and what changes their result: mutes, slow mode, recalls.

use courtyard_plugin_sdk::prelude::*;
use serde_json::json;

use crate::Groups;
use crate::error;
use crate::group::{ANNOUNCEMENT, GroupContext, NOTICE, load_policy, load_standing};
use crate::mention;
use crate::params::{MemberParams, MessageParams, Nothing, SwitchParams, end_ms};
use crate::pin;
use crate::rights::{FOREVER_MS, MemberPolicy, Permission, Permissions};
use crate::settings::Settings;

/// Prefix of the timers that end mutes.
pub(crate) const TIMER: &str = "unmute/";

/// The longest interval of slow mode: one day, in seconds.
const MAX_SLOW_S: u32 = 24 * 60 * 60;

record! {
    /// Parameters of `mute`. Without `seconds` the mute doesn't end.
    pub(crate) struct MuteParams { group: String, actor: String, seconds: Option<u64> }
}
record! {
    /// Parameters of `slow_mode`: seconds between two messages of a member, 0 for none.
    pub(crate) struct SlowModeParams { group: String, seconds: u32 }
}

/// Returns the permission for sending a kind of content.
fn required_permission(kind: &str) -> Permission {
    match kind {
        "image" | "file" | "voice" | "video" => Permission::SendFiles,
        "sticker" => Permission::SendStickers,
        _ => Permission::Send,
    }
}

/// Checks a message or an edit. Takes one read, and more if the policy doesn't list the sender, in slow mode, and for
/// mentions.
pub(crate) fn check_message(cx: &Context, settings: &Settings, message: &Message<'_>) -> Result<(), Error> {
    let group = message.conversation();
    let policy = load_policy(cx, group)?;
    let standing = load_standing(cx, &policy, group, message.sender())?;
    if matches!(message.kind(), NOTICE | ANNOUNCEMENT) {
        return Err(Error::new(
            error::FORBIDDEN,
            "Only the server can send this kind of message.",
        ));
    }
    policy.check_now(&standing, required_permission(message.kind()), message.time_ms())?;
    let mentions = mention::parse(message.content(), settings.mentions)?;
    if mentions.all {
        policy.check_now(&standing, Permission::MentionAll, message.time_ms())?;
    }
    mention::check(cx, group, &mentions)?;
    if policy.slow_s > 0 && message.edits() == 0 && !standing.rights.has(Permission::BypassSlow) {
        check_slow_mode(cx, group, message.sender(), policy.slow_s)?;
    }
    Ok(())
}

fn slow_key(group: &str, actor: &str) -> String {
    format!("slow/{group}/{actor}")
}

/// Rejects a message within the interval of slow mode, or starts a new interval.
fn check_slow_mode(cx: &Context, group: &str, actor: &str, seconds: u32) -> Result<(), Error> {
    let (key, now_ms) = (slow_key(group, actor), cx.now_ms());
    if let Some(until_ms) = cx.kv().get_json::<u64>(&key)? {
        let left = until_ms.saturating_sub(now_ms).div_ceil(1_000);
        let reason = format!("Slow mode: you can send the next message in {left} seconds.");
        return Err(Error::new(error::RATE_LIMITED, reason).retryable());
    }
    let until_ms = now_ms.saturating_add(u64::from(seconds) * 1_000);
    Ok(cx.kv().set_until(&key, until_ms.to_string(), until_ms)?)
}

/// Checks an act on a message. Reactions need a right to speak; recalling and unreacting one's own don't.
pub(crate) fn check_act(cx: &Context, act: &Act) -> Result<(), Error> {
    let policy = load_policy(cx, &act.conversation)?;
    let standing = load_standing(cx, &policy, &act.conversation, &act.actor)?;
    match &*act.name {
        "receipt" => {}
        "unreact" => policy.check_active()?,
        "recall" if act.actor == act.target_sender => {
            policy.check_active()?;
            pin::delete(cx, &act.conversation, act.target)?;
        }
        "recall" => {
            standing.check(Permission::RecallOthers)?;
            policy.check_active()?;
        }
        "react" => policy.check_now(&standing, Permission::React, act.time_ms)?,
        // Typing, and acts of later versions, need a right to speak.
        _ => policy.check_now(&standing, Permission::Send, act.time_ms)?,
    }
    Ok(())
}

/// Cancels the timer that ends the mute of a former member. The key of slow mode expires on its own.
pub(crate) fn cancel_unmute(cx: &Context, group: &str, actor: &str, policy: &MemberPolicy) -> Result<(), Error> {
    if policy.muted_until_ms > 0 {
        cx.timers().cancel(&timer(group, actor))?;
    }
    Ok(())
}

/// Returns the key prefix of the restrictions of former members.
pub(crate) fn restrictions_prefix(group: &str) -> String {
    format!("left/{group}/")
}

/// Stores the restrictions of a member who leaves: denied permissions, and a mute until it ends.
pub(crate) fn store_restrictions(cx: &Context, group: &str, actor: &str, policy: &MemberPolicy) -> Result<(), Error> {
    let restrictions = policy.restrictions(cx.now_ms());
    let key = format!("{}{actor}", restrictions_prefix(group));
    if restrictions == MemberPolicy::default() {
        return Ok(());
    }
    match (restrictions.deny == Permissions::NONE, restrictions.muted_until_ms) {
        (true, until_ms) if until_ms < FOREVER_MS => cx.kv().set_json_until(key, &restrictions, until_ms)?,
        _ => cx.kv().set_json(key, &restrictions)?,
    }
    Ok(())
}

/// Returns and deletes the stored restrictions of a person who joins again, and sets the timer that ends the mute.
pub(crate) fn restore_restrictions(cx: &Context, group: &str, actor: &str) -> Result<MemberPolicy, Error> {
    let key = format!("{}{actor}", restrictions_prefix(group));
    let Some(stored) = cx.kv().get_json::<MemberPolicy>(&key)? else {
        return Ok(MemberPolicy::default());
    };
    cx.kv().delete(key)?;
    let restrictions = stored.restrictions(cx.now_ms());
    if (1..FOREVER_MS).contains(&restrictions.muted_until_ms) {
        cx.timers()
            .set(&timer(group, actor), restrictions.muted_until_ms, &())?;
    }
    Ok(restrictions)
}

fn timer(group: &str, actor: &str) -> String {
    format!("{TIMER}{group}/{actor}")
}

/// Deletes an expired mute, so that the policy need not list the member.
pub(crate) fn end_mute(cx: &Context, name: &str) -> Result<(), Error> {
    let Some((id, actor)) = name.split_once('/') else {
        return Ok(());
    };
    let Some(mut group) = GroupContext::find_if_active(cx, id)? else {
        return Ok(());
    };
    let Some(mut member) = group.member(actor)? else {
        return Ok(());
    };
    let until_ms = member.policy.muted_until_ms;
    if until_ms > 0 && until_ms <= cx.now_ms() {
        let policy = MemberPolicy {
            muted_until_ms: 0,
            ..member.policy
        };
        group.set_member_policy(&mut member, policy)?;
    }
    Ok(())
}

impl Groups {
    pub(crate) fn mute(&self, cx: &Context, params: MuteParams) -> Result<Nothing, Error> {
        set_mute(cx, &params.group, &params.actor, end_ms(cx, params.seconds))
    }

    pub(crate) fn unmute(&self, cx: &Context, params: MemberParams) -> Result<Nothing, Error> {
        set_mute(cx, &params.group, &params.actor, 0)
    }

    pub(crate) fn mute_all(&self, cx: &Context, params: SwitchParams) -> Result<Nothing, Error> {
        let (mut group, _) = GroupContext::find_permitted(cx, &params.group, Permission::MuteAll)?;
        group.policy.all_muted = params.on;
        group.save()?;
        group.append_notice(&json!({"event": "all_muted", "on": params.on}))?;
        Ok(Nothing {})
    }

    pub(crate) fn slow_mode(&self, cx: &Context, params: SlowModeParams) -> Result<Nothing, Error> {
        let (mut group, _) = GroupContext::find_permitted(cx, &params.group, Permission::MuteAll)?;
        if params.seconds > MAX_SLOW_S {
            return Err(Error::new(error::INVALID_SECONDS, "`seconds` must be 0 to 86400."));
        }
        group.policy.slow_s = params.seconds;
        group.save()?;
        group.append_notice(&json!({"event": "slow_mode", "seconds": params.seconds}))?;
        Ok(Nothing {})
    }

    /// Recalls the caller's own message, or with the permission one of a member of lower rank or a former member.
    pub(crate) fn recall(&self, cx: &Context, params: MessageParams) -> Result<Nothing, Error> {
        let group = GroupContext::find(cx, &params.group)?;
        let (_, standing) = group.caller()?;
        let own = &cx.caller.actor;
        let message = pin::read_message(cx, &group.id, params.seq)?;
        if message.sender != *own {
            standing.check(Permission::RecallOthers)?;
            if let Some(sender) = group.member(&message.sender)? {
                standing.outranks(&group.policy.standing(&sender.policy))?;
            }
        }
        pin::delete(cx, &group.id, params.seq)?;
        cx.conversations().recall(&group.id, params.seq, own)?;
        Ok(Nothing {})
    }
}

fn set_mute(cx: &Context, group: &str, actor: &str, until_ms: u64) -> Result<Nothing, Error> {
    let (mut group, standing) = GroupContext::find_permitted(cx, group, Permission::Mute)?;
    let (mut member, other) = group.target(actor)?;
    standing.outranks(&other)?;
    let policy = MemberPolicy {
        muted_until_ms: until_ms,
        ..member.policy
    };
    group.set_member_policy(&mut member, policy)?;
    match until_ms {
        0 | FOREVER_MS => drop(cx.timers().cancel(&timer(&group.id, actor))?),
        _ => cx.timers().set(&timer(&group.id, actor), until_ms, &())?,
    }
    group.append_notice(&json!({"event": "muted", "actor": actor, "until_ms": until_ms}))?;
    Ok(Nothing {})
}
