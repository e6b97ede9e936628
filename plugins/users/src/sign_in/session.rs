//! The logins of an account, which clients see as sessions.
//!
//! `login/ACTOR/ID` holds a login until it expires.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::account;
use crate::accounts::last_seen::{self, Seen};
use crate::accounts::person::Nothing;
use crate::error;
use crate::prefix_scan;
use crate::secret::hex;
use crate::sign_in::ban;
use crate::sign_in::token::{self, TokenLogin};

/// Maximum length of the name of a device, in characters.
const DEVICE_CHARS: usize = 64;

/// A stored login, found by its owner.
#[derive(Debug, Serialize, Deserialize)]
struct StoredLogin {
    /// The key of the token's record.
    token: String,
    created_ms: u64,
    expires_ms: u64,
    /// The name that the client gave when it signed in; may be empty.
    device: String,
}

record! {
    /// A new login: the token for connecting, and its end.
    pub(crate) struct NewSession { pub(crate) actor: String, pub(crate) token: String, pub(crate) expires_ms: u64 }
}
record! {
    /// A login of the caller.
    pub(crate) struct SessionInfo {
        id: String,
        device: String,
        created_ms: u64,
        last_seen_ms: u64,
        expires_ms: u64,
        current: bool,
    }
}
record! {
    /// The logins of the caller, the newest first.
    pub(crate) struct SessionList { sessions: Vec<SessionInfo> }
}
record! {
    /// One login.
    pub(crate) struct SessionParams { id: String }
}

fn login_key(actor: &str, id: &str) -> String {
    format!("login/{actor}/{id}")
}

/// Returns the logins of an account with their ids, the newest first.
fn logins(cx: &Context, actor: &str) -> Result<Vec<(String, StoredLogin)>, Error> {
    let mut logins = prefix_scan::read::<StoredLogin>(cx, &format!("login/{actor}/"))?;
    logins.sort_by_key(|(_, login)| std::cmp::Reverse(login.created_ms));
    Ok(logins)
}

/// Updates the last use of the caller's login, unless it was updated less than `every_minutes` ago on the same device.
pub(crate) fn touch(cx: &Context, every_minutes: u64) -> Result<(), Error> {
    let (caller, now_ms) = (&cx.caller, cx.now_ms());
    // Another plugin may have authenticated this caller.
    if caller.credential.is_empty() {
        return Ok(());
    }
    let every_ms = every_minutes.saturating_mul(60_000);
    if let Some(seen) = last_seen::of_login(cx, &caller.actor, &caller.credential)?
        && seen.at_ms.saturating_add(every_ms) > now_ms
        && seen.device == caller.device
    {
        return Ok(());
    }
    // A login that has ended must not be written again.
    let login = cx
        .kv()
        .get_json::<StoredLogin>(login_key(&caller.actor, &caller.credential))?;
    if let Some(login) = login {
        let seen = Seen {
            at_ms: now_ms,
            device: caller.device.clone(),
        };
        last_seen::save(cx, &caller.actor, &caller.credential, &seen, login.expires_ms)?;
    }
    Ok(())
}

/// Deletes one login and ends its connections. Returns false if the login doesn't exist.
fn end_login(cx: &Context, actor: &str, id: &str) -> Result<bool, Error> {
    let key = login_key(actor, id);
    let found = cx.kv().get_json::<StoredLogin>(&key)?;
    if let Some(login) = &found {
        cx.kv().delete(&login.token)?;
        cx.kv().delete(key)?;
        last_seen::delete(cx, actor, id)?;
    }
    cx.sessions().end(actor, Some(id));
    Ok(found.is_some())
}

/// Ends all logins of an account except one.
pub(crate) fn end_other_logins(cx: &Context, actor: &str, spared_id: &str) -> Result<(), Error> {
    for (id, _) in logins(cx, actor)? {
        if id != spared_id {
            end_login(cx, actor, &id)?;
        }
    }
    Ok(())
}

/// Returns when the caller's login was created; 0 if it doesn't exist.
pub(crate) fn started_ms(cx: &Context) -> Result<u64, Error> {
    let key = login_key(&cx.caller.actor, &cx.caller.credential);
    let login = cx.kv().get_json::<StoredLogin>(key)?;
    Ok(login.map_or(0, |login| login.created_ms))
}

impl Users {
    /// Returns the identity of a token, or `None` if the token isn't one of this plugin.
    ///
    /// # Errors
    /// `expired_token` for a token of this plugin that is unknown or expired, or whose account is closed.
    pub(crate) fn authenticate_token(&self, cx: &Context, token: &str) -> Result<Option<Identity>, Error> {
        if !token::is_ours(token) {
            return Ok(None);
        }
        let ended = || Error::new(error::EXPIRED_TOKEN, "This login has ended. Sign in again.");
        let login: TokenLogin = cx.kv().get_json(token::key(token))?.ok_or_else(ended)?;
        if login.expires_ms <= cx.now_ms() || account::is_closed(cx, &login.actor)? {
            return Err(ended());
        }
        Ok(Some(Identity {
            actor: login.actor,
            credential: login.id,
            expires_at_ms: login.expires_ms,
        }))
    }

    /// Creates a login. If the account has reached its limit, its oldest logins end.
    pub(crate) fn start_session(&self, cx: &Context, actor: String, device: Option<&str>) -> Result<NewSession, Error> {
        ban::check(cx, &actor)?;
        let logins = logins(cx, &actor)?;
        for (id, _) in logins.iter().skip(self.settings.sessions - 1) {
            end_login(cx, &actor, id)?;
        }
        let (token, id) = (token::new(cx), hex(&cx.random::<8>()));
        let created_ms = cx.now_ms();
        let expires_ms = created_ms.saturating_add(self.settings.token_ms());
        let device: String = device
            .unwrap_or_default()
            .chars()
            .filter(|char| !char.is_control())
            .collect();
        let stored = StoredLogin {
            token: token::key(&token),
            created_ms,
            expires_ms,
            device: device.chars().take(DEVICE_CHARS).collect(),
        };
        let login = TokenLogin { actor, id, expires_ms };
        let key = login_key(&login.actor, &login.id);
        cx.kv().set_json_until(key, &stored, expires_ms)?;
        cx.kv().set_json_until(stored.token, &login, expires_ms)?;
        Ok(NewSession {
            actor: login.actor,
            token,
            expires_ms,
        })
    }

    pub(crate) fn logout(&self, cx: &Context, _params: Nothing) -> Result<Nothing, Error> {
        end_login(cx, &cx.caller.actor, &cx.caller.credential)?;
        Ok(Nothing {})
    }

    pub(crate) fn sessions(&self, cx: &Context, _params: Nothing) -> Result<SessionList, Error> {
        let actor = cx.caller.actor.as_str();
        let mut sessions = Vec::new();
        for (id, login) in logins(cx, actor)? {
            let seen = last_seen::of_login(cx, actor, &id)?;
            let (at_ms, device) = seen.map_or((login.created_ms, String::new()), |seen| (seen.at_ms, seen.device));
            sessions.push(SessionInfo {
                current: id == cx.caller.credential,
                device: if login.device.is_empty() { device } else { login.device },
                created_ms: login.created_ms,
                last_seen_ms: at_ms,
                expires_ms: login.expires_ms,
                id,
            });
        }
        Ok(SessionList { sessions })
    }

    pub(crate) fn end_session(&self, cx: &Context, params: SessionParams) -> Result<Nothing, Error> {
        if end_login(cx, &cx.caller.actor, &params.id)? {
            Ok(Nothing {})
        } else {
            Err(Error::new(error::UNKNOWN_SESSION, "No session has this id."))
        }
    }

    pub(crate) fn end_other_sessions(&self, cx: &Context, _params: Nothing) -> Result<Nothing, Error> {
        end_other_logins(cx, &cx.caller.actor, &cx.caller.credential)?;
        Ok(Nothing {})
    }

    /// Replaces the caller's login by a new one. The old token becomes invalid, and its connections end.
    pub(crate) fn refresh(&self, cx: &Context, _params: Nothing) -> Result<NewSession, Error> {
        let (actor, id) = (&cx.caller.actor, &cx.caller.credential);
        let login = cx.kv().get_json::<StoredLogin>(login_key(actor, id))?;
        let login = login.ok_or_else(|| Error::new(error::UNKNOWN_SESSION, "No session has this id."))?;
        let device = if login.device.is_empty() {
            cx.caller.device.as_str()
        } else {
            login.device.as_str()
        };
        let session = self.start_session(cx, actor.clone(), Some(device))?;
        end_login(cx, actor, id)?;
        Ok(session)
    }
}
