//! A blocked Bloom filter over idempotency keys: most keys are new, and finding that out costs one cache line.
//!
//! See F. Putze, P. Sanders, J. Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;

/// The number of words of a block, which is one cache line. All bits of a key are in one block.
const BLOCK: usize = 8;
/// The number of bits that a key sets. With [`BITS_PER_KEY`], about one unknown key in 200 is a false positive.
const BITS: u32 = 6;
const BITS_PER_KEY: usize = 16;
const LEAST_KEYS: usize = 1 << 18;

#[derive(Debug)]
struct Table {
    words: Box<[AtomicU64]>,
    keys: AtomicUsize,
}

impl Table {
    fn new(keys: usize) -> Self {
        let blocks = (keys.max(LEAST_KEYS) * BITS_PER_KEY / (BLOCK * 64)).next_power_of_two();
        Self {
            words: (0..blocks * BLOCK).map(|_| AtomicU64::new(0)).collect(),
            keys: AtomicUsize::new(0),
        }
    }

    /// Returns the words of a key with the bit that it sets in each. The key must be a hash.
    fn bits(&self, hash: u64) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let blocks = self.words.len() / BLOCK;
        // The number of blocks is a power of two. The upper bits select the block, the lower ones the bits in it.
        let block = usize::try_from(hash >> 36).unwrap_or(0) & (blocks - 1);
        let words = &self.words[block * BLOCK..(block + 1) * BLOCK];
        (0..BITS).map(move |index| {
            let bit = hash >> (index * 6) & 63;
            (&words[index as usize], 1_u64 << bit)
        })
    }

    fn add(&self, hash: u64) {
        for (word, bit) in self.bits(hash) {
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
        self.keys.fetch_add(1, Ordering::Relaxed);
    }

    fn may_have(&self, hash: u64) -> bool {
        self.bits(hash)
            .all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Reads the cache line of each key. The reads are independent, so the processor overlaps them.
    fn touch(&self, hashes: impl Iterator<Item = u64>) -> u64 {
        hashes.fold(0, |all, hash| {
            let first = self.bits(hash).next();
            all ^ first.map_or(0, |(word, _)| word.load(Ordering::Relaxed))
        })
    }

    fn room(&self) -> usize {
        self.words.len() * 64 / BITS_PER_KEY
    }
}

/// A Bloom filter that grows by being rebuilt.
#[derive(Debug)]
pub(super) struct BloomFilter(RwLock<Tables>);

#[derive(Debug)]
struct Tables {
    current: Arc<Table>,
    /// The table of a rebuild in progress; it gets all keys that are added meanwhile.
    next: Option<Arc<Table>>,
}

impl BloomFilter {
    pub(super) fn new() -> Self {
        Self(RwLock::new(Tables {
            current: Arc::new(Table::new(0)),
            next: None,
        }))
    }

    pub(super) fn add(&self, hash: u64) {
        let tables = self.0.read();
        tables.current.add(hash);
        if let Some(next) = &tables.next {
            next.add(hash);
        }
    }

    pub(super) fn touch(&self, hashes: impl Iterator<Item = u64>) -> u64 {
        self.0.read().current.touch(hashes)
    }

    /// Returns whether a key may have been added; `false` is certain.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        self.0.read().current.may_have(hash)
    }

    /// Returns whether so many keys were added that false positives are too frequent.
    pub(super) fn is_full(&self) -> bool {
        let current = &self.0.read().current;
        current.keys.load(Ordering::Relaxed) > current.room()
    }

    /// Rebuilds the filter with room for four times `count` keys. `each` passes all keys to its argument, except those that are
    /// added from now on.
    pub(super) fn rebuild(&self, count: usize, each: impl FnOnce(&dyn Fn(u64))) {
        let next = Arc::new(Table::new(count * 4));
        self.0.write().next = Some(next.clone());
        each(&|hash| next.add(hash));
        *self.0.write() = Tables {
            current: next,
            next: None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        // SplitMix64: hashes of consecutive numbers.
        let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn every_added_key_is_found_and_few_others_are() {
        let filter = BloomFilter::new();
        for number in 0..LEAST_KEYS as u64 {
            filter.add(hash(number));
        }
        assert!((0..LEAST_KEYS as u64).all(|number| filter.may_have(hash(number))));
        let wrong = (1_000_000..1_100_000)
            .filter(|number| filter.may_have(hash(*number)))
            .count();
        assert!(wrong < 2_000, "{wrong} of 100,000 unknown keys are false positives");
    }

    #[test]
    fn a_full_filter_is_rebuilt_with_all_its_keys() {
        let filter = BloomFilter::new();
        let keys = 3 * LEAST_KEYS as u64;
        for number in 0..keys {
            filter.add(hash(number));
        }
        assert!(filter.is_full());
        filter.rebuild(3 * LEAST_KEYS, |add| (0..keys).for_each(|number| add(hash(number))));
        assert!(!filter.is_full());
        assert!((0..keys).all(|number| filter.may_have(hash(number))));
    }
}
