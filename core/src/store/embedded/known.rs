//! Idempotency keys: which are known, and where their events are.

use std::collections::VecDeque;

use parking_lot::RwLock;

use super::filter::Filter;
use super::index::{DedupTables, Place};
use crate::store::Found;

/// A key's hash, and the offset of its event in a segment.
pub(super) type Pair = (u64, u32);

/// Pairs of the newest segment that are looked through one by one before they are sorted.
const TAIL: usize = 1_024;

/// The keys of one segment.
#[derive(Debug)]
struct Segment {
    number: u32,
    /// Each sorted; one alone once the segment is tidied up.
    sorted: Vec<Box<[Pair]>>,
    tail: Vec<Pair>,
}

impl Segment {
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

    fn find(&self, hash: u64) -> Option<Place> {
        let sorted = self.sorted.iter().find_map(|pairs| {
            let at = pairs.binary_search_by_key(&hash, |pair| pair.0).ok()?;
            pairs.get(at)
        });
        let found = sorted.or_else(|| self.tail.iter().find(|pair| pair.0 == hash));
        found.map(|(_, offset)| Place {
            segment: self.number,
            offset: *offset,
        })
    }
}

/// The keys that a store remembers.
///
/// Most keys that are looked up are new. The filter tells so at the price of one cache line; only for the others the
/// segments are searched.
#[derive(Debug)]
pub(super) struct Known {
    filter: Filter,
    /// The keys of the batch that is being written.
    pending: RwLock<Vec<Found>>,
    /// Oldest first; the last one grows.
    segments: RwLock<VecDeque<Segment>>,
}

impl Known {
    /// Begins with what the index has.
    pub(super) fn new(tables: DedupTables) -> Self {
        let segment = |(number, mut pairs): (u32, Vec<Pair>)| {
            pairs.sort_unstable();
            Segment {
                number,
                sorted: vec![pairs.into()],
                tail: Vec::new(),
            }
        };
        let known = Self {
            filter: Filter::new(),
            pending: RwLock::default(),
            segments: RwLock::new(tables.into_iter().map(segment).collect()),
        };
        known.rebuild_filter();
        known
    }

    /// Reads what [`Known::may_have`] will read, so that it is in the processor's caches by then. Returns something that
    /// depends on it, which a compiler can't leave out.
    pub(super) fn touch(&self, hashes: impl Iterator<Item = u64>) -> u64 {
        self.filter.touch(hashes)
    }

    /// Whether a key may be known; false is certain for those whose batch has begun.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        self.filter.may_have(hash)
    }

    /// Finds a key of the batch that is being written.
    pub(super) fn pending(&self, key: u128) -> Option<Found> {
        self.pending.read().iter().find(|found| found.key == key).cloned()
    }

    /// Finds the event of a key that was written.
    pub(super) fn place(&self, hash: u64) -> Option<Place> {
        self.segments.read().iter().rev().find_map(|segment| segment.find(hash))
    }

    /// Adds a key of the batch that is being written.
    pub(super) fn add_pending(&self, hash: u64, found: Found) {
        // In this order, so that a filter that is being made anew gets the key one way or the other.
        self.pending.write().push(found);
        self.filter.add(hash);
    }

    /// Moves the keys of a written batch to their segment.
    pub(super) fn settle(&self, segment: u32, pairs: &[Pair]) {
        self.add(segment, pairs);
        self.pending.write().clear();
    }

    /// Adds the keys of a segment when the store is opened.
    pub(super) fn recover(&self, segment: u32, pairs: &[Pair]) {
        pairs.iter().for_each(|(hash, _)| self.filter.add(*hash));
        self.add(segment, pairs);
    }

    fn add(&self, number: u32, pairs: &[Pair]) {
        let mut segments = self.segments.write();
        if segments.back().is_none_or(|last| last.number != number) {
            segments.push_back(Segment::new(number));
        }
        if let Some(last) = segments.back_mut() {
            last.add(pairs);
        }
    }

    /// Puts the keys of full segments in order, and forgets those of segments before `oldest`.
    pub(super) fn tidy_up(&self, sealed: u32, oldest: u32) {
        loop {
            let untidy = |segment: &&Segment| {
                segment.number <= sealed && segment.sorted.len() + usize::from(!segment.tail.is_empty()) > 1
            };
            let Some((number, mut pairs)) = self.segments.read().iter().find(untidy).map(|segment| {
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
        let keys: usize = self.segments.read().iter().map(Segment::len).sum();
        self.filter.rebuild(keys, |add| {
            self.pending
                .read()
                .iter()
                .for_each(|found| add(super::hash_of(found.key)));
            self.segments
                .read()
                .iter()
                .flat_map(Segment::pairs)
                .for_each(|(hash, _)| add(hash));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(numbers: std::ops::Range<u32>) -> Vec<Pair> {
        // Any spread of hashes does.
        let hash = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        numbers.map(|number| (hash(number), number)).collect()
    }

    #[test]
    fn keys_are_found_while_they_are_new_and_after_tidying_up() {
        let known = Known::new(Vec::new());
        let (first, second) = (pairs(0..3_000), pairs(3_000..3_100));
        known.recover(1, &first);
        known.recover(2, &second);
        for _ in 0..2 {
            for (segment, pairs) in [(1, &first), (2, &second)] {
                for (hash, offset) in pairs {
                    let place = Place {
                        segment,
                        offset: *offset,
                    };
                    assert!(known.may_have(*hash));
                    assert_eq!(known.place(*hash), Some(place));
                }
            }
            known.tidy_up(1, 0);
        }
    }

    #[test]
    fn keys_of_old_segments_are_forgotten() {
        let known = Known::new(vec![(1, pairs(0..10)), (2, pairs(10..20))]);
        known.tidy_up(2, 2);
        assert_eq!(known.place(pairs(0..1)[0].0), None);
        assert!(known.place(pairs(10..11)[0].0).is_some());
    }
}
