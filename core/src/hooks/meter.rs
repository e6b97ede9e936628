//! The figures of a plugin's calls for operators: counts, failures by kind, and a sample of their durations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use courtyard_plugin_sdk::manifest::HookName;

use super::Failure;

/// Upper bounds of the duration buckets, in nanoseconds; one more bucket counts longer calls.
pub const BUCKETS_NS: [u64; 12] = [
    1_000,
    2_000,
    5_000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    1_000_000_000,
];

/// One call in this many is timed: reading the clock twice would cost a fifth of a call.
const SAMPLED: u64 = 16;

/// The counters of one hook.
#[derive(Debug, Default)]
struct Counts {
    calls: AtomicU64,
    failures: [AtomicU64; Failure::KINDS.len()],
    buckets: [AtomicU64; BUCKETS_NS.len() + 1],
    sampled_ns: AtomicU64,
}

/// Counts the calls of one plugin, over all of its generations.
#[derive(Debug, Default)]
pub struct Meter {
    hooks: [Counts; HookName::ALL.len()],
}

/// When a call began, if it is timed.
#[derive(Debug)]
pub(super) struct CallTimer(Option<Instant>);

/// The figures of one hook.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HookCounts {
    /// The name of the hook.
    pub hook: &'static str,
    /// The number of calls, with those that were refused.
    pub calls: u64,
    /// The number of failures of each kind that happened.
    pub failures: Vec<(&'static str, u64)>,
    /// The number of timed calls in each bucket of [`BUCKETS_NS`]; the last bucket has no upper bound.
    #[serde(skip)]
    pub buckets: [u64; BUCKETS_NS.len() + 1],
    /// The sum of the durations of the timed calls, in nanoseconds.
    #[serde(skip)]
    pub sampled_ns: u64,
}

impl Meter {
    #[inline]
    pub(super) fn begin(&self, hook: HookName) -> CallTimer {
        let call = self.hooks[hook as usize].calls.fetch_add(1, Ordering::Relaxed);
        CallTimer(call.is_multiple_of(SAMPLED).then(Instant::now))
    }

    #[inline]
    pub(super) fn end(&self, hook: HookName, timer: &CallTimer, failure: Option<&Failure>) {
        if timer.0.is_some() || failure.is_some() {
            self.record(hook, timer.0, failure);
        }
    }

    #[cold]
    fn record(&self, hook: HookName, begun: Option<Instant>, failure: Option<&Failure>) {
        let counts = &self.hooks[hook as usize];
        if let Some(failure) = failure {
            counts.failures[failure.kind()].fetch_add(1, Ordering::Relaxed);
        }
        if let Some(begun) = begun {
            let took = nanoseconds(begun.elapsed());
            counts.buckets[BUCKETS_NS.partition_point(|bound| *bound < took)].fetch_add(1, Ordering::Relaxed);
            counts.sampled_ns.fetch_add(took, Ordering::Relaxed);
        }
    }

    /// Returns the figures of every hook that was called.
    #[must_use]
    pub fn counts(&self) -> Vec<HookCounts> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of = |hook: HookName| {
            let counts = &self.hooks[hook as usize];
            let failures = Failure::KINDS.iter().zip(&counts.failures);
            HookCounts {
                hook: hook.name(),
                calls: read(&counts.calls),
                failures: failures
                    .map(|(kind, count)| (*kind, read(count)))
                    .filter(|(_, count)| *count > 0)
                    .collect(),
                buckets: std::array::from_fn(|index| read(&counts.buckets[index])),
                sampled_ns: read(&counts.sampled_ns),
            }
        };
        HookName::ALL
            .into_iter()
            .map(of)
            .filter(|counts| counts.calls > 0)
            .collect()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_failures_are_counted_by_hook_and_kind() {
        let meter = Meter::default();
        for failure in [None, Some(Failure::Busy), Some(Failure::Timeout(5))] {
            let timer = meter.begin(HookName::BeforeSend);
            meter.end(HookName::BeforeSend, &timer, failure.as_ref());
        }
        let counts = meter.counts();
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].hook, counts[0].calls), ("before_send", 3));
        assert_eq!(counts[0].failures, [("timeout", 1), ("busy", 1)]);
        assert_eq!(
            counts[0].buckets.iter().sum::<u64>(),
            1,
            "the first of sixteen is timed"
        );
    }
}
