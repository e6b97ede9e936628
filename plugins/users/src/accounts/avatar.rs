//! Pictures of people: the last completed upload of each person to this plugin.

use courtyard_plugin_sdk::prelude::*;
use serde::Deserialize;

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::unknown_person;
use crate::error;

/// The limits of a picture.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AvatarLimits {
    max_bytes: u64,
    media_types: Vec<String>,
    /// True lets callers who aren't signed in download pictures.
    pub(crate) public: bool,
}

impl Default for AvatarLimits {
    fn default() -> Self {
        Self {
            max_bytes: 1_048_576,
            media_types: ["image/png", "image/jpeg", "image/webp", "image/gif"]
                .map(str::to_owned)
                .into(),
            public: false,
        }
    }
}

/// Sets or removes the picture of an account, and deletes the previous blob.
pub(crate) fn replace(cx: &Context, actor: &str, picture: Option<String>) -> Result<(), Error> {
    let account = account::find_by_actor(cx, actor)?.ok_or_else(unknown_person)?;
    if let Some(old) = &account.avatar
        && picture.as_deref() != Some(old)
    {
        // The blob may already be deleted.
        let _ = cx.blobs().remove(old);
    }
    account::Account {
        avatar: picture,
        ..account
    }
    .save(cx)
}

impl Users {
    /// Checks an upload before its first byte.
    pub(crate) fn check_picture(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        let limits = &self.settings.avatar;
        if cx.caller.actor.is_empty() {
            return Err(Error::new(error::UNAUTHENTICATED, "Sign in first."));
        }
        if blob.length > limits.max_bytes {
            let sentence = format!("This picture is too large: {} bytes at most.", limits.max_bytes);
            return Err(Error::new(error::LIMIT_PICTURE_BYTES, sentence));
        }
        if !limits.media_types.contains(&blob.media_type) {
            let sentence = format!(
                "This media type is not accepted for pictures; use one of {}.",
                limits.media_types.join(", ")
            );
            return Err(Error::new(error::INVALID_MEDIA_TYPE, sentence));
        }
        Ok(())
    }

    /// Checks that the caller owns a picture that is to be deleted, and removes it from the account.
    pub(crate) fn check_removal(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        if blob.uploader != cx.caller.actor {
            return Err(Error::new(error::FORBIDDEN, "Only its owner can delete this picture."));
        }
        let account = account::find_by_actor(cx, &cx.caller.actor)?.ok_or_else(unknown_person)?;
        if account.avatar.as_deref() == Some(blob.id.as_str()) {
            account::Account {
                avatar: None,
                ..account
            }
            .save(cx)?;
        }
        Ok(())
    }
}
