//! Name and password: register, log in, change the password, close the account.

use courtyard_plugin_sdk::prelude::*;

use crate::Users;
use crate::accounts::account::{self, Account, DisplayName, Name};
use crate::accounts::password_hash::{self, Password};
use crate::accounts::person::{Nothing, unknown};
use crate::sign_in::session::{self, Session};

record! {
    /// A new account.
    pub(crate) struct Register {
        name: String,
        password: String,
        display_name: Option<String>,
        device: Option<String>,
    }
}
record! {
    /// Name and password, and what the device is called.
    pub(crate) struct LogIn { name: String, password: String, device: Option<String> }
}
record! {
    /// The password, and the one that takes its place.
    pub(crate) struct NewPassword { password: Option<String>, new_password: String }
}

/// Whose wrong passwords are counted: the same name in another app is another account.
fn who(cx: &Context, name: &str) -> String {
    format!("{}/{name}", cx.caller.app)
}

impl Users {
    pub(crate) fn register(&self, cx: &Context, params: Register) -> Result<Session, Error> {
        let name = Name::parse(&params.name)?;
        let display_name = DisplayName::parse(params.display_name.as_deref().unwrap_or(&params.name))?;
        let password = Password::parse(&params.password)?;
        // Before the work that takes long.
        if account::find(cx, &name)?.is_some() {
            return Err(Error::new("name_taken", "This name is taken."));
        }
        let hashed = password.hash(cx.random(), self.settings.argon2);
        let account = Account::create(cx, &params.name, display_name, Some(hashed))?;
        self.log_in(cx, account.actor, params.device.as_deref())
    }

    pub(crate) fn login(&self, cx: &Context, params: LogIn) -> Result<Session, Error> {
        let wrong = || Error::new("wrong_credentials", "The name or the password is wrong.");
        let name = Name::parse(&params.name).map_err(|_| wrong())?;
        let who = who(cx, name.as_str());
        self.throttle.check(&who, cx.now_ms())?;
        let account = account::find(cx, &name)?;
        let hashed = account.as_ref().and_then(|account| account.password.as_ref());
        let is_right = match hashed {
            Some(hashed) => hashed.is(&params.password),
            None => {
                // As long as with a password, so that the time does not tell which names there are.
                password_hash::waste_time(&params.password, self.settings.argon2);
                false
            }
        };
        match account {
            Some(account) if is_right && !account::is_closed(cx, &account.actor)? => {
                self.throttle.succeeded(&who);
                self.log_in(cx, account.actor, params.device.as_deref())
            }
            _ => {
                self.throttle.failed(&who, cx.now_ms());
                Err(wrong())
            }
        }
    }

    /// Makes sure that the caller is the owner: by the password, or by a fresh login if there is none.
    pub(crate) fn confirm(&self, cx: &Context, password: Option<&str>) -> Result<Account, Error> {
        let account = account::of_actor(cx, &cx.caller.actor)?.ok_or_else(unknown)?;
        let who = who(cx, &account.name.to_ascii_lowercase());
        match (&account.password, password) {
            (Some(hashed), Some(password)) => {
                self.throttle.check(&who, cx.now_ms())?;
                if !hashed.is(password) {
                    self.throttle.failed(&who, cx.now_ms());
                    return Err(Error::new("wrong_credentials", "The password is wrong."));
                }
                self.throttle.succeeded(&who);
            }
            (Some(_), None) => return Err(Error::new("wrong_credentials", "The password is missing.")),
            (None, _) => {
                let fresh_ms = self.settings.confirm_minutes.saturating_mul(60_000);
                if session::began_ms(cx)?.saturating_add(fresh_ms) < cx.now_ms() {
                    return Err(Error::new("sign_in_again", "Sign in again, to be sure that it is you."));
                }
            }
        }
        Ok(account)
    }

    /// Sets another password, and ends all other logins.
    pub(crate) fn change_password(&self, cx: &Context, params: NewPassword) -> Result<Nothing, Error> {
        let password = Password::parse(&params.new_password)?;
        let mut account = self.confirm(cx, params.password.as_deref())?;
        account.password = Some(password.hash(cx.random(), self.settings.argon2));
        account.save(cx)?;
        session::end_others(cx, &account.actor, &cx.caller.credential)?;
        Ok(Nothing {})
    }
}
