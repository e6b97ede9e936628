//! Files, and who may have them.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::record::FileInfo;
use crate::upload::not_a_member;

/// What is known about the content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It says that it is an image, and was not inspected yet.
    Checking,
    /// It is an image.
    Ready,
    /// It is no image that can be shown, whatever it says.
    Unreadable,
    /// It does not say that it is an image.
    Plain,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Ready => "ready",
            Self::Unreadable => "unreadable",
            Self::Plain => "plain",
        }
    }
}

/// An image as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// None for a small image, and for one that takes too much memory.
    pub(crate) thumbnail: Option<Thumbnail>,
}

/// A smaller image, which is a blob of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thumbnail {
    pub(crate) blob: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// A file, which is a blob whose upload is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) blob: String,
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) size: u64,
    pub(crate) uploader: String,
    pub(crate) conversation: String,
    pub(crate) created_ms: u64,
    /// When its upload was complete.
    pub(crate) complete_ms: u64,
    pub(crate) state: State,
    pub(crate) image: Option<Image>,
}

impl Row for File {
    const TABLE: &'static str = "files";
    type Key = String;
    type Indexes = (ByUploader, ByThumbnail);

    fn key(&self) -> String {
        self.blob.clone()
    }
}

/// Files of somebody by when they were begun, which is the order of their ids.
pub(crate) struct ByUploader;

impl Index for ByUploader {
    const NAME: &'static str = "uploader";
    type Row = File;
    type Key = (String, String);
    type Kind = Unique;

    fn keys(file: &File) -> impl IntoIterator<Item = Self::Key> {
        [(file.uploader.clone(), file.blob.clone())]
    }
}

/// The file of a thumbnail.
pub(crate) struct ByThumbnail;

impl Index for ByThumbnail {
    const NAME: &'static str = "thumbnail";
    type Row = File;
    type Key = String;
    type Kind = Unique;

    fn keys(file: &File) -> impl IntoIterator<Item = Self::Key> {
        file.thumbnail().map(|thumbnail| thumbnail.blob.clone())
    }
}

impl File {
    pub(crate) fn thumbnail(&self) -> Option<&Thumbnail> {
        self.image.as_ref()?.thumbnail.as_ref()
    }

    pub(crate) fn info(&self, seq: Option<u64>) -> FileInfo {
        let thumbnail = self.thumbnail();
        FileInfo {
            blob: self.blob.clone(),
            name: self.name.clone(),
            media_type: self.media_type.clone(),
            size: self.size,
            uploader: self.uploader.clone(),
            conversation: self.conversation.clone(),
            created_ms: self.created_ms,
            state: self.state.name().to_owned(),
            width: self.image.as_ref().map(|image| image.width),
            height: self.image.as_ref().map(|image| image.height),
            thumbnail: thumbnail.map(|thumbnail| thumbnail.blob.clone()),
            thumbnail_width: thumbnail.map(|thumbnail| thumbnail.width),
            thumbnail_height: thumbnail.map(|thumbnail| thumbnail.height),
            seq,
        }
    }

    /// Returns what messages, annotations and signals say about the image.
    pub(crate) fn look(&self) -> Map<String, Value> {
        let mut look = Map::new();
        if let Some(image) = &self.image {
            look.insert("width".to_owned(), image.width.into());
            look.insert("height".to_owned(), image.height.into());
        }
        if let Some(thumbnail) = self.thumbnail() {
            look.insert("thumbnail".to_owned(), (&*thumbnail.blob).into());
            look.insert("thumbnail_width".to_owned(), thumbnail.width.into());
            look.insert("thumbnail_height".to_owned(), thumbnail.height.into());
        }
        look
    }
}

pub(crate) fn unknown() -> Error {
    Error::new("unknown_file", "There is no such file.")
}

/// Finds a file that the caller may see: their own, or one of a conversation that they are in.
pub(crate) fn seen(cx: &Context, blob: &str) -> Result<File, Error> {
    let file = cx.table::<File>().get(blob)?.ok_or_else(unknown)?;
    let caller = &cx.caller.actor;
    if file.uploader == *caller || cx.memberships().is_member(&file.conversation, caller)? {
        return Ok(file);
    }
    Err(unknown())
}

/// Finds a file of the caller's.
pub(crate) fn own(cx: &Context, blob: &str) -> Result<File, Error> {
    let file = seen(cx, blob)?;
    if file.uploader == cx.caller.actor {
        return Ok(file);
    }
    Err(Error::new("not_yours", "This file is somebody else's."))
}

/// Decides who may have the bytes of a file or a thumbnail.
pub(crate) fn check_download(cx: &Context, blob: &Blob, is_member: bool) -> Result<(), Error> {
    if is_member {
        return Ok(());
    }
    let files = cx.table::<File>();
    let file = match files.get(&*blob.id)? {
        None => files.by(ByThumbnail).get(&*blob.id)?,
        file => file,
    };
    // Whoever left a conversation has what they brought there.
    if file.is_some_and(|file| !file.uploader.is_empty() && file.uploader == cx.caller.actor) {
        return Ok(());
    }
    Err(not_a_member())
}
