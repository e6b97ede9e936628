//! Uploads before they become stickers: checked, inspected by a job, and added to a pack or removed.

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Stickers;
use crate::pack::Pack;
use crate::picture::{self, Picture};
use crate::quota::{self, Used};
use crate::sticker::{ByBlob, Sticker};

const HOUR_MS: u64 = 60 * 60 * 1_000;

/// An upload that is in no pack yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) blob: String,
    pub(crate) uploader: String,
    pub(crate) bytes: u64,
    pub(crate) media_type: String,
    /// Set once the inspection succeeded.
    pub(crate) picture: Option<Picture>,
    /// Code of the reason for its rejection; its bytes are removed then.
    pub(crate) flaw: Option<String>,
}

table! {
    Upload in "uploads", key (blob: String);
}

impl Upload {
    /// Returns `checking`, `ready` or `refused`.
    pub(crate) fn state(&self) -> &'static str {
        match (&self.picture, &self.flaw) {
            (_, Some(_)) => "refused",
            (Some(_), None) => "ready",
            (None, None) => "checking",
        }
    }
}

/// Result of the inspection of an upload.
#[derive(Serialize, Deserialize)]
pub(crate) struct Inspected {
    blob: String,
    picture: Option<Picture>,
    flaw: Option<String>,
}

impl Stickers {
    /// Checks that an upload may begin.
    pub(crate) fn check_upload(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        if blob.length == 0 || blob.length > self.settings.sticker_bytes {
            let sentence = format!("A sticker must have 1 to {} bytes.", self.settings.sticker_bytes);
            return Err(Error::new("limit_sticker_bytes", sentence));
        }
        if !picture::MEDIA_TYPES.contains(&&*blob.media_type) {
            return Err(Error::new(
                "invalid_media_type",
                "A sticker must be PNG, APNG, WebP or Lottie, with the matching media type.",
            ));
        }
        if self.settings.is_admin(&cx.caller.actor) {
            return Ok(());
        }
        let used = quota::used(cx, &cx.caller.actor)?;
        if used.uploads >= self.settings.user_uploads {
            return Err(Error::new(
                "limit_uploads",
                "You have too many unused uploads. Add them to packs first.",
            ));
        }
        if used.bytes + blob.length > self.settings.user_bytes {
            return Err(Error::new(
                "limit_storage",
                "Your stickers use all of your storage. Delete some, then try again.",
            ));
        }
        Ok(())
    }

    /// Stores a complete upload, and enqueues its inspection and its expiry.
    pub(crate) fn store_upload(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        // Other uploads may have completed since this one began.
        self.check_upload(cx, blob)?;
        // Admins have no quotas, and their concurrent uploads must not contend for one counter.
        if !self.settings.is_admin(&blob.uploader) {
            let before = quota::used(cx, &blob.uploader)?;
            let now = Used {
                bytes: before.bytes + blob.length,
                uploads: before.uploads + 1,
            };
            quota::set_used(cx, &blob.uploader, now)?;
        }
        cx.table::<Upload>().put(&Upload {
            blob: blob.id.clone(),
            uploader: blob.uploader.clone(),
            bytes: blob.length,
            media_type: blob.media_type.clone(),
            picture: None,
            flaw: None,
        })?;
        cx.jobs().add("inspect", &blob.id)?;
        let late_ms = cx.now_ms() + self.settings.upload_hours.saturating_mul(HOUR_MS);
        Ok(cx.jobs().add_at("sweep", late_ms, &blob.id)?)
    }

    /// Inspects an upload, outside any transaction.
    pub(crate) fn inspect(&self, cx: &Context, blob: &str) -> Result<(), Error> {
        let most = u32::try_from(self.settings.sticker_bytes).unwrap_or(u32::MAX);
        let bytes = match cx.blobs().read(blob, 0, most) {
            Err(error) if error.code == "blob_not_found" => return Ok(()),
            bytes => bytes?,
        };
        let (picture, flaw) = match picture::inspect(&bytes, self.settings.limits()) {
            Ok(picture) => (Some(picture), None),
            Err(flaw) => (None, Some(flaw.code().to_owned())),
        };
        let blob = blob.to_owned();
        cx.transact("inspected", &Inspected { blob, picture, flaw })
    }

    /// Stores the result of an inspection, and signals the uploader. The bytes of a rejected upload are removed.
    pub(crate) fn store_inspection(&self, cx: &Context, found: Inspected) -> Result<(), Error> {
        let uploads = cx.table::<Upload>();
        let Some(mut upload) = uploads.get(&*found.blob)?.filter(|upload| upload.state() == "checking") else {
            return Ok(());
        };
        upload.picture = found.picture;
        upload.flaw = found.flaw;
        let is_misdeclared = |picture: &Picture| !picture.format.fits(&upload.media_type);
        if upload.picture.as_ref().is_some_and(is_misdeclared) {
            upload.flaw = Some("bad_media_type".to_owned());
        }
        if upload.flaw.is_some() {
            remove_blob(cx, &upload)?;
        }
        uploads.put(&upload)?;
        let payload = serde_json::json!({"blob": upload.blob, "state": upload.state(), "flaw": upload.flaw});
        Ok(cx
            .sessions()
            .signal(std::slice::from_ref(&upload.uploader), "inspected", &payload)?)
    }

    /// Removes an upload that was added to no pack.
    pub(crate) fn sweep(&self, cx: &Context, blob: &str) -> Result<(), Error> {
        if let Some(upload) = cx.table::<Upload>().remove(blob)?
            && upload.flaw.is_none()
        {
            remove_blob(cx, &upload)?;
        }
        Ok(())
    }

    /// Checks that the caller may download the bytes of a sticker.
    pub(crate) fn check_download(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        let actor = &cx.caller.actor;
        let is_admin = self.settings.is_admin(actor);
        if let Some(sticker) = cx.table::<Sticker>().by(ByBlob).get(&*blob.id)?
            && let Some(pack) = cx.table::<Pack>().get(&*sticker.pack)?
        {
            let is_open = self.settings.open_downloads && pack.is_listed();
            if is_open || (!actor.is_empty() && pack.may_see(actor, is_admin)) {
                return Ok(());
            }
        } else if !actor.is_empty() && (blob.uploader == *actor || is_admin) {
            return Ok(());
        }
        Err(Error::new("forbidden", "You can't see this sticker."))
    }
}

/// Removes an upload that is ready from the list, to be added to a pack.
pub(crate) fn claim(cx: &Context, blob: &str) -> Result<(Upload, Picture), Error> {
    let uploads = cx.table::<Upload>();
    let unknown = || Error::new("unknown_upload", "You have no upload with this id.");
    let upload = uploads
        .get(blob)?
        .filter(|upload| upload.uploader == cx.caller.actor)
        .ok_or_else(unknown)?;
    if let Some(flaw) = &upload.flaw {
        return Err(Error::new(
            "invalid_upload",
            format!("This upload was rejected: {flaw}."),
        ));
    }
    let Some(picture) = upload.picture else {
        return Err(Error::new("busy", "This upload is still being inspected. Try again in a moment.").retryable());
    };
    uploads.remove(blob)?;
    let before = quota::used(cx, &upload.uploader)?;
    let uploads = before.uploads.saturating_sub(1);
    quota::set_used(cx, &upload.uploader, Used { uploads, ..before })?;
    Ok((upload, picture))
}

fn remove_blob(cx: &Context, upload: &Upload) -> Result<(), Error> {
    let before = quota::used(cx, &upload.uploader)?;
    let now = Used {
        bytes: before.bytes.saturating_sub(upload.bytes),
        uploads: before.uploads.saturating_sub(1),
    };
    quota::set_used(cx, &upload.uploader, now)?;
    match cx.blobs().remove(&upload.blob) {
        Err(ServiceError::NotFound) => Ok(()),
        removed => Ok(removed?),
    }
}
