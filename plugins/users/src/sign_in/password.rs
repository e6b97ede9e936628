//! Signing in with name and password, changing the password, and confirming that the caller owns the account.

use courtyard_plugin_sdk::prelude::*;

use crate::Users;
use crate::accounts::account::{self, Account, DisplayName, Name};
use crate::accounts::password_hash::{self, Password};
use crate::accounts::person::{Nothing, unknown_person};
use crate::error;
use crate::sign_in::session::{self, NewSession};

record! {
    /// Parameters of `register`.
    pub(crate) struct RegisterParams {
        name: String,
        password: String,
        display_name: Option<String>,
        device: Option<String>,
    }
}
record! {
    /// Parameters of `login`. `device` is the name of the login in the list of sessions.
    pub(crate) struct LoginParams { name: String, password: String, device: Option<String> }
}
record! {
    /// Parameters of `change_password`: the old password, unless the account has none, and the new one.
    pub(crate) struct ChangePasswordParams { password: Option<String>, new_password: String }
}

/// Returns the key under which wrong passwords are counted. The same name in another app is another account.
fn throttle_key(cx: &Context, name: &str) -> String {
    format!("{}/{name}", cx.caller.app)
}

impl Users {
    pub(crate) fn register(&self, cx: &Context, params: RegisterParams) -> Result<NewSession, Error> {
        let name = Name::parse(&params.name)?;
        let display_name = DisplayName::parse(params.display_name.as_deref().unwrap_or(&params.name))?;
        let password = Password::parse(&params.password)?;
        // Cheaper than hashing, so it comes first.
        if account::find_by_name(cx, &name)?.is_some() {
            return Err(Error::new(
                error::CONFLICT_NAME,
                "This name is taken. Choose another one.",
            ));
        }
        let hashed = password.hash(cx.random(), self.settings.argon2);
        let account = Account::create(cx, &params.name, display_name, Some(hashed))?;
        self.start_session(cx, account.actor, params.device.as_deref())
    }

    pub(crate) fn login(&self, cx: &Context, params: LoginParams) -> Result<NewSession, Error> {
        let wrong = || Error::new(error::INVALID_CREDENTIALS, "Wrong name or password.");
        let name = Name::parse(&params.name).map_err(|_| wrong())?;
        let key = throttle_key(cx, name.as_str());
        self.password_throttle.check(&key, cx.now_ms())?;
        let account = account::find_by_name(cx, &name)?;
        let hashed = account.as_ref().and_then(|account| account.password.as_ref());
        let is_correct = match hashed {
            Some(hashed) => hashed.matches(&params.password),
            None => {
                // Takes as long as a real check, so that the time doesn't reveal which names exist.
                password_hash::spend_hash_time(&params.password, self.settings.argon2);
                false
            }
        };
        match account {
            Some(account) if is_correct && !account::is_closed(cx, &account.actor)? => {
                self.password_throttle.succeeded(&key);
                self.start_session(cx, account.actor, params.device.as_deref())
            }
            _ => {
                self.password_throttle.failed(&key, cx.now_ms());
                Err(wrong())
            }
        }
    }

    /// Checks that the caller owns the account: by the password, or by a recent login if the account has none.
    pub(crate) fn confirm_owner(&self, cx: &Context, password: Option<&str>) -> Result<Account, Error> {
        let account = account::find_by_actor(cx, &cx.caller.actor)?.ok_or_else(unknown_person)?;
        let key = throttle_key(cx, &account.name.to_ascii_lowercase());
        match (&account.password, password) {
            (Some(hashed), Some(password)) => {
                self.password_throttle.check(&key, cx.now_ms())?;
                if !hashed.matches(password) {
                    self.password_throttle.failed(&key, cx.now_ms());
                    return Err(Error::new(error::INVALID_CREDENTIALS, "Wrong password."));
                }
                self.password_throttle.succeeded(&key);
            }
            (Some(_), None) => {
                return Err(Error::new(
                    error::INVALID_CREDENTIALS,
                    "The password is missing. Pass it as `password`.",
                ));
            }
            (None, _) => {
                let fresh_ms = self.settings.confirm_minutes.saturating_mul(60_000);
                if session::started_ms(cx)?.saturating_add(fresh_ms) < cx.now_ms() {
                    return Err(Error::new(
                        error::EXPIRED_LOGIN,
                        "Your login is too old for this. Sign in again.",
                    ));
                }
            }
        }
        Ok(account)
    }

    /// Sets the password, and ends all other logins.
    pub(crate) fn change_password(&self, cx: &Context, params: ChangePasswordParams) -> Result<Nothing, Error> {
        let password = Password::parse(&params.new_password)?;
        let mut account = self.confirm_owner(cx, params.password.as_deref())?;
        account.password = Some(password.hash(cx.random(), self.settings.argon2));
        account.save(cx)?;
        session::end_other_logins(cx, &account.actor, &cx.caller.credential)?;
        Ok(Nothing {})
    }
}
