//! What files take up: of each user at once, of the whole app with a moment's delay.
//!
//! Uploads of many users at a time must not wait for one count. So what an app takes up is kept in shards, each for some of its
//! users, and a job adds them up after changes.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

const SHARDS: u32 = 16;

/// How long changes are gathered before they are added up.
const GATHERED_MS: u64 = 1_000;
/// After which adding up is taken for lost.
const LOST_MS: u64 = 60_000;

/// What somebody takes up, with uploads under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) bytes: u64,
    /// Whose uploads are complete.
    pub(crate) files: u64,
}

/// What an app takes up, as it was added up last.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Total {
    bytes: u64,
    /// Since when a job is to add up; 0 for none.
    counting_ms: u64,
}

pub(crate) fn used(cx: &Context, actor: &str) -> Result<Used, Error> {
    Ok(cx.kv().get_json(key(actor))?.unwrap_or_default())
}

fn key(actor: &str) -> String {
    format!("used/{actor}")
}

/// Tells whether there is room for so many bytes of somebody.
///
/// # Errors
/// `quota`.
pub(crate) fn check(cx: &Context, settings: &Settings, actor: &str, bytes: u64) -> Result<(), Error> {
    if used(cx, actor)?.bytes.saturating_add(bytes) > settings.user_bytes {
        return Err(Error::new(
            "quota",
            "Your files take up all the room that there is for them.",
        ));
    }
    if settings.app_bytes > 0 && total(cx)?.bytes.saturating_add(bytes) > settings.app_bytes {
        return Err(Error::new("quota", "There is no room for more files here."));
    }
    Ok(())
}

/// Counts bytes and files of somebody that come.
pub(crate) fn add(cx: &Context, settings: &Settings, actor: &str, more: Used) -> Result<(), Error> {
    let before = used(cx, actor)?;
    let now = Used {
        bytes: before.bytes.saturating_add(more.bytes),
        files: before.files.saturating_add(more.files),
    };
    change(cx, settings, actor, before, now)
}

/// Counts bytes and files of somebody that go.
pub(crate) fn take(cx: &Context, settings: &Settings, actor: &str, less: Used) -> Result<(), Error> {
    let before = used(cx, actor)?;
    let now = Used {
        bytes: before.bytes.saturating_sub(less.bytes),
        files: before.files.saturating_sub(less.files),
    };
    change(cx, settings, actor, before, now)
}

fn change(cx: &Context, settings: &Settings, actor: &str, before: Used, now: Used) -> Result<(), Error> {
    if now == Used::default() {
        cx.kv().delete(key(actor))?;
    } else {
        cx.kv().set_json(key(actor), &now)?;
    }
    if before.bytes == now.bytes {
        return Ok(());
    }
    let shard = shard_key(actor.bytes().map(u32::from).sum::<u32>() % SHARDS);
    let whole: u64 = cx.kv().get_json(&shard)?.unwrap_or_default();
    let whole = whole.saturating_add(now.bytes).saturating_sub(before.bytes);
    cx.kv().set_json(&shard, &whole)?;
    if settings.app_bytes == 0 {
        return Ok(());
    }
    let total = total(cx)?;
    if total.counting_ms.saturating_add(LOST_MS) < cx.now_ms() {
        let counting_ms = cx.now_ms();
        set_total(cx, Total { counting_ms, ..total })?;
        cx.jobs().add_at("count", counting_ms + GATHERED_MS, &())?;
    }
    Ok(())
}

fn shard_key(number: u32) -> String {
    format!("app/{number:02}")
}

fn total(cx: &Context) -> Result<Total, Error> {
    Ok(cx.kv().get_json("total")?.unwrap_or_default())
}

fn set_total(cx: &Context, total: Total) -> Result<(), Error> {
    Ok(cx.kv().set_json("total", &total)?)
}

/// Adds up what an app takes up, in transactions so small that they are in nobody's way.
pub(crate) fn count(cx: &Context) -> Result<(), Error> {
    // First, so that whatever changes from now on is counted by another job.
    cx.transact::<()>("counting", &())?;
    let mut bytes: u64 = 0;
    for number in 0..SHARDS {
        bytes = bytes.saturating_add(cx.transact("shard", &number)?);
    }
    cx.transact("counted", &bytes)
}

pub(crate) fn counting(cx: &Context) -> Result<(), Error> {
    let counting_ms = 0;
    set_total(
        cx,
        Total {
            counting_ms,
            ..total(cx)?
        },
    )
}

pub(crate) fn shard(cx: &Context, number: u32) -> Result<u64, Error> {
    Ok(cx.kv().get_json(shard_key(number))?.unwrap_or_default())
}

pub(crate) fn counted(cx: &Context, bytes: u64) -> Result<(), Error> {
    set_total(cx, Total { bytes, ..total(cx)? })
}
