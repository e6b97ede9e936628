//! The pace of changes of presence.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use courtyard_plugin_sdk::prelude::*;

/// Most people whose last change is remembered.
const MOST: usize = 20_000;

/// Takes no more than one change of each person in some time, as far as this instance knows.
#[derive(Debug)]
pub(crate) struct Pace {
    interval_ms: u64,
    last: Mutex<BTreeMap<String, u64>>,
}

impl Pace {
    pub(crate) fn new(interval_ms: u64) -> Self {
        Self {
            interval_ms,
            last: Mutex::default(),
        }
    }

    /// Takes a change.
    ///
    /// # Errors
    /// `too_often`, which a retry helps.
    pub(crate) fn step(&self, who: &str, now_ms: u64) -> Result<(), Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last
            .get(who)
            .is_some_and(|at| now_ms < at.saturating_add(self.interval_ms))
        {
            return Err(Error::new("too_often", "That was too soon after the last change.").retryable());
        }
        if last.len() >= MOST {
            last.retain(|_, at| at.saturating_add(self.interval_ms) > now_ms);
        }
        last.insert(who.to_owned(), now_ms);
        Ok(())
    }
}
