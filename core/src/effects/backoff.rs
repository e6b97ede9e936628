//! How often work is attempted, and the pauses between attempts.

use std::time::Duration;

/// How often a transaction that conflicts with others is attempted before the conflict is reported.
pub(crate) const ATTEMPTS: u32 = 8;

/// The first pause of a timer or a job that failed, in milliseconds; each further failure doubles it.
const FIRST_PAUSE_MS: u64 = 1_000;
/// The longest pause of a timer or a job that failed, in milliseconds.
const LONGEST_PAUSE_MS: u64 = 3_600_000;

/// The pause of a timer or a job that didn't fail but could not run: its plugin is unavailable, or conflicting
/// transactions won every time. In milliseconds.
pub(super) const UNAVAILABLE_PAUSE_MS: u64 = 1_000;

/// How often an observation is attempted before it becomes a dead letter.
pub(super) const OBSERVATION_ATTEMPTS: u32 = 5;
/// The unit of the pauses of an observer.
const OBSERVATION_PAUSE: Duration = Duration::from_millis(100);
/// The pause of an observer whose plugin is unavailable.
pub(super) const OBSERVER_PAUSE: Duration = Duration::from_millis(500);

/// Returns the pause of a timer or a job after one more failure, in milliseconds; `failures` is their number before it.
pub(super) fn pause_ms(failures: u32) -> u64 {
    FIRST_PAUSE_MS
        .saturating_mul(1 << failures.min(20))
        .min(LONGEST_PAUSE_MS)
}

/// Returns the pause of an observation that failed so many times: 0.2 s after the first failure, then twice as long each
/// time.
pub(super) fn observation_pause(failures: u32) -> Duration {
    OBSERVATION_PAUSE * (1 << failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_a_second_to_an_hour() {
        assert_eq!(
            [0, 1, 2, 11, 12, u32::MAX].map(pause_ms),
            [1_000, 2_000, 4_000, 2_048_000, 3_600_000, 3_600_000]
        );
        assert_eq!(observation_pause(1), Duration::from_millis(200));
    }
}
