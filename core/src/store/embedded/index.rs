//! The checkpointed index: the contents of the log up to a position, in redb.

use std::path::Path;

use bytes::Bytes;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::store::{LogId, StoreError};

const STATE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("state");
const HEADS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("heads");
/// Log → the position of its newest change.
const CHANGED: TableDefinition<'_, &[u8], u64> = TableDefinition::new("changed");
/// Log and first number → segment and offsets of consecutive events.
const CHUNKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("chunks");
/// Segment → hashes of idempotency keys and offsets.
const DEDUP: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("dedup");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The location of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventLocation {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// The end of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogEnd {
    /// The newest number.
    pub(super) seq: u64,
    /// The position of the newest change.
    pub(super) changed: u64,
}

/// Hashes of idempotency keys with the offsets of their events, by segment.
pub(super) type DedupTables = Vec<(u32, Vec<(u64, u32)>)>;

/// What a checkpoint adds.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    /// The last position that the index contains.
    pub(super) position: u64,
    /// The first segment that the index doesn't contain.
    pub(super) segment: u32,
    pub(super) state: Vec<(Bytes, Option<Bytes>)>,
    /// A log, a first number, and the locations of consecutive events.
    pub(super) chunks: Vec<(LogId, u64, Vec<EventLocation>)>,
    /// The changed logs, with the position of their newest change or a later one.
    pub(super) changed: Vec<(LogId, u64)>,
    pub(super) dedup: Vec<(u32, Vec<(u64, u32)>)>,
    /// The segments whose idempotency keys are removed.
    pub(super) forget: Vec<u32>,
}

/// The index of a store.
#[derive(Debug)]
pub(super) struct Index {
    /// None once it is closed, so that owners that still have the store don't prevent another opening.
    database: RwLock<Option<Database>>,
}

impl Index {
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let database = Database::builder()
            .set_cache_size(cache_bytes)
            .create(path)
            .map_err(failed)?;
        let index = Self {
            database: RwLock::new(Some(database)),
        };
        index.apply(&Checkpoint::default(), true)?;
        Ok(index)
    }

    fn database(&self) -> Result<MappedRwLockReadGuard<'_, Database>, StoreError> {
        RwLockReadGuard::try_map(self.database.read(), Option::as_ref).map_err(|_| StoreError::Closed)
    }

    /// Closes the file. Later reads fail with [`StoreError::Closed`].
    pub(super) fn close(&self) {
        *self.database.write() = None;
    }

    /// Returns the last position that the index contains, and the first segment that it doesn't contain.
    pub(super) fn checkpoint(&self) -> Result<(u64, u32), StoreError> {
        let meta = self
            .database()?
            .begin_read()
            .map_err(failed)?
            .open_table(META)
            .map_err(failed)?;
        let number = |key| {
            meta.get(key)
                .map(|found| found.map_or(0, |value| value.value()))
                .map_err(failed)
        };
        Ok((
            number("position")?,
            u32::try_from(number("segment")?).unwrap_or(u32::MAX),
        ))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let table = self
            .database()?
            .begin_read()
            .map_err(failed)?
            .open_table(STATE)
            .map_err(failed)?;
        Ok(table
            .get(key)
            .map_err(failed)?
            .map(|value| Bytes::copy_from_slice(value.value())))
    }

    pub(super) fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let table = self
            .database()?
            .begin_read()
            .map_err(failed)?
            .open_table(STATE)
            .map_err(failed)?;
        let range = if end.is_empty() {
            table.range(start..)
        } else {
            table.range(start..end)
        }
        .map_err(failed)?;
        let copy = |entry: Result<_, redb::StorageError>| {
            let (key, value): (redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, &[u8]>) = entry.map_err(failed)?;
            Ok((
                Bytes::copy_from_slice(key.value()),
                Bytes::copy_from_slice(value.value()),
            ))
        };
        if reverse {
            range.rev().take(limit).map(copy).collect()
        } else {
            range.take(limit).map(copy).collect()
        }
    }

    /// Returns the ends of logs, in the order of `logs`.
    pub(super) fn ends<'a>(&self, logs: impl IntoIterator<Item = &'a LogId>) -> Result<Vec<LogEnd>, StoreError> {
        let transaction = self.database()?.begin_read().map_err(failed)?;
        let heads = transaction.open_table(HEADS).map_err(failed)?;
        let changed = transaction.open_table(CHANGED).map_err(failed)?;
        let number = |table: &redb::ReadOnlyTable<&[u8], u64>, key: &[u8]| {
            let found = table.get(key).map_err(failed)?;
            Ok::<_, StoreError>(found.map_or(0, |value| value.value()))
        };
        let end = |log: &LogId| {
            let key = log_key(log);
            Ok(LogEnd {
                seq: number(&heads, &key)?,
                changed: number(&changed, &key)?,
            })
        };
        logs.into_iter().map(end).collect()
    }

    /// Returns the locations of the events from `first` to `last` that the index contains, in order.
    pub(super) fn locations(
        &self,
        log: &LogId,
        first: u64,
        last: u64,
    ) -> Result<Vec<(u64, EventLocation)>, StoreError> {
        let table = self
            .database()?
            .begin_read()
            .map_err(failed)?
            .open_table(CHUNKS)
            .map_err(failed)?;
        let (low, from, to) = (chunk_key(log, 0), chunk_key(log, first), chunk_key(log, last));
        // The chunk that holds `first` may begin before it.
        let before = table.range(&low[..]..=&from[..]).map_err(failed)?.next_back();
        let begin = match before {
            Some(entry) => entry.map_err(failed)?.0.value().to_vec(),
            None => from,
        };
        let mut locations = Vec::new();
        for entry in table.range(&begin[..]..=&to[..]).map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            let damaged = || StoreError::Index("a chunk of the index is damaged".to_owned());
            let chunk_first = key
                .value()
                .last_chunk::<8>()
                .map(|seq| u64::from_be_bytes(*seq))
                .ok_or_else(damaged)?;
            let numbers = value
                .value()
                .chunks_exact(4)
                .map(|n| u32::from_le_bytes([n[0], n[1], n[2], n[3]]));
            let mut numbers = numbers;
            let segment = numbers.next().ok_or_else(damaged)?;
            let here = (chunk_first..).zip(numbers.map(|offset| EventLocation { segment, offset }));
            locations.extend(here.filter(|(seq, _)| (first..=last).contains(seq)));
        }
        Ok(locations)
    }

    /// Returns the idempotency keys of all segments.
    pub(super) fn dedup(&self) -> Result<DedupTables, StoreError> {
        let table = self
            .database()?
            .begin_read()
            .map_err(failed)?
            .open_table(DEDUP)
            .map_err(failed)?;
        let mut segments = Vec::new();
        for entry in table.iter().map_err(failed)? {
            let (segment, value) = entry.map_err(failed)?;
            let pair = |bytes: &[u8]| {
                let (hash, offset) = bytes.split_at_checked(8)?;
                Some((
                    u64::from_le_bytes(hash.try_into().ok()?),
                    u32::from_le_bytes(offset.try_into().ok()?),
                ))
            };
            let pairs = value.value().chunks_exact(12).filter_map(pair).collect();
            segments.push((u32::try_from(segment.value()).unwrap_or(u32::MAX), pairs));
        }
        Ok(segments)
    }

    /// Adds a checkpoint, durably and atomically. With `only_tables`, `position` and `segment` stay as they are.
    pub(super) fn apply(&self, checkpoint: &Checkpoint, only_tables: bool) -> Result<(), StoreError> {
        let mut transaction = self.database()?.begin_write().map_err(failed)?;
        transaction.set_durability(Durability::Immediate).map_err(failed)?;
        {
            let mut state = transaction.open_table(STATE).map_err(failed)?;
            for (key, value) in &checkpoint.state {
                match value {
                    Some(value) => state.insert(&key[..], &value[..]).map_err(failed)?,
                    None => state.remove(&key[..]).map_err(failed)?,
                };
            }
            let mut heads = transaction.open_table(HEADS).map_err(failed)?;
            let mut chunks = transaction.open_table(CHUNKS).map_err(failed)?;
            for (log, first, locations) in &checkpoint.chunks {
                let Some(segment) = locations.first().map(|location| location.segment) else {
                    continue;
                };
                let mut value = segment.to_le_bytes().to_vec();
                value.extend(locations.iter().flat_map(|location| location.offset.to_le_bytes()));
                chunks.insert(&chunk_key(log, *first)[..], &value[..]).map_err(failed)?;
                heads
                    .insert(&log_key(log)[..], first + locations.len() as u64 - 1)
                    .map_err(failed)?;
            }
            let mut changed = transaction.open_table(CHANGED).map_err(failed)?;
            for (log, position) in &checkpoint.changed {
                changed.insert(&log_key(log)[..], position).map_err(failed)?;
            }
            let mut dedup = transaction.open_table(DEDUP).map_err(failed)?;
            for (segment, pairs) in &checkpoint.dedup {
                let mut value = Vec::with_capacity(pairs.len() * 12);
                for (hash, offset) in pairs {
                    value.extend_from_slice(&hash.to_le_bytes());
                    value.extend_from_slice(&offset.to_le_bytes());
                }
                dedup.insert(u64::from(*segment), &value[..]).map_err(failed)?;
            }
            for segment in &checkpoint.forget {
                dedup.remove(u64::from(*segment)).map_err(failed)?;
            }
            let mut meta = transaction.open_table(META).map_err(failed)?;
            if !only_tables {
                meta.insert("position", checkpoint.position).map_err(failed)?;
                meta.insert("segment", u64::from(checkpoint.segment)).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Index(error.into().to_string())
}

fn log_key(log: &LogId) -> Vec<u8> {
    let mut key = log.app.as_str().as_bytes().to_vec();
    key.push(0);
    key.extend_from_slice(&log.conversation.0.to_be_bytes());
    key
}

fn chunk_key(log: &LogId, first: u64) -> Vec<u8> {
    let mut key = log_key(log);
    key.extend_from_slice(&first.to_be_bytes());
    key
}
