//! Uploads: whether they may begin, what they make, and what goes again.

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::file::{File, State};
use crate::quota::{self, Used};
use crate::{FilesPlugin, showing};

const HOUR_MS: u64 = 60 * 60 * 1_000;

/// An upload that is not complete, whose bytes count already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) blob: String,
    pub(crate) uploader: String,
    pub(crate) bytes: u64,
}

impl Row for Upload {
    const TABLE: &'static str = "uploads";
    type Key = String;
    type Indexes = (UploadsOf,);

    fn key(&self) -> String {
        self.blob.clone()
    }
}

/// The uploads of somebody.
pub(crate) struct UploadsOf;

impl Index for UploadsOf {
    const NAME: &'static str = "uploader";
    type Row = Upload;
    type Key = String;
    type Kind = Many;

    fn keys(upload: &Upload) -> impl IntoIterator<Item = Self::Key> {
        [upload.uploader.clone()]
    }
}

pub(crate) fn not_a_member() -> Error {
    Error::new("not_a_member", "You are no member of this conversation.")
}

impl FilesPlugin {
    pub(crate) fn check_upload(&self, cx: &Context, blob: &Blob, is_member: bool) -> Result<(), Error> {
        let settings = &self.settings;
        if blob.conversation.is_empty() {
            return Err(Error::new("no_conversation", "Say which conversation the file is for."));
        }
        if !is_member {
            return Err(not_a_member());
        }
        if blob.length > settings.file_bytes {
            let sentence = format!("A file has {} bytes at most.", settings.file_bytes);
            return Err(Error::new("too_large", sentence));
        }
        if settings.denies(&blob.media_type) {
            return Err(Error::new("bad_media_type", "Files of this type are not taken here."));
        }
        self.make_room(cx, &blob.uploader, blob.length)?;
        self.reserve(cx, blob)?;
        let late_ms = cx.now_ms() + self.unsent_ms();
        Ok(cx.jobs().add_at("sweep", late_ms, &blob.id)?)
    }

    fn reserve(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        let (bytes, files) = (blob.length, 0);
        quota::add(cx, &self.settings, &blob.uploader, Used { bytes, files })?;
        cx.table::<Upload>().put(&Upload {
            blob: blob.id.clone(),
            uploader: blob.uploader.clone(),
            bytes,
        })?;
        Ok(())
    }

    /// Sees to it that somebody may begin an upload.
    fn make_room(&self, cx: &Context, actor: &str, bytes: u64) -> Result<(), Error> {
        let most = self.settings.user_uploads;
        let check = || -> Result<(), Error> {
            quota::check(cx, &self.settings, actor, bytes)?;
            if cx.table::<Upload>().by(UploadsOf).scan(actor).count(most)? >= most {
                let sentence = format!("{most} uploads of yours are under way, which is the most.");
                return Err(Error::new("too_many_uploads", sentence).retryable());
            }
            Ok(())
        };
        if check().is_ok() {
            return Ok(());
        }
        // Some may have been broken off since, which nobody tells.
        let uploads: Vec<Upload> = cx
            .table()
            .by(UploadsOf)
            .scan(actor)
            .into_iter()
            .take(most)
            .collect::<Result<_, _>>()?;
        for upload in uploads {
            if let Err(ServiceError::NotFound) = cx.blobs().get(&upload.blob) {
                self.release(cx, &upload)?;
            }
        }
        check()
    }

    /// Gives back the room of an upload that is over.
    fn release(&self, cx: &Context, upload: &Upload) -> Result<(), Error> {
        cx.table::<Upload>().remove(&*upload.blob)?;
        let (bytes, files) = (upload.bytes, 0);
        quota::take(cx, &self.settings, &upload.uploader, Used { bytes, files })
    }

    pub(crate) fn take_upload(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        // An upload takes its time, and its uploader may have left meanwhile.
        if !cx.memberships().is_member(&blob.conversation, &blob.uploader)? {
            return Err(not_a_member());
        }
        if cx.table::<Upload>().remove(&*blob.id)?.is_none() {
            self.reserve(cx, blob)?;
            cx.table::<Upload>().remove(&*blob.id)?;
        }
        let (bytes, files) = (0, 1);
        quota::add(cx, &self.settings, &blob.uploader, Used { bytes, files })?;
        let is_image = media_type(&blob.media_type).starts_with("image/");
        cx.table::<File>().put(&File {
            blob: blob.id.clone(),
            name: blob.name.clone(),
            media_type: blob.media_type.clone(),
            size: blob.length,
            uploader: blob.uploader.clone(),
            conversation: blob.conversation.clone(),
            created_ms: blob.created_ms,
            complete_ms: cx.now_ms(),
            state: if is_image { State::Checking } else { State::Plain },
            image: None,
        })?;
        if is_image {
            cx.jobs().add("inspect", &blob.id)?;
        }
        Ok(())
    }

    /// Removes a file with its bytes.
    pub(crate) fn remove(&self, cx: &Context, file: &File) -> Result<(), Error> {
        drop_blob(cx, &file.blob)?;
        self.forget(cx, file)
    }

    /// Removes all of a file but its own bytes.
    pub(crate) fn forget(&self, cx: &Context, file: &File) -> Result<(), Error> {
        if let Some(thumbnail) = file.thumbnail() {
            drop_blob(cx, &thumbnail.blob)?;
        }
        cx.table::<File>().remove(&*file.blob)?;
        let (bytes, files) = (file.size, 1);
        quota::take(cx, &self.settings, &file.uploader, Used { bytes, files })?;
        if showing::forget(cx, &file.blob)? {
            cx.jobs().add("forget", &file.blob)?;
        }
        Ok(())
    }

    /// Removes a file that no message shows.
    pub(crate) fn drop_unshown(&self, cx: &Context, blob: &str) -> Result<(), Error> {
        match cx.table::<File>().get(blob)? {
            Some(file) if !showing::is_shown(cx, blob)? => self.remove(cx, &file),
            _ => Ok(()),
        }
    }

    /// Looks at what became of an upload: removes a file that nobody sent, and gives back the room of what never was complete.
    pub(crate) fn sweep(&self, cx: &Context, blob: &str) -> Result<(), Error> {
        if let Some(file) = cx.table::<File>().get(blob)? {
            let late_ms = file.complete_ms + self.unsent_ms();
            if late_ms > cx.now_ms() {
                return Ok(cx.jobs().add_at("sweep", late_ms, &blob)?);
            }
            return self.drop_unshown(cx, blob);
        }
        let Some(upload) = cx.table::<Upload>().get(blob)? else {
            return Ok(());
        };
        match cx.blobs().get(blob) {
            Err(ServiceError::NotFound) => self.release(cx, &upload),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(cx.jobs().add_at("sweep", cx.now_ms() + HOUR_MS, &blob)?),
        }
    }

    fn unsent_ms(&self) -> u64 {
        self.settings.unsent_hours.saturating_mul(HOUR_MS)
    }
}

/// Reads a media type: without parameters, in lower case.
pub(crate) fn media_type(said: &str) -> String {
    let (media_type, _) = said.split_once(';').unwrap_or((said, ""));
    media_type.trim().to_ascii_lowercase()
}

fn drop_blob(cx: &Context, blob: &str) -> Result<(), Error> {
    match cx.blobs().remove(blob) {
        Err(ServiceError::NotFound) => Ok(()),
        removed => Ok(removed?),
    }
}
