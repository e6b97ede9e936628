//! Who may read and change a file.

use courtyard_plugin_sdk::prelude::*;

use crate::file::{ByThumbnail, File, unknown};

pub(crate) fn not_a_member() -> Error {
    Error::new("forbidden", "You aren't a member of this conversation.")
}

/// Returns a file that the caller may read: their own, or one of a conversation that they are in.
///
/// # Errors
/// `unknown_file`, also for a file that the caller may not read.
pub(crate) fn readable(cx: &Context, blob: &str) -> Result<File, Error> {
    let file = cx.table::<File>().get(blob)?.ok_or_else(unknown)?;
    let caller = &cx.caller.actor;
    if file.uploader == *caller || cx.memberships().is_member(&file.conversation, caller)? {
        return Ok(file);
    }
    Err(unknown())
}

/// Returns a file of the caller's.
///
/// # Errors
/// `unknown_file` if the caller may not read it, `forbidden` if another uploaded it.
pub(crate) fn owned(cx: &Context, blob: &str) -> Result<File, Error> {
    let file = readable(cx, blob)?;
    if file.uploader == cx.caller.actor {
        return Ok(file);
    }
    Err(Error::new("forbidden", "Only the uploader can delete this file."))
}

/// Accepts a download of a file or a thumbnail by members of its conversation and by the uploader.
///
/// # Errors
/// `forbidden`.
pub(crate) fn check_download(cx: &Context, blob: &Blob, is_member: bool) -> Result<(), Error> {
    if is_member {
        return Ok(());
    }
    let files = cx.table::<File>();
    let file = match files.get(&*blob.id)? {
        None => files.by(ByThumbnail).get(&*blob.id)?,
        file => file,
    };
    // Former members can still read their own uploads.
    if file.is_some_and(|file| !file.uploader.is_empty() && file.uploader == cx.caller.actor) {
        return Ok(());
    }
    Err(not_a_member())
}
