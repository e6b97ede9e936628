//! Whether a plugin is fit to be entered: strikes, quarantine, probe.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Failure;

/// When a plugin is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthPolicy {
    /// Failures in a row that lead to quarantine.
    pub strikes: u32,
    /// How long the first quarantine lasts. Each further one lasts twice as long.
    pub quarantine: Duration,
    /// How long a quarantine lasts at most.
    pub max_quarantine: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            strikes: 5,
            quarantine: Duration::from_secs(1),
            max_quarantine: Duration::from_secs(60),
        }
    }
}

/// Counts failures in a row. A plugin in quarantine is not entered until its time is over; then one call is the probe,
/// and one more failure means a longer quarantine.
#[derive(Debug)]
pub struct Health {
    policy: HealthPolicy,
    start: Instant,
    strikes: AtomicU32,
    quarantines: AtomicU32,
    /// Milliseconds after `start`; 0 when not in quarantine.
    until_ms: AtomicU64,
}

impl Health {
    /// Makes a healthy state.
    #[must_use]
    pub fn new(policy: HealthPolicy) -> Self {
        Self {
            policy,
            start: Instant::now(),
            strikes: AtomicU32::new(0),
            quarantines: AtomicU32::new(0),
            until_ms: AtomicU64::new(0),
        }
    }

    /// Refuses a call while the plugin is in quarantine.
    ///
    /// # Errors
    /// [`Failure::Quarantined`].
    pub fn admit(&self) -> Result<(), Failure> {
        let until = self.until_ms.load(Ordering::Relaxed);
        if until == 0 {
            return Ok(());
        }
        let now = self.now_ms();
        if now < until {
            return Err(Failure::Quarantined);
        }
        // One caller probes; the others wait until it has reported, or for as long as a quarantine.
        let next = now + ms(self.length(self.quarantines.load(Ordering::Relaxed)));
        self.until_ms
            .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
            .map(|_| ())
            .map_err(|_| Failure::Quarantined)
    }

    /// Notes how a call ended. Returns how long the plugin is now left alone, if this call led to that.
    pub fn report(&self, failure: Option<&Failure>) -> Option<Duration> {
        match failure {
            None => {
                if self.strikes.load(Ordering::Relaxed) != 0 {
                    self.strikes.store(0, Ordering::Relaxed);
                    self.quarantines.store(0, Ordering::Relaxed);
                    self.until_ms.store(0, Ordering::Relaxed);
                }
                None
            }
            Some(failure) if failure.is_strike() => {
                let strikes = self.strikes.fetch_add(1, Ordering::Relaxed) + 1;
                if strikes < self.policy.strikes {
                    return None;
                }
                let length = self.length(self.quarantines.fetch_add(1, Ordering::Relaxed));
                self.until_ms.store(self.now_ms() + ms(length), Ordering::Relaxed);
                Some(length)
            }
            Some(_) => None,
        }
    }

    fn length(&self, quarantines: u32) -> Duration {
        self.policy
            .quarantine
            .saturating_mul(1 << quarantines.min(16))
            .min(self.policy.max_quarantine)
    }

    fn now_ms(&self) -> u64 {
        // One more, so that no time is 0.
        ms(self.start.elapsed()) + 1
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trap() -> Failure {
        Failure::Trap(String::new())
    }

    #[test]
    fn strikes_in_a_row_lead_to_quarantine_and_success_resets_them() {
        let health = Health::new(HealthPolicy {
            strikes: 2,
            ..HealthPolicy::default()
        });
        assert_eq!(health.report(Some(&trap())), None);
        assert_eq!(health.report(None), None);
        assert_eq!(health.report(Some(&trap())), None);
        assert_eq!(health.report(Some(&trap())), Some(Duration::from_secs(1)));
        assert_eq!(health.admit(), Err(Failure::Quarantined));
    }

    #[test]
    fn after_the_quarantine_one_call_probes() {
        let policy = HealthPolicy {
            strikes: 1,
            quarantine: Duration::ZERO,
            max_quarantine: Duration::ZERO,
        };
        let health = Health::new(policy);
        health.report(Some(&trap()));
        assert_eq!(health.admit(), Ok(()));
        health.report(None);
        assert_eq!(health.admit(), Ok(()));
    }

    #[test]
    fn quarantines_grow_up_to_a_limit() {
        let policy = HealthPolicy {
            strikes: 1,
            quarantine: Duration::from_secs(1),
            max_quarantine: Duration::from_secs(3),
        };
        let health = Health::new(policy);
        let lengths: Vec<_> = (0..3)
            .map(|_| health.report(Some(&trap())).unwrap().as_secs())
            .collect();
        assert_eq!(lengths, [1, 2, 3]);
    }

    #[test]
    fn what_is_not_the_plugins_fault_is_no_strike() {
        let health = Health::new(HealthPolicy {
            strikes: 1,
            ..HealthPolicy::default()
        });
        assert_eq!(health.report(Some(&Failure::Busy)), None);
        assert_eq!(health.admit(), Ok(()));
    }
}
