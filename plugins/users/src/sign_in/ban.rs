//! People whom operators of the app shut out.
//!
//! `banned/ACTOR` holds why, until the ban ends.

use courtyard_plugin_sdk::prelude::*;
use serde_json::json;

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::{Nothing, Whom, other, unknown};
use crate::sign_in::session;

const REASON_CHARS: usize = 200;

record! {
    /// Who is shut out, why, and until when.
    pub(crate) struct Ban { actor: String, reason: Option<String>, until_ms: Option<u64> }
}

fn key(actor: &str) -> String {
    format!("banned/{actor}")
}

/// Refuses who is shut out.
///
/// # Errors
/// `banned`, with the reason.
pub(crate) fn check(cx: &Context, actor: &str) -> Result<(), Error> {
    match cx.kv().get(key(actor))? {
        None => Ok(()),
        Some(reason) if reason.is_empty() => Err(Error::new("banned", "You are shut out.")),
        Some(reason) => {
            let reason = String::from_utf8_lossy(&reason);
            Err(Error::new("banned", format!("You are shut out: {reason}")))
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
            Err(Error::new("not_operator", "Only operators may do that."))
        }
    }

    pub(crate) fn ban(&self, cx: &Context, params: Ban) -> Result<Nothing, Error> {
        self.check_operator(cx)?;
        let account = other(cx, &params.actor)?;
        if self.is_operator(&account.actor) {
            return Err(Error::new("is_operator", "Operators don't shut each other out."));
        }
        let reason = params.reason.unwrap_or_default().trim().to_owned();
        if reason.chars().count() > REASON_CHARS || reason.chars().any(char::is_control) {
            return Err(Error::new("bad_text", "A reason has up to 200 printable characters."));
        }
        let until_ms = params.until_ms.unwrap_or(u64::MAX);
        if until_ms <= cx.now_ms() {
            return Err(Error::new("bad_time", "That time is over."));
        }
        cx.kv().set_until(key(&account.actor), &reason, until_ms)?;
        session::end_others(cx, &account.actor, "")?;
        cx.sessions().end(&account.actor, None);
        let payload = json!({ "actor": account.actor, "by": cx.caller.actor, "reason": reason });
        cx.events().publish("banned", &payload)?;
        Ok(Nothing {})
    }

    pub(crate) fn unban(&self, cx: &Context, params: Whom) -> Result<Nothing, Error> {
        self.check_operator(cx)?;
        account::of_actor(cx, &params.actor)?.ok_or_else(unknown)?;
        cx.kv().delete(key(&params.actor))?;
        let payload = json!({ "actor": params.actor, "by": cx.caller.actor });
        cx.events().publish("unbanned", &payload)?;
        Ok(Nothing {})
    }
}
