//! Whether a plugin is fit to be entered: strikes, quarantine, probe.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Failure;

/// Whose requests are remembered at a time because the plugin failed on them.
const ORIGINS: usize = 10_000;

/// When a plugin is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthPolicy {
    /// Failures in a row that lead to quarantine.
    pub strikes: u32,
    /// From how many actors they must come before the plugin is left alone for everybody. Failures on the requests of
    /// fewer are held against these requests: the plugin is then left alone for those actors only.
    pub strike_actors: u32,
    /// How long the first quarantine lasts. Each further one lasts twice as long.
    pub quarantine: Duration,
    /// How long a quarantine lasts at most.
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

/// Who is to be left alone: one actor's requests, or everybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// The plugin is not entered for this actor's requests.
    Actor(Duration),
    /// The plugin is not entered at all.
    Plugin(Duration),
}

/// Failures in a row, and the quarantine that they led to.
#[derive(Debug, Default)]
struct Record {
    strikes: u32,
    quarantines: u32,
    until: Option<Instant>,
    /// The last strike.
    last: Option<Instant>,
}

#[derive(Debug, Default)]
struct Records {
    plugin: Record,
    /// On whose requests the plugin failed since it last succeeded, as many as matter.
    actors: Vec<u64>,
    origins: HashMap<u64, Record>,
}

/// Counts failures in a row. While something is in quarantine the plugin is not entered; when the time is over one call
/// is the probe, and one more failure means a longer quarantine.
#[derive(Debug)]
pub struct Health {
    policy: HealthPolicy,
    /// Whether there is any record: without one nothing is locked.
    troubled: AtomicBool,
    records: Mutex<Records>,
}

impl Record {
    fn admit(&mut self, policy: &HealthPolicy, now: Instant) -> Result<(), Failure> {
        let Some(until) = self.until else { return Ok(()) };
        if now < until {
            return Err(Failure::Quarantined);
        }
        // One caller probes; the others wait until it has reported, or for as long as a quarantine.
        self.until = Some(now + policy.length(self.quarantines));
        Ok(())
    }

    /// Returns how long the quarantine is that begins with this failure.
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

impl Records {
    /// Forgets strikes that are longer ago than the longest quarantine.
    fn forget(&mut self, policy: &HealthPolicy, now: Instant) {
        self.origins.retain(|_, record| {
            record
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
    /// Makes a healthy state.
    #[must_use]
    pub fn new(policy: HealthPolicy) -> Self {
        Self {
            policy,
            troubled: AtomicBool::new(false),
            records: Mutex::default(),
        }
    }

    /// Refuses a call while the plugin, or whoever makes the request, is in quarantine.
    ///
    /// # Errors
    /// [`Failure::Quarantined`].
    #[inline]
    pub fn admit(&self, origin: impl FnOnce() -> u64) -> Result<(), Failure> {
        if self.troubled.load(Ordering::Relaxed) {
            self.admit_in_trouble(origin())
        } else {
            Ok(())
        }
    }

    #[cold]
    fn admit_in_trouble(&self, origin: u64) -> Result<(), Failure> {
        let (mut records, now) = (self.records.lock(), Instant::now());
        records.plugin.admit(&self.policy, now)?;
        match records.origins.get_mut(&origin) {
            Some(record) => record.admit(&self.policy, now),
            None => Ok(()),
        }
    }

    /// Notes that a call succeeded.
    #[inline]
    pub fn succeeded(&self, origin: impl FnOnce() -> u64) {
        if self.troubled.load(Ordering::Relaxed) {
            self.recover(origin());
        }
    }

    #[cold]
    fn recover(&self, origin: u64) {
        let mut records = self.records.lock();
        records.plugin = Record::default();
        records.actors.clear();
        records.origins.remove(&origin);
        records.forget(&self.policy, Instant::now());
        self.troubled.store(!records.origins.is_empty(), Ordering::Relaxed);
    }

    /// Notes that a call failed. Returns who is now left alone, if it led to that.
    pub fn failed(&self, origin: u64, failure: &Failure) -> Option<Quarantine> {
        if !failure.is_strike() {
            return None;
        }
        let (mut records, now) = (self.records.lock(), Instant::now());
        self.troubled.store(true, Ordering::Relaxed);
        if records.origins.len() >= ORIGINS {
            records.origins.clear();
        }
        let of_origin = records.origins.entry(origin).or_default().strike(&self.policy, now);
        let enough = self.policy.strike_actors as usize;
        if records.actors.len() < enough && !records.actors.contains(&origin) {
            records.actors.push(origin);
        }
        records.plugin.strikes += 1;
        if records.plugin.strikes >= self.policy.strikes && records.actors.len() >= enough {
            return Some(Quarantine::Plugin(records.plugin.quarantine(&self.policy, now)));
        }
        of_origin.map(Quarantine::Actor)
    }

    /// Whether the plugin is left alone for everybody.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.troubled.load(Ordering::Relaxed)
            && self
                .records
                .lock()
                .plugin
                .until
                .is_some_and(|until| until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: u64 = 1;

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
    fn strikes_in_a_row_on_one_actor_lead_to_a_quarantine_for_that_actor_alone() {
        let health = Health::new(policy(2, Duration::from_secs(1)));
        assert_eq!(health.failed(ANN, &trap()), None);
        health.succeeded(|| ANN);
        assert_eq!(health.failed(ANN, &trap()), None);
        let quarantined = health.failed(ANN, &trap());
        assert_eq!(quarantined, Some(Quarantine::Actor(Duration::from_secs(1))));
        assert_eq!(health.admit(|| ANN), Err(Failure::Quarantined));
        assert_eq!(health.admit(|| 2), Ok(()));
        assert!(!health.is_quarantined());
    }

    #[test]
    fn failures_on_the_requests_of_several_actors_are_the_plugins_own() {
        let health = Health::new(policy(5, Duration::from_secs(1)));
        let reports: Vec<_> = (0..5).map(|call| health.failed(call % 3, &trap())).collect();
        assert_eq!(reports[4], Some(Quarantine::Plugin(Duration::from_secs(1))));
        assert_eq!(health.admit(|| 9), Err(Failure::Quarantined));
        assert!(health.is_quarantined());
    }

    #[test]
    fn after_the_quarantine_one_call_probes_and_success_forgets() {
        let health = Health::new(HealthPolicy {
            max_quarantine: Duration::ZERO,
            ..policy(1, Duration::ZERO)
        });
        health.failed(ANN, &trap());
        assert_eq!(health.admit(|| ANN), Ok(()));
        health.succeeded(|| ANN);
        assert_eq!(health.admit(|| ANN), Ok(()));
        assert!(!health.troubled.load(Ordering::Relaxed));
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
            [1, 2, 3].map(|length| Quarantine::Actor(Duration::from_secs(length)))
        );
    }

    #[test]
    fn what_is_not_the_plugins_fault_is_no_strike() {
        let health = Health::new(policy(1, Duration::from_secs(1)));
        assert_eq!(health.failed(ANN, &Failure::Busy), None);
        assert_eq!(health.admit(|| ANN), Ok(()));
    }
}
