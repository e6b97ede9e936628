//! The logins of an account: where it is signed in, since when, and until when.
//!
//! `login/ACTOR/ID` holds a login.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::account;
use crate::accounts::last_seen::{self, Seen};
use crate::accounts::person::Nothing;
use crate::prefix_scan;
use crate::secret::hex;
use crate::sign_in::ban;
use crate::sign_in::token::{self, Login};

const DEVICE_CHARS: usize = 64;

/// A login as it is kept for its owner.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The key of the token.
    token: String,
    created_ms: u64,
    expires_ms: u64,
    /// As the client called it when it signed in; may be empty.
    device: String,
}

record! {
    /// A login: what to connect with, and until when.
    pub(crate) struct Session { pub(crate) actor: String, pub(crate) token: String, pub(crate) expires_ms: u64 }
}
record! {
    /// Where an account is signed in.
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
    /// Where an account is signed in, the newest login first.
    pub(crate) struct Sessions { sessions: Vec<SessionInfo> }
}
record! {
    /// One of the logins.
    pub(crate) struct WhichSession { id: String }
}

fn login_key(actor: &str, id: &str) -> String {
    format!("login/{actor}/{id}")
}

fn logins(cx: &Context, actor: &str) -> Result<Vec<(String, Kept)>, Error> {
    let mut logins = prefix_scan::read::<Kept>(cx, &format!("login/{actor}/"))?;
    logins.sort_by_key(|(_, login)| std::cmp::Reverse(login.created_ms));
    Ok(logins)
}

/// Notes that the caller is there, if that was not noted for some time.
pub(crate) fn saw(cx: &Context, every_minutes: u64) -> Result<(), Error> {
    let (caller, now_ms) = (&cx.caller, cx.now_ms());
    // Not every sign-in is one of this plugin.
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
    // A login that ended is not to come back.
    let login = cx.kv().get_json::<Kept>(login_key(&caller.actor, &caller.credential))?;
    if let Some(login) = login {
        let seen = Seen {
            at_ms: now_ms,
            device: caller.device.clone(),
        };
        last_seen::save(cx, &caller.actor, &caller.credential, &seen, login.expires_ms)?;
    }
    Ok(())
}

/// Ends one login, and the connections that were made with it.
fn end(cx: &Context, actor: &str, id: &str) -> Result<bool, Error> {
    let key = login_key(actor, id);
    let found = cx.kv().get_json::<Kept>(&key)?;
    if let Some(login) = &found {
        cx.kv().delete(&login.token)?;
        cx.kv().delete(key)?;
        last_seen::delete(cx, actor, id)?;
    }
    cx.sessions().end(actor, Some(id));
    Ok(found.is_some())
}

/// Ends all logins but one.
pub(crate) fn end_others(cx: &Context, actor: &str, kept: &str) -> Result<(), Error> {
    for (id, _) in logins(cx, actor)? {
        if id != kept {
            end(cx, actor, &id)?;
        }
    }
    Ok(())
}

/// Says when the login of the caller began.
pub(crate) fn began_ms(cx: &Context) -> Result<u64, Error> {
    let key = login_key(&cx.caller.actor, &cx.caller.credential);
    let login = cx.kv().get_json::<Kept>(key)?;
    Ok(login.map_or(0, |login| login.created_ms))
}

impl Users {
    /// Says who a token stands for.
    pub(crate) fn identify(&self, cx: &Context, token: &str) -> Result<Option<Identity>, Error> {
        if !token::is_ours(token) {
            return Ok(None);
        }
        let ended = || Error::new("token_ended", "The login has ended; log in again.");
        let login: Login = cx.kv().get_json(token::key(token))?.ok_or_else(ended)?;
        if login.expires_ms <= cx.now_ms() || account::is_closed(cx, &login.actor)? {
            return Err(ended());
        }
        Ok(Some(Identity {
            actor: login.actor,
            credential: login.id,
            expires_at_ms: login.expires_ms,
        }))
    }

    /// Signs someone in.
    pub(crate) fn log_in(&self, cx: &Context, actor: String, device: Option<&str>) -> Result<Session, Error> {
        ban::check(cx, &actor)?;
        let logins = logins(cx, &actor)?;
        for (id, _) in logins.iter().skip(self.settings.sessions - 1) {
            end(cx, &actor, id)?;
        }
        let (token, id) = (token::new(cx), hex(&cx.random::<8>()));
        let created_ms = cx.now_ms();
        let expires_ms = created_ms.saturating_add(self.settings.token_ms());
        let device: String = device
            .unwrap_or_default()
            .chars()
            .filter(|char| !char.is_control())
            .collect();
        let kept = Kept {
            token: token::key(&token),
            created_ms,
            expires_ms,
            device: device.chars().take(DEVICE_CHARS).collect(),
        };
        let login = Login { actor, id, expires_ms };
        let key = login_key(&login.actor, &login.id);
        cx.kv().set_json_until(key, &kept, expires_ms)?;
        cx.kv().set_json_until(kept.token, &login, expires_ms)?;
        Ok(Session {
            actor: login.actor,
            token,
            expires_ms,
        })
    }

    pub(crate) fn logout(&self, cx: &Context, _params: Nothing) -> Result<Nothing, Error> {
        end(cx, &cx.caller.actor, &cx.caller.credential)?;
        Ok(Nothing {})
    }

    pub(crate) fn sessions(&self, cx: &Context, _params: Nothing) -> Result<Sessions, Error> {
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
        Ok(Sessions { sessions })
    }

    pub(crate) fn end_session(&self, cx: &Context, params: WhichSession) -> Result<Nothing, Error> {
        if end(cx, &cx.caller.actor, &params.id)? {
            Ok(Nothing {})
        } else {
            Err(Error::new("unknown_session", "There is no such session."))
        }
    }

    pub(crate) fn end_other_sessions(&self, cx: &Context, _params: Nothing) -> Result<Nothing, Error> {
        end_others(cx, &cx.caller.actor, &cx.caller.credential)?;
        Ok(Nothing {})
    }

    /// Gives the caller a new token; the old one is good for nothing any more, and this connection ends.
    pub(crate) fn refresh(&self, cx: &Context, _params: Nothing) -> Result<Session, Error> {
        let (actor, id) = (&cx.caller.actor, &cx.caller.credential);
        let login = cx.kv().get_json::<Kept>(login_key(actor, id))?;
        let login = login.ok_or_else(|| Error::new("unknown_session", "There is no such session."))?;
        let device = if login.device.is_empty() {
            cx.caller.device.as_str()
        } else {
            login.device.as_str()
        };
        let session = self.log_in(cx, actor.clone(), Some(device))?;
        end(cx, actor, id)?;
        Ok(session)
    }
}
