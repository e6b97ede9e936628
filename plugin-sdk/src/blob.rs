//! Blobs, as plugins see them.

use serde::{Deserialize, Serialize};

/// Bytes in the host's object store that belong to the plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// The tenant.
    pub app: String,
    /// Unique in the host; sorts by when it was begun.
    pub id: String,
    /// The name of the file, as whoever uploads it says; may be empty, and is no path.
    pub name: String,
    /// As whoever uploads it says, such as `image/png`; may be empty.
    pub media_type: String,
    /// How many bytes it has, or will have.
    pub length: u64,
    /// The actor who uploads it; empty for one that the plugin wrote.
    pub uploader: String,
    /// The conversation that it is for; may be empty.
    pub conversation: String,
    /// When it was begun, in milliseconds since 1970.
    pub created_ms: u64,
}
