//! The bytes that a plugin stores: in its key space, and in its jobs.
//!
//! An exact counter would make all writers of a plugin conflict. So a write only adds to an estimate. When the estimate
//! exceeds the limit, a background thread counts the key space, and writes fail once the count itself exceeds the limit. A
//! plugin may exceed the limit by its writes during a count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::store::{Store, StoreError};
use crate::wire::AppId;

/// The pause between two counts of one key space.
const PAUSE: Duration = Duration::from_secs(1);
/// Entries that are read at a time.
const PAGE: usize = 1_000;

/// Spaces of keys of one plugin, one for each app.
#[derive(Debug, Default)]
pub struct Quota {
    spaces: DashMap<AppId, Arc<Space>, RandomState>,
}

#[derive(Debug, Default)]
struct Space {
    /// The last count plus the bytes written since. Bytes written during a count may be missing.
    estimate: AtomicU64,
    over: AtomicBool,
    counting: AtomicBool,
    counted: Mutex<Option<Instant>>,
}

impl Quota {
    /// Adds a write of `bytes` to the estimate. Returns false if the last count exceeds the limit.
    pub(super) fn admit(
        &self,
        store: &Arc<dyn Store>,
        app: &AppId,
        range: impl FnOnce() -> (Bytes, Bytes),
        bytes: usize,
        limit: u64,
    ) -> bool {
        let space = match self.spaces.get(app) {
            Some(space) => space.clone(),
            None => self.spaces.entry(app.clone()).or_default().clone(),
        };
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let estimate = space.estimate.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let over = space.over.load(Ordering::Relaxed);
        if (over || estimate > limit || !space.was_counted()) && space.may_count() {
            let (store, range) = (store.clone(), range());
            let counted = space.clone();
            let count = move || counted.count(&*store, range, limit);
            let spawned = std::thread::Builder::new().name("kv-quota".to_owned()).spawn(count);
            if let Err(error) = spawned {
                tracing::warn!(%error, "a key space could not be counted");
                space.counting.store(false, Ordering::Release);
            }
        }
        !over
    }
}

impl Space {
    fn was_counted(&self) -> bool {
        // The first count has started: no need for another one.
        self.counting.load(Ordering::Relaxed) || self.counted.lock().is_some()
    }

    /// Returns whether a count is due. The caller must then start it.
    fn may_count(&self) -> bool {
        let rested = self.counted.lock().is_none_or(|counted| counted.elapsed() >= PAUSE);
        rested && !self.counting.swap(true, Ordering::Acquire)
    }

    fn count(&self, store: &dyn Store, range: (Bytes, Bytes), limit: u64) {
        match counted(store, range) {
            Ok(bytes) => {
                self.estimate.store(bytes, Ordering::Relaxed);
                self.over.store(bytes > limit, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "a key space could not be counted"),
        }
        *self.counted.lock() = Some(Instant::now());
        self.counting.store(false, Ordering::Release);
    }
}

fn counted(store: &dyn Store, (mut start, end): (Bytes, Bytes)) -> Result<u64, StoreError> {
    let mut bytes = 0;
    loop {
        let found = store.scan(&start, &end, PAGE, false)?;
        bytes += found
            .iter()
            .map(|(key, value)| u64::try_from(key.len() + value.len()).unwrap_or(u64::MAX))
            .sum::<u64>();
        match found.last() {
            Some((last, _)) if found.len() == PAGE => start = [last, &[0][..]].concat().into(),
            _ => return Ok(bytes),
        }
    }
}
