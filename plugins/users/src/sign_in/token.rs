//! Opaque tokens. Only their hash is kept, so that nobody who reads the data can log in with it.
//!
//! `token/HASH` holds the login.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::secret::{digest, hex};

const PREFIX: &str = "cyt_";

/// A login as it is found by its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) actor: String,
    pub(crate) id: String,
    pub(crate) expires_ms: u64,
}

pub(crate) fn is_ours(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// Draws a token.
pub(crate) fn new(cx: &Context) -> String {
    format!("{PREFIX}{}", hex(&cx.random::<32>()))
}

pub(crate) fn key(token: &str) -> String {
    format!("token/{}", hex(&digest(token.as_bytes())))
}
