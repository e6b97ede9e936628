//! The single writer: orders the submitted transactions, writes and syncs them as batches, and reports the results.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

use super::format::Batch;
use super::index::EventLocation;
use super::{Engine, create_segment};
use crate::clock::now_ms;
use crate::store::{Append, Appended, CommitError, Dedup, DedupEntry, Transaction};
use crate::wire::EventId;

/// The number of transactions whose memory is reused for the next batch.
const KEPT_TRANSACTIONS: usize = 4_096;

/// The results of the transactions of a batch.
#[derive(Default)]
pub(super) struct CommittedBatch {
    appended: Vec<Appended>,
    /// Each with its transaction, so that the transaction is dropped by the thread that notifies the submitter, and not by
    /// the committer, which all others wait for.
    results: Vec<(Transaction, AppendedRange)>,
}

/// The range of a transaction's events in [`CommittedBatch::appended`].
type AppendedRange = Result<Range<usize>, CommitError>;

impl CommittedBatch {
    fn push(&mut self, transaction: Transaction, result: AppendedRange) {
        self.results.push((transaction, result));
    }

    fn reserve(&mut self, transactions: usize) {
        self.results.reserve(transactions);
        self.appended.reserve(transactions);
    }

    /// Notifies all submitters, in order.
    pub(super) fn notify(self) {
        for (Transaction { submitter, .. }, result) in self.results {
            let result = result.map(|range| self.appended.get(range).unwrap_or_default());
            // A submitter that breaks its contract must not keep the others waiting for ever.
            if catch_unwind(AssertUnwindSafe(|| submitter.finish(result))).is_err() {
                tracing::error!("a submitter panicked on the result of its transaction");
            }
        }
    }
}

/// Where the submitters of batches are notified.
pub(super) enum Delivery {
    /// On a thread of the store.
    Thread(mpsc::Sender<CommittedBatch>),
    /// On a task of a runtime.
    Task(tokio::sync::mpsc::UnboundedSender<CommittedBatch>),
}

impl Delivery {
    fn send(&self, batch: CommittedBatch) {
        // The receiver ends after the committer; or its runtime has ended, with everything that waits for results.
        match self {
            Self::Thread(sender) => drop(sender.send(batch)),
            Self::Task(sender) => drop(sender.send(batch)),
        }
    }
}

/// The file that batches are appended to. Tests replace it by one that fails.
pub(super) trait LogFile: Send {
    /// Appends all bytes.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// Returns when the appended bytes survive the loss of power.
    fn sync(&mut self) -> std::io::Result<()>;
}

impl LogFile for File {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.sync_data()
    }
}

/// The writing side of a store, on a thread of its own.
pub(super) struct Committer {
    pub(super) engine: Arc<Engine>,
    pub(super) file: Box<dyn LogFile>,
    pub(super) segment: u32,
    pub(super) length: usize,
    pub(super) delivery: Delivery,
    /// The idempotency keys of the segment, with the offsets of their events.
    pub(super) dedup: Vec<(u64, u32)>,
    pub(super) batch: Batch,
    /// The length of `dedup` when the batch began.
    pub(super) batch_dedup: usize,
    pub(super) last_id: u128,
    /// The time of the batch.
    pub(super) now_ms: u64,
    pub(super) checkpoint: Option<std::thread::JoinHandle<()>>,
}

impl Committer {
    /// Commits transactions until the store is closed and none is left.
    pub(super) fn run(mut self) {
        let mut results = CommittedBatch::default();
        let mut transactions = Vec::new();
        while self.engine.wait_for_work(&mut transactions) {
            let dedups = transactions
                .iter()
                .flat_map(|transaction: &Transaction| &transaction.appends)
                .filter_map(|append| append.dedup);
            std::hint::black_box(
                self.engine
                    .dedup_index
                    .touch(dedups.map(|dedup| super::hash_of(dedup.key))),
            );
            results.reserve(transactions.len());
            self.now_ms = now_ms();
            for transaction in transactions.drain(..) {
                self.process(transaction, &mut results);
                if self.batch.len() >= self.engine.options.batch_bytes {
                    self.flush(&mut results);
                }
            }
            self.flush(&mut results);
            // Reuse the memory, unless it was much.
            transactions.shrink_to(KEPT_TRANSACTIONS);
        }
        if let Some(checkpoint) = self.checkpoint.take() {
            // A checkpoint that panicked is repeated when the store is opened.
            let _ = checkpoint.join();
        }
    }

    /// Checks a transaction, reruns it if need be, and applies it to memory and the batch.
    fn process(&mut self, mut transaction: Transaction, results: &mut CommittedBatch) {
        if let Some(reason) = self.engine.failed.get() {
            results.push(transaction, Err(CommitError::Failed(reason.clone())));
            return;
        }
        let mut reruns = 0;
        loop {
            // Before the reads: a retry of a committed append gets the first result, however old its reads are.
            let dedups = transaction.appends.iter().filter_map(|append| append.dedup);
            if let Some(refusal) = dedups.filter_map(|dedup| self.refusal(dedup)).next() {
                results.push(transaction, Err(refusal));
                return;
            }
            if self.engine.memory.holds(transaction.since, &transaction.reads) {
                break;
            }
            // This thread is the only writer, so a transaction that begins now can't conflict again.
            if reruns >= self.engine.options.reruns || !transaction.submitter.reruns() {
                results.push(transaction, Err(CommitError::Conflict));
                return;
            }
            match transaction.submitter.rerun() {
                Some(again) => transaction = again,
                None => return,
            }
            reruns += 1;
        }
        let result = self.apply(&mut transaction, &mut results.appended);
        if let Err(error) = &result {
            // The batch may now contain half of the transaction, so it must not be written.
            self.engine.fail(&error.to_string());
        }
        results.push(transaction, result);
    }

    /// Returns why an append is refused: it was committed before, or the lookup failed.
    fn refusal(&self, dedup: Dedup) -> Option<CommitError> {
        match self.engine.find_now(dedup.key) {
            Ok(None) => None,
            Ok(Some(found)) if found.fingerprint == dedup.fingerprint => Some(CommitError::Duplicate(found.appended)),
            Ok(Some(found)) => Some(CommitError::DedupConflict(found.appended)),
            Err(error) => Some(CommitError::Failed(error.to_string())),
        }
    }

    /// Applies a transaction to memory and the batch. Returns the range of its events in `appended`.
    fn apply(&mut self, transaction: &mut Transaction, appended: &mut Vec<Appended>) -> AppendedRange {
        let first = appended.len();
        if transaction.writes.is_empty() && transaction.appends.is_empty() && transaction.touches.is_empty() {
            return Ok(first..first);
        }
        let position = self.engine.memory.position() + 1;
        for append in &transaction.appends {
            appended.push(self.append(append, position)?);
        }
        for log in &transaction.touches {
            self.batch.touch(log);
            let touched = self.engine.memory.touch(&self.engine.index, log, position);
            touched.map_err(|error| CommitError::Failed(error.to_string()))?;
        }
        if !transaction.writes.is_empty() {
            for (key, value) in &transaction.writes {
                self.batch.write(key, value.as_deref());
            }
            self.engine
                .memory
                .write(position, std::mem::take(&mut transaction.writes));
        }
        self.engine.memory.set_position(position);
        Ok(first..appended.len())
    }

    fn append(&mut self, append: &Append, position: u64) -> Result<Appended, CommitError> {
        let (id, time_ms) = self.next_id();
        let memory = &self.engine.memory;
        // Segments end far below 4 GiB.
        let offset = u32::try_from(self.length + self.batch.len()).unwrap_or(u32::MAX);
        let location = EventLocation {
            segment: self.segment,
            offset,
        };
        let seq = memory
            .append(&self.engine.index, &append.log, location, position)
            .map_err(|error| CommitError::Failed(error.to_string()))?;
        let appended = Appended {
            log: append.log.clone(),
            seq,
            id,
            time_ms,
        };
        self.batch.append(append, &appended);
        if let Some(dedup) = append.dedup {
            let hash = super::hash_of(dedup.key);
            self.dedup.push((hash, offset));
            self.engine.dedup_index.add_pending(
                hash,
                DedupEntry {
                    appended: appended.clone(),
                    fingerprint: dedup.fingerprint,
                    key: dedup.key,
                },
            );
        }
        Ok(appended)
    }

    /// Returns a new id, greater than all before, and its time in milliseconds since 1970.
    fn next_id(&mut self) -> (EventId, u64) {
        let now = self.now_ms.max(ulid::Ulid(self.last_id).timestamp_ms());
        let fresh = if now > ulid::Ulid(self.last_id).timestamp_ms() {
            ulid::Ulid::from_parts(now, rand::random()).0
        } else {
            self.last_id + 1
        };
        self.last_id = fresh;
        (EventId(fresh), now)
    }

    /// Makes the batch durable, and sends the results to their submitters.
    fn flush(&mut self, results: &mut CommittedBatch) {
        if !self.batch.is_empty() {
            let position = self.engine.memory.position();
            let bytes = self.batch.finish(position);
            let length = bytes.len();
            let begin = Instant::now();
            let written = match self.engine.failed.get() {
                Some(reason) => Err(std::io::Error::other(reason.clone())),
                None => self.file.append(bytes).and_then(|()| self.file.sync()),
            };
            if let Err(error) = written {
                self.engine.fail(&error.to_string());
                for (_, result) in &mut results.results {
                    *result = Err(CommitError::Failed(error.to_string()));
                }
            } else {
                self.engine.commits.observe(begin.elapsed(), results.results.len());
                self.length += length;
                self.engine.set_written(self.segment, self.length);
                self.engine
                    .dedup_index
                    .commit(self.segment, &self.dedup[self.batch_dedup..]);
                self.batch_dedup = self.dedup.len();
            }
            self.batch.clear();
        }
        if !results.results.is_empty() {
            self.delivery.send(std::mem::take(results));
        }
        if self.length >= self.engine.options.segment_bytes && self.engine.failed.get().is_none() {
            self.rotate();
        }
    }

    /// Begins a new segment, and starts the checkpoint of the old one.
    fn rotate(&mut self) {
        if let Some(running) = self.checkpoint.take() {
            let _ = running.join();
        }
        let position = self.engine.memory.position();
        let next = self.segment + 1;
        match create_segment(&self.engine.folder, next, position + 1) {
            Ok((file, length)) => {
                let (engine, sealed) = (self.engine.clone(), self.segment);
                let dedup = std::mem::take(&mut self.dedup);
                self.engine.set_written(next, length);
                (self.file, self.segment, self.length, self.batch_dedup) = (Box::new(file), next, length, 0);
                let checkpoint = move || engine.checkpoint(position, sealed, vec![(sealed, dedup)]);
                self.checkpoint = std::thread::Builder::new()
                    .name("store-index".to_owned())
                    .spawn(checkpoint)
                    .ok();
            }
            Err(error) => self.engine.fail(&error.to_string()),
        }
    }
}

/// Reads exactly `length` bytes at an offset.
pub(super) fn read_at(file: &File, offset: u32, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset.into())?;
    Ok(bytes)
}
