//! Which messages show which files.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Rows that are removed in one transaction.
const AT_ONCE: usize = 200;

/// A message in the log that shows a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Showing {
    pub(crate) blob: String,
    pub(crate) conversation: String,
    pub(crate) seq: u64,
    /// Whether the message was sent before the file was inspected, and so says nothing about the image.
    pub(crate) is_bare: bool,
}

impl Row for Showing {
    const TABLE: &'static str = "showings";
    type Key = (String, String, u64);
    type Indexes = (ByMessage,);

    fn key(&self) -> Self::Key {
        (self.blob.clone(), self.conversation.clone(), self.seq)
    }
}

/// What the messages of a conversation show, in their order.
pub(crate) struct ByMessage;

impl Index for ByMessage {
    const NAME: &'static str = "message";
    type Row = Showing;
    type Key = (String, u64);
    type Kind = Many;

    fn keys(showing: &Showing) -> impl IntoIterator<Item = Self::Key> {
        [(showing.conversation.clone(), showing.seq)]
    }
}

/// A message that is committed, but was not observed yet. It is kept with the message, so that nothing removes the file in
/// between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sending {
    pub(crate) blob: String,
    pub(crate) sender: String,
    pub(crate) client_id: String,
    pub(crate) is_bare: bool,
}

impl Row for Sending {
    const TABLE: &'static str = "sendings";
    type Key = (String, String, String);
    type Indexes = ();

    fn key(&self) -> Self::Key {
        (self.blob.clone(), self.sender.clone(), self.client_id.clone())
    }
}

/// Tells whether a message shows a file.
pub(crate) fn is_shown(cx: &Context, blob: &str) -> Result<bool, Error> {
    let is_shown = cx.table::<Showing>().scan((blob,)).count(1)? > 0;
    Ok(is_shown || cx.table::<Sending>().scan((blob,)).count(1)? > 0)
}

/// Forgets which messages show a file. Returns whether there are more.
pub(crate) fn forget(cx: &Context, blob: &str) -> Result<bool, Error> {
    let showings = cx.table::<Showing>();
    let keys: Vec<_> = showings.scan((blob,)).keys().take(AT_ONCE).collect::<Result<_, _>>()?;
    let has_more = keys.len() == AT_ONCE;
    for key in keys {
        showings.remove(key)?;
    }
    Ok(has_more)
}
