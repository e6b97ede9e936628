//! Checks of the output of every kind of plugin against its limits and the contract, and of its speed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use courtyard_plugin_sdk::hook::Reply;
use courtyard_plugin_sdk::manifest::HookName;

use super::PluginLimits;
use crate::hooks::{Failure, Verdict};

/// Fast calls in a row after which a slow plugin counts as fast again.
const FAST_AGAIN: u32 = 100;

/// Checks a reply against `max`, the limit of one result in bytes. The value of a method must be JSON as well: it goes
/// into a frame unchanged.
pub(super) fn checked(reply: Reply, max: usize) -> Result<Reply, Failure> {
    match &reply {
        Reply::Verdict(Verdict::Replace(content)) => check_size(content, max)?,
        Reply::Contents(Ok(contents)) => contents
            .iter()
            .flatten()
            .try_for_each(|content| check_size(content, max))?,
        Reply::Value(Ok(json)) => {
            check_size(json, max)?;
            if serde_json::from_slice::<&serde_json::value::RawValue>(json).is_err() {
                return Err(Failure::Contract("the result of a method is not JSON".to_owned()));
            }
        }
        Reply::Bytes(Ok(bytes)) => check_size(bytes, max)?,
        Reply::Response(Ok(response)) => check_size(&response.body, max)?,
        _ => {}
    }
    Ok(reply)
}

/// Checks a verdict against `max`, the limit of one result in bytes.
pub(super) fn checked_verdict(verdict: Verdict, max: usize) -> Result<Verdict, Failure> {
    if let Verdict::Replace(content) = &verdict {
        check_size(content, max)?;
    }
    Ok(verdict)
}

fn check_size(bytes: &[u8], max: usize) -> Result<(), Failure> {
    if bytes.len() > max {
        Err(Failure::Limit("result bytes"))
    } else {
        Ok(())
    }
}

/// Returns the deadline of a call.
pub(super) fn deadline(limits: &PluginLimits, hook: HookName) -> Duration {
    match hook {
        HookName::Method | HookName::Migrate | HookName::Timer | HookName::Http | HookName::Transaction => {
            limits.method
        }
        _ => limits.hook,
    }
}

/// Detects plugins whose calls are slow: for each slow call it takes [`FAST_AGAIN`] fast ones in a row to count as fast again.
#[derive(Debug, Default)]
pub(super) struct SlowCalls {
    /// Fast calls that are still required; 0 if the plugin counts as fast.
    remaining: AtomicU32,
}

impl SlowCalls {
    pub(super) fn record(&self, slow: bool) {
        if slow {
            self.remaining.store(FAST_AGAIN, Ordering::Relaxed);
        } else if self.is_slow() {
            let decrement = |remaining: u32| remaining.checked_sub(1);
            // Fails at 0, which is meant to stay 0.
            let _ = self
                .remaining
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, decrement);
        }
    }

    pub(super) fn is_slow(&self) -> bool {
        self.remaining.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_returns_json_within_its_limit() {
        let result = |json: &[u8], max| checked(Reply::Value(Ok(json.to_vec())), max).map(drop);
        assert_eq!(result(b"{}", 2), Ok(()));
        assert_eq!(result(b"[1]", 2), Err(Failure::Limit("result bytes")));
        assert!(matches!(result(b"{", 9), Err(Failure::Contract(_))));
        assert!(matches!(result(b"\xff", 9), Err(Failure::Contract(_))));
    }

    #[test]
    fn a_plugin_counts_as_fast_again_after_many_fast_calls() {
        let calls = SlowCalls::default();
        calls.record(true);
        for _ in 1..FAST_AGAIN {
            calls.record(false);
        }
        assert!(calls.is_slow());
        calls.record(false);
        assert!(!calls.is_slow());
    }
}
