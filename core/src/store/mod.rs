//! The store: an ordered key space and numbered event logs, changed together by optimistic transactions.
//!
//! The rest of the core uses only the [`Store`] trait. [`EmbeddedStore`] stores everything in one folder of this machine.
//! Other engines implement the same trait and must pass [`conformance`].

use std::fmt;
use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::wire::{AppId, ConversationId, EventId};

pub mod conformance;
mod draft;
mod embedded;
mod encoding;

pub use draft::{Draft, DraftMark};
pub use embedded::{EmbeddedOptions, EmbeddedStore, fuzz_segment};
pub(crate) use encoding::encode;

/// A position in the order of commits. A transaction that began at a position conflicts with later writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// Identifies one event log: a conversation of an app.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogId {
    /// The tenant.
    pub app: AppId,
    /// The conversation.
    pub conversation: ConversationId,
}

/// The newest event of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogHead {
    /// Changes when the log was restored or truncated, which invalidates cursors of older epochs.
    pub epoch: u32,
    /// The number of the newest event; 0 for an empty log.
    pub seq: u64,
    /// The position of the newest append or touch, or a later one; 0 if unknown.
    pub changed: Position,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The number: 1, 2, 3 … without gaps in an epoch of the log.
    pub seq: u64,
    /// Unique in the store; sorts by time.
    pub id: EventId,
    /// When the store ordered the event, in milliseconds since 1970.
    pub time_ms: u64,
    /// The appended bytes, unchanged.
    pub body: Bytes,
}

/// Makes an append idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// A hash of the sender and of the client's id for the message.
    pub key: u128,
    /// A hash of the payload, which distinguishes a retry from another payload under the same id.
    pub fingerprint: u64,
}

/// An event to append.
#[derive(Clone, Debug)]
pub struct Append {
    /// The log.
    pub log: LogId,
    /// The bytes to store, followed by those of `tail`. The store doesn't interpret them.
    pub body: Bytes,
    /// The end of the body; may be empty. A caller that already has most of an event needn't copy it.
    pub tail: Bytes,
    /// Prevents a second append under the same key.
    pub dedup: Option<Dedup>,
}

/// The result of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The log.
    pub log: LogId,
    /// The number of the event.
    pub seq: u64,
    /// The id of the event.
    pub id: EventId,
    /// The time of the event, in milliseconds since 1970.
    pub time_ms: u64,
}

/// An earlier append under a [`Dedup::key`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupEntry {
    /// The [`Dedup::key`].
    pub key: u128,
    /// The result of the append.
    pub appended: Appended,
    /// Its [`Dedup::fingerprint`].
    pub fingerprint: u64,
}

/// A read that a transaction depends on.
#[derive(Clone, Debug)]
pub enum Read {
    /// One key, present or absent.
    Key(Bytes),
    /// All keys of a range. Boxed, since most reads are of one key.
    Range(Box<KeyRange>),
}

/// All keys with `start <= key < end`; an empty end is the end of the key space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub start: Bytes,
    /// First key after the range.
    pub end: Bytes,
}

/// One write of the key space: a new value, or none to delete the key.
pub type Write = (Bytes, Option<Bytes>);

/// The result of a transaction: its appends, or why nothing of it was committed.
pub type CommitResult<'a> = Result<&'a [Appended], CommitError>;

/// Receives the result of a transaction. Closures that take a [`CommitResult`] are submitters.
pub trait Submitter: Send {
    /// Returns whether [`Submitter::rerun`] is supported; without it, a conflict ends the transaction.
    fn reruns(&self) -> bool {
        false
    }

    /// Makes a new transaction after a conflict; none to give up, after this submitter has reported that itself.
    fn rerun(self: Box<Self>) -> Option<Transaction> {
        None
    }

    /// Receives the result: once, unless [`Submitter::rerun`] was called. Must neither block nor panic.
    fn finish(self: Box<Self>, outcome: CommitResult<'_>);
}

impl<F: for<'a> FnOnce(CommitResult<'a>) + Send> Submitter for F {
    fn finish(self: Box<Self>, outcome: CommitResult<'_>) {
        self(outcome);
    }
}

/// Reads that must still hold, and writes and appends that happen together or not at all.
///
/// A transaction without writes, appends and touches is a barrier: it ends when everything that its reads can have seen is
/// durable.
pub struct Transaction {
    /// [`Store::position`] from before the first read.
    pub since: Position,
    /// The reads that must still hold.
    pub reads: Vec<Read>,
    /// Writes of the key space, in order; the last one for a key counts.
    pub writes: Vec<Write>,
    /// Events to append, in order.
    pub appends: Vec<Append>,
    /// Logs whose [`LogHead::changed`] advances without an event.
    pub touches: Vec<LogId>,
    /// Receives the result.
    pub submitter: Box<dyn Submitter>,
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("since", &self.since)
            .field("reads", &self.reads.len())
            .field("writes", &self.writes.len())
            .field("appends", &self.appends.len())
            .finish_non_exhaustive()
    }
}

/// Why a transaction was not committed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// An append under the same key and with the same fingerprint was committed before, with this result.
    #[error("already committed as event {}", .0.seq)]
    Duplicate(Appended),
    /// An append under the same key but with another fingerprint was committed before.
    #[error("the id was used for another payload")]
    DedupConflict(Appended),
    /// A read no longer held, and no rerun was left or supported.
    #[error("conflicting changes")]
    Conflict,
    /// The store can't write any more; it refuses all transactions until it is opened again.
    #[error("the store has failed: {0}")]
    Failed(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a store can't be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system reported an error.
    #[error("{context}: {cause}")]
    Io {
        /// The action, with the path.
        context: String,
        /// The error of the operating system.
        cause: std::io::Error,
    },
    /// Bytes on the disk differ from those that were written. Nothing is repaired or dropped by itself.
    #[error("{file} is damaged at byte {offset}: {reason}")]
    Corrupt {
        /// The file.
        file: String,
        /// The offset in the file, in bytes.
        offset: u64,
        /// The damage.
        reason: String,
    },
    /// The folder is in use by another process.
    #[error("{0} is in use by another process")]
    Locked(String),
    /// The folder was written by another version of the format.
    #[error("{file} has format {found}, and this version reads format {wanted}")]
    Format {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
        /// The format that this version reads.
        wanted: u32,
    },
    /// The index reported an error.
    #[error("the index failed: {0}")]
    Index(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// An ordered key space and numbered event logs behind optimistic transactions.
///
/// # Contract
/// - **Atomic.** All writes and appends of a transaction become visible and durable together, or none does.
/// - **Serializable.** A transaction commits only if nothing that it read was written after [`Transaction::since`].
///   Otherwise the store calls [`Submitter::rerun`], on a thread that may block, and commits the new transaction in its
///   place. It does so a bounded number of times, then fails with [`CommitError::Conflict`].
/// - **Ordered.** Transactions that one thread submits, and all transactions that append to the same log, commit in the
///   order of submission, also when some are rerun. Sequence numbers follow commit order, from 1, without gaps.
/// - **Durable.** A submitter receives success only when the transaction survives the loss of the process and of power.
///   Submitters receive their results in commit order, one at a time.
/// - **Reads** see every transaction whose submitter received success, and may see later ones that are not durable yet.
///   Before a result leaves the host, its reads must be submitted as a transaction. Reads may block the thread for as long
///   as the engine's medium takes; the embedded engine answers from memory when the key was written or read recently.
/// - **Failure.** If the medium fails, the store refuses all later transactions with [`CommitError::Failed`] and continues
///   to answer reads. It never reports success for a transaction that it could not make durable, and never drops one that
///   it reported as durable: damage found when opening is an error that names file and offset.
/// - **Idempotency.** A [`Dedup::key`] is looked up in the same transaction as the append, for as long as the store is
///   configured to remember it (24 hours at least by default).
pub trait Store: Send + Sync + 'static {
    /// Returns the position of the newest transaction that reads see.
    fn position(&self) -> Position;

    /// Returns the position of the newest transaction that changed the key space and that reads see, or a later one. Values
    /// that were read at or after this position are still current.
    fn newest_write(&self) -> Position {
        self.position()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// When the medium fails.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Lists up to `limit` entries with `start <= key < end` in order, descending if `reverse`. An empty `end` is the
    /// end of the key space.
    ///
    /// # Errors
    /// When the medium fails.
    fn scan(&self, start: &[u8], end: &[u8], limit: usize, reverse: bool) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// Returns the head of a log.
    ///
    /// # Errors
    /// When the medium fails.
    fn head(&self, log: &LogId) -> Result<LogHead, StoreError>;

    /// Returns the heads of many logs, in the order of `logs`.
    ///
    /// # Errors
    /// When the medium fails.
    fn heads(&self, logs: &[LogId]) -> Result<Vec<LogHead>, StoreError> {
        logs.iter().map(|log| self.head(log)).collect()
    }

    /// Reads at most `limit` events of a range of numbers, in ascending order: the last ones of the range if `newest_first`,
    /// otherwise the first ones. Numbers that don't exist are left out.
    ///
    /// # Errors
    /// When the medium fails or an event is damaged.
    fn events(
        &self,
        log: &LogId,
        range: RangeInclusive<u64>,
        limit: usize,
        newest_first: bool,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// Finds the append that was committed under a dedup key, while the store remembers it.
    ///
    /// # Errors
    /// When the medium fails.
    fn find(&self, key: u128) -> Result<Option<DedupEntry>, StoreError>;

    /// Submits transactions, in order, and leaves the vector empty; never blocks. Each submitter receives the result of its
    /// transaction. The transactions are independent: some may commit and others fail.
    fn submit_all(&self, transactions: &mut Vec<Transaction>);

    /// Submits one transaction, as [`Store::submit_all`] does.
    fn submit(&self, transaction: Transaction) {
        self.submit_all(&mut vec![transaction]);
    }

    /// Adds the metrics of the store to those of the host. A store without metrics adds none.
    fn register_metrics(&self, _registry: &mut prometheus_client::registry::Registry) {}

    /// Commits the submitted transactions, refuses later ones, and returns when everything is durable and another process may
    /// open the store. Idempotent. Later reads may fail with [`StoreError::Closed`].
    fn close(&self);
}
