//! Uploads: their checks, the files that they become, and the removal of files.

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::access::not_a_member;
use crate::file::{File, FileState};
use crate::quota::{self, Used};
use crate::{FilesPlugin, attachment, media_type};

const HOUR_MS: u64 = 60 * 60 * 1_000;

/// An incomplete upload; its bytes already count for the quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) blob: String,
    pub(crate) uploader: String,
    pub(crate) bytes: u64,
}

table! {
    Upload in "uploads", key (blob: String);

    /// Incomplete uploads of one user.
    pub(crate) many UploadsOf in "uploader", key (uploader: String);
}

impl FilesPlugin {
    /// Checks that an upload may begin, and reserves its bytes.
    pub(crate) fn check_upload(&self, cx: &Context, blob: &Blob, is_member: bool) -> Result<(), Error> {
        let settings = &self.settings;
        if blob.conversation.is_empty() {
            return Err(Error::new(
                "invalid_conversation",
                "Name the conversation that the file is for.",
            ));
        }
        if !is_member {
            return Err(not_a_member());
        }
        if blob.length > settings.file_bytes {
            let sentence = format!("The file is too large: the limit is {} bytes.", settings.file_bytes);
            return Err(Error::new("limit_file_bytes", sentence));
        }
        if settings.denies(&blob.media_type) {
            return Err(Error::new(
                "invalid_media_type",
                "Files of this type aren't accepted here.",
            ));
        }
        self.check_limits(cx, &blob.uploader, blob.length)?;
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

    /// Checks that a user's limits allow another upload. If they don't, it releases the reservations of aborted uploads and
    /// checks again.
    fn check_limits(&self, cx: &Context, actor: &str, bytes: u64) -> Result<(), Error> {
        let most = self.settings.user_uploads;
        let check = || -> Result<(), Error> {
            quota::check(cx, &self.settings, actor, bytes)?;
            if cx.table::<Upload>().by(UploadsOf).scan(actor).count(most)? >= most {
                let sentence = format!("You have {most} incomplete uploads, which is the limit. Finish or abort one.");
                return Err(Error::new("limit_uploads", sentence).retryable());
            }
            Ok(())
        };
        if check().is_ok() {
            return Ok(());
        }
        // Aborted uploads aren't reported to plugins.
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

    /// Releases the reservation of an upload that ended without a file.
    fn release(&self, cx: &Context, upload: &Upload) -> Result<(), Error> {
        cx.table::<Upload>().remove(&*upload.blob)?;
        let (bytes, files) = (upload.bytes, 0);
        quota::subtract(cx, &self.settings, &upload.uploader, Used { bytes, files })
    }

    /// Stores a complete upload as a file, and enqueues its inspection if it was declared as an image.
    pub(crate) fn store_upload(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        // The uploader may have left the conversation during the upload.
        if !cx.memberships().is_member(&blob.conversation, &blob.uploader)? {
            return Err(not_a_member());
        }
        if cx.table::<Upload>().remove(&*blob.id)?.is_none() {
            self.reserve(cx, blob)?;
            cx.table::<Upload>().remove(&*blob.id)?;
        }
        let (bytes, files) = (0, 1);
        quota::add(cx, &self.settings, &blob.uploader, Used { bytes, files })?;
        let is_image = media_type::normalized(&blob.media_type).starts_with("image/");
        cx.table::<File>().put(&File {
            blob: blob.id.clone(),
            name: blob.name.clone(),
            media_type: blob.media_type.clone(),
            size: blob.length,
            uploader: blob.uploader.clone(),
            conversation: blob.conversation.clone(),
            created_ms: blob.created_ms,
            complete_ms: cx.now_ms(),
            state: if is_image {
                FileState::Checking
            } else {
                FileState::Plain
            },
            image: None,
        })?;
        if is_image {
            cx.jobs().add("inspect", &blob.id)?;
        }
        Ok(())
    }

    /// Removes a file with its bytes.
    pub(crate) fn remove(&self, cx: &Context, file: &File) -> Result<(), Error> {
        remove_blob(cx, &file.blob)?;
        self.remove_records(cx, file)
    }

    /// Removes everything of a file except its own bytes.
    pub(crate) fn remove_records(&self, cx: &Context, file: &File) -> Result<(), Error> {
        if let Some(thumbnail) = file.thumbnail() {
            remove_blob(cx, &thumbnail.blob)?;
        }
        cx.table::<File>().remove(&*file.blob)?;
        let (bytes, files) = (file.size, 1);
        quota::subtract(cx, &self.settings, &file.uploader, Used { bytes, files })?;
        if attachment::remove_some(cx, &file.blob)? {
            cx.jobs().add("forget", &file.blob)?;
        }
        Ok(())
    }

    /// Removes a file that no message shows.
    pub(crate) fn remove_unattached(&self, cx: &Context, blob: &str) -> Result<(), Error> {
        match cx.table::<File>().get(blob)? {
            Some(file) if !attachment::is_attached(cx, blob)? => self.remove(cx, &file),
            _ => Ok(()),
        }
    }

    /// Cleans up after an upload: removes a file that no message shows, and releases the reservation of an aborted upload.
    pub(crate) fn sweep(&self, cx: &Context, blob: &str) -> Result<(), Error> {
        if let Some(file) = cx.table::<File>().get(blob)? {
            let late_ms = file.complete_ms + self.unsent_ms();
            if late_ms > cx.now_ms() {
                return Ok(cx.jobs().add_at("sweep", late_ms, &blob)?);
            }
            return self.remove_unattached(cx, blob);
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

fn remove_blob(cx: &Context, blob: &str) -> Result<(), Error> {
    match cx.blobs().remove(blob) {
        Err(ServiceError::NotFound) => Ok(()),
        removed => Ok(removed?),
    }
}
