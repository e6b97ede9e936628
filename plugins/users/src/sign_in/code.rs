//! Codes of six digits that are sent to an address, to sign in or to prove that one owns it.
//!
//! `code/PURPOSE/ADDRESS` holds the challenge of a code until it expires. `codes/WHO` holds the times of the codes of the last
//! hour, of an address or an account.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::account::{self, Account, DisplayName};
use crate::error::{self, invalid_configuration};
use crate::secret::{constant_time_eq, digest, hex};
use crate::sign_in::address::{self, Address, AddressParams, Medium};
use crate::sign_in::gateway::{self, CodeDelivery, Gateway};
use crate::sign_in::session::NewSession;

const HOUR_MS: u64 = 60 * 60 * 1_000;
/// The purpose of codes that sign in. Any other purpose is the id of the actor who adds the address.
const SIGN_IN: &str = "sign_in";

/// The configuration of codes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CodeSettings {
    /// True creates an account for an unknown address.
    register: bool,
    /// Lifetime of a code, in minutes.
    minutes: u64,
    /// Maximum number of wrong codes, after which the right one is rejected as well.
    attempts: u32,
    /// Least time between two codes to one address, in seconds.
    interval_s: u64,
    /// Maximum number of codes per hour to one address.
    per_hour: usize,
    /// Maximum number of codes per hour to all addresses of one account.
    per_hour_account: usize,
    /// Maximum number of addresses of one account.
    pub(crate) addresses: usize,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) email: Option<Gateway>,
    pub(crate) phone: Option<Gateway>,
}

impl Default for CodeSettings {
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

/// How often codes may be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CodeRate {
    interval_ms: u64,
    per_hour: usize,
}

/// The stored form of a code.
#[derive(Debug, Serialize, Deserialize)]
struct Challenge {
    salt: String,
    hash: String,
    expires_ms: u64,
    attempts_left: u32,
}

/// The result of redeeming a code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Redemption {
    Right,
    Wrong { attempts_left: u32 },
}

record! {
    /// Result of `request_code` and `add_address`; the same whether or not a code is really sent.
    pub(crate) struct CodeSent { sent_by: String, expires_ms: u64, again_ms: u64 }
}
record! {
    /// Parameters of `sign_in`; `name` and `display_name` are for a new account.
    pub(crate) struct SignInParams {
        address: String,
        code: String,
        name: Option<String>,
        display_name: Option<String>,
        device: Option<String>,
    }
}
record! {
    /// Result of `sign_in`: a login if the code was right, else the number of attempts left.
    pub(crate) struct SignInResult { session: Option<NewSession>, registered: bool, attempts_left: u32 }
}

impl CodeRate {
    /// Records a code that is sent now, or returns how many milliseconds to wait.
    fn acquire(self, sent_ms: &mut Vec<u64>, now_ms: u64) -> Result<(), u64> {
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

    /// Consumes one attempt, and returns true if the code is right.
    fn attempt(&mut self, code: &str) -> bool {
        let Some(left) = self.attempts_left.checked_sub(1) else {
            return false;
        };
        self.attempts_left = left;
        constant_time_eq(Self::hash(&self.salt, code).as_bytes(), self.hash.as_bytes())
    }

    fn save(&self, cx: &Context, key: &str) -> Result<(), Error> {
        Ok(cx.kv().set_json_until(key, self, self.expires_ms)?)
    }
}

fn key(purpose: &str, address: &Address) -> String {
    format!("code/{purpose}/{}", address.text)
}

/// Records a further code for an address or an account.
///
/// # Errors
/// `rate_limited`, retryable, if the rate is exceeded.
pub(crate) fn record_send(cx: &Context, who: &str, rate: CodeRate) -> Result<(), Error> {
    let key = format!("codes/{who}");
    let mut sent_ms: Vec<u64> = cx.kv().get_json(&key)?.unwrap_or_default();
    let now_ms = cx.now_ms();
    rate.acquire(&mut sent_ms, now_ms).map_err(|left_ms| {
        let sentence = format!("Too many codes. Try again in {} seconds.", left_ms.div_ceil(1_000));
        Error::new(error::RATE_LIMITED, sentence).retryable()
    })?;
    Ok(cx.kv().set_json_until(key, &sent_ms, now_ms.saturating_add(HOUR_MS))?)
}

/// Redeems a code. The right one is deleted. A wrong one consumes an attempt, and isn't an error, since an error would roll
/// back the attempt.
pub(crate) fn redeem(cx: &Context, purpose: &str, address: &Address, code: &str) -> Result<Redemption, Error> {
    let key = key(purpose, address);
    let Some(mut challenge) = cx.kv().get_json::<Challenge>(&key)? else {
        return Ok(Redemption::Wrong { attempts_left: 0 });
    };
    if challenge.attempt(code.trim()) {
        cx.kv().delete(key)?;
        return Ok(Redemption::Right);
    }
    challenge.save(cx, &key)?;
    Ok(Redemption::Wrong {
        attempts_left: challenge.attempts_left,
    })
}

impl CodeSettings {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.attempts == 0 || self.attempts > 20 {
            return Err(invalid_configuration("codes: attempts must be 1 to 20"));
        }
        if self.minutes == 0 || self.per_hour == 0 || self.per_hour_account == 0 {
            return Err(invalid_configuration(
                "codes: minutes, per_hour and per_hour_account must be 1 or more",
            ));
        }
        if !self.text.contains("{code}") {
            return Err(invalid_configuration("codes: text must contain {code}"));
        }
        self.email.iter().chain(&self.phone).try_for_each(Gateway::check)
    }

    pub(crate) fn address_rate(&self) -> CodeRate {
        CodeRate {
            interval_ms: self.interval_s.saturating_mul(1_000),
            per_hour: self.per_hour,
        }
    }

    pub(crate) fn account_rate(&self) -> CodeRate {
        CodeRate {
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

    /// Creates a random code, which replaces an earlier one for this purpose and address.
    pub(crate) fn issue(&self, cx: &Context, purpose: &str, address: &Address) -> Result<String, Error> {
        let code = format!("{:06}", u64::from_le_bytes(cx.random()) % 1_000_000);
        let expires_ms = cx.now_ms().saturating_add(self.minutes.saturating_mul(60_000));
        Challenge::new(cx, &code, expires_ms, self.attempts).save(cx, &key(purpose, address))?;
        Ok(code)
    }

    /// Sends a code by the gateway, or logs it if there is none. With `is_wanted` false the result is the same, but nothing is
    /// sent.
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
            let delivery = CodeDelivery {
                address: address.clone(),
                code: code.to_owned(),
                minutes: self.minutes,
                expires_ms,
                is_wanted,
            };
            cx.jobs().add(gateway::JOB, &delivery)?;
        } else if is_wanted {
            cx.log().info(&format!(
                "no gateway is configured: the code for {} is {code}",
                address.text
            ));
        }
        Ok(CodeSent {
            sent_by: if has_gateway { "gateway" } else { "log" }.to_owned(),
            expires_ms,
            again_ms: self.interval_s.saturating_mul(1_000),
        })
    }

    /// Runs the job that sends a code.
    pub(crate) fn send(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        let delivery: CodeDelivery = job.payload_as()?;
        match self.gateway(delivery.address.medium) {
            Some(gateway) => gateway.send(cx, &delivery, (&self.subject, &self.text), &job.id),
            // The configuration changed after the job was added.
            None => Err(Error::new(
                error::UNAVAILABLE,
                "No gateway is configured for this kind of address.",
            )),
        }
    }
}

impl Users {
    pub(crate) fn request_code(&self, cx: &Context, params: AddressParams) -> Result<CodeSent, Error> {
        let address = Address::parse(&params.address)?;
        let codes = &self.settings.codes;
        self.anonymous_rate.acquire(&cx.caller.app, cx.now_ms())?;
        record_send(cx, &address.text, codes.address_rate())?;
        let is_wanted = match address::owner(cx, &address)? {
            // Silent if the account exceeds its rate: an error would reveal which addresses share an account.
            Some(actor) => record_send(cx, &actor, codes.account_rate()).is_ok(),
            None => codes.register,
        };
        let code = codes.issue(cx, SIGN_IN, &address)?;
        codes.deliver(cx, &address, &code, is_wanted)
    }

    pub(crate) fn sign_in(&self, cx: &Context, params: SignInParams) -> Result<SignInResult, Error> {
        let address = Address::parse(&params.address)?;
        let wrong = |attempts_left| SignInResult {
            session: None,
            registered: false,
            attempts_left,
        };
        if let Redemption::Wrong { attempts_left } = redeem(cx, SIGN_IN, &address, &params.code)? {
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
                address::assign(cx, &address, &actor)?;
                actor
            }
        };
        Ok(SignInResult {
            session: Some(self.start_session(cx, actor, params.device.as_deref())?),
            registered,
            attempts_left: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_a_least_interval_and_an_hourly_limit() {
        let rate = CodeRate {
            interval_ms: 30_000,
            per_hour: 3,
        };
        let mut sent = Vec::new();
        assert_eq!(rate.acquire(&mut sent, 0), Ok(()));
        assert_eq!(rate.acquire(&mut sent, 29_999), Err(1));
        assert_eq!(rate.acquire(&mut sent, 30_000), Ok(()));
        assert_eq!(rate.acquire(&mut sent, 60_000), Ok(()));
        assert_eq!(rate.acquire(&mut sent, 90_000), Err(HOUR_MS - 90_000));
        assert_eq!(rate.acquire(&mut sent, HOUR_MS), Ok(()));
        assert_eq!(sent.len(), 3);
    }
}
