//! Files: complete uploads, with what their inspection found.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::record::FileInfo;

/// State of the inspection of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileState {
    /// Declared as an image, and not inspected yet.
    Checking,
    /// A readable image.
    Ready,
    /// Declared as an image, but not readable as one.
    Unreadable,
    /// Not declared as an image.
    Plain,
}

impl FileState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Ready => "ready",
            Self::Unreadable => "unreadable",
            Self::Plain => "plain",
        }
    }
}

/// Dimensions of an image as displayed, in pixels, and its thumbnail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// None for a small image, and for one that takes too much memory to decode.
    pub(crate) thumbnail: Option<Thumbnail>,
}

/// A smaller version of an image, stored as a blob of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thumbnail {
    pub(crate) blob: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// A file: a blob whose upload is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) blob: String,
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) size: u64,
    pub(crate) uploader: String,
    pub(crate) conversation: String,
    pub(crate) created_ms: u64,
    /// When its upload completed; milliseconds since 1970.
    pub(crate) complete_ms: u64,
    pub(crate) state: FileState,
    pub(crate) image: Option<Image>,
}

table! {
    File in "files", key (blob: String);

    /// Files of an uploader by the start of their upload, which is the order of their ids.
    pub(crate) unique ByUploader in "uploader", key (uploader: String, blob: String);

    /// The file that a thumbnail belongs to.
    pub(crate) unique ByThumbnail in "thumbnail", key (String) = |file| file.thumbnail().map(|thumbnail| thumbnail.blob.clone());
}

impl File {
    pub(crate) fn thumbnail(&self) -> Option<&Thumbnail> {
        self.image.as_ref()?.thumbnail.as_ref()
    }

    /// Returns the file as clients see it; `seq` is the message that shows it.
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

    /// Returns the members that describe the image in messages, annotations and signals.
    pub(crate) fn image_members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        if let Some(image) = &self.image {
            members.insert("width".to_owned(), image.width.into());
            members.insert("height".to_owned(), image.height.into());
        }
        if let Some(thumbnail) = self.thumbnail() {
            members.insert("thumbnail".to_owned(), (&*thumbnail.blob).into());
            members.insert("thumbnail_width".to_owned(), thumbnail.width.into());
            members.insert("thumbnail_height".to_owned(), thumbnail.height.into());
        }
        members
    }
}

pub(crate) fn unknown() -> Error {
    Error::new("unknown_file", "This file doesn't exist.")
}
