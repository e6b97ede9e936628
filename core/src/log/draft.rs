//! A transaction while it is being made.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::store::{
    Append, Appended, CommitError, KeyRange, LogId, Outcome, Position, Read, Store, StoreError, Submitter, Transaction,
};

/// Collects what a transaction reads and writes. Reads see the draft's own writes.
pub struct Draft {
    store: Arc<dyn Store>,
    since: Position,
    reads: Vec<Read>,
    /// What [`Draft::rely_once`] was told.
    relied: Vec<Bytes>,
    writes: BTreeMap<Bytes, Option<Bytes>>,
    appends: Vec<Append>,
    touches: Vec<LogId>,
}

impl Draft {
    /// Begins a transaction now.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let since = store.position();
        Self::since(store, since)
    }

    /// Begins a transaction that relies on what was read since an earlier position.
    #[must_use]
    pub fn since(store: Arc<dyn Store>, since: Position) -> Self {
        Self {
            since,
            store,
            // The conversation, what a guard watches, and what one usually looks up.
            reads: Vec::with_capacity(3),
            relied: Vec::new(),
            writes: BTreeMap::new(),
            appends: Vec::new(),
            touches: Vec::new(),
        }
    }

    /// Returns where the transaction began.
    #[must_use]
    pub fn begun(&self) -> Position {
        self.since
    }

    /// Returns the store that the transaction is for.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Reads a key, and relies on its value until the commit.
    ///
    /// # Errors
    /// When the store fails.
    pub fn get(&mut self, key: impl Into<Bytes> + AsRef<[u8]>) -> Result<Option<Bytes>, StoreError> {
        if !self.writes.is_empty()
            && let Some(written) = self.writes.get(key.as_ref())
        {
            return Ok(written.clone());
        }
        let value = self.store.get(key.as_ref())?;
        self.reads.push(Read::Key(key.into()));
        Ok(value)
    }

    /// Relies on a key, however often this is said.
    pub fn rely_once(&mut self, key: Bytes) {
        if !self.relied.contains(&key) {
            self.relied.push(key.clone());
            self.rely_on(key);
        }
    }

    /// Relies on a key that was read since the draft began.
    pub fn rely_on(&mut self, key: Bytes) {
        self.reads.push(Read::Key(key));
    }

    /// Lists up to `limit` entries with `start <= key < end`, and relies on the part of the range that was seen.
    ///
    /// # Errors
    /// When the store fails.
    pub fn scan(
        &mut self,
        start: Bytes,
        end: Bytes,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        // Deleted keys may hide entries, so as many more are read.
        let hidden = self
            .writes
            .range(start.clone()..)
            .take_while(|(key, _)| end.is_empty() || **key < end)
            .count();
        let found = self.store.scan(&start, &end, limit.saturating_add(hidden), reverse)?;
        let complete = found.len() < limit.saturating_add(hidden);
        let mut merged: BTreeMap<Bytes, Option<Bytes>> =
            found.into_iter().map(|(key, value)| (key, Some(value))).collect();
        for (key, value) in self
            .writes
            .range(start.clone()..)
            .take_while(|(key, _)| end.is_empty() || **key < end)
        {
            merged.insert(key.clone(), value.clone());
        }
        let live = merged
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| (key, value)));
        let mut entries: Vec<(Bytes, Bytes)> = live.collect();
        if reverse {
            entries.reverse();
        }
        entries.truncate(limit);
        self.reads.push(seen_range(
            start,
            end,
            &entries,
            complete || entries.len() < limit,
            reverse,
        ));
        Ok(entries)
    }

    /// Sets a key, or deletes it.
    pub fn set(&mut self, key: Bytes, value: Option<Bytes>) {
        self.writes.insert(key, value);
    }

    /// Appends an event.
    pub fn append(&mut self, append: Append) {
        // Most transactions append one event; a vector would begin with room for four.
        self.appends.reserve_exact(1);
        self.appends.push(append);
    }

    /// Notes that a log changes without an event.
    pub fn touch(&mut self, log: LogId) {
        if !self.touches.contains(&log) {
            self.touches.push(log);
        }
    }

    /// Takes back all writes since `mark`, but goes on relying on the reads.
    pub fn roll_back(&mut self, mark: Mark) {
        self.writes = mark.writes;
        self.appends.truncate(mark.appends);
        self.touches.truncate(mark.touches);
    }

    /// Takes back all writes, but goes on relying on the reads.
    pub fn forget_writes(&mut self) {
        self.writes.clear();
        self.appends.clear();
        self.touches.clear();
    }

    /// Whether it relies on anything.
    #[must_use]
    pub fn relies_on_reads(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Notes the writes so far.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            writes: self.writes.clone(),
            appends: self.appends.len(),
            touches: self.touches.len(),
        }
    }

    /// Whether nothing is to be changed.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.writes.is_empty() && self.appends.is_empty() && self.touches.is_empty()
    }

    /// Hands the transaction to the store.
    pub fn commit(self, submitter: Box<dyn Submitter>) {
        let store = self.store.clone();
        store.submit(self.into_transaction(submitter));
    }

    /// Returns the transaction.
    #[must_use]
    pub fn into_transaction(self, submitter: Box<dyn Submitter>) -> Transaction {
        Transaction {
            since: self.since,
            reads: self.reads,
            writes: self.writes.into_iter().collect(),
            appends: self.appends,
            touches: self.touches,
            submitter,
        }
    }

    /// Commits and waits; for start-up, not for tasks.
    ///
    /// # Errors
    /// When the commit fails.
    pub fn commit_blocking(self) -> Result<Vec<Appended>, CommitError> {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.commit(Box::new(move |outcome: Outcome<'_>| {
            // The receiver waits below, so it is there.
            let _ = sender.send(outcome.map(<[Appended]>::to_vec));
        }));
        receiver.recv().unwrap_or(Err(CommitError::Closed))
    }
}

/// The writes of a [`Draft`] at some time.
#[derive(Debug)]
pub struct Mark {
    writes: BTreeMap<Bytes, Option<Bytes>>,
    appends: usize,
    touches: usize,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft")
            .field("since", &self.since)
            .field("writes", &self.writes.len())
            .finish_non_exhaustive()
    }
}

/// A scan that stopped at its limit relies only on the part up to its last entry.
fn seen_range(start: Bytes, end: Bytes, entries: &[(Bytes, Bytes)], to_the_end: bool, reverse: bool) -> Read {
    let range = match entries.last() {
        Some((last, _)) if !to_the_end && reverse => KeyRange {
            start: last.clone(),
            end,
        },
        Some((last, _)) if !to_the_end => {
            let mut behind = last.to_vec();
            behind.push(0);
            KeyRange {
                start,
                end: behind.into(),
            }
        }
        _ => KeyRange { start, end },
    };
    Read::Range(Box::new(range))
}
