//! The configuration of the plugin.

use courtyard_plugin_sdk::prelude::*;
use serde::Deserialize;

use crate::accounts::avatar::AvatarLimits;
use crate::accounts::field::Field;
use crate::accounts::password_hash::HashCost;
use crate::error::invalid_configuration;
use crate::sign_in::code::CodeSettings;
use crate::sign_in::oidc::OidcSettings;
use crate::sign_in::throttle::Backoff;

/// The configuration. Every key has a default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Lifetime of a login and its token, in days.
    pub(crate) token_days: u64,
    pub(crate) argon2: HashCost,
    /// Maximum number of logins of one account; a new login ends the oldest one.
    pub(crate) sessions: usize,
    /// Precision of `last_seen_ms`, in minutes.
    pub(crate) seen_minutes: u64,
    /// Maximum age, in minutes, of a login that confirms a change to an account without a password.
    pub(crate) confirm_minutes: u64,
    pub(crate) wrong_passwords: Backoff,
    /// Maximum number of codes and identity provider sign-ins that start per minute, per app and instance.
    pub(crate) strangers_per_minute: u32,
    pub(crate) bio_chars: usize,
    pub(crate) fields: Vec<Field>,
    pub(crate) avatar: AvatarLimits,
    /// Actors who may ban. Ids and not names: anybody could register a name first.
    pub(crate) operators: Vec<String>,
    /// Maximum number of friends of one account.
    pub(crate) friends: usize,
    /// Maximum number of pending requests that one account has sent, and that it has received.
    pub(crate) friend_requests: usize,
    /// Seconds until a refused or withdrawn friend request can be made again.
    pub(crate) request_again_s: u64,
    /// Maximum number of tags of one friend.
    pub(crate) tags: usize,
    /// Maximum number of people that one account blocks.
    pub(crate) blocks: usize,
    pub(crate) presence: PresenceSettings,
    pub(crate) codes: CodeSettings,
    pub(crate) oidc: OidcSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token_days: 30,
            argon2: HashCost::default(),
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
            codes: CodeSettings::default(),
            oidc: OidcSettings::default(),
        }
    }
}

/// The configuration of presence.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PresenceSettings {
    pub(crate) text_chars: usize,
    /// True shows `last_seen_ms` to people who may see the presence.
    pub(crate) last_seen: bool,
    /// Least time between two changes of one person, in milliseconds.
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
        let settings: Self = serde_json::from_str(json).map_err(|error| invalid_configuration(error.to_string()))?;
        settings.argon2.check()?;
        settings.wrong_passwords.check()?;
        settings.codes.check()?;
        settings.oidc.check()?;
        Field::check_all(&settings.fields)?;
        if settings.sessions == 0 {
            return Err(invalid_configuration("sessions: 0 is too small; use 1 or more"));
        }
        // A change of presence goes to all friends, and a signal to at most 10,000 people.
        if settings.friends > 10_000 {
            return Err(invalid_configuration("friends: use 10000 or less"));
        }
        Ok(settings)
    }

    pub(crate) fn token_ms(&self) -> u64 {
        self.token_days.saturating_mul(24 * 60 * 60 * 1_000)
    }
}
