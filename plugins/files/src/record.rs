//! What travels between clients and methods.

use courtyard_plugin_sdk::prelude::*;

record! {
    /// Nothing.
    pub struct Nothing {}
}
record! {
    /// A file, by its blob.
    pub struct Which { pub(crate) blob: String }
}
record! {
    /// A page of the caller's files.
    pub struct Page { pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// A page of the files of a conversation.
    pub struct PageOf { pub(crate) conversation: String, pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// A file: `checking`, `ready` or `unreadable` if it says it is an image, `plain` otherwise.
    pub struct FileInfo {
        pub(crate) blob: String,
        pub(crate) name: String,
        pub(crate) media_type: String,
        pub(crate) size: u64,
        pub(crate) uploader: String,
        pub(crate) conversation: String,
        pub(crate) created_ms: u64,
        pub(crate) state: String,
        /// As it is shown: turned as its EXIF data says.
        pub(crate) width: Option<u32>,
        pub(crate) height: Option<u32>,
        /// The blob of a smaller image.
        pub(crate) thumbnail: Option<String>,
        pub(crate) thumbnail_width: Option<u32>,
        pub(crate) thumbnail_height: Option<u32>,
        /// The message that shows it, in the list of a conversation.
        pub(crate) seq: Option<u64>,
    }
}
record! {
    /// Files, the newest first.
    pub struct Files { pub(crate) files: Vec<FileInfo>, pub(crate) next: Option<Cursor> }
}
record! {
    /// What somebody takes up, uploads under way included, and how much that may be.
    pub struct Usage { pub(crate) bytes: u64, pub(crate) bytes_limit: u64, pub(crate) files: u64 }
}
