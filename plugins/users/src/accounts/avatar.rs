//! Pictures of people: the last blob that somebody uploaded to this plugin.

use courtyard_plugin_sdk::prelude::*;
use serde::Deserialize;

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::unknown;

/// What a picture may be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AvatarLimits {
    max_bytes: u64,
    media_types: Vec<String>,
    /// Whether those who are not signed in see pictures.
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

/// Gives somebody another picture, or none, and removes the one before.
pub(crate) fn replace(cx: &Context, actor: &str, picture: Option<String>) -> Result<(), Error> {
    let account = account::of_actor(cx, actor)?.ok_or_else(unknown)?;
    if let Some(old) = &account.avatar
        && picture.as_deref() != Some(old)
    {
        // It may be gone already.
        let _ = cx.blobs().remove(old);
    }
    account::Account {
        avatar: picture,
        ..account
    }
    .save(cx)
}

impl Users {
    pub(crate) fn check_picture(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        let limits = &self.settings.avatar;
        if cx.caller.actor.is_empty() {
            return Err(Error::new("unauthenticated", "Sign in first."));
        }
        if blob.length > limits.max_bytes {
            let sentence = format!("A picture has up to {} bytes.", limits.max_bytes);
            return Err(Error::new("too_large", sentence));
        }
        if !limits.media_types.contains(&blob.media_type) {
            let sentence = format!("A picture is one of {}.", limits.media_types.join(", "));
            return Err(Error::new("bad_media_type", sentence));
        }
        Ok(())
    }

    pub(crate) fn check_removal(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        if blob.uploader != cx.caller.actor {
            return Err(Error::new("not_yours", "It is not your picture."));
        }
        let account = account::of_actor(cx, &cx.caller.actor)?.ok_or_else(unknown)?;
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
