//! Storage and uploads used by each user.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Storage and uploads used by one user.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Used {
    /// Bytes of stickers and uploads.
    pub(crate) bytes: u64,
    /// Uploads that are in no pack.
    pub(crate) uploads: u64,
}

pub(crate) fn used(cx: &Context, actor: &str) -> Result<Used, Error> {
    Ok(cx.kv().get_json(key(actor))?.unwrap_or_default())
}

pub(crate) fn set_used(cx: &Context, actor: &str, used: Used) -> Result<(), Error> {
    if used.bytes == 0 && used.uploads == 0 {
        return Ok(cx.kv().delete(key(actor))?);
    }
    Ok(cx.kv().set_json(key(actor), &used)?)
}

/// Subtracts the bytes of a removed sticker.
pub(crate) fn release(cx: &Context, uploader: &str, bytes: u64) -> Result<(), Error> {
    let before = used(cx, uploader)?;
    let bytes = before.bytes.saturating_sub(bytes);
    set_used(cx, uploader, Used { bytes, ..before })
}

fn key(actor: &str) -> String {
    format!("used/{actor}")
}
