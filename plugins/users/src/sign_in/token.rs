//! Opaque tokens. Only their hash is stored, so that reading the data isn't enough to sign in.
//!
//! `token/HASH` holds the owner of a token.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::secret::{digest, hex};

const PREFIX: &str = "cyt_";

/// The login of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenLogin {
    pub(crate) actor: String,
    pub(crate) id: String,
    pub(crate) expires_ms: u64,
}

/// True if a text has the prefix of this plugin's tokens.
pub(crate) fn is_ours(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// Creates a random token.
pub(crate) fn new(cx: &Context) -> String {
    format!("{PREFIX}{}", hex(&cx.random::<32>()))
}

/// Returns the key of a token's record.
pub(crate) fn key(token: &str) -> String {
    format!("token/{}", hex(&digest(token.as_bytes())))
}
