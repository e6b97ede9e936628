//! The index of idempotency keys: which keys are remembered, and the locations of their events.

use std::collections::VecDeque;

use parking_lot::RwLock;

use super::bloom::BloomFilter;
use super::index::{DedupTables, EventLocation};
use crate::store::DedupEntry;

/// The hash of a key, and the offset of its event in a segment.
pub(super) type Pair = (u64, u32);

/// The number of pairs of the newest segment that are searched linearly before they are sorted.
const TAIL: usize = 1_024;

/// The keys of one segment.
#[derive(Debug)]
struct SegmentKeys {
    number: u32,
    /// Sorted runs; a single one once the segment was compacted.
    sorted: Vec<Box<[Pair]>>,
    tail: Vec<Pair>,
}

impl SegmentKeys {
    fn new(number: u32) -> Self {
        Self {
            number,
            sorted: Vec::new(),
            tail: Vec::new(),
        }
    }

    fn add(&mut self, pairs: &[Pair]) {
        self.tail.extend_from_slice(pairs);
        if self.tail.len() >= TAIL {
            self.tail.sort_unstable();
            self.sorted.push(std::mem::take(&mut self.tail).into());
        }
    }

    fn len(&self) -> usize {
        self.sorted.iter().map(|pairs| pairs.len()).sum::<usize>() + self.tail.len()
    }

    fn pairs(&self) -> impl Iterator<Item = Pair> {
        self.sorted.iter().flatten().chain(&self.tail).copied()
    }

    fn find(&self, hash: u64) -> Option<EventLocation> {
        let sorted = self.sorted.iter().find_map(|pairs| {
            let at = pairs.binary_search_by_key(&hash, |pair| pair.0).ok()?;
            pairs.get(at)
        });
        let found = sorted.or_else(|| self.tail.iter().find(|pair| pair.0 == hash));
        found.map(|(_, offset)| EventLocation {
            segment: self.number,
            offset: *offset,
        })
    }
}

/// The idempotency keys that a store remembers.
///
/// Most keys that are looked up are new. The Bloom filter finds that out at the cost of one cache line; the segments are
/// searched only for the others.
#[derive(Debug)]
pub(super) struct DedupIndex {
    filter: BloomFilter,
    /// The keys of the batch in progress.
    pending: RwLock<Vec<DedupEntry>>,
    /// The oldest first; the last one grows.
    segments: RwLock<VecDeque<SegmentKeys>>,
}

impl DedupIndex {
    /// Creates the index with the keys of the checkpoints.
    pub(super) fn new(tables: DedupTables) -> Self {
        let segment = |(number, mut pairs): (u32, Vec<Pair>)| {
            pairs.sort_unstable();
            SegmentKeys {
                number,
                sorted: vec![pairs.into()],
                tail: Vec::new(),
            }
        };
        let index = Self {
            filter: BloomFilter::new(),
            pending: RwLock::default(),
            segments: RwLock::new(tables.into_iter().map(segment).collect()),
        };
        index.rebuild_filter();
        index
    }

    /// Loads the memory that [`DedupIndex::may_have`] will read into the processor's caches. Returns a value that depends on
    /// the reads, so that the compiler can't remove them.
    pub(super) fn touch(&self, hashes: impl Iterator<Item = u64>) -> u64 {
        self.filter.touch(hashes)
    }

    /// Returns whether a key may be remembered; `false` is certain for all keys that were added before.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        self.filter.may_have(hash)
    }

    /// Finds a key of the batch in progress.
    pub(super) fn pending(&self, key: u128) -> Option<DedupEntry> {
        self.pending.read().iter().find(|found| found.key == key).cloned()
    }

    /// Finds the event of a key of an earlier batch.
    pub(super) fn location(&self, hash: u64) -> Option<EventLocation> {
        self.segments.read().iter().rev().find_map(|segment| segment.find(hash))
    }

    /// Adds a key of the batch in progress.
    pub(super) fn add_pending(&self, hash: u64, found: DedupEntry) {
        // In this order, so that a concurrent rebuild of the filter can't miss the key.
        self.pending.write().push(found);
        self.filter.add(hash);
    }

    /// Moves the keys of a written batch to their segment.
    pub(super) fn commit(&self, segment: u32, pairs: &[Pair]) {
        self.add(segment, pairs);
        self.pending.write().clear();
    }

    /// Adds the keys of a segment during recovery.
    pub(super) fn recover(&self, segment: u32, pairs: &[Pair]) {
        pairs.iter().for_each(|(hash, _)| self.filter.add(*hash));
        self.add(segment, pairs);
    }

    fn add(&self, number: u32, pairs: &[Pair]) {
        let mut segments = self.segments.write();
        if segments.back().is_none_or(|last| last.number != number) {
            segments.push_back(SegmentKeys::new(number));
        }
        if let Some(last) = segments.back_mut() {
            last.add(pairs);
        }
    }

    /// Merges the sorted runs of sealed segments, and removes the keys of segments before `oldest`.
    pub(super) fn compact(&self, sealed: u32, oldest: u32) {
        loop {
            let has_runs = |segment: &&SegmentKeys| {
                segment.number <= sealed && segment.sorted.len() + usize::from(!segment.tail.is_empty()) > 1
            };
            let Some((number, mut pairs)) = self.segments.read().iter().find(has_runs).map(|segment| {
                let mut pairs = Vec::with_capacity(segment.len());
                pairs.extend(segment.pairs());
                (segment.number, pairs)
            }) else {
                break;
            };
            pairs.sort_unstable();
            let mut segments = self.segments.write();
            if let Some(segment) = segments.iter_mut().find(|segment| segment.number == number) {
                segment.sorted = vec![pairs.into()];
                segment.tail = Vec::new();
            }
        }
        let mut segments = self.segments.write();
        while segments.front().is_some_and(|segment| segment.number < oldest) {
            segments.pop_front();
        }
        drop(segments);
        if self.filter.is_full() {
            self.rebuild_filter();
        }
    }

    fn rebuild_filter(&self) {
        let keys: usize = self.segments.read().iter().map(SegmentKeys::len).sum();
        self.filter.rebuild(keys, |add| {
            self.pending
                .read()
                .iter()
                .for_each(|found| add(super::hash_of(found.key)));
            self.segments
                .read()
                .iter()
                .flat_map(SegmentKeys::pairs)
                .for_each(|(hash, _)| add(hash));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(numbers: std::ops::Range<u32>) -> Vec<Pair> {
        // Any well distributed hash works.
        let hash = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        numbers.map(|number| (hash(number), number)).collect()
    }

    #[test]
    fn keys_are_found_before_and_after_a_compaction() {
        let index = DedupIndex::new(Vec::new());
        let (first, second) = (pairs(0..3_000), pairs(3_000..3_100));
        index.recover(1, &first);
        index.recover(2, &second);
        for _ in 0..2 {
            for (segment, pairs) in [(1, &first), (2, &second)] {
                for (hash, offset) in pairs {
                    let location = EventLocation {
                        segment,
                        offset: *offset,
                    };
                    assert!(index.may_have(*hash));
                    assert_eq!(index.location(*hash), Some(location));
                }
            }
            index.compact(1, 0);
        }
    }

    #[test]
    fn keys_of_old_segments_are_removed() {
        let index = DedupIndex::new(vec![(1, pairs(0..10)), (2, pairs(10..20))]);
        index.compact(2, 2);
        assert_eq!(index.location(pairs(0..1)[0].0), None);
        assert!(index.location(pairs(10..11)[0].0).is_some());
    }
}
