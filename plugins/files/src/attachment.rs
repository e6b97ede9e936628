//! Attachments: the links between messages and the files that they show.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Rows that are removed in one transaction.
const BATCH: usize = 200;

/// A message in the log that shows a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) blob: String,
    pub(crate) conversation: String,
    pub(crate) seq: u64,
    /// True if the message was sent before the file was inspected, and so lacks the members that describe the image.
    pub(crate) is_bare: bool,
}

table! {
    Attachment in "showings", key (blob: String, conversation: String, seq: u64);

    /// Attachments of a conversation in the order of its messages.
    pub(crate) many ByMessage in "message", key (conversation: String, seq: u64);
}

/// An attachment of a message that is committed, but not observed yet. It is written with the message, so that nothing removes
/// the file in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingAttachment {
    pub(crate) blob: String,
    pub(crate) sender: String,
    pub(crate) client_id: String,
    pub(crate) is_bare: bool,
}

table! {
    PendingAttachment in "sendings", key (blob: String, sender: String, client_id: String);
}

/// Returns true if a message shows the file, observed or not.
pub(crate) fn is_attached(cx: &Context, blob: &str) -> Result<bool, Error> {
    let is_attached = cx.table::<Attachment>().scan((blob,)).count(1)? > 0;
    Ok(is_attached || cx.table::<PendingAttachment>().scan((blob,)).count(1)? > 0)
}

/// Removes up to [`BATCH`] attachments of a file. Returns true if more may exist.
pub(crate) fn remove_some(cx: &Context, blob: &str) -> Result<bool, Error> {
    let attachments = cx.table::<Attachment>();
    let keys: Vec<_> = attachments.scan((blob,)).keys().take(BATCH).collect::<Result<_, _>>()?;
    let has_more = keys.len() == BATCH;
    for key in keys {
        attachments.remove(key)?;
    }
    Ok(has_more)
}
