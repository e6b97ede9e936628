//! Blobs, as plugins see them.

use serde::{Deserialize, Serialize};

/// Bytes in the host's object store that belong to the plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// The tenant.
    pub app: String,
    /// Unique in the host; sorts by the start of the upload.
    pub id: String,
    /// The name of the file, chosen by the uploader; may be empty, and is not a path.
    pub name: String,
    /// The media type that the uploader gave, such as `image/png`; not checked, and may be empty.
    pub media_type: String,
    /// The length in bytes, which an incomplete upload will have at its end.
    pub length: u64,
    /// The actor who uploads it; empty for a blob that the plugin wrote.
    pub uploader: String,
    /// The conversation that it belongs to; may be empty.
    pub conversation: String,
    /// The start of the upload, in milliseconds since 1970.
    pub created_ms: u64,
}
