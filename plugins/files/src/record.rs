//! Parameters and results of the methods.

use courtyard_plugin_sdk::prelude::*;

record! {
    /// No parameters, or an empty result.
    pub struct Nothing {}
}
record! {
    /// A file, by its blob.
    pub struct Which { pub(crate) blob: String }
}
record! {
    /// Selects a page of the caller's files.
    pub struct Page { pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// Selects a page of the files of a conversation.
    pub struct PageOf { pub(crate) conversation: String, pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// A file; its state is `checking`, `ready` or `unreadable` if it was declared as an image, `plain` otherwise.
    pub struct FileInfo {
        pub(crate) blob: String,
        pub(crate) name: String,
        pub(crate) media_type: String,
        pub(crate) size: u64,
        pub(crate) uploader: String,
        pub(crate) conversation: String,
        pub(crate) created_ms: u64,
        pub(crate) state: String,
        /// In pixels, as displayed: after the rotation that its EXIF data asks for.
        pub(crate) width: Option<u32>,
        pub(crate) height: Option<u32>,
        /// Blob id of a smaller version of the image.
        pub(crate) thumbnail: Option<String>,
        pub(crate) thumbnail_width: Option<u32>,
        pub(crate) thumbnail_height: Option<u32>,
        /// The message that shows it; only in the list of a conversation.
        pub(crate) seq: Option<u64>,
    }
}
record! {
    /// Files, newest first.
    pub struct Files { pub(crate) files: Vec<FileInfo>, pub(crate) next: Option<Cursor> }
}
record! {
    /// Storage used by the caller, including unfinished uploads, and its limit; bytes.
    pub struct Usage { pub(crate) bytes: u64, pub(crate) bytes_limit: u64, pub(crate) files: u64 }
}
