//! A transaction in preparation.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{
    Append, Appended, CommitError, CommitResult, KeyRange, LogId, Position, Read, Store, StoreError, Submitter,
    Transaction,
};

/// Collects the reads and writes of a transaction. Reads see the draft's own writes.
pub struct Draft {
    store: Arc<dyn Store>,
    since: Position,
    reads: Vec<Read>,
    /// The keys that were added by [`Draft::add_read_once`].
    added_once: Vec<Bytes>,
    writes: BTreeMap<Bytes, Option<Bytes>>,
    appends: Vec<Append>,
    touches: Vec<LogId>,
}

impl Draft {
    /// Begins a transaction at the store's present position.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let since = store.position();
        Self::since(store, since)
    }

    /// Begins a transaction at an earlier position, so that it may depend on reads since then.
    #[must_use]
    pub fn since(store: Arc<dyn Store>, since: Position) -> Self {
        Self {
            since,
            store,
            // Room for the usual reads: the conversation, a guard's watches, and one key of a guard.
            reads: Vec::with_capacity(3),
            added_once: Vec::new(),
            writes: BTreeMap::new(),
            appends: Vec::new(),
            touches: Vec::new(),
        }
    }

    /// Returns the position at which the transaction began.
    #[must_use]
    pub fn begun(&self) -> Position {
        self.since
    }

    /// Returns the store of the transaction.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Reads a key. The transaction depends on its value until the commit.
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

    /// Makes the transaction depend on a key that was read since it began. Repeated calls with one key add one read.
    pub fn add_read_once(&mut self, key: Bytes) {
        if !self.added_once.contains(&key) {
            self.added_once.push(key.clone());
            self.add_read(key);
        }
    }

    /// Makes the transaction depend on a key that was read since it began.
    pub fn add_read(&mut self, key: Bytes) {
        self.reads.push(Read::Key(key));
    }

    /// Lists up to `limit` entries with `start <= key < end`. The transaction depends on the part of the range that was read.
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
        // Own writes may hide entries of the store, so as many more are read.
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
        self.reads.push(scanned_range(
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
        // Most transactions append one event; by itself the vector would allocate room for four.
        self.appends.reserve_exact(1);
        self.appends.push(append);
    }

    /// Touches a log: it changes without an event.
    pub fn touch(&mut self, log: LogId) {
        if !self.touches.contains(&log) {
            self.touches.push(log);
        }
    }

    /// Discards all writes since `mark`; the transaction still depends on its reads.
    pub fn roll_back(&mut self, mark: DraftMark) {
        self.writes = mark.writes;
        self.appends.truncate(mark.appends);
        self.touches.truncate(mark.touches);
    }

    /// Discards all writes; the transaction still depends on its reads.
    pub fn discard_writes(&mut self) {
        self.writes.clear();
        self.appends.clear();
        self.touches.clear();
    }

    /// Returns whether the transaction depends on any read.
    #[must_use]
    pub fn has_reads(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Returns a mark of the present writes.
    #[must_use]
    pub fn mark(&self) -> DraftMark {
        DraftMark {
            writes: self.writes.clone(),
            appends: self.appends.len(),
            touches: self.touches.len(),
        }
    }

    /// Returns whether the transaction changes nothing.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.writes.is_empty() && self.appends.is_empty() && self.touches.is_empty()
    }

    /// Submits the transaction.
    pub fn commit(self, submitter: Box<dyn Submitter>) {
        let store = self.store.clone();
        store.submit(self.into_transaction(submitter));
    }

    /// Converts the draft for [`Store::submit`].
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

    /// Commits and waits. For threads that may block, not for tasks.
    ///
    /// # Errors
    /// When the commit fails.
    pub fn commit_blocking(self) -> Result<Vec<Appended>, CommitError> {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.commit(Box::new(move |outcome: CommitResult<'_>| {
            // The receiver exists: it waits below.
            let _ = sender.send(outcome.map(<[Appended]>::to_vec));
        }));
        receiver.recv().unwrap_or(Err(CommitError::Closed))
    }
}

/// The writes of a [`Draft`] at one moment.
#[derive(Debug)]
pub struct DraftMark {
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

/// Returns the read of a scan. A scan that stopped at its limit depends only on the range up to its last entry.
fn scanned_range(start: Bytes, end: Bytes, entries: &[(Bytes, Bytes)], to_the_end: bool, reverse: bool) -> Read {
    let range = match entries.last() {
        Some((last, _)) if !to_the_end && reverse => KeyRange {
            start: last.clone(),
            end,
        },
        Some((last, _)) if !to_the_end => {
            let mut after = last.to_vec();
            after.push(0);
            KeyRange {
                start,
                end: after.into(),
            }
        }
        _ => KeyRange { start, end },
    };
    Read::Range(Box::new(range))
}
