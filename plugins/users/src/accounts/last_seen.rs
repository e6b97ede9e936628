//! When accounts were last seen.
//!
//! `seen/ACTOR/ID` holds the time and the device of the last use of a login, exact to `seen_minutes`.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::prefix_scan;

/// The last use of a login.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) at_ms: u64,
    pub(crate) device: String,
}

fn key(actor: &str, login: &str) -> String {
    format!("seen/{actor}/{login}")
}

/// Returns the last use of a login.
pub(crate) fn of_login(cx: &Context, actor: &str, login: &str) -> Result<Option<Seen>, Error> {
    Ok(cx.kv().get_json(key(actor, login))?)
}

/// Stores the last use of a login until the login expires.
pub(crate) fn save(cx: &Context, actor: &str, login: &str, seen: &Seen, expires_ms: u64) -> Result<(), Error> {
    Ok(cx.kv().set_json_until(key(actor, login), seen, expires_ms)?)
}

/// Deletes the last use of a login.
pub(crate) fn delete(cx: &Context, actor: &str, login: &str) -> Result<(), Error> {
    Ok(cx.kv().delete(key(actor, login))?)
}

/// Returns when an account was last used, exact to `seen_minutes`.
pub(crate) fn last_seen_ms(cx: &Context, actor: &str) -> Result<Option<u64>, Error> {
    let seen = prefix_scan::read::<Seen>(cx, &format!("seen/{actor}/"))?;
    Ok(seen.iter().map(|(_, seen)| seen.at_ms).max())
}
