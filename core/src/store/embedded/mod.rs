//! The store of one machine: a log of our own as the point of durability, and redb as its checkpointed index.
//!
//! ```text
//! FOLDER/lock            held while the store is open
//! FOLDER/log/N.seg       segments of the log, whose bytes `format` describes; events live here for good
//! FOLDER/state.redb      the key space, where the events of sealed segments are, and idempotency keys
//! ```
//!
//! One thread writes: it takes all that was submitted, checks it against what was written meanwhile, appends one batch and
//! syncs it. What a batch changes is in memory at once, so that the next transaction sees it. When a segment is full, the
//! next one begins, and a second thread moves what the old one said from memory into the index. Opening reads the
//! segments that the index does not have yet.

mod committer;
mod filter;
mod format;
mod index;
mod known;
mod memory;
mod recovery;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

use committer::{Committer, Delivery, Settled, read_at};
use format::{Batch, EVENT_HEADER, EventRecord, Operation, SegmentHeader, decode_event, event_length};
use index::{End, Index, Place};
use known::Known;
use memory::Memory;

use super::{Appended, CommitError, Found, Head, LogId, Position, Store, StoreError, StoredEvent, Transaction};

/// How an [`EmbeddedStore`] works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// Bytes of a segment of the log after which the next one begins: 64 MiB. What the index does not have yet, and
    /// thus what opening reads, is at most two of these.
    pub segment_bytes: usize,
    /// Bytes after which a batch is written even if more waits: 8 MiB.
    pub batch_bytes: usize,
    /// How many transactions have to wait when a batch is done for the store to count as busy: 32.
    pub busy_from: usize,
    /// How long a busy store gathers transactions before it writes them: 1 ms. Fewer and larger batches cost less, and
    /// a store that is not busy waits for nothing.
    pub gather: Duration,
    /// Bytes of the index that are kept in memory: 32 MiB.
    pub index_cache_bytes: usize,
    /// How long idempotency keys are remembered at least: 24 hours.
    pub idempotency: Duration,
    /// How often a transaction that conflicts is rerun: 8.
    pub reruns: u32,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            batch_bytes: 8 << 20,
            busy_from: 32,
            gather: Duration::from_millis(1),
            index_cache_bytes: 32 << 20,
            idempotency: Duration::from_secs(24 * 60 * 60),
            reruns: 8,
        }
    }
}

/// A store in a folder of this machine.
pub struct EmbeddedStore {
    engine: Arc<Engine>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Nothing ever comes out of it; it ends when all submitters have been told.
    told: Mutex<Option<mpsc::Receiver<()>>>,
}

#[derive(Default)]
struct Queue {
    transactions: Vec<Transaction>,
    closed: bool,
    /// Whether the committer sleeps.
    idle: bool,
}

/// What the threads of a store share.
struct Engine {
    folder: PathBuf,
    options: EmbeddedOptions,
    memory: Memory,
    known: Known,
    index: Index,
    /// Open segments, to read events from.
    files: RwLock<HashMap<u32, Arc<File>>>,
    /// The newest segment and its length: number in the upper half, bytes in the lower.
    written: AtomicU64,
    queue: Mutex<Queue>,
    work: Condvar,
    failed: OnceLock<String>,
    /// None once the store is closed.
    lock: Mutex<Option<File>>,
}

impl EmbeddedStore {
    /// Opens the store in a folder, and makes it if there is none.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::Corrupt`] when bytes on the disk are not
    /// what was written, [`StoreError::Format`] when another version wrote them. Nothing is changed then.
    pub fn open(folder: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        Self::open_with(folder, options, None, |file| Box::new(file))
    }

    /// Opens the store as [`EmbeddedStore::open`] does, and tells submitters on a task of a runtime instead of a thread of
    /// its own, so that tasks that wait are woken without a switch between threads. The runtime must have more than one
    /// thread, or never block on the store.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub fn open_on(
        runtime: &tokio::runtime::Handle,
        folder: &Path,
        options: EmbeddedOptions,
    ) -> Result<Self, StoreError> {
        Self::open_with(folder, options, Some(runtime), |file| Box::new(file))
    }

    /// Opens a store whose log is written through what `wrap` makes of the file.
    fn open_with(
        folder: &Path,
        options: EmbeddedOptions,
        runtime: Option<&tokio::runtime::Handle>,
        wrap: impl FnOnce(File) -> Box<dyn committer::LogFile>,
    ) -> Result<Self, StoreError> {
        let log = folder.join("log");
        std::fs::create_dir_all(&log).map_err(|source| io("making", &log, source))?;
        let lock = lock(folder)?;
        let index = Index::open(&folder.join("state.redb"), options.index_cache_bytes)?;
        let (position, _) = index.checkpoint()?;
        let memory = Memory::new(position);
        let known = Known::new(index.dedup()?);
        let mut engine = Engine {
            folder: log,
            options,
            memory,
            known,
            index,
            files: RwLock::default(),
            written: AtomicU64::new(0),
            queue: Mutex::default(),
            work: Condvar::new(),
            failed: OnceLock::new(),
            lock: Mutex::new(Some(lock)),
        };
        let tail = engine.recover()?;
        Self::start(engine, tail, runtime, wrap)
    }

    fn start(
        engine: Engine,
        tail: Tail,
        runtime: Option<&tokio::runtime::Handle>,
        wrap: impl FnOnce(File) -> Box<dyn committer::LogFile>,
    ) -> Result<Self, StoreError> {
        let engine = Arc::new(engine);
        let (telling, told) = mpsc::channel();
        let mut threads = Vec::new();
        let delivery = match runtime {
            Some(runtime) => {
                let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<Settled>();
                runtime.spawn(async move {
                    while let Some(settled) = receiver.recv().await {
                        settled.tell();
                    }
                    drop(telling);
                });
                Delivery::Task(sender)
            }
            None => {
                let (sender, receiver) = mpsc::channel::<Settled>();
                threads.push(spawn("store-deliver", move || {
                    receiver.into_iter().for_each(Settled::tell);
                    drop(telling);
                })?);
                Delivery::Thread(sender)
            }
        };
        let committer = Committer {
            engine: engine.clone(),
            file: wrap(tail.file),
            segment: tail.segment,
            length: tail.length,
            delivery,
            batch_dedup: tail.dedup.len(),
            dedup: tail.dedup,
            batch: Batch::new(),
            last_id: tail.last_id,
            now_ms: 0,
            checkpoint: None,
        };
        threads.push(spawn("store-commit", move || committer.run())?);
        Ok(Self {
            engine,
            threads: Mutex::new(threads),
            told: Mutex::new(Some(told)),
        })
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|cause| StoreError::Io {
        context: format!("starting the thread {name}"),
        cause,
    })
}

/// Where the log ends after recovery.
struct Tail {
    file: File,
    segment: u32,
    length: usize,
    dedup: Vec<(u64, u32)>,
    last_id: u128,
}

/// What recovery finds in one segment after another.
#[derive(Default)]
struct Replay {
    /// Idempotency keys by segment.
    dedup: Vec<(u32, Vec<(u64, u32)>)>,
    last_id: u128,
    last_position: u64,
}

impl Engine {
    /// Reads what the index does not have, and cuts off a torn tail.
    fn recover(&mut self) -> Result<Tail, StoreError> {
        let (position, first) = self.index.checkpoint()?;
        let segments = recovery::segments(&self.folder)?;
        let mut replay = Replay {
            last_position: position,
            ..Replay::default()
        };
        let mut tail = None;
        if first > 1 && segments.last().is_none_or(|(last, _)| *last < first) {
            let missing = self.folder.join(segment_name(first));
            return Err(recovery::corrupt(&missing, 0, "the segment is missing"));
        }
        for (wanted, (number, path)) in (1..).zip(&segments) {
            if *number != wanted {
                let missing = self.folder.join(segment_name(wanted));
                return Err(recovery::corrupt(&missing, 0, "the segment is missing"));
            }
            let is_last = segments.last().is_some_and(|(last, _)| last == number);
            if *number < first && !is_last {
                continue;
            }
            tail = self
                .replay(*number, path, is_last, &mut replay)?
                .map(|length| (*number, length));
        }
        let (segment, length) = match tail {
            Some(tail) => tail,
            None => {
                let number = segments.last().map_or(1, |(number, _)| *number);
                let (_, length) = create_segment(&self.folder, number, self.memory.position() + 1)?;
                (number, length)
            }
        };
        self.set_written(segment, length);
        let path = self.folder.join(segment_name(segment));
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(|source| io("opening", &path, source))?;
        let mut dedup = Vec::new();
        let mut sealed = Vec::new();
        for (number, pairs) in replay.dedup {
            self.known.recover(number, &pairs);
            if number == segment {
                dedup = pairs;
            } else {
                sealed.push((number, pairs));
            }
        }
        if let Some((last_sealed, _)) = sealed.last() {
            // A crash came between a full segment and its checkpoint.
            self.checkpoint_sealed(*last_sealed, sealed)?;
        }
        Ok(Tail {
            file,
            segment,
            length,
            dedup,
            last_id: replay.last_id,
        })
    }

    /// Reads one segment into memory. Returns its length, or none if it was never really there.
    fn replay(
        &self,
        number: u32,
        path: &Path,
        is_last: bool,
        replay: &mut Replay,
    ) -> Result<Option<usize>, StoreError> {
        let bytes = std::fs::read(path).map_err(|source| io("reading", path, source))?;
        let Some(SegmentHeader { first, .. }) = recovery::header(path, &bytes, number, is_last)? else {
            return Ok(None);
        };
        if first > replay.last_position + 1 {
            return Err(recovery::corrupt(path, 20, "events before this segment are missing"));
        }
        let mut pairs = Vec::new();
        let (checkpointed, _) = self.index.checkpoint()?;
        let scanned = recovery::scan(path, &bytes, is_last, |position, at, operations| {
            if position > checkpointed {
                self.replay_batch(position, number, at, path, operations, &mut pairs, &mut replay.last_id)?;
            }
            replay.last_position = replay.last_position.max(position);
            Ok(())
        })?;
        replay.dedup.push((number, pairs));
        if scanned.torn {
            tracing::warn!(file = %path.display(), at = scanned.length, "cut off an unfinished batch");
            let file = OpenOptions::new()
                .write(true)
                .open(path)
                .map_err(|source| io("opening", path, source))?;
            file.set_len(scanned.length as u64)
                .map_err(|source| io("cutting", path, source))?;
            file.sync_all().map_err(|source| io("syncing", path, source))?;
        }
        Ok(Some(scanned.length))
    }

    #[allow(clippy::too_many_arguments, reason = "one step of a loop, taken out of it")]
    fn replay_batch(
        &self,
        position: u64,
        segment: u32,
        at: usize,
        path: &Path,
        operations: Vec<Operation>,
        pairs: &mut Vec<(u64, u32)>,
        last_id: &mut u128,
    ) -> Result<(), StoreError> {
        for operation in operations {
            match operation {
                Operation::Write(key, value) => self.memory.write(position, [(key, value)]),
                Operation::Event { at: inside, record } => {
                    let offset = u32::try_from(at + inside).unwrap_or(u32::MAX);
                    let seq = self
                        .memory
                        .append(&self.index, &record.log, Place { segment, offset }, position)?;
                    if seq != record.event.seq {
                        return Err(recovery::corrupt(
                            path,
                            at + inside,
                            "an event has a number out of order",
                        ));
                    }
                    *last_id = (*last_id).max(record.event.id.0);
                    pairs.extend(record.dedup.map(|dedup| (hash_of(dedup.key), offset)));
                }
                Operation::Touch(log) => self.memory.touch(&self.index, &log, position)?,
            }
        }
        self.memory.set_position(position);
        Ok(())
    }

    fn checkpoint_sealed(&self, last: u32, dedup: Vec<(u32, Vec<(u64, u32)>)>) -> Result<(), StoreError> {
        // Only whole segments count, so the position is that of the last one's end.
        let path = self.folder.join(segment_name(last + 1));
        let bytes = std::fs::read(&path).map_err(|source| io("reading", &path, source))?;
        let end = SegmentHeader::decode(&bytes).map_or(self.memory.position(), |header| header.first - 1);
        self.try_checkpoint(end, last, dedup)
    }

    fn checkpoint(&self, position: u64, segment: u32, dedup: Vec<(u32, Vec<(u64, u32)>)>) {
        if let Err(error) = self.try_checkpoint(position, segment, dedup) {
            // The log has everything; but without its index it would grow in memory for ever.
            self.fail(&error.to_string());
        }
    }

    fn try_checkpoint(
        &self,
        position: u64,
        segment: u32,
        dedup: Vec<(u32, Vec<(u64, u32)>)>,
    ) -> Result<(), StoreError> {
        let mut checkpoint = self.memory.checkpoint(position, segment);
        checkpoint.dedup = dedup;
        let oldest = self.oldest_remembered(segment);
        checkpoint.forget = (oldest.saturating_sub(16)..oldest).collect();
        self.index.apply(&checkpoint, false)?;
        self.memory.prune(position, segment);
        self.known.tidy_up(segment, oldest);
        Ok(())
    }

    /// Returns the oldest segment whose idempotency keys are still needed.
    fn oldest_remembered(&self, newest: u32) -> u32 {
        let is_young = |number: &u32| {
            let modified = std::fs::metadata(self.folder.join(segment_name(*number))).and_then(|meta| meta.modified());
            let age = modified.ok().and_then(|modified| modified.elapsed().ok());
            age.is_none_or(|age| age < self.options.idempotency)
        };
        (1..=newest).rev().take_while(is_young).last().unwrap_or(newest)
    }

    /// Waits until transactions were submitted, and puts them into `transactions`, which is empty. Returns whether there
    /// are any; if not, there never will be.
    fn wait_for_work(&self, transactions: &mut Vec<Transaction>) -> bool {
        let mut queue = self.queue.lock();
        if queue.transactions.len() >= self.options.busy_from && !queue.closed {
            MutexGuard::unlocked(&mut queue, || std::thread::sleep(self.options.gather));
        }
        while queue.transactions.is_empty() {
            if queue.closed {
                return false;
            }
            queue.idle = true;
            self.work.wait(&mut queue);
            queue.idle = false;
        }
        std::mem::swap(&mut queue.transactions, transactions);
        true
    }

    fn fail(&self, reason: &str) {
        tracing::error!(reason, "the store can't write any more");
        // The first reason is the one that counts.
        let _ = self.failed.set(reason.to_owned());
    }

    fn set_written(&self, segment: u32, length: usize) {
        self.written
            .store(u64::from(segment) << 32 | length as u64, Ordering::Release);
    }

    /// Whether an event has been handed to the operating system.
    fn is_written(&self, place: Place) -> bool {
        u64::from(place.segment) << 32 | u64::from(place.offset) < self.written.load(Ordering::Acquire)
    }

    fn file(&self, segment: u32) -> Result<Arc<File>, StoreError> {
        if let Some(file) = self.files.read().get(&segment) {
            return Ok(file.clone());
        }
        let path = self.folder.join(segment_name(segment));
        let file = Arc::new(File::open(&path).map_err(|source| io("opening", &path, source))?);
        self.files.write().insert(segment, file.clone());
        Ok(file)
    }

    fn read_event(&self, place: Place) -> Result<EventRecord, StoreError> {
        let path = self.folder.join(segment_name(place.segment));
        let file = self.file(place.segment)?;
        let failed = |source| io("reading", &path, source);
        let header = read_at(&file, place.offset, EVENT_HEADER).map_err(failed)?;
        let damaged = || recovery::corrupt(&path, place.offset as usize, "the event is damaged");
        let header: [u8; EVENT_HEADER] = header.try_into().map_err(|_| damaged())?;
        let length = event_length(&header);
        if length
            > self
                .options
                .segment_bytes
                .max(self.options.batch_bytes)
                .saturating_mul(2)
        {
            return Err(damaged());
        }
        let bytes = read_at(&file, place.offset, length).map_err(failed)?;
        decode_event(&bytes).ok_or_else(damaged)
    }

    fn find_now(&self, key: u128) -> Result<Option<Found>, StoreError> {
        let hash = hash_of(key);
        if !self.known.may_have(hash) {
            return Ok(None);
        }
        if let Some(found) = self.known.pending(key) {
            return Ok(Some(found));
        }
        let Some(place) = self.known.place(hash) else {
            return Ok(None);
        };
        let record = self.read_event(place)?;
        let Some(dedup) = record.dedup.filter(|dedup| dedup.key == key) else {
            return Ok(None);
        };
        let EventRecord { log, event, .. } = record;
        let appended = Appended {
            log,
            seq: event.seq,
            id: event.id,
            time_ms: event.time_ms,
        };
        Ok(Some(Found {
            appended,
            fingerprint: dedup.fingerprint,
            key,
        }))
    }
}

fn head_of(end: End) -> Head {
    Head {
        epoch: 0,
        seq: end.seq,
        changed: Position(end.changed),
    }
}

impl Store for Engine {
    fn position(&self) -> Position {
        Position(self.memory.position())
    }

    fn newest_write(&self) -> Position {
        Position(self.memory.newest_write())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.memory.get(&self.index, key)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize, reverse: bool) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.memory.scan(&self.index, (start, end), limit, reverse)
    }

    fn head(&self, log: &LogId) -> Result<Head, StoreError> {
        Ok(head_of(self.memory.head(&self.index, log)?))
    }

    fn heads(&self, logs: &[LogId]) -> Result<Vec<Head>, StoreError> {
        Ok(self.memory.heads(&self.index, logs)?.into_iter().map(head_of).collect())
    }

    fn events(
        &self,
        log: &LogId,
        range: RangeInclusive<u64>,
        limit: usize,
        newest_first: bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let head = self.memory.head(&self.index, log)?.seq;
        let (mut first, mut last) = ((*range.start()).max(1), (*range.end()).min(head));
        if first > last || limit == 0 {
            return Ok(Vec::new());
        }
        let reach = (limit as u64).saturating_sub(1);
        if newest_first {
            first = first.max(last.saturating_sub(reach));
        } else {
            last = last.min(first.saturating_add(reach));
        }
        let mut events = Vec::new();
        for (seq, place) in self.memory.places(&self.index, log, first, last)? {
            if !self.is_written(place) {
                break;
            }
            let record = self.read_event(place)?;
            if record.log != *log || record.event.seq != seq {
                let path = self.folder.join(segment_name(place.segment));
                return Err(recovery::corrupt(
                    &path,
                    place.offset as usize,
                    "another event is in its place",
                ));
            }
            events.push(record.event);
        }
        Ok(events)
    }

    fn find(&self, key: u128) -> Result<Option<Found>, StoreError> {
        self.find_now(key)
    }

    fn submit_all(&self, transactions: &mut Vec<Transaction>) {
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            for transaction in transactions.drain(..) {
                transaction.submitter.settled(Err(CommitError::Closed));
            }
            return;
        }
        queue.transactions.append(transactions);
        let idle = queue.idle;
        drop(queue);
        if idle {
            self.work.notify_one();
        }
    }

    fn close(&self) {
        self.queue.lock().closed = true;
        self.work.notify_one();
    }
}

impl Store for EmbeddedStore {
    fn position(&self) -> Position {
        self.engine.position()
    }

    fn newest_write(&self) -> Position {
        self.engine.newest_write()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.engine.get(key)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize, reverse: bool) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.engine.scan(start, end, limit, reverse)
    }

    fn head(&self, log: &LogId) -> Result<Head, StoreError> {
        self.engine.head(log)
    }

    fn heads(&self, logs: &[LogId]) -> Result<Vec<Head>, StoreError> {
        self.engine.heads(logs)
    }

    fn events(
        &self,
        log: &LogId,
        range: RangeInclusive<u64>,
        limit: usize,
        newest_first: bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.engine.events(log, range, limit, newest_first)
    }

    fn find(&self, key: u128) -> Result<Option<Found>, StoreError> {
        self.engine.find(key)
    }

    fn submit_all(&self, transactions: &mut Vec<Transaction>) {
        self.engine.submit_all(transactions);
    }

    fn close(&self) {
        self.engine.close();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A thread that panicked has told so; closing goes on.
            let _ = thread.join();
        }
        if let Some(told) = self.told.lock().take() {
            // Nothing is sent: this waits for the other end to be dropped.
            let _ = told.recv();
        }
        // Whoever still holds the store must not keep it from being opened again.
        self.engine.index.close();
        *self.engine.lock.lock() = None;
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // The last owner may be a callback on the delivery thread, which can't wait for itself.
        self.engine.close();
    }
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("folder", &self.engine.folder)
            .finish_non_exhaustive()
    }
}

/// The part of an idempotency key that memory and the index keep; the event has all of it.
#[allow(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn hash_of(key: u128) -> u64 {
    key as u64
}

fn io(doing: &str, path: &Path, cause: std::io::Error) -> StoreError {
    StoreError::Io {
        context: format!("{doing} {}", path.display()),
        cause,
    }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(|source| io("making", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked(folder.display().to_string())),
        Err(std::fs::TryLockError::Error(source)) => Err(io("locking", &path, source)),
    }
}

fn segment_name(number: u32) -> String {
    format!("{number:010}.seg")
}

/// Makes a segment and returns it with its length, both durable.
fn create_segment(folder: &Path, number: u32, first: u64) -> Result<(File, usize), StoreError> {
    let path = folder.join(segment_name(number));
    let failed = |source| io("making", &path, source);
    let mut file = File::create(&path).map_err(failed)?;
    let header = SegmentHeader {
        number: number.into(),
        first,
    }
    .encode();
    file.write_all(&header).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)?;
    Ok((file, header.len()))
}
