//! The health of a plugin: strikes, quarantine, probe.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Failure, OriginId};

/// The number of origins whose failures are remembered at a time.
const ORIGINS: usize = 10_000;

/// When a plugin is quarantined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthPolicy {
    /// The number of failures in a row that lead to quarantine.
    pub strikes: u32,
    /// The number of origins that they must come from before the plugin is quarantined for all. Failures on the requests
    /// of fewer origins quarantine the plugin for these origins only.
    pub strike_actors: u32,
    /// How long the first quarantine lasts. Each further one lasts twice as long.
    pub quarantine: Duration,
    /// The longest duration of a quarantine.
    pub max_quarantine: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            strikes: 5,
            strike_actors: 3,
            quarantine: Duration::from_secs(1),
            max_quarantine: Duration::from_secs(60),
        }
    }
}

/// A quarantine that a failure began, with its duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// The plugin is not called for requests of this origin.
    Origin(Duration),
    /// The plugin is not called at all.
    Plugin(Duration),
}

/// The failures in a row of a plugin or an origin, and the quarantine.
#[derive(Debug, Default)]
struct FailureHistory {
    strikes: u32,
    quarantines: u32,
    until: Option<Instant>,
    /// The time of the last strike.
    last: Option<Instant>,
}

#[derive(Debug, Default)]
struct Histories {
    plugin: FailureHistory,
    /// The origins whose requests failed since the last success, up to [`HealthPolicy::strike_actors`].
    actors: Vec<OriginId>,
    origins: HashMap<OriginId, FailureHistory>,
}

/// Counts failures in a row. During a quarantine the plugin is not called. When it has expired, one call is the probe; if
/// it fails, a longer quarantine begins.
#[derive(Debug)]
pub struct Health {
    policy: HealthPolicy,
    /// Whether any failure is recorded; while `false`, calls take no lock.
    has_failures: AtomicBool,
    histories: Mutex<Histories>,
}

impl FailureHistory {
    fn admit(&mut self, policy: &HealthPolicy, now: Instant) -> Result<(), Failure> {
        let Some(until) = self.until else { return Ok(()) };
        if now < until {
            return Err(Failure::Quarantined);
        }
        // This caller probes; the others are refused until its outcome is known, or for the length of a quarantine.
        self.until = Some(now + policy.length(self.quarantines));
        Ok(())
    }

    /// Records a failure. Returns the duration of the quarantine that begins with it, if any.
    fn strike(&mut self, policy: &HealthPolicy, now: Instant) -> Option<Duration> {
        self.strikes += 1;
        self.last = Some(now);
        (self.strikes >= policy.strikes).then(|| self.quarantine(policy, now))
    }

    fn quarantine(&mut self, policy: &HealthPolicy, now: Instant) -> Duration {
        let length = policy.length(self.quarantines);
        self.quarantines += 1;
        self.until = Some(now + length);
        length
    }
}

impl Histories {
    /// Removes the histories of origins whose last strike is longer ago than the longest quarantine.
    fn remove_expired(&mut self, policy: &HealthPolicy, now: Instant) {
        self.origins.retain(|_, history| {
            history
                .last
                .is_some_and(|last| now.duration_since(last) <= policy.max_quarantine)
        });
    }
}

impl HealthPolicy {
    fn length(&self, quarantines: u32) -> Duration {
        self.quarantine
            .saturating_mul(1 << quarantines.min(16))
            .min(self.max_quarantine)
    }
}

impl Health {
    /// Creates a state without failures.
    #[must_use]
    pub fn new(policy: HealthPolicy) -> Self {
        Self {
            policy,
            has_failures: AtomicBool::new(false),
            histories: Mutex::default(),
        }
    }

    /// Refuses a call while the plugin is quarantined for all or for the origin.
    ///
    /// # Errors
    /// [`Failure::Quarantined`].
    #[inline]
    pub fn admit(&self, origin: impl FnOnce() -> OriginId) -> Result<(), Failure> {
        if self.has_failures.load(Ordering::Relaxed) {
            self.admit_with_failures(origin())
        } else {
            Ok(())
        }
    }

    #[cold]
    fn admit_with_failures(&self, origin: OriginId) -> Result<(), Failure> {
        let (mut histories, now) = (self.histories.lock(), Instant::now());
        histories.plugin.admit(&self.policy, now)?;
        match histories.origins.get_mut(&origin) {
            Some(history) => history.admit(&self.policy, now),
            None => Ok(()),
        }
    }

    /// Records the success of a call.
    #[inline]
    pub fn succeeded(&self, origin: impl FnOnce() -> OriginId) {
        if self.has_failures.load(Ordering::Relaxed) {
            self.recover(origin());
        }
    }

    #[cold]
    fn recover(&self, origin: OriginId) {
        let mut histories = self.histories.lock();
        histories.plugin = FailureHistory::default();
        histories.actors.clear();
        histories.origins.remove(&origin);
        histories.remove_expired(&self.policy, Instant::now());
        self.has_failures
            .store(!histories.origins.is_empty(), Ordering::Relaxed);
    }

    /// Records the failure of a call. Returns the quarantine that begins with it, if any.
    pub fn failed(&self, origin: OriginId, failure: &Failure) -> Option<Quarantine> {
        if !failure.is_strike() {
            return None;
        }
        let (mut histories, now) = (self.histories.lock(), Instant::now());
        self.has_failures.store(true, Ordering::Relaxed);
        if histories.origins.len() >= ORIGINS {
            histories.origins.clear();
        }
        let origin_quarantine = histories.origins.entry(origin).or_default().strike(&self.policy, now);
        let enough = self.policy.strike_actors as usize;
        if histories.actors.len() < enough && !histories.actors.contains(&origin) {
            histories.actors.push(origin);
        }
        histories.plugin.strikes += 1;
        if histories.plugin.strikes >= self.policy.strikes && histories.actors.len() >= enough {
            return Some(Quarantine::Plugin(histories.plugin.quarantine(&self.policy, now)));
        }
        origin_quarantine.map(Quarantine::Origin)
    }

    /// Returns whether the plugin is quarantined for all.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.has_failures.load(Ordering::Relaxed)
            && self
                .histories
                .lock()
                .plugin
                .until
                .is_some_and(|until| until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: OriginId = OriginId(1);

    fn trap() -> Failure {
        Failure::Trap(String::new())
    }

    fn policy(strikes: u32, quarantine: Duration) -> HealthPolicy {
        HealthPolicy {
            strikes,
            quarantine,
            ..HealthPolicy::default()
        }
    }

    #[test]
    fn strikes_in_a_row_of_one_origin_quarantine_the_plugin_for_that_origin_only() {
        let health = Health::new(policy(2, Duration::from_secs(1)));
        assert_eq!(health.failed(ANN, &trap()), None);
        health.succeeded(|| ANN);
        assert_eq!(health.failed(ANN, &trap()), None);
        let quarantined = health.failed(ANN, &trap());
        assert_eq!(quarantined, Some(Quarantine::Origin(Duration::from_secs(1))));
        assert_eq!(health.admit(|| ANN), Err(Failure::Quarantined));
        assert_eq!(health.admit(|| OriginId(2)), Ok(()));
        assert!(!health.is_quarantined());
    }

    #[test]
    fn strikes_of_several_origins_quarantine_the_plugin_for_all() {
        let health = Health::new(policy(5, Duration::from_secs(1)));
        let reports: Vec<_> = (0..5).map(|call| health.failed(OriginId(call % 3), &trap())).collect();
        assert_eq!(reports[4], Some(Quarantine::Plugin(Duration::from_secs(1))));
        assert_eq!(health.admit(|| OriginId(9)), Err(Failure::Quarantined));
        assert!(health.is_quarantined());
    }

    #[test]
    fn after_the_quarantine_one_call_probes_and_success_clears_the_history() {
        let health = Health::new(HealthPolicy {
            max_quarantine: Duration::ZERO,
            ..policy(1, Duration::ZERO)
        });
        health.failed(ANN, &trap());
        assert_eq!(health.admit(|| ANN), Ok(()));
        health.succeeded(|| ANN);
        assert_eq!(health.admit(|| ANN), Ok(()));
        assert!(!health.has_failures.load(Ordering::Relaxed));
    }

    #[test]
    fn quarantines_grow_up_to_a_limit() {
        let health = Health::new(HealthPolicy {
            max_quarantine: Duration::from_secs(3),
            ..policy(1, Duration::from_secs(1))
        });
        let lengths: Vec<_> = (0..3).map(|_| health.failed(ANN, &trap()).unwrap()).collect();
        assert_eq!(
            lengths,
            [1, 2, 3].map(|length| Quarantine::Origin(Duration::from_secs(length)))
        );
    }

    #[test]
    fn a_failure_that_is_not_the_plugins_fault_is_no_strike() {
        let health = Health::new(policy(1, Duration::from_secs(1)));
        assert_eq!(health.failed(ANN, &Failure::Busy), None);
        assert_eq!(health.admit(|| ANN), Ok(()));
    }
}
