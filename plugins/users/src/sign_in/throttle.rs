//! Wrong passwords: after some, each further one has to wait twice as long as the one before.
//!
//! A call that is refused leaves nothing in the key space, so what failed is counted in the memory of the instance: each of
//! `instances` counts by itself, and forgets when it is replaced.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use courtyard_plugin_sdk::prelude::*;
use serde::Deserialize;

use crate::error::bad;

/// Names that are remembered; hashing a password for each takes far longer than the longest pause.
const MOST: usize = 20_000;

/// How long somebody waits after a wrong password.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Backoff {
    /// Wrong passwords without a pause.
    free: u32,
    first_ms: u64,
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
            return Err(bad("wrong_passwords: the first pause is longer than the longest"));
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

/// Who gave wrong passwords of late.
#[derive(Debug)]
pub(crate) struct Throttle {
    backoff: Backoff,
    known: Mutex<BTreeMap<String, Failures>>,
}

impl Throttle {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Failures>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses who has to wait.
    ///
    /// # Errors
    /// `too_many_attempts`, which a retry helps.
    pub(crate) fn check(&self, who: &str, now_ms: u64) -> Result<(), Error> {
        let until_ms = self.known().get(who).map_or(0, |failures| failures.until_ms);
        match until_ms.checked_sub(now_ms) {
            None | Some(0) => Ok(()),
            Some(left) => {
                let seconds = left.div_ceil(1_000);
                let sentence = format!("Too many wrong passwords; try again in {seconds} seconds.");
                Err(Error::new("too_many_attempts", sentence).retryable())
            }
        }
    }

    pub(crate) fn failed(&self, who: &str, now_ms: u64) {
        let mut known = self.known();
        if known.len() >= MOST && !known.contains_key(who) {
            let forgotten = self.backoff.longest_ms;
            known.retain(|_, failures| failures.until_ms.saturating_add(forgotten) > now_ms);
            // Whoever waits longest stays.
            let soonest = known.iter().min_by_key(|(_, failures)| failures.until_ms);
            if let Some(name) = soonest.map(|(name, _)| name.clone()).filter(|_| known.len() >= MOST) {
                known.remove(&name);
            }
        }
        let failures = known.entry(who.to_owned()).or_default();
        if failures.until_ms.saturating_add(self.backoff.longest_ms) < now_ms {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.until_ms = now_ms.saturating_add(self.backoff.pause_ms(failures.count));
    }

    pub(crate) fn succeeded(&self, who: &str) {
        self.known().remove(who);
    }
}

/// Takes no more than so many requests of strangers in a minute, as far as this instance knows: what they ask for costs
/// others something.
#[derive(Debug)]
pub(crate) struct Window {
    per_minute: u32,
    /// The minute and how many there were in it, by app.
    counts: Mutex<BTreeMap<String, (u64, u32)>>,
}

impl Window {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            counts: Mutex::default(),
        }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// `busy`, which a retry helps.
    pub(crate) fn step(&self, app: &str, now_ms: u64) -> Result<(), Error> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (minute, count) = counts.entry(app.to_owned()).or_default();
        if *minute != now_ms / 60_000 {
            (*minute, *count) = (now_ms / 60_000, 0);
        }
        if *count >= self.per_minute {
            return Err(Error::new("busy", "Too many sign in at the moment; try again in a minute.").retryable());
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
    fn whoever_fails_often_waits_and_is_forgiven_after_a_long_time() {
        let throttle = Throttle::new(Backoff::default());
        for _ in 0..5 {
            assert!(throttle.check("ann", 1_000).is_ok());
            throttle.failed("ann", 1_000);
        }
        let refused = throttle.check("ann", 1_999).map_err(|error| (error.code, error.retry));
        assert_eq!(refused, Err(("too_many_attempts".to_owned(), true)));
        assert!(throttle.check("bob", 1_999).is_ok() && throttle.check("ann", 2_000).is_ok());
        throttle.failed("ann", 2_000_000);
        assert!(throttle.check("ann", 2_000_000).is_ok(), "the count did not begin anew");
        for _ in 0..5 {
            throttle.failed("ann", 2_000_000);
        }
        throttle.succeeded("ann");
        assert!(throttle.check("ann", 2_000_000).is_ok());
    }

    #[test]
    fn a_minute_has_room_for_so_many_in_each_app() {
        let window = Window::new(2);
        let taken: Vec<bool> = [60_000, 60_001, 119_999, 120_000]
            .map(|now| window.step("red", now).is_ok())
            .into();
        assert_eq!(taken, [true, true, false, true]);
        assert!(window.step("blue", 119_999).is_ok());
    }

    #[test]
    fn the_memory_is_bounded() {
        let throttle = Throttle::new(Backoff::default());
        for _ in 0..9 {
            throttle.failed("ann", 1_000);
        }
        for number in 0..MOST + 10 {
            throttle.failed(&format!("n{number}"), 1_000);
        }
        assert!(throttle.known().len() <= MOST);
        assert!(
            throttle.check("ann", 1_001).is_err(),
            "the one who waits longest is forgotten"
        );
    }
}
