//! Uploads on their way to become stickers: taken, inspected by a job, and put into a pack or removed.

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Stickers;
use crate::pack::Pack;
use crate::picture::{self, Picture};
use crate::sticker::{ByBlob, Sticker};

const HOUR_MS: u64 = 60 * 60 * 1_000;

/// An upload that is in no pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) blob: String,
    pub(crate) uploader: String,
    pub(crate) bytes: u64,
    pub(crate) media_type: String,
    /// Once it was inspected.
    pub(crate) picture: Option<Picture>,
    /// The code of what is wrong with it; its bytes are gone then.
    pub(crate) flaw: Option<String>,
}

impl Row for Upload {
    const TABLE: &'static str = "uploads";
    type Key = String;
    type Indexes = ();

    fn key(&self) -> String {
        self.blob.clone()
    }
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

/// What somebody takes up.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) bytes: u64,
    /// Uploads that are in no pack.
    pub(crate) uploads: u64,
}

/// What the inspection of an upload found.
#[derive(Serialize, Deserialize)]
pub(crate) struct Inspected {
    blob: String,
    picture: Option<Picture>,
    flaw: Option<String>,
}

impl Stickers {
    pub(crate) fn check_upload(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        if blob.length == 0 || blob.length > self.settings.sticker_bytes {
            let sentence = format!("A sticker has {} bytes at most.", self.settings.sticker_bytes);
            return Err(Error::new("too_large", sentence));
        }
        if !picture::MEDIA_TYPES.contains(&&*blob.media_type) {
            return Err(Error::new(
                "bad_media_type",
                "A sticker is PNG, APNG, WebP or Lottie, and says so.",
            ));
        }
        if self.settings.is_admin(&cx.caller.actor) {
            return Ok(());
        }
        let used = used(cx, &cx.caller.actor)?;
        if used.uploads >= self.settings.user_uploads {
            return Err(Error::new("too_many_uploads", "Put your uploads into packs first."));
        }
        if used.bytes + blob.length > self.settings.user_bytes {
            return Err(Error::new(
                "quota",
                "Your stickers take up all the room that there is for them.",
            ));
        }
        Ok(())
    }

    pub(crate) fn take_upload(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        // Others may have been completed since this one began.
        self.check_upload(cx, blob)?;
        // Admins have no quotas, and many of their uploads at a time must not wait for one count.
        if !self.settings.is_admin(&blob.uploader) {
            let before = used(cx, &blob.uploader)?;
            let now = Used {
                bytes: before.bytes + blob.length,
                uploads: before.uploads + 1,
            };
            set_used(cx, &blob.uploader, now)?;
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

    /// Inspects an upload, outside of any transaction.
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

    pub(crate) fn inspected(&self, cx: &Context, found: Inspected) -> Result<(), Error> {
        let uploads = cx.table::<Upload>();
        let Some(mut upload) = uploads.get(&*found.blob)?.filter(|upload| upload.state() == "checking") else {
            return Ok(());
        };
        upload.picture = found.picture;
        upload.flaw = found.flaw;
        let says_otherwise = |picture: &Picture| !picture.format.fits(&upload.media_type);
        if upload.picture.as_ref().is_some_and(says_otherwise) {
            upload.flaw = Some("bad_media_type".to_owned());
        }
        if upload.flaw.is_some() {
            drop_blob(cx, &upload)?;
        }
        uploads.put(&upload)?;
        let told = serde_json::json!({"blob": upload.blob, "state": upload.state(), "flaw": upload.flaw});
        Ok(cx
            .sessions()
            .signal(std::slice::from_ref(&upload.uploader), "inspected", &told)?)
    }

    /// Removes what nobody put into a pack.
    pub(crate) fn sweep(&self, cx: &Context, blob: &str) -> Result<(), Error> {
        if let Some(upload) = cx.table::<Upload>().remove(blob)?
            && upload.flaw.is_none()
        {
            drop_blob(cx, &upload)?;
        }
        Ok(())
    }

    /// Decides who may have the bytes of a sticker.
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
        Err(Error::new("not_yours", "This sticker is not for you."))
    }
}

/// Takes an upload that is ready out of the list, to be put into a pack.
pub(crate) fn claim(cx: &Context, blob: &str) -> Result<(Upload, Picture), Error> {
    let uploads = cx.table::<Upload>();
    let unknown = || Error::new("unknown_upload", "You have no such upload.");
    let upload = uploads
        .get(blob)?
        .filter(|upload| upload.uploader == cx.caller.actor)
        .ok_or_else(unknown)?;
    if let Some(flaw) = &upload.flaw {
        return Err(Error::new("refused_upload", format!("This is no sticker: {flaw}.")));
    }
    let Some(picture) = upload.picture else {
        return Err(Error::new("not_inspected", "This upload is not inspected yet.").retryable());
    };
    uploads.remove(blob)?;
    let before = used(cx, &upload.uploader)?;
    let uploads = before.uploads.saturating_sub(1);
    set_used(cx, &upload.uploader, Used { uploads, ..before })?;
    Ok((upload, picture))
}

/// Gives back the room that a sticker took up.
pub(crate) fn give_back(cx: &Context, uploader: &str, bytes: u64) -> Result<(), Error> {
    let before = used(cx, uploader)?;
    let bytes = before.bytes.saturating_sub(bytes);
    set_used(cx, uploader, Used { bytes, ..before })
}

pub(crate) fn used(cx: &Context, actor: &str) -> Result<Used, Error> {
    Ok(cx.kv().get_json(format!("used/{actor}"))?.unwrap_or_default())
}

fn set_used(cx: &Context, actor: &str, used: Used) -> Result<(), Error> {
    let key = format!("used/{actor}");
    if used.bytes == 0 && used.uploads == 0 {
        return Ok(cx.kv().delete(key)?);
    }
    Ok(cx.kv().set_json(key, &used)?)
}

fn drop_blob(cx: &Context, upload: &Upload) -> Result<(), Error> {
    let before = used(cx, &upload.uploader)?;
    let now = Used {
        bytes: before.bytes.saturating_sub(upload.bytes),
        uploads: before.uploads.saturating_sub(1),
    };
    set_used(cx, &upload.uploader, now)?;
    match cx.blobs().remove(&upload.blob) {
        Err(ServiceError::NotFound) => Ok(()),
        removed => Ok(removed?),
    }
}
