//! Limits on wrong passwords and on anonymous sign-ins.
//!
//! A failed call is rolled back, so its writes to the key space are lost. Failures are therefore counted in the memory of the
//! plugin instance: each instance counts on its own, and a replaced instance starts at zero.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use courtyard_plugin_sdk::prelude::*;
use serde::Deserialize;

use crate::error::{self, invalid_configuration};

/// Maximum number of names with counted failures. Hashing a password for each takes far longer than the longest pause.
const MAX_NAMES: usize = 20_000;

/// The pauses after wrong passwords.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Backoff {
    /// Number of wrong passwords without a pause.
    free: u32,
    /// The first pause, in milliseconds; each further one is twice as long.
    first_ms: u64,
    /// The longest pause, in milliseconds.
    longest_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            free: 5,
            first_ms: 1_000,
            longest_ms: 15 * 60 * 1_000,
        }
    }
}

impl Backoff {
    pub(crate) fn check(self) -> Result<(), Error> {
        if self.first_ms > self.longest_ms {
            return Err(invalid_configuration(
                "wrong_passwords: first_ms must not be greater than longest_ms",
            ));
        }
        Ok(())
    }

    fn pause_ms(self, failures: u32) -> u64 {
        match failures.checked_sub(self.free.max(1)) {
            None => 0,
            Some(doublings) => {
                let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
                self.first_ms.saturating_mul(factor).min(self.longest_ms)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    until_ms: u64,
}

/// Counts the recent wrong passwords of each name.
#[derive(Debug)]
pub(crate) struct PasswordThrottle {
    backoff: Backoff,
    failures: Mutex<BTreeMap<String, Failures>>,
}

impl PasswordThrottle {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            failures: Mutex::default(),
        }
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<String, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rejects an attempt during a pause, also one with the right password.
    ///
    /// # Errors
    /// `rate_limited`, retryable.
    pub(crate) fn check(&self, name: &str, now_ms: u64) -> Result<(), Error> {
        let until_ms = self.failures().get(name).map_or(0, |failures| failures.until_ms);
        match until_ms.checked_sub(now_ms) {
            None | Some(0) => Ok(()),
            Some(left) => {
                let seconds = left.div_ceil(1_000);
                let sentence = format!("Too many wrong passwords. Try again in {seconds} seconds.");
                Err(Error::new(error::RATE_LIMITED, sentence).retryable())
            }
        }
    }

    pub(crate) fn failed(&self, name: &str, now_ms: u64) {
        let mut all = self.failures();
        if all.len() >= MAX_NAMES && !all.contains_key(name) {
            let forgiven_after_ms = self.backoff.longest_ms;
            all.retain(|_, failures| failures.until_ms.saturating_add(forgiven_after_ms) > now_ms);
            // Evict the name with the earliest end, so that the longest pauses stay.
            let earliest = all.iter().min_by_key(|(_, failures)| failures.until_ms);
            if let Some(evicted) = earliest
                .map(|(name, _)| name.clone())
                .filter(|_| all.len() >= MAX_NAMES)
            {
                all.remove(&evicted);
            }
        }
        let failures = all.entry(name.to_owned()).or_default();
        if failures.until_ms.saturating_add(self.backoff.longest_ms) < now_ms {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.until_ms = now_ms.saturating_add(self.backoff.pause_ms(failures.count));
    }

    pub(crate) fn succeeded(&self, name: &str) {
        self.failures().remove(name);
    }
}

/// Limits anonymous requests that cost others something (codes, calls to providers), per app, minute and instance.
#[derive(Debug)]
pub(crate) struct AnonymousRateLimit {
    per_minute: u32,
    /// The current minute and its number of requests, by app.
    counts: Mutex<BTreeMap<String, (u64, u32)>>,
}

impl AnonymousRateLimit {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            counts: Mutex::default(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// `busy`, retryable, if the minute is used up.
    pub(crate) fn acquire(&self, app: &str, now_ms: u64) -> Result<(), Error> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (minute, count) = counts.entry(app.to_owned()).or_default();
        if *minute != now_ms / 60_000 {
            (*minute, *count) = (now_ms / 60_000, 0);
        }
        if *count >= self.per_minute {
            return Err(Error::new(error::BUSY, "Too many people are signing in. Try again in a minute.").retryable());
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff::default();
        let pauses: Vec<u64> = [0, 4, 5, 6, 7, 14, 15, 80].map(|count| backoff.pause_ms(count)).into();
        assert_eq!(pauses, [0, 0, 1_000, 2_000, 4_000, 512_000, 900_000, 900_000]);
    }

    #[test]
    fn frequent_failures_cause_a_pause_and_are_forgiven_after_a_long_time() {
        let throttle = PasswordThrottle::new(Backoff::default());
        for _ in 0..5 {
            assert!(throttle.check("ann", 1_000).is_ok());
            throttle.failed("ann", 1_000);
        }
        let rejected = throttle.check("ann", 1_999).map_err(|error| (error.code, error.retry));
        assert_eq!(rejected, Err(("rate_limited".to_owned(), true)));
        assert!(throttle.check("bob", 1_999).is_ok() && throttle.check("ann", 2_000).is_ok());
        throttle.failed("ann", 2_000_000);
        assert!(throttle.check("ann", 2_000_000).is_ok(), "the count did not restart");
        for _ in 0..5 {
            throttle.failed("ann", 2_000_000);
        }
        throttle.succeeded("ann");
        assert!(throttle.check("ann", 2_000_000).is_ok());
    }

    #[test]
    fn each_app_has_a_limit_per_minute() {
        let limit = AnonymousRateLimit::new(2);
        let accepted: Vec<bool> = [60_000, 60_001, 119_999, 120_000]
            .map(|now| limit.acquire("red", now).is_ok())
            .into();
        assert_eq!(accepted, [true, true, false, true]);
        assert!(limit.acquire("blue", 119_999).is_ok());
    }

    #[test]
    fn the_number_of_names_is_bounded() {
        let throttle = PasswordThrottle::new(Backoff::default());
        for _ in 0..9 {
            throttle.failed("ann", 1_000);
        }
        for number in 0..MAX_NAMES + 10 {
            throttle.failed(&format!("n{number}"), 1_000);
        }
        assert!(throttle.failures().len() <= MAX_NAMES);
        assert!(throttle.check("ann", 1_001).is_err(), "the longest pause was evicted");
    }
}
