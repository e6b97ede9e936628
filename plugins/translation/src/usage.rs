//! Characters sent to providers per day.

use courtyard_plugin_sdk::prelude::*;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Characters sent today (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) app: u64,
    pub(crate) sender: u64,
    /// Start of the next day; milliseconds since 1970.
    pub(crate) resets_ms: u64,
}

/// Most characters per day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) app: u64,
    pub(crate) sender: u64,
}

/// Returns today's characters of the app and of one sender.
pub(crate) fn today(cx: &Context, sender: &str) -> Result<Usage, Error> {
    let day = cx.now_ms() / DAY_MS;
    Ok(Usage {
        app: cx.kv().get_json(key(day, None))?.unwrap_or_default(),
        sender: cx.kv().get_json(key(day, Some(sender)))?.unwrap_or_default(),
        resets_ms: (day + 1) * DAY_MS,
    })
}

/// Charges characters to a sender. Returns false, without charging, if they exceed a cap.
pub(crate) fn charge(cx: &Context, sender: &str, characters: u64, caps: Caps) -> Result<bool, Error> {
    let used = today(cx, sender)?;
    if used.app + characters > caps.app || used.sender + characters > caps.sender {
        return Ok(false);
    }
    let day = cx.now_ms() / DAY_MS;
    let until_ms = used.resets_ms + DAY_MS;
    let sums = [(None, used.app), (Some(sender), used.sender)];
    for (who, sum) in sums {
        cx.kv()
            .set_until(key(day, who), (sum + characters).to_string(), until_ms)?;
    }
    Ok(true)
}

fn key(day: u64, sender: Option<&str>) -> String {
    match sender {
        None => format!("used/{day}/app"),
        Some(sender) => format!("used/{day}/by/{sender}"),
    }
}
