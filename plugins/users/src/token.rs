//! Opaque tokens. Only their hash is kept, so that nobody who reads the data can log in with it.
//!
//! `token/HASH` holds the login, `login/ACTOR/ID` the key of its token.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const PREFIX: &str = "cyt_";

/// A login as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) actor: String,
    pub(crate) id: String,
    pub(crate) expires_ms: u64,
}

pub(crate) fn is_ours(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// Draws a token and the id of its login.
pub(crate) fn new(cx: &Context) -> (String, String) {
    (format!("{PREFIX}{}", hex(&cx.random::<32>())), hex(&cx.random::<8>()))
}

pub(crate) fn key(token: &str) -> String {
    format!("token/{}", hex(&Sha256::digest(token.as_bytes())))
}

pub(crate) fn login_key(actor: &str, id: &str) -> String {
    format!("login/{actor}/{id}")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}
