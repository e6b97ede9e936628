//! The store of one machine: a log as the point of durability, and redb as its checkpointed index.
//!
//! ```text
//! FOLDER/lock            held while the store is open
//! FOLDER/log/N.seg       segments of the log, whose bytes `format` describes; events stay here for good
//! FOLDER/state.redb      the key space, the locations of the events of sealed segments, and idempotency keys
//! ```
//!
//! One thread writes: it checks all submitted transactions against the writes since they began, appends them as one batch
//! and syncs it. The changes of a batch are in memory at once, so that the next transaction sees them. When a segment is
//! full, the next one begins, and a second thread moves the contents of the old one from memory into the index. Opening
//! reads the segments that the index doesn't have yet. `docs/internals/store-format.md` has the details.

mod bloom;
mod committer;
mod dedup_index;
mod format;
mod index;
mod memory;
mod metrics;
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

use committer::{CommittedBatch, Committer, Delivery, read_at};
use dedup_index::DedupIndex;
use format::{Batch, EVENT_HEADER, EventRecord, Operation, SegmentHeader, decode_event, event_length};
use index::{EventLocation, Index, LogEnd};
use memory::Memory;
use metrics::{CommitMetrics, DiskCollector};
use prometheus_client::registry::Registry;

use super::{Appended, CommitError, DedupEntry, LogHead, LogId, Position, Store, StoreError, StoredEvent, Transaction};

/// The settings of an [`EmbeddedStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// The bytes after which a segment of the log is full: 64 MiB. The index lacks at most two segments, which opening
    /// reads.
    pub segment_bytes: usize,
    /// The bytes after which a batch is written even if more transactions wait: 8 MiB.
    pub batch_bytes: usize,
    /// The number of transactions that wait after a batch from which the store counts as busy: 32.
    pub busy_from: usize,
    /// How long a busy store gathers transactions before it writes them: 1 ms. Fewer and larger batches cost less. A store
    /// that isn't busy doesn't gather.
    pub gather: Duration,
    /// The bytes of the index that are cached in memory: 32 MiB.
    pub index_cache_bytes: usize,
    /// The time for which idempotency keys are remembered at least: 24 hours.
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
    /// Receives nothing; it disconnects when all submitters were notified.
    delivered: Mutex<Option<mpsc::Receiver<()>>>,
}

#[derive(Default)]
struct SubmissionQueue {
    transactions: Vec<Transaction>,
    closed: bool,
    /// Whether the committer waits for work.
    idle: bool,
}

/// The state that the threads of a store share.
struct Engine {
    folder: PathBuf,
    options: EmbeddedOptions,
    memory: Memory,
    dedup_index: DedupIndex,
    index: Index,
    /// The segments that are open for reading.
    files: RwLock<HashMap<u32, Arc<File>>>,
    /// The newest segment in the upper half, and its length in bytes in the lower half.
    written: AtomicU64,
    queue: Mutex<SubmissionQueue>,
    work: Condvar,
    failed: OnceLock<String>,
    commits: CommitMetrics,
    /// None once the store is closed.
    lock: Mutex<Option<File>>,
}

impl EmbeddedStore {
    /// Opens the store in a folder; creates an empty store if none exists.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::Corrupt`] when bytes on the disk differ from
    /// those that were written, [`StoreError::Format`] when another version wrote them. Nothing is then changed.
    pub fn open(folder: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        Self::open_with(folder, options, None, |file| Box::new(file))
    }

    /// Opens the store as [`EmbeddedStore::open`] does, but notifies submitters on a task of a runtime instead of a thread of
    /// its own, so that waiting tasks wake without a switch between threads. The runtime must have more than one thread, or
    /// never block on the store.
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

    /// Opens a store whose log is written through the result of `wrap`.
    fn open_with(
        folder: &Path,
        options: EmbeddedOptions,
        runtime: Option<&tokio::runtime::Handle>,
        wrap: impl FnOnce(File) -> Box<dyn committer::LogFile>,
    ) -> Result<Self, StoreError> {
        let log = folder.join("log");
        let new_folders = log.ancestors().take_while(|path| !exists(path)).count();
        std::fs::create_dir_all(&log).map_err(|source| io("creating", &log, source))?;
        let lock = lock(folder)?;
        let index = Index::open(&folder.join("state.redb"), options.index_cache_bytes)?;
        // The folder has the entries of the log and the index; an earlier start may have ended before it synced them. Each new
        // folder is an entry of its parent.
        for parent in log.ancestors().skip(1).take(new_folders.max(1)) {
            sync_folder(parent)?;
        }
        let (position, _) = index.checkpoint()?;
        let memory = Memory::new(position);
        let dedup_index = DedupIndex::new(index.dedup()?);
        let mut engine = Engine {
            folder: log,
            options,
            memory,
            dedup_index,
            index,
            files: RwLock::default(),
            written: AtomicU64::new(0),
            queue: Mutex::default(),
            work: Condvar::new(),
            failed: OnceLock::new(),
            commits: CommitMetrics::new(),
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
        let (delivering, delivered) = mpsc::channel();
        let mut threads = Vec::new();
        let delivery = match runtime {
            Some(runtime) => {
                let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<CommittedBatch>();
                runtime.spawn(async move {
                    while let Some(batch) = receiver.recv().await {
                        batch.notify();
                    }
                    drop(delivering);
                });
                Delivery::Task(sender)
            }
            None => {
                let (sender, receiver) = mpsc::channel::<CommittedBatch>();
                threads.push(spawn("store-deliver", move || {
                    receiver.into_iter().for_each(CommittedBatch::notify);
                    drop(delivering);
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
            delivered: Mutex::new(Some(delivered)),
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

/// The end of the log after recovery.
struct Tail {
    file: File,
    segment: u32,
    length: usize,
    dedup: Vec<(u64, u32)>,
    last_id: u128,
}

/// What recovery collects from the segments.
#[derive(Default)]
struct Replay {
    /// The idempotency keys of each segment.
    dedup: Vec<(u32, Vec<(u64, u32)>)>,
    last_id: u128,
    last_position: u64,
}

impl Engine {
    /// Reads the segments that the index doesn't have, and cuts off a torn tail.
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
            self.dedup_index.recover(number, &pairs);
            if number == segment {
                dedup = pairs;
            } else {
                sealed.push((number, pairs));
            }
        }
        if let Some((last_sealed, _)) = sealed.last() {
            // The process ended between a full segment and its checkpoint.
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

    /// Reads one segment into memory. Returns its length, or none if its creation was interrupted.
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
                .map_err(|source| io("truncating", path, source))?;
            file.sync_all().map_err(|source| io("syncing", path, source))?;
        }
        Ok(Some(scanned.length))
    }

    #[allow(clippy::too_many_arguments, reason = "one step of a loop")]
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
                    let seq =
                        self.memory
                            .append(&self.index, &record.log, EventLocation { segment, offset }, position)?;
                    if seq != record.event.seq {
                        return Err(recovery::corrupt(
                            path,
                            at + inside,
                            "the number of the event is out of order",
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
        // A checkpoint has whole segments only, so its position is that of the end of the last one.
        let path = self.folder.join(segment_name(last + 1));
        let bytes = std::fs::read(&path).map_err(|source| io("reading", &path, source))?;
        let end = SegmentHeader::decode(&bytes).map_or(self.memory.position(), |header| header.first - 1);
        self.try_checkpoint(end, last, dedup)
    }

    fn checkpoint(&self, position: u64, segment: u32, dedup: Vec<(u32, Vec<(u64, u32)>)>) {
        if let Err(error) = self.try_checkpoint(position, segment, dedup) {
            // The log has everything, but without checkpoints memory would grow without a limit.
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
        self.dedup_index.compact(segment, oldest);
        Ok(())
    }

    /// Returns the oldest segment whose idempotency keys must still be remembered.
    fn oldest_remembered(&self, newest: u32) -> u32 {
        let is_young = |number: &u32| {
            let modified = std::fs::metadata(self.folder.join(segment_name(*number))).and_then(|meta| meta.modified());
            let age = modified.ok().and_then(|modified| modified.elapsed().ok());
            age.is_none_or(|age| age < self.options.idempotency)
        };
        (1..=newest).rev().take_while(is_young).last().unwrap_or(newest)
    }

    /// Waits for submitted transactions, and moves them to `transactions`, which must be empty. Returns `false` when the store
    /// is closed and none is left.
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

    /// Refuses later transactions; the committer ends once it has processed the submitted ones.
    fn stop(&self) {
        self.queue.lock().closed = true;
        self.work.notify_one();
    }

    fn fail(&self, reason: &str) {
        tracing::error!(reason, "the store can't write any more");
        // Later failures follow from the first.
        let _ = self.failed.set(reason.to_owned());
    }

    fn set_written(&self, segment: u32, length: usize) {
        self.written
            .store(u64::from(segment) << 32 | length as u64, Ordering::Release);
    }

    /// Returns whether an event was written and synced.
    fn is_written(&self, location: EventLocation) -> bool {
        u64::from(location.segment) << 32 | u64::from(location.offset) < self.written.load(Ordering::Acquire)
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

    fn read_event(&self, location: EventLocation) -> Result<EventRecord, StoreError> {
        let path = self.folder.join(segment_name(location.segment));
        let file = self.file(location.segment)?;
        let failed = |source| io("reading", &path, source);
        let header = read_at(&file, location.offset, EVENT_HEADER).map_err(failed)?;
        let damaged = || recovery::corrupt(&path, location.offset as usize, "the event is damaged");
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
        let bytes = read_at(&file, location.offset, length).map_err(failed)?;
        decode_event(&bytes).ok_or_else(damaged)
    }

    fn find_now(&self, key: u128) -> Result<Option<DedupEntry>, StoreError> {
        let hash = hash_of(key);
        if !self.dedup_index.may_have(hash) {
            return Ok(None);
        }
        if let Some(found) = self.dedup_index.pending(key) {
            return Ok(Some(found));
        }
        let Some(location) = self.dedup_index.location(hash) else {
            return Ok(None);
        };
        let record = self.read_event(location)?;
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
        Ok(Some(DedupEntry {
            appended,
            fingerprint: dedup.fingerprint,
            key,
        }))
    }
}

fn head_of(end: LogEnd) -> LogHead {
    LogHead {
        epoch: 0,
        seq: end.seq,
        changed: Position(end.changed),
    }
}

impl Store for EmbeddedStore {
    fn register_metrics(&self, registry: &mut Registry) {
        self.engine.commits.register(registry);
        registry.register_collector(Box::new(DiskCollector {
            log: self.engine.folder.clone(),
        }));
    }

    fn position(&self) -> Position {
        Position(self.engine.memory.position())
    }

    fn newest_write(&self) -> Position {
        Position(self.engine.memory.newest_write())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.engine.memory.get(&self.engine.index, key)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize, reverse: bool) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.engine
            .memory
            .scan(&self.engine.index, (start, end), limit, reverse)
    }

    fn head(&self, log: &LogId) -> Result<LogHead, StoreError> {
        Ok(head_of(self.engine.memory.head(&self.engine.index, log)?))
    }

    fn heads(&self, logs: &[LogId]) -> Result<Vec<LogHead>, StoreError> {
        Ok(self
            .engine
            .memory
            .heads(&self.engine.index, logs)?
            .into_iter()
            .map(head_of)
            .collect())
    }

    fn events(
        &self,
        log: &LogId,
        range: RangeInclusive<u64>,
        limit: usize,
        newest_first: bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let head = self.engine.memory.head(&self.engine.index, log)?.seq;
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
        for (seq, location) in self.engine.memory.locations(&self.engine.index, log, first, last)? {
            if !self.engine.is_written(location) {
                break;
            }
            let record = self.engine.read_event(location)?;
            if record.log != *log || record.event.seq != seq {
                let path = self.engine.folder.join(segment_name(location.segment));
                return Err(recovery::corrupt(
                    &path,
                    location.offset as usize,
                    "another event is at this offset",
                ));
            }
            events.push(record.event);
        }
        Ok(events)
    }

    fn find(&self, key: u128) -> Result<Option<DedupEntry>, StoreError> {
        self.engine.find_now(key)
    }

    fn submit_all(&self, transactions: &mut Vec<Transaction>) {
        let mut queue = self.engine.queue.lock();
        if queue.closed {
            drop(queue);
            for transaction in transactions.drain(..) {
                transaction.submitter.finish(Err(CommitError::Closed));
            }
            return;
        }
        queue.transactions.append(transactions);
        let idle = queue.idle;
        drop(queue);
        if idle {
            self.engine.work.notify_one();
        }
    }

    fn close(&self) {
        self.engine.stop();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // The panic hook already logged a panic; closing continues.
            let _ = thread.join();
        }
        if let Some(delivered) = self.delivered.lock().take() {
            // Nothing is sent: this waits until the sender is dropped.
            let _ = delivered.recv();
        }
        // Remaining owners of the store must not prevent another opening.
        self.engine.index.close();
        *self.engine.lock.lock() = None;
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // The last owner may be a submitter on the delivery thread, which can't wait for itself.
        self.engine.stop();
    }
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("folder", &self.engine.folder)
            .finish_non_exhaustive()
    }
}

/// Returns the part of an idempotency key that memory and the index store; the event has the whole key.
#[allow(clippy::cast_possible_truncation, reason = "only the lower half is stored")]
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
    let file = File::create(&path).map_err(|source| io("creating", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked(folder.display().to_string())),
        Err(std::fs::TryLockError::Error(source)) => Err(io("locking", &path, source)),
    }
}

/// Reads arbitrary bytes as a segment, a batch and an event. Must never panic; for fuzzing.
#[doc(hidden)]
pub fn fuzz_segment(bytes: &[u8]) {
    let path = Path::new("0000000001.seg");
    for is_last in [true, false] {
        let _ = recovery::header(path, bytes, 1, is_last);
        let _ = recovery::scan(path, bytes, is_last, |_, _, _| Ok(()));
    }
    let _ = format::decode_payload(bytes);
    // With a right checksum, so that mutated events get past it.
    if let Some(mut event) = bytes.get(9..).map(|_| bytes.to_vec()) {
        let crc = crc32fast::hash(&event[9..]);
        event[5..9].copy_from_slice(&crc.to_le_bytes());
        let _ = decode_event(&event);
        let _ = format::decode_payload(&event);
    }
}

/// Returns true if a path, where an empty one is the working directory, exists.
fn exists(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.exists()
}

/// Makes the entries of a folder durable. An empty path is the working directory.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)
        .and_then(|opened| opened.sync_all())
        .map_err(|source| io("syncing", folder, source))
}

fn segment_name(number: u32) -> String {
    format!("{number:010}.seg")
}

/// Creates a segment durably. Returns the file and its length.
fn create_segment(folder: &Path, number: u32, first: u64) -> Result<(File, usize), StoreError> {
    let path = folder.join(segment_name(number));
    let failed = |source| io("creating", &path, source);
    let mut file = File::create(&path).map_err(failed)?;
    let header = SegmentHeader {
        number: number.into(),
        first,
    }
    .encode();
    file.write_all(&header).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    sync_folder(folder)?;
    Ok((file, header.len()))
}
