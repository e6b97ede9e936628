//! The rate limit of changes of presence.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use courtyard_plugin_sdk::prelude::*;

use crate::error;

/// Maximum number of people whose last change is remembered.
const MAX_PEOPLE: usize = 20_000;

/// Allows one change per person and interval. Each plugin instance counts on its own.
#[derive(Debug)]
pub(crate) struct PresenceRateLimit {
    interval_ms: u64,
    last: Mutex<BTreeMap<String, u64>>,
}

impl PresenceRateLimit {
    pub(crate) fn new(interval_ms: u64) -> Self {
        Self {
            interval_ms,
            last: Mutex::default(),
        }
    }

    /// Records a change.
    ///
    /// # Errors
    /// `rate_limited`, retryable, within the interval of the last change.
    pub(crate) fn acquire(&self, actor: &str, now_ms: u64) -> Result<(), Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last
            .get(actor)
            .is_some_and(|at| now_ms < at.saturating_add(self.interval_ms))
        {
            return Err(Error::new(
                error::RATE_LIMITED,
                "This change came too soon after the last one. Try again later.",
            )
            .retryable());
        }
        if last.len() >= MAX_PEOPLE {
            last.retain(|_, at| at.saturating_add(self.interval_ms) > now_ms);
        }
        last.insert(actor.to_owned(), now_ms);
        Ok(())
    }
}
