//! Parameters and results of the methods.

use courtyard_plugin_sdk::prelude::*;

record! {
    /// No parameters, or an empty result.
    pub struct Nothing {}
}
record! {
    /// A new pack.
    pub struct NewPack { pub(crate) title: String, pub(crate) author: String, pub(crate) licence: String }
}
record! {
    /// Changes of a pack; members that are left out stay as they are.
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
    /// Takes a pack out of use, or puts it back.
    pub struct Withdrawal { pub(crate) pack: String, pub(crate) on: bool }
}
record! {
    /// Names a pack.
    pub struct WhichPack { pub(crate) pack: String }
}
record! {
    /// Names a sticker.
    pub struct Which { pub(crate) pack: String, pub(crate) sticker: String }
}
record! {
    /// Names some stickers.
    pub struct WhichStickers { pub(crate) stickers: Vec<Which> }
}
record! {
    /// Names a blob.
    pub struct WhichBlob { pub(crate) blob: String }
}
record! {
    /// A new sticker from an upload that is ready.
    pub struct NewSticker {
        pub(crate) pack: String,
        pub(crate) blob: String,
        /// Its id; generated if left out.
        pub(crate) sticker: Option<String>,
        pub(crate) emoji: Option<Vec<String>>,
        pub(crate) keywords: Option<Vec<String>>,
    }
}
record! {
    /// New emoji and keywords of a sticker.
    pub struct Retag {
        pub(crate) pack: String,
        pub(crate) sticker: String,
        pub(crate) emoji: Vec<String>,
        pub(crate) keywords: Vec<String>,
    }
}
record! {
    /// Selects a page of a pack.
    pub struct PageOf { pub(crate) pack: String, pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// Selects a page of packs: all listed ones, those with a title word of this prefix, or the caller's own.
    pub struct PackQuery {
        pub(crate) query: Option<String>,
        pub(crate) own: Option<bool>,
        pub(crate) after: Option<Cursor>,
        pub(crate) limit: Option<u32>,
    }
}
record! {
    /// A search by words or emoji.
    pub struct Query { pub(crate) query: String, pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// Selects a page.
    pub struct Page { pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}
record! {
    /// Adds a sticker to the favourites, or removes it.
    pub struct Mark { pub(crate) pack: String, pub(crate) sticker: String, pub(crate) on: bool }
}
record! {
    /// Adds a pack to the caller's shelf, or removes it.
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
        /// Id of a sticker; none for an empty pack.
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
    /// A page of packs, and the cursor of the next page.
    pub struct Packs { pub(crate) packs: Vec<PackInfo>, pub(crate) next: Option<Cursor> }
}
record! {
    /// A page of stickers, and the cursor of the next page.
    pub struct Found { pub(crate) stickers: Vec<StickerInfo>, pub(crate) next: Option<Cursor> }
}
record! {
    /// An upload: `checking`, `ready`, or `refused` because of a `flaw`.
    pub struct UploadInfo { pub(crate) blob: String, pub(crate) state: String, pub(crate) flaw: Option<String> }
}
record! {
    /// A file of a folder, and the blob that it was uploaded as.
    pub struct FileBlob { pub(crate) file: String, pub(crate) blob: String }
}
record! {
    /// A folder of stickers: its index as text, and its files. With `pack`, the stickers are appended to that pack.
    pub struct Folder {
        pub(crate) index: String,
        pub(crate) files: Vec<FileBlob>,
        pub(crate) pack: Option<String>,
        pub(crate) visibility: Option<String>,
    }
}
record! {
    /// Storage and uploads used by the caller, and their limits.
    pub struct Usage {
        pub(crate) bytes: u64,
        pub(crate) bytes_limit: u64,
        pub(crate) uploads: u64,
        pub(crate) uploads_limit: u64,
    }
}
