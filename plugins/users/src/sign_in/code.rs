//! Codes of six digits that are sent to an address, to sign in or to prove that it is one's own.
//!
//! `code/PURPOSE/ADDRESS` holds what is kept of a code until it expires; `codes/WHO` the times of the codes of the last hour.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::account::{self, Account, DisplayName};
use crate::error::bad;
use crate::secret::{digest, hex, same};
use crate::sign_in::address::{self, Address, Medium, WhichAddress};
use crate::sign_in::gateway::{self, Delivery, Gateway};
use crate::sign_in::session::Session;

const HOUR_MS: u64 = 60 * 60 * 1_000;
/// The purpose of codes that somebody signs in with; other purposes are actors.
const SIGN_IN: &str = "sign_in";

/// What there is to set about codes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Codes {
    /// Whether an unknown address gets an account.
    register: bool,
    minutes: u64,
    attempts: u32,
    /// How soon after a code the next one is sent to an address.
    interval_s: u64,
    /// Codes to one address.
    per_hour: usize,
    /// Codes to all addresses of one account.
    per_hour_account: usize,
    /// Addresses of one account.
    pub(crate) addresses: usize,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) email: Option<Gateway>,
    pub(crate) phone: Option<Gateway>,
}

impl Default for Codes {
    fn default() -> Self {
        Self {
            register: true,
            minutes: 10,
            attempts: 5,
            interval_s: 30,
            per_hour: 5,
            per_hour_account: 10,
            addresses: 5,
            subject: "Your code".to_owned(),
            text: "{code} is your code. It is good for {minutes} minutes.".to_owned(),
            email: None,
            phone: None,
        }
    }
}

/// How often codes are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    interval_ms: u64,
    per_hour: usize,
}

/// What is kept of a code.
#[derive(Debug, Serialize, Deserialize)]
struct Challenge {
    salt: String,
    hash: String,
    expires_ms: u64,
    attempts_left: u32,
}

/// What a code was good for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Redeemed {
    Right,
    Wrong { attempts_left: u32 },
}

record! {
    /// A code is on its way, if there is somebody to send it to.
    pub(crate) struct CodeSent { sent_by: String, expires_ms: u64, again_ms: u64 }
}
record! {
    /// A code, where it was sent, and what a new account is to be called.
    pub(crate) struct SignIn {
        address: String,
        code: String,
        name: Option<String>,
        display_name: Option<String>,
        device: Option<String>,
    }
}
record! {
    /// A login if the code was right, and otherwise how many more may be tried.
    pub(crate) struct SignedIn { session: Option<Session>, registered: bool, attempts_left: u32 }
}

impl Rate {
    /// Takes a further code at a time, or says how long to wait.
    fn take(self, sent_ms: &mut Vec<u64>, now_ms: u64) -> Result<(), u64> {
        sent_ms.retain(|at| at.saturating_add(HOUR_MS) > now_ms);
        let last = sent_ms.last().map_or(0, |at| at.saturating_add(self.interval_ms));
        let full = sent_ms
            .len()
            .checked_sub(self.per_hour)
            .and_then(|over| sent_ms.get(over));
        let until_ms = last.max(full.map_or(0, |at| at.saturating_add(HOUR_MS)));
        if until_ms > now_ms {
            return Err(until_ms - now_ms);
        }
        sent_ms.push(now_ms);
        Ok(())
    }
}

impl Challenge {
    fn hash(salt: &str, code: &str) -> String {
        hex(&digest(format!("{salt}{code}").as_bytes()))
    }

    fn new(cx: &Context, code: &str, expires_ms: u64, attempts_left: u32) -> Self {
        let salt = hex(&cx.random::<16>());
        Self {
            hash: Self::hash(&salt, code),
            salt,
            expires_ms,
            attempts_left,
        }
    }

    /// Tries a code, which takes one attempt.
    fn is(&mut self, code: &str) -> bool {
        let Some(left) = self.attempts_left.checked_sub(1) else {
            return false;
        };
        self.attempts_left = left;
        same(Self::hash(&self.salt, code).as_bytes(), self.hash.as_bytes())
    }

    fn save(&self, cx: &Context, key: &str) -> Result<(), Error> {
        Ok(cx.kv().set_json_until(key, self, self.expires_ms)?)
    }
}

fn key(purpose: &str, address: &Address) -> String {
    format!("code/{purpose}/{}", address.text)
}

/// Takes a further code for an address or an account.
///
/// # Errors
/// `too_many_codes`, which a retry helps.
pub(crate) fn pace(cx: &Context, who: &str, rate: Rate) -> Result<(), Error> {
    let key = format!("codes/{who}");
    let mut sent_ms: Vec<u64> = cx.kv().get_json(&key)?.unwrap_or_default();
    let now_ms = cx.now_ms();
    rate.take(&mut sent_ms, now_ms).map_err(|left_ms| {
        let sentence = format!("Too many codes; try again in {} seconds.", left_ms.div_ceil(1_000));
        Error::new("too_many_codes", sentence).retryable()
    })?;
    Ok(cx.kv().set_json_until(key, &sent_ms, now_ms.saturating_add(HOUR_MS))?)
}

/// Tries a code. A right one is used up; a wrong one takes an attempt, and so must be no error, which would give it back.
pub(crate) fn redeem(cx: &Context, purpose: &str, address: &Address, code: &str) -> Result<Redeemed, Error> {
    let key = key(purpose, address);
    let Some(mut challenge) = cx.kv().get_json::<Challenge>(&key)? else {
        return Ok(Redeemed::Wrong { attempts_left: 0 });
    };
    if challenge.is(code.trim()) {
        cx.kv().delete(key)?;
        return Ok(Redeemed::Right);
    }
    challenge.save(cx, &key)?;
    Ok(Redeemed::Wrong {
        attempts_left: challenge.attempts_left,
    })
}

impl Codes {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.attempts == 0 || self.attempts > 20 {
            return Err(bad("codes: 1 to 20 attempts"));
        }
        if self.minutes == 0 || self.per_hour == 0 || self.per_hour_account == 0 {
            return Err(bad("codes: minutes, per_hour and per_hour_account are 1 at least"));
        }
        if !self.text.contains("{code}") {
            return Err(bad("codes: the text has no {code}"));
        }
        self.email.iter().chain(&self.phone).try_for_each(Gateway::check)
    }

    pub(crate) fn of_address(&self) -> Rate {
        Rate {
            interval_ms: self.interval_s.saturating_mul(1_000),
            per_hour: self.per_hour,
        }
    }

    pub(crate) fn of_account(&self) -> Rate {
        Rate {
            interval_ms: 0,
            per_hour: self.per_hour_account,
        }
    }

    fn gateway(&self, medium: Medium) -> Option<&Gateway> {
        match medium {
            Medium::Email => self.email.as_ref(),
            Medium::Phone => self.phone.as_ref(),
        }
    }

    /// Draws a code, which takes the place of an earlier one.
    pub(crate) fn issue(&self, cx: &Context, purpose: &str, address: &Address) -> Result<String, Error> {
        let code = format!("{:06}", u64::from_le_bytes(cx.random()) % 1_000_000);
        let expires_ms = cx.now_ms().saturating_add(self.minutes.saturating_mul(60_000));
        Challenge::new(cx, &code, expires_ms, self.attempts).save(cx, &key(purpose, address))?;
        Ok(code)
    }

    /// Sends a code. If it is not wanted, all looks the same from outside.
    pub(crate) fn deliver(
        &self,
        cx: &Context,
        address: &Address,
        code: &str,
        is_wanted: bool,
    ) -> Result<CodeSent, Error> {
        let expires_ms = cx.now_ms().saturating_add(self.minutes.saturating_mul(60_000));
        let has_gateway = self.gateway(address.medium).is_some();
        if has_gateway {
            let delivery = Delivery {
                address: address.clone(),
                code: code.to_owned(),
                minutes: self.minutes,
                expires_ms,
                is_wanted,
            };
            cx.jobs().add(gateway::JOB, &delivery)?;
        } else if is_wanted {
            cx.log().info(&format!("the code for {} is {code}", address.text));
        }
        Ok(CodeSent {
            sent_by: if has_gateway { "gateway" } else { "log" }.to_owned(),
            expires_ms,
            again_ms: self.interval_s.saturating_mul(1_000),
        })
    }

    /// Does the job of sending a code.
    pub(crate) fn send(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        let delivery: Delivery = job.payload_as()?;
        match self.gateway(delivery.address.medium) {
            Some(gateway) => gateway.send(cx, &delivery, (&self.subject, &self.text), &job.id),
            // It was there when the job was made.
            None => Err(Error::new(
                "no_gateway",
                "There is no gateway for this kind of address.",
            )),
        }
    }
}

impl Users {
    pub(crate) fn request_code(&self, cx: &Context, params: WhichAddress) -> Result<CodeSent, Error> {
        let address = Address::parse(&params.address)?;
        let codes = &self.settings.codes;
        self.strangers.step(&cx.caller.app, cx.now_ms())?;
        pace(cx, &address.text, codes.of_address())?;
        let is_wanted = match address::owner(cx, &address)? {
            // That an account got too many is silent: it would tell which addresses belong together.
            Some(actor) => pace(cx, &actor, codes.of_account()).is_ok(),
            None => codes.register,
        };
        let code = codes.issue(cx, SIGN_IN, &address)?;
        codes.deliver(cx, &address, &code, is_wanted)
    }

    pub(crate) fn sign_in(&self, cx: &Context, params: SignIn) -> Result<SignedIn, Error> {
        let address = Address::parse(&params.address)?;
        let wrong = |attempts_left| SignedIn {
            session: None,
            registered: false,
            attempts_left,
        };
        if let Redeemed::Wrong { attempts_left } = redeem(cx, SIGN_IN, &address, &params.code)? {
            return Ok(wrong(attempts_left));
        }
        let owner = address::owner(cx, &address)?;
        let registered = owner.is_none();
        let actor = match owner {
            Some(actor) => actor,
            None if !self.settings.codes.register => return Ok(wrong(0)),
            None => {
                let name = match params.name {
                    Some(name) => name,
                    None => account::free_name(cx, "")?,
                };
                let display_name = DisplayName::parse(params.display_name.as_deref().unwrap_or(&name))?;
                let actor = Account::create(cx, &name, display_name, None)?.actor;
                address::give(cx, &address, &actor)?;
                actor
            }
        };
        Ok(SignedIn {
            session: Some(self.log_in(cx, actor, params.device.as_deref())?),
            registered,
            attempts_left: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_a_pause_and_a_number_in_an_hour() {
        let rate = Rate {
            interval_ms: 30_000,
            per_hour: 3,
        };
        let mut sent = Vec::new();
        assert_eq!(rate.take(&mut sent, 0), Ok(()));
        assert_eq!(rate.take(&mut sent, 29_999), Err(1));
        assert_eq!(rate.take(&mut sent, 30_000), Ok(()));
        assert_eq!(rate.take(&mut sent, 60_000), Ok(()));
        assert_eq!(rate.take(&mut sent, 90_000), Err(HOUR_MS - 90_000));
        assert_eq!(rate.take(&mut sent, HOUR_MS), Ok(()));
        assert_eq!(sent.len(), 3);
    }
}
