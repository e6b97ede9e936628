//! The state of a store in memory: everything that was written since the last checkpoint, and caches of the rest.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use parking_lot::RwLock;

use super::index::{Checkpoint, EventLocation, Index, LogEnd};
use crate::store::{LogId, Position, Read, StoreError};

/// The number of cached values of the index.
const CACHED_VALUES: usize = 65_536;

/// The number of logs whose ends stay in memory although the index has them.
const CACHED_ENDS: usize = 262_144;

/// The keys that were written since the last checkpoint; they take precedence over the index.
#[derive(Debug, Default)]
struct Overlay {
    keys: BTreeMap<Bytes, (u64, Option<Bytes>)>,
    /// Writes up to this position may have been removed from `keys`.
    pruned: u64,
}

#[derive(Debug, Default)]
struct Cache {
    values: HashMap<Bytes, Option<Bytes>, RandomState>,
    /// Counts checkpoints: a value that was read before one must not be cached after it.
    generation: u64,
}

/// The newest events of a log.
#[derive(Debug, Default)]
struct Recent {
    end: LogEnd,
    /// Whether `end` is newer than in the index.
    is_new: bool,
    /// The locations of the newest events that the index doesn't have, up to the end.
    locations: VecDeque<EventLocation>,
}

/// The state of a store in memory.
#[derive(Debug)]
pub(super) struct Memory {
    overlay: RwLock<Overlay>,
    cache: RwLock<Cache>,
    /// The position of the newest write of a key.
    last_write: AtomicU64,
    position: AtomicU64,
    logs: DashMap<LogId, Recent, RandomState>,
}

impl Memory {
    pub(super) fn new(position: u64) -> Self {
        Self {
            overlay: RwLock::new(Overlay {
                pruned: position,
                ..Overlay::default()
            }),
            cache: RwLock::default(),
            last_write: AtomicU64::new(position),
            position: AtomicU64::new(position),
            logs: DashMap::default(),
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    pub(super) fn set_position(&self, position: u64) {
        self.position.store(position, Ordering::Release);
    }

    /// Returns whether no key of `reads` was written after `since`.
    pub(super) fn holds(&self, since: Position, reads: &[Read]) -> bool {
        if reads.is_empty() || self.newest_write() <= since.0 {
            return true;
        }
        let overlay = self.overlay.read();
        if since.0 < overlay.pruned {
            return false;
        }
        reads.iter().all(|read| match read {
            Read::Key(key) => overlay.keys.get(key).is_none_or(|(written, _)| *written <= since.0),
            Read::Range(range) => overlay
                .keys
                .range::<[u8], _>((Bound::Included(&range.start[..]), Bound::Unbounded))
                .take_while(|(key, _)| range.end.is_empty() || **key < range.end)
                .all(|(_, (written, _))| *written <= since.0),
        })
    }

    pub(super) fn write(&self, position: u64, writes: impl IntoIterator<Item = (Bytes, Option<Bytes>)>) {
        let mut overlay = self.overlay.write();
        for (key, value) in writes {
            overlay.keys.insert(key, (position, value));
        }
        self.last_write.store(position, Ordering::Release);
    }

    pub(super) fn newest_write(&self) -> u64 {
        self.last_write.load(Ordering::Acquire)
    }

    pub(super) fn get(&self, index: &Index, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some((_, value)) = self.overlay.read().keys.get(key) {
            return Ok(value.clone());
        }
        let generation = {
            let cache = self.cache.read();
            if let Some(value) = cache.values.get(key) {
                return Ok(value.clone());
            }
            cache.generation
        };
        let value = index.get(key)?;
        let mut cache = self.cache.write();
        if cache.generation == generation {
            if cache.values.len() >= CACHED_VALUES {
                cache.values.clear();
            }
            cache.values.insert(Bytes::copy_from_slice(key), value.clone());
        }
        drop(cache);
        // Between the lookups in the overlay and in the index, the key may have been written, and even checkpointed.
        match self.overlay.read().keys.get(key) {
            Some((_, newer)) => Ok(newer.clone()),
            None => Ok(value),
        }
    }

    pub(super) fn scan(
        &self,
        index: &Index,
        (start, end): (&[u8], &[u8]),
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        // The overlay stays locked, so that no checkpoint moves a key to the index meanwhile.
        let overlay = self.overlay.read();
        let inside = || {
            overlay
                .keys
                .range::<[u8], _>((Bound::Included(start), Bound::Unbounded))
                .take_while(|(key, _)| end.is_empty() || &key[..] < end)
        };
        let hidden = inside().filter(|(_, (_, value))| value.is_none()).count();
        let mut merged: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
        for (key, value) in index.scan(start, end, limit.saturating_add(hidden), reverse)? {
            merged.insert(key, Some(value));
        }
        merged.extend(inside().map(|(key, (_, value))| (key.clone(), value.clone())));
        drop(overlay);
        let live = merged
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| (key, value)));
        if reverse {
            let mut entries: Vec<_> = live.collect();
            entries.reverse();
            entries.truncate(limit);
            return Ok(entries);
        }
        Ok(live.take(limit).collect())
    }

    pub(super) fn head(&self, index: &Index, log: &LogId) -> Result<LogEnd, StoreError> {
        Ok(self.heads(index, std::slice::from_ref(log))?[0])
    }

    /// Returns the ends of logs, in the order of `logs`.
    pub(super) fn heads(&self, index: &Index, logs: &[LogId]) -> Result<Vec<LogEnd>, StoreError> {
        let mut ends = Vec::with_capacity(logs.len());
        let mut missing = Vec::new();
        for (slot, log) in logs.iter().enumerate() {
            match self.logs.get(log) {
                Some(recent) => ends.push(recent.end),
                None => {
                    missing.push((slot, log));
                    ends.push(LogEnd::default());
                }
            }
        }
        if missing.is_empty() {
            return Ok(ends);
        }
        let found = index.ends(missing.iter().map(|(_, log)| *log))?;
        for ((slot, log), end) in missing.into_iter().zip(found) {
            // An append since then is newer.
            ends[slot] = match self.logs.get(log) {
                Some(recent) => recent.end,
                None => end,
            };
        }
        Ok(ends)
    }

    /// Adds an event after the end of a log. Returns its number.
    pub(super) fn append(
        &self,
        index: &Index,
        log: &LogId,
        location: EventLocation,
        position: u64,
    ) -> Result<u64, StoreError> {
        self.change(index, log, position, |recent| {
            recent.end.seq += 1;
            recent.locations.push_back(location);
        })
    }

    /// Records a change of a log without an event.
    pub(super) fn touch(&self, index: &Index, log: &LogId, position: u64) -> Result<(), StoreError> {
        self.change(index, log, position, |_| {}).map(drop)
    }

    fn change(
        &self,
        index: &Index,
        log: &LogId,
        position: u64,
        change: impl FnOnce(&mut Recent),
    ) -> Result<u64, StoreError> {
        let apply = |recent: &mut Recent| {
            change(recent);
            (recent.end.changed, recent.is_new) = (position, true);
            recent.end.seq
        };
        if let Some(mut recent) = self.logs.get_mut(log) {
            return Ok(apply(&mut recent));
        }
        let end = index.ends([log])?.pop().unwrap_or_default();
        let mut recent = Recent {
            end,
            ..Recent::default()
        };
        let seq = apply(&mut recent);
        self.logs.insert(log.clone(), recent);
        Ok(seq)
    }

    /// Returns the locations of events by number, in order.
    pub(super) fn locations(
        &self,
        index: &Index,
        log: &LogId,
        first: u64,
        last: u64,
    ) -> Result<Vec<(u64, EventLocation)>, StoreError> {
        let from_memory = || {
            let recent = self.logs.get(log)?;
            let begin = recent.end.seq + 1 - recent.locations.len() as u64;
            let locations = (begin..).zip(recent.locations.iter().copied());
            Some((
                begin,
                locations
                    .filter(|(seq, _)| (first..=last).contains(seq))
                    .collect::<Vec<_>>(),
            ))
        };
        let (begin, newest) = from_memory().unwrap_or((u64::MAX, Vec::new()));
        if begin <= first {
            return Ok(newest);
        }
        // A checkpoint adds locations to the index before it removes them here, so none is missed.
        let mut locations = index.locations(log, first, last.min(begin.saturating_sub(1)))?;
        locations.extend(newest);
        Ok(locations)
    }

    /// Collects what the index doesn't have of the segments up to `segment`.
    pub(super) fn checkpoint(&self, position: u64, segment: u32) -> Checkpoint {
        let state = {
            let overlay = self.overlay.read();
            let sealed = overlay.keys.iter().filter(|(_, (written, _))| *written <= position);
            sealed.map(|(key, (_, value))| (key.clone(), value.clone())).collect()
        };
        let (mut chunks, mut changed) = (Vec::new(), Vec::new());
        for entry in &self.logs {
            let recent = entry.value();
            if !recent.is_new {
                continue;
            }
            changed.push((entry.key().clone(), recent.end.changed));
            let mut first = recent.end.seq + 1 - recent.locations.len() as u64;
            let sealed: Vec<EventLocation> = recent
                .locations
                .iter()
                .take_while(|location| location.segment <= segment)
                .copied()
                .collect();
            for chunk in sealed.chunk_by(|left, right| left.segment == right.segment) {
                chunks.push((entry.key().clone(), first, chunk.to_vec()));
                first += chunk.len() as u64;
            }
        }
        Checkpoint {
            position,
            segment: segment + 1,
            state,
            chunks,
            changed,
            ..Checkpoint::default()
        }
    }

    /// Removes what the index has now.
    pub(super) fn prune(&self, position: u64, segment: u32) {
        {
            let mut cache = self.cache.write();
            cache.values.clear();
            cache.generation += 1;
        }
        let mut overlay = self.overlay.write();
        overlay.keys.retain(|_, (written, _)| *written > position);
        overlay.pruned = position;
        drop(overlay);
        // Some ends stay, since `sync` compares them.
        let mut room = CACHED_ENDS;
        self.logs.retain(|_, recent| {
            while recent
                .locations
                .front()
                .is_some_and(|location| location.segment <= segment)
            {
                recent.locations.pop_front();
            }
            recent.is_new = recent.end.changed > position;
            let is_kept = recent.is_new || !recent.locations.is_empty() || room > 0;
            room = room.saturating_sub(1);
            is_kept
        });
    }
}
