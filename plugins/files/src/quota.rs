//! Storage quotas: exact for each user, delayed by about a second for the whole app.
//!
//! Concurrent uploads of many users must not contend for one counter. So the bytes of an app are counted in shards, each for
//! some of its users, and a job sums the shards after changes.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

const SHARDS: u32 = 16;

/// Milliseconds for which changes are collected before the shards are summed.
const GATHERED_MS: u64 = 1_000;
/// Milliseconds after which a pending sum counts as lost and another is started.
const LOST_MS: u64 = 60_000;

/// Storage used by one user, including unfinished uploads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) bytes: u64,
    /// Files whose upload is complete.
    pub(crate) files: u64,
}

/// Storage used by an app, as of the last sum.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Total {
    bytes: u64,
    /// When the pending sum was enqueued, in milliseconds since 1970; 0 for none.
    counting_ms: u64,
}

pub(crate) fn used(cx: &Context, actor: &str) -> Result<Used, Error> {
    Ok(cx.kv().get_json(key(actor))?.unwrap_or_default())
}

fn key(actor: &str) -> String {
    format!("used/{actor}")
}

/// Checks that a user may store so many more bytes.
///
/// # Errors
/// `limit_storage`.
pub(crate) fn check(cx: &Context, settings: &Settings, actor: &str, bytes: u64) -> Result<(), Error> {
    if used(cx, actor)?.bytes.saturating_add(bytes) > settings.user_bytes {
        return Err(Error::new(
            "limit_storage",
            "Your files use all of your storage. Delete some, then try again.",
        ));
    }
    if settings.app_bytes > 0 && total(cx)?.bytes.saturating_add(bytes) > settings.app_bytes {
        return Err(Error::new("limit_storage", "This server can't store more files."));
    }
    Ok(())
}

/// Adds bytes and files to the usage of a user.
pub(crate) fn add(cx: &Context, settings: &Settings, actor: &str, more: Used) -> Result<(), Error> {
    let before = used(cx, actor)?;
    let now = Used {
        bytes: before.bytes.saturating_add(more.bytes),
        files: before.files.saturating_add(more.files),
    };
    change(cx, settings, actor, before, now)
}

/// Subtracts bytes and files from the usage of a user.
pub(crate) fn subtract(cx: &Context, settings: &Settings, actor: &str, less: Used) -> Result<(), Error> {
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

/// Sums the shards of an app, one small transaction for each, so that uploads don't conflict with the sum.
pub(crate) fn count(cx: &Context) -> Result<(), Error> {
    // First, so that changes from now on enqueue another sum.
    cx.transact::<()>("counting", &())?;
    let mut bytes: u64 = 0;
    for number in 0..SHARDS {
        bytes = bytes.saturating_add(cx.transact("shard", &number)?);
    }
    cx.transact("counted", &bytes)
}

pub(crate) fn start_count(cx: &Context) -> Result<(), Error> {
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

pub(crate) fn store_total(cx: &Context, bytes: u64) -> Result<(), Error> {
    set_total(cx, Total { bytes, ..total(cx)? })
}
