//! What every kind of plugin answers, held against its limits and the contract; and how quick it is.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use courtyard_plugin_sdk::hook::Reply;
use courtyard_plugin_sdk::manifest::HookName;

use super::PluginLimits;
use crate::hooks::{Failure, Verdict};

/// Quick calls in a row until a slow plugin counts as quick again.
const QUICK_AGAIN: u32 = 100;

/// Holds a reply against the limit of one result, and the value of a method against JSON, since it goes into a frame as it
/// is.
pub(super) fn checked(reply: Reply, most: usize) -> Result<Reply, Failure> {
    match &reply {
        Reply::Verdict(Verdict::Replace(content)) => sized(content, most)?,
        Reply::Contents(Ok(contents)) => contents.iter().flatten().try_for_each(|content| sized(content, most))?,
        Reply::Value(Ok(json)) => {
            sized(json, most)?;
            if serde_json::from_slice::<&serde_json::value::RawValue>(json).is_err() {
                return Err(Failure::Contract("the result of a method is no JSON".to_owned()));
            }
        }
        Reply::Bytes(Ok(bytes)) => sized(bytes, most)?,
        Reply::Response(Ok(response)) => sized(&response.body, most)?,
        _ => {}
    }
    Ok(reply)
}

/// Holds a verdict against the limit of one result.
pub(super) fn checked_verdict(verdict: Verdict, most: usize) -> Result<Verdict, Failure> {
    if let Verdict::Replace(content) = &verdict {
        sized(content, most)?;
    }
    Ok(verdict)
}

fn sized(bytes: &[u8], most: usize) -> Result<(), Failure> {
    if bytes.len() > most {
        Err(Failure::Limit("result bytes"))
    } else {
        Ok(())
    }
}

/// Returns how long a plugin may take for a request.
pub(super) fn deadline(limits: &PluginLimits, hook: HookName) -> Duration {
    match hook {
        HookName::Method | HookName::Migrate | HookName::Timer | HookName::Http | HookName::Transaction => {
            limits.method
        }
        _ => limits.hook,
    }
}

/// Whether calls have lately taken long.
#[derive(Debug, Default)]
pub(super) struct SlowCalls {
    /// Counts down quick calls after a slow one.
    slow: AtomicU32,
}

impl SlowCalls {
    pub(super) fn record(&self, slow: bool) {
        if slow {
            self.slow.store(QUICK_AGAIN, Ordering::Relaxed);
        } else if self.is_slow() {
            let less = |slow: u32| slow.checked_sub(1);
            // At 0 it stays there.
            let _ = self.slow.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_returns_json_within_its_limit() {
        let result = |json: &[u8], most| checked(Reply::Value(Ok(json.to_vec())), most).map(drop);
        assert_eq!(result(b"{}", 2), Ok(()));
        assert_eq!(result(b"[1]", 2), Err(Failure::Limit("result bytes")));
        assert!(matches!(result(b"{", 9), Err(Failure::Contract(_))));
        assert!(matches!(result(b"\xff", 9), Err(Failure::Contract(_))));
    }

    #[test]
    fn a_plugin_counts_as_quick_again_after_many_quick_calls() {
        let calls = SlowCalls::default();
        calls.record(true);
        for _ in 1..QUICK_AGAIN {
            calls.record(false);
        }
        assert!(calls.is_slow());
        calls.record(false);
        assert!(!calls.is_slow());
    }
}
