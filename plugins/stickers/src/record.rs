//! What travels between clients and methods.

use courtyard_plugin_sdk::prelude::*;

record! {
    /// Nothing.
    pub struct Nothing {}
}
record! {
    /// A new pack.
    pub struct NewPack { pub(crate) title: String, pub(crate) author: String, pub(crate) licence: String }
}
record! {
    /// Changes of a pack; what is left out stays.
    pub struct PackChange {
        pub(crate) pack: String,
        pub(crate) title: Option<String>,
        pub(crate) author: Option<String>,
        pub(crate) licence: Option<String>,
        /// The id of one of its stickers.
        pub(crate) cover: Option<String>,
    }
}
record! {
    /// Who may use a pack: `draft`, `private` or `public`.
    pub struct Publication { pub(crate) pack: String, pub(crate) visibility: String }
}
record! {
    /// Whether a pack is taken out of use.
    pub struct Withdrawal { pub(crate) pack: String, pub(crate) on: bool }
}
record! {
    /// A pack.
    pub struct WhichPack { pub(crate) pack: String }
}
record! {
    /// A sticker.
    pub struct Which { pub(crate) pack: String, pub(crate) sticker: String }
}
record! {
    /// Some stickers.
    pub struct WhichStickers { pub(crate) stickers: Vec<Which> }
}
record! {
    /// A blob.
    pub struct WhichBlob { pub(crate) blob: String }
}
record! {
    /// A sticker of an upload that is ready.
    pub struct NewSticker {
        pub(crate) pack: String,
        pub(crate) blob: String,
        /// Made up if it is left out.
        pub(crate) sticker: Option<String>,
        pub(crate) emoji: Option<Vec<String>>,
        pub(crate) keywords: Option<Vec<String>>,
    }
}
record! {
    /// Other emoji and keywords for a sticker.
    pub struct Retag {
        pub(crate) pack: String,
        pub(crate) sticker: String,
        pub(crate) emoji: Vec<String>,
        pub(crate) keywords: Vec<String>,
    }
}
record! {
    /// A page of a pack.
    pub struct PageOf { pub(crate) pack: String, pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// A page of packs: those that everybody finds, those with a word in their title that begins so, or the caller's own.
    pub struct PackQuery {
        pub(crate) query: Option<String>,
        pub(crate) own: Option<bool>,
        pub(crate) after: Option<Cursor>,
        pub(crate) limit: Option<u32>,
    }
}
record! {
    /// What is looked for: words or an emoji.
    pub struct Query { pub(crate) query: String, pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// A page of anything.
    pub struct Page { pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// A sticker to remember, or to forget.
    pub struct Mark { pub(crate) pack: String, pub(crate) sticker: String, pub(crate) on: bool }
}
record! {
    /// A pack to keep at hand, or not.
    pub struct Keep { pub(crate) pack: String, pub(crate) on: bool }
}
record! {
    /// A pack, as clients see it.
    pub struct PackInfo {
        pub(crate) pack: String,
        pub(crate) title: String,
        pub(crate) author: String,
        pub(crate) licence: String,
        pub(crate) owner: String,
        pub(crate) visibility: String,
        pub(crate) withdrawn: bool,
        pub(crate) count: u32,
        /// A sticker, if there is any.
        pub(crate) cover: Option<String>,
        /// A path on this host.
        pub(crate) cover_url: Option<String>,
    }
}
record! {
    /// A sticker, as clients see it.
    pub struct StickerInfo {
        pub(crate) pack: String,
        pub(crate) sticker: String,
        pub(crate) emoji: Vec<String>,
        pub(crate) keywords: Vec<String>,
        pub(crate) format: String,
        pub(crate) media_type: String,
        pub(crate) width: u32,
        pub(crate) height: u32,
        pub(crate) frames: u32,
        pub(crate) duration_ms: u32,
        pub(crate) bytes: u64,
        /// A path on this host.
        pub(crate) url: String,
    }
}
record! {
    /// Some packs, and where the next ones begin.
    pub struct Packs { pub(crate) packs: Vec<PackInfo>, pub(crate) next: Option<Cursor> }
}
record! {
    /// Some stickers, and where the next ones begin.
    pub struct Found { pub(crate) stickers: Vec<StickerInfo>, pub(crate) next: Option<Cursor> }
}
record! {
    /// An upload: `checking`, `ready`, or `refused` for a `flaw`.
    pub struct UploadInfo { pub(crate) blob: String, pub(crate) state: String, pub(crate) flaw: Option<String> }
}
record! {
    /// A file of a folder, and the blob that it was uploaded as.
    pub struct FileBlob { pub(crate) file: String, pub(crate) blob: String }
}
record! {
    /// A folder of stickers: its index as text, and its files. With `pack` it goes behind what is there.
    pub struct Folder {
        pub(crate) index: String,
        pub(crate) files: Vec<FileBlob>,
        pub(crate) pack: Option<String>,
        pub(crate) visibility: Option<String>,
    }
}
record! {
    /// What somebody takes up, and how much that may be.
    pub struct Usage {
        pub(crate) bytes: u64,
        pub(crate) bytes_limit: u64,
        pub(crate) uploads: u64,
        pub(crate) uploads_limit: u64,
    }
}
