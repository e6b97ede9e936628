//! What the operator may set.

use courtyard_plugin_sdk::prelude::*;
use serde::Deserialize;

use crate::accounts::avatar::AvatarLimits;
use crate::accounts::field::Field;
use crate::accounts::password_hash::Cost;
use crate::error::bad;
use crate::sign_in::code::Codes;
use crate::sign_in::oidc::Oidc;
use crate::sign_in::throttle::Backoff;

/// The operator's settings. Each has a default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// How long a token is good for.
    pub(crate) token_days: u64,
    pub(crate) argon2: Cost,
    /// Logins of one account at a time; the oldest one ends for a new one.
    pub(crate) sessions: usize,
    /// How exactly it is kept when a session was seen last.
    pub(crate) seen_minutes: u64,
    /// How fresh a login must be to do without a password that the account does not have.
    pub(crate) confirm_minutes: u64,
    pub(crate) wrong_passwords: Backoff,
    /// Codes and sign-ins by third parties that begin in a minute, in one app and as far as one instance knows.
    pub(crate) strangers_per_minute: u32,
    pub(crate) bio_chars: usize,
    pub(crate) fields: Vec<Field>,
    pub(crate) avatar: AvatarLimits,
    /// Actors who may shut others out. Not names, which anybody could take first.
    pub(crate) operators: Vec<String>,
    /// Friends of one account.
    pub(crate) friends: usize,
    /// Open requests that one account has sent, and that it has got.
    pub(crate) friend_requests: usize,
    /// How soon after a request was refused or withdrawn the same one is taken again.
    pub(crate) request_again_s: u64,
    /// Tags of one friend.
    pub(crate) tags: usize,
    /// People that one account keeps out.
    pub(crate) blocks: usize,
    pub(crate) presence: PresenceSettings,
    pub(crate) codes: Codes,
    pub(crate) oidc: Oidc,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token_days: 30,
            argon2: Cost::default(),
            sessions: 50,
            seen_minutes: 10,
            confirm_minutes: 10,
            wrong_passwords: Backoff::default(),
            strangers_per_minute: 600,
            bio_chars: 500,
            fields: Vec::new(),
            avatar: AvatarLimits::default(),
            operators: Vec::new(),
            friends: 1_000,
            friend_requests: 100,
            request_again_s: 60,
            tags: 20,
            blocks: 1_000,
            presence: PresenceSettings::default(),
            codes: Codes::default(),
            oidc: Oidc::default(),
        }
    }
}

/// What there is to set about presence.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PresenceSettings {
    pub(crate) text_chars: usize,
    /// Whether those who may see someone's presence see when they were there last.
    pub(crate) last_seen: bool,
    /// How soon after a change the next one is taken.
    pub(crate) interval_ms: u64,
}

impl Default for PresenceSettings {
    fn default() -> Self {
        Self {
            text_chars: 100,
            last_seen: true,
            interval_ms: 1_000,
        }
    }
}

impl Settings {
    pub(crate) fn parse(json: &str) -> Result<Self, Error> {
        let settings: Self = serde_json::from_str(json).map_err(|error| bad(error.to_string()))?;
        settings.argon2.check()?;
        settings.wrong_passwords.check()?;
        settings.codes.check()?;
        settings.oidc.check()?;
        Field::check_all(&settings.fields)?;
        if settings.sessions == 0 {
            return Err(bad("sessions: an account needs one at least"));
        }
        // A signal goes to 10,000 people at most, and a change of presence to all friends.
        if settings.friends > 10_000 {
            return Err(bad("friends: 10,000 at most"));
        }
        Ok(settings)
    }

    pub(crate) fn token_ms(&self) -> u64 {
        self.token_days.saturating_mul(24 * 60 * 60 * 1_000)
    }
}
