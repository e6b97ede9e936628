//! Keeps state: an ordered key space and numbered event logs, changed together by optimistic transactions.
//!
//! The [`Store`] trait is all that the rest of the core knows. [`EmbeddedStore`] keeps everything in one folder of
//! this machine; other engines stand behind the same trait and must pass [`conformance`].

use std::fmt;
use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::wire::{AppId, ConversationId, EventId};

pub mod conformance;
mod embedded;

pub use embedded::{EmbeddedOptions, EmbeddedStore};

/// A place in the order of commits. A transaction that began at a position conflicts with what was written after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// Names one event log: a conversation of an app.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogId {
    /// The tenant.
    pub app: AppId,
    /// The conversation.
    pub conversation: ConversationId,
}

/// The newest event of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Changes when the log was restored or truncated, so that cursors of an older epoch mean nothing.
    pub epoch: u32,
    /// The number of the newest event; 0 for an empty log.
    pub seq: u64,
    /// When the log was last appended to or touched, or later; as old as the store if nobody knows.
    pub changed: Position,
}

/// An event as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// 1, 2, 3 … without gaps in an epoch of the log.
    pub seq: u64,
    /// Unique in the store; sorts by time.
    pub id: EventId,
    /// Milliseconds since 1970, when the store ordered the event.
    pub time_ms: u64,
    /// What was appended, untouched.
    pub body: Bytes,
}

/// What makes an append idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// A hash of who sends and of the client's id for the message.
    pub key: u128,
    /// A hash of the payload, to tell a retry from another payload under the same id.
    pub fingerprint: u64,
}

/// An event to append.
#[derive(Clone, Debug)]
pub struct Append {
    /// Where to.
    pub log: LogId,
    /// What the store keeps without looking into it, together with `tail`.
    pub body: Bytes,
    /// What stands behind `body`; may be empty. A caller that has most of an event already need not copy it.
    pub tail: Bytes,
    /// Makes the append happen at most once.
    pub dedup: Option<Dedup>,
}

/// Where an append went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Which log.
    pub log: LogId,
    /// The number that the event got.
    pub seq: u64,
    /// The id that the event got.
    pub id: EventId,
    /// The time that the event got, milliseconds since 1970.
    pub time_ms: u64,
}

/// An earlier append under the same [`Dedup::key`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The [`Dedup::key`].
    pub key: u128,
    /// Where it went.
    pub appended: Appended,
    /// Its [`Dedup::fingerprint`].
    pub fingerprint: u64,
}

/// What a transaction has read and relies on.
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
    /// First key behind the range.
    pub end: Bytes,
}

/// One change of the key space: a new value, or none to delete the key.
pub type Write = (Bytes, Option<Bytes>);

/// How a transaction ended: where its appends went, or why it left nothing behind.
pub type Outcome<'a> = Result<&'a [Appended], CommitError>;

/// Who submitted a transaction, and waits for how it ends. Closures that take an [`Outcome`] are submitters.
pub trait Submitter: Send {
    /// Whether [`Submitter::rerun`] can make the transaction anew; a conflict ends one that can't.
    fn reruns(&self) -> bool {
        false
    }

    /// Makes the transaction anew after a conflict; none when it no longer wants to happen and has told so.
    fn rerun(self: Box<Self>) -> Option<Transaction> {
        None
    }

    /// Is told how the transaction ended: once, unless [`Submitter::rerun`] was called. Must neither block nor panic.
    fn settled(self: Box<Self>, outcome: Outcome<'_>);
}

impl<F: for<'a> FnOnce(Outcome<'a>) + Send> Submitter for F {
    fn settled(self: Box<Self>, outcome: Outcome<'_>) {
        self(outcome);
    }
}

/// Reads that must still hold, and writes and appends that happen together or not at all.
///
/// A transaction without writes, appends and touches is a barrier: it is done when all that its reads can have seen is durable.
pub struct Transaction {
    /// [`Store::position`] from before the first read.
    pub since: Position,
    /// What was read.
    pub reads: Vec<Read>,
    /// Changes of the key space, in order; the last one for a key counts.
    pub writes: Vec<Write>,
    /// Events to append, in order.
    pub appends: Vec<Append>,
    /// Logs whose [`Head::changed`] moves without an event.
    pub touches: Vec<LogId>,
    /// Who waits for it.
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

/// Why a transaction left nothing behind.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// An append under the same key and with the same fingerprint was committed before: this is its answer.
    #[error("already committed as event {}", .0.seq)]
    Duplicate(Appended),
    /// An append under the same key but with another fingerprint was committed before.
    #[error("the id was used for another payload")]
    DedupConflict(Appended),
    /// A read no longer held, and the reruns were used up or there was none.
    #[error("conflicting changes")]
    Conflict,
    /// The store can't write any more; it refuses everything from now on.
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
    /// The operating system refused.
    #[error("{context}: {cause}")]
    Io {
        /// What was being done, with the path.
        context: String,
        /// Why, in words of the operating system.
        cause: std::io::Error,
    },
    /// Bytes on the disk are not what was written. Nothing is repaired or dropped by itself.
    #[error("{file} is damaged at byte {offset}: {reason}")]
    Corrupt {
        /// The file.
        file: String,
        /// Where.
        offset: u64,
        /// What is wrong.
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
    /// The index answered with an error.
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
///   Otherwise the store calls [`Submitter::rerun`], on a thread that may block, and takes the new transaction in its
///   place, a bounded number of times; then [`CommitError::Conflict`].
/// - **Ordered.** Transactions that one thread submits, and all transactions that append to the same log, commit in the
///   order of submission, also when some are rerun. Sequence numbers follow commit order, from 1, without gaps.
/// - **Durable.** A submitter is told of success only when the transaction survives the loss of the process and of power.
///   Submitters are told in commit order, one at a time.
/// - **Reads** see every transaction whose submitter was told of success, and may see later ones that are not durable
///   yet: whoever shows a result to the outside submits its reads as a transaction first. Reads may block the thread
///   for as long as the engine's medium takes; those of the embedded engine are answered from memory when the key was
///   written or read lately.
/// - **Failure.** If the medium fails, the store refuses all later transactions with [`CommitError::Failed`] and goes on
///   answering reads. It never reports success for something that it could not make durable, and never drops something
///   that it had reported durable: damage found when opening is an error that names file and offset.
/// - **Idempotency.** A [`Dedup::key`] is looked up in the same transaction as the append, for as long as the store is
///   configured to remember it (24 hours at least by default).
pub trait Store: Send + Sync + 'static {
    /// Returns the position of the newest transaction that reads see.
    fn position(&self) -> Position;

    /// Returns the position of the newest transaction that changed the key space, as far as reads see it, or a later
    /// one. What was read since then is still true.
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

    /// Returns the newest number of a log.
    ///
    /// # Errors
    /// When the medium fails.
    fn head(&self, log: &LogId) -> Result<Head, StoreError>;

    /// Returns the newest numbers of many logs, in their order.
    ///
    /// # Errors
    /// When the medium fails.
    fn heads(&self, logs: &[LogId]) -> Result<Vec<Head>, StoreError> {
        logs.iter().map(|log| self.head(log)).collect()
    }

    /// Reads events by number, ascending, at most `limit`; from the end of the range backwards if `newest_first`
    /// decides which ones are left out. Numbers that don't exist are left out.
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

    /// Finds the append that was committed under a dedup key, if the store still remembers it.
    ///
    /// # Errors
    /// When the medium fails.
    fn find(&self, key: u128) -> Result<Option<Found>, StoreError>;

    /// Hands over transactions, in order, and leaves the vector empty; never blocks. Each submitter is told how its
    /// transaction ended. They are no unit: some may commit and others not.
    fn submit_all(&self, transactions: &mut Vec<Transaction>);

    /// Hands over one transaction, as [`Store::submit_all`] does.
    fn submit(&self, transaction: Transaction) {
        self.submit_all(&mut vec![transaction]);
    }

    /// Commits what was submitted, refuses what comes later, and returns when everything is on the disk and another process
    /// may open the store. Idempotent. Later reads may be refused with [`StoreError::Closed`].
    fn close(&self);
}
