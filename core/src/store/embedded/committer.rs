//! The single writer: takes what was submitted, orders it, writes and syncs it as one batch, and tells how it ended.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;

use super::format::Batch;
use super::index::Place;
use super::{Engine, create_segment};
use crate::clock::now_ms;
use crate::store::{Append, Appended, CommitError, Dedup, Found, Transaction};
use crate::wire::EventId;

/// Transactions of a batch whose room is kept for the next one.
const KEPT_TRANSACTIONS: usize = 4_096;

/// How the transactions of a batch ended, and who is to know.
#[derive(Default)]
pub(super) struct Settled {
    appended: Vec<Appended>,
    /// With what is left of each transaction: it is dropped where the submitter is told, which is often the thread that made
    /// it, and never the one that all others wait for.
    outcomes: Vec<(Transaction, Part)>,
}

/// Which part of what a batch appended is a transaction's.
type Part = Result<Range<usize>, CommitError>;

impl Settled {
    fn push(&mut self, transaction: Transaction, outcome: Part) {
        self.outcomes.push((transaction, outcome));
    }

    fn reserve(&mut self, transactions: usize) {
        self.outcomes.reserve(transactions);
        self.appended.reserve(transactions);
    }

    /// Tells all submitters, in order.
    pub(super) fn tell(self) {
        for (Transaction { submitter, .. }, outcome) in self.outcomes {
            let outcome = outcome.map(|range| self.appended.get(range).unwrap_or_default());
            // One that breaks its contract must not keep the others waiting for ever.
            if catch_unwind(AssertUnwindSafe(|| submitter.settled(outcome))).is_err() {
                tracing::error!("a submitter panicked when it was told how its transaction ended");
            }
        }
    }
}

/// Takes batches to where their submitters are told.
pub(super) enum Delivery {
    /// A thread of the store's own.
    Thread(mpsc::Sender<Settled>),
    /// A task of a runtime.
    Task(tokio::sync::mpsc::UnboundedSender<Settled>),
}

impl Delivery {
    fn send(&self, settled: Settled) {
        // The other end ends after this one; or its runtime is gone, and with it everybody who waits.
        match self {
            Self::Thread(sender) => drop(sender.send(settled)),
            Self::Task(sender) => drop(sender.send(settled)),
        }
    }
}

/// The file that batches are appended to. Tests put one in its place that fails.
pub(super) trait LogFile: Send {
    /// Appends all bytes.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// Returns when what was appended survives the loss of power.
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

/// The writing side of a store; lives on a thread of its own.
pub(super) struct Committer {
    pub(super) engine: Arc<Engine>,
    pub(super) file: Box<dyn LogFile>,
    pub(super) segment: u32,
    pub(super) length: usize,
    pub(super) delivery: Delivery,
    /// Idempotency keys of the segment, with the offsets of their events.
    pub(super) dedup: Vec<(u64, u32)>,
    pub(super) batch: Batch,
    /// Where `dedup` stood when the batch began.
    pub(super) batch_dedup: usize,
    pub(super) last_id: u128,
    /// The time of the batch.
    pub(super) now_ms: u64,
    pub(super) checkpoint: Option<std::thread::JoinHandle<()>>,
}

impl Committer {
    /// Works until the store is closed and everything submitted is done.
    pub(super) fn run(mut self) {
        let mut settled = Settled::default();
        let mut transactions = Vec::new();
        while self.engine.wait_for_work(&mut transactions) {
            let dedups = transactions
                .iter()
                .flat_map(|transaction: &Transaction| &transaction.appends)
                .filter_map(|append| append.dedup);
            std::hint::black_box(self.engine.known.touch(dedups.map(|dedup| super::hash_of(dedup.key))));
            settled.reserve(transactions.len());
            self.now_ms = now_ms();
            for transaction in transactions.drain(..) {
                self.settle(transaction, &mut settled);
                if self.batch.len() >= self.engine.options.batch_bytes {
                    self.flush(&mut settled);
                }
            }
            self.flush(&mut settled);
            // Its room is used again, unless it was much.
            transactions.shrink_to(KEPT_TRANSACTIONS);
        }
        if let Some(checkpoint) = self.checkpoint.take() {
            // A checkpoint that panicked is made again when the store is opened.
            let _ = checkpoint.join();
        }
    }

    fn settle(&mut self, mut transaction: Transaction, settled: &mut Settled) {
        if let Some(reason) = self.engine.failed.get() {
            settled.push(transaction, Err(CommitError::Failed(reason.clone())));
            return;
        }
        let mut reruns = 0;
        loop {
            // Before the reads: a retry of what was committed gets its answer, however old its reads are.
            let dedups = transaction.appends.iter().filter_map(|append| append.dedup);
            if let Some(refusal) = dedups.filter_map(|dedup| self.refusal(dedup)).next() {
                settled.push(transaction, Err(refusal));
                return;
            }
            if self.engine.memory.holds(transaction.since, &transaction.reads) {
                break;
            }
            // This thread is the only writer, so a transaction made now can't conflict again.
            if reruns >= self.engine.options.reruns || !transaction.submitter.reruns() {
                settled.push(transaction, Err(CommitError::Conflict));
                return;
            }
            match transaction.submitter.rerun() {
                Some(again) => transaction = again,
                None => return,
            }
            reruns += 1;
        }
        let outcome = self.apply(&mut transaction, &mut settled.appended);
        if let Err(error) = &outcome {
            // The batch may hold half of the transaction now, so it must not be written.
            self.engine.fail(&error.to_string());
        }
        settled.push(transaction, outcome);
    }

    /// Looks whether an append was committed before.
    fn refusal(&self, dedup: Dedup) -> Option<CommitError> {
        match self.engine.find_now(dedup.key) {
            Ok(None) => None,
            Ok(Some(found)) if found.fingerprint == dedup.fingerprint => Some(CommitError::Duplicate(found.appended)),
            Ok(Some(found)) => Some(CommitError::DedupConflict(found.appended)),
            Err(error) => Some(CommitError::Failed(error.to_string())),
        }
    }

    /// Puts a transaction into the batch. Returns its part of `appended`.
    fn apply(&mut self, transaction: &mut Transaction, appended: &mut Vec<Appended>) -> Part {
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
        // Segments are cut far below 4 GiB.
        let offset = u32::try_from(self.length + self.batch.len()).unwrap_or(u32::MAX);
        let place = Place {
            segment: self.segment,
            offset,
        };
        let seq = memory
            .append(&self.engine.index, &append.log, place, position)
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
            self.engine.known.add_pending(
                hash,
                Found {
                    appended: appended.clone(),
                    fingerprint: dedup.fingerprint,
                    key: dedup.key,
                },
            );
        }
        Ok(appended)
    }

    /// Returns a new id, greater than all before, and its time.
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

    /// Makes the batch durable and hands over who is to be told.
    fn flush(&mut self, settled: &mut Settled) {
        if !self.batch.is_empty() {
            let position = self.engine.memory.position();
            let bytes = self.batch.seal(position);
            let length = bytes.len();
            let written = match self.engine.failed.get() {
                Some(reason) => Err(std::io::Error::other(reason.clone())),
                None => self.file.append(bytes).and_then(|()| self.file.sync()),
            };
            if let Err(error) = written {
                self.engine.fail(&error.to_string());
                for (_, outcome) in &mut settled.outcomes {
                    *outcome = Err(CommitError::Failed(error.to_string()));
                }
            } else {
                self.length += length;
                self.engine.set_written(self.segment, self.length);
                self.engine.known.settle(self.segment, &self.dedup[self.batch_dedup..]);
                self.batch_dedup = self.dedup.len();
            }
            self.batch.clear();
        }
        if !settled.outcomes.is_empty() {
            self.delivery.send(std::mem::take(settled));
        }
        if self.length >= self.engine.options.segment_bytes && self.engine.failed.get().is_none() {
            self.rotate();
        }
    }

    /// Begins a new segment, and lets the index catch up with the old one.
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

/// Reads exactly so many bytes at an offset.
pub(super) fn read_at(file: &File, offset: u32, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset.into())?;
    Ok(bytes)
}
