//! Bans: operators keep accounts from signing in.
//!
//! `banned/ACTOR` holds the reason until the ban ends.

use courtyard_plugin_sdk::prelude::*;
use serde_json::json;

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::{Nothing, PersonParams, find_other, unknown_person};
use crate::error;
use crate::sign_in::session;

/// Maximum length of a reason, in characters.
const REASON_CHARS: usize = 200;

record! {
    /// Parameters of `ban`. Without `until_ms` the ban doesn't end.
    pub(crate) struct BanParams { actor: String, reason: Option<String>, until_ms: Option<u64> }
}

fn key(actor: &str) -> String {
    format!("banned/{actor}")
}

/// Rejects a banned account.
///
/// # Errors
/// `forbidden`, with the reason.
pub(crate) fn check(cx: &Context, actor: &str) -> Result<(), Error> {
    match cx.kv().get(key(actor))? {
        None => Ok(()),
        Some(reason) if reason.is_empty() => Err(Error::new(error::FORBIDDEN, "You are banned.")),
        Some(reason) => {
            let reason = String::from_utf8_lossy(&reason);
            Err(Error::new(error::FORBIDDEN, format!("You are banned: {reason}")))
        }
    }
}

impl Users {
    fn is_operator(&self, actor: &str) -> bool {
        self.settings.operators.iter().any(|operator| operator == actor)
    }

    fn check_operator(&self, cx: &Context) -> Result<(), Error> {
        if self.is_operator(&cx.caller.actor) {
            Ok(())
        } else {
            Err(Error::new(error::FORBIDDEN, "Only operators can do this."))
        }
    }

    pub(crate) fn ban(&self, cx: &Context, params: BanParams) -> Result<Nothing, Error> {
        self.check_operator(cx)?;
        let account = find_other(cx, &params.actor)?;
        if self.is_operator(&account.actor) {
            return Err(Error::new(error::FORBIDDEN, "Operators can't ban each other."));
        }
        let reason = params.reason.unwrap_or_default().trim().to_owned();
        if reason.chars().count() > REASON_CHARS || reason.chars().any(char::is_control) {
            return Err(Error::new(
                error::INVALID_TEXT,
                "A reason has up to 200 printable characters.",
            ));
        }
        let until_ms = params.until_ms.unwrap_or(u64::MAX);
        if until_ms <= cx.now_ms() {
            return Err(Error::new(error::INVALID_TIME, "`until_ms` is in the past."));
        }
        cx.kv().set_until(key(&account.actor), &reason, until_ms)?;
        session::end_other_logins(cx, &account.actor, "")?;
        cx.sessions().end(&account.actor, None);
        let payload = json!({ "actor": account.actor, "by": cx.caller.actor, "reason": reason });
        cx.events().publish("banned", &payload)?;
        Ok(Nothing {})
    }

    pub(crate) fn unban(&self, cx: &Context, params: PersonParams) -> Result<Nothing, Error> {
        self.check_operator(cx)?;
        account::find_by_actor(cx, &params.actor)?.ok_or_else(unknown_person)?;
        cx.kv().delete(key(&params.actor))?;
        let payload = json!({ "actor": params.actor, "by": cx.caller.actor });
        cx.events().publish("unbanned", &payload)?;
        Ok(Nothing {})
    }
}
