#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::store::{Append, conformance};
use crate::wire::{AppId, ConversationId};

/// Segments are full after a few batches, so that checkpoints run all the time.
fn tiny() -> EmbeddedOptions {
    EmbeddedOptions {
        segment_bytes: 4_096,
        ..EmbeddedOptions::default()
    }
}

fn open(folder: &TempDir, options: EmbeddedOptions) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(folder.path(), options).unwrap())
}

fn log() -> LogId {
    LogId {
        app: AppId::default_app(),
        conversation: ConversationId(1),
    }
}

/// Appends `count` events, each in a batch of its own.
fn fill(store: &dyn Store, count: usize) {
    for number in 0..count {
        let (sender, receiver) = mpsc::channel();
        let body = Bytes::from(format!("event {number:4} with some more text in it"));
        store.submit(Transaction {
            since: Position(0),
            reads: Vec::new(),
            writes: Vec::new(),
            appends: vec![Append {
                log: log(),
                body,
                tail: Bytes::new(),
                dedup: None,
            }],
            touches: Vec::new(),
            submitter: Box::new(move |outcome: crate::store::CommitResult<'_>| {
                drop(sender.send(outcome.map(<[crate::store::Appended]>::to_vec)));
            }),
        });
        receiver.recv().unwrap().unwrap();
    }
}

/// Returns a folder with `count` events in one segment, and the path of the segment.
fn filled(count: usize) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, EmbeddedOptions::default());
    fill(&*store, count);
    store.close();
    drop(store);
    let segment = folder.path().join("log/0000000001.seg");
    (folder, segment)
}

fn reopened(folder: &TempDir) -> Result<u64, StoreError> {
    let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default())?;
    let head = store.head(&log())?.seq;
    let events = store.events(&log(), 1..=u64::MAX, usize::MAX, false)?;
    assert_eq!(events.len() as u64, head);
    store.close();
    Ok(head)
}

#[test]
fn the_embedded_store_conforms_to_the_contract() {
    for options in [EmbeddedOptions::default(), tiny()] {
        let folders = std::cell::RefCell::new(Vec::new());
        conformance::run(&|| {
            folders.borrow_mut().push(tempfile::tempdir().unwrap());
            open(folders.borrow().last().unwrap(), options)
        });
        let folder = tempfile::tempdir().unwrap();
        conformance::run_reopening(&|| open(&folder, options));
    }
}

#[test]
fn a_tail_that_was_cut_off_anywhere_loses_only_its_own_batch() {
    let (folder, segment) = filled(3);
    let whole = std::fs::read(&segment).unwrap();
    let batch = (whole.len() - format::SEGMENT_HEADER) / 3;
    for missing in 1..=batch {
        std::fs::write(&segment, &whole[..whole.len() - missing]).unwrap();
        assert_eq!(reopened(&folder).unwrap(), 2, "{missing} bytes missing");
    }
}

#[test]
fn a_sector_of_the_last_batch_that_was_never_written_is_a_torn_tail() {
    let (folder, segment) = filled(30);
    let mut bytes = std::fs::read(&segment).unwrap();
    let batch = (bytes.len() - format::SEGMENT_HEADER) / 30;
    // A batch that extends into the next sector: its begin reached the disk, but that sector didn't.
    let begin = (0..30)
        .map(|number| number * batch + format::SEGMENT_HEADER)
        .find(|at| at / 512 != (at + batch - 20) / 512);
    let begin = begin.unwrap();
    bytes.truncate(begin + batch);
    let sector = (begin / 512 + 1) * 512;
    bytes[sector..].fill(0);
    std::fs::write(&segment, &bytes).unwrap();
    let kept = (begin - format::SEGMENT_HEADER) / batch;
    assert_eq!(reopened(&folder).unwrap(), kept as u64);
}

#[test]
fn a_flipped_bit_anywhere_is_refused_and_changes_nothing() {
    let (folder, segment) = filled(3);
    let whole = std::fs::read(&segment).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        std::fs::write(&segment, &bytes).unwrap();
        let error = reopened(&folder).unwrap_err();
        assert!(
            matches!(&error, StoreError::Corrupt { file, .. } if file.ends_with("0000000001.seg")),
            "{at}: {error}"
        );
        assert_eq!(std::fs::read(&segment).unwrap(), bytes, "the damaged file was changed");
    }
    std::fs::write(&segment, &whole).unwrap();
    assert_eq!(reopened(&folder).unwrap(), 3);
}

#[test]
fn a_folder_is_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, EmbeddedOptions::default());
    let second = EmbeddedStore::open(folder.path(), EmbeddedOptions::default());
    assert!(matches!(second, Err(StoreError::Locked(_))));
    store.close();
}

#[test]
fn a_missing_segment_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, tiny());
    fill(&*store, 200);
    store.close();
    drop(store);
    std::fs::remove_file(folder.path().join("log/0000000002.seg")).unwrap();
    let error = EmbeddedStore::open(folder.path(), tiny()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Corrupt { file, .. } if file.ends_with("0000000002.seg")),
        "{error}"
    );
}

#[test]
fn old_events_are_read_from_sealed_segments() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, tiny());
    fill(&*store, 300);
    for first in [1, 50, 150, 299] {
        let events = store.events(&log(), first..=first + 1, 10, false).unwrap();
        assert_eq!(
            events.iter().map(|event| event.seq).collect::<Vec<_>>(),
            [first, first + 1]
        );
    }
    store.close();
    assert!(std::fs::read_dir(folder.path().join("log")).unwrap().count() > 3);
}

/// A disk that is full after this many bytes.
struct FullDisk(usize);

impl committer::LogFile for FullDisk {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_all_writing_but_no_reading() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open_with(folder.path(), EmbeddedOptions::default(), None, |_| {
        Box::new(FullDisk(500))
    })
    .unwrap();
    let mut outcomes = Vec::new();
    for number in 0..10 {
        let (sender, receiver) = mpsc::channel();
        store.submit(Transaction {
            since: Position(0),
            reads: Vec::new(),
            writes: vec![(format!("key{number}").into(), Some(vec![1; 100].into()))],
            appends: Vec::new(),
            touches: Vec::new(),
            submitter: Box::new(move |outcome: crate::store::CommitResult<'_>| {
                drop(sender.send(outcome.map(<[crate::store::Appended]>::to_vec)));
            }),
        });
        outcomes.push(receiver.recv().unwrap());
    }
    assert!(outcomes[0].is_ok());
    assert!(
        outcomes[5..]
            .iter()
            .all(|outcome| matches!(outcome, Err(CommitError::Failed(_)))),
        "{outcomes:?}"
    );
    assert!(store.get(b"key0").unwrap().is_some());
    store.close();
}

#[test]
fn no_prefix_and_no_flipped_byte_of_a_segment_makes_its_parsers_panic() {
    let (_folder, segment) = filled(3);
    let bytes = std::fs::read(&segment).unwrap();
    for at in 0..bytes.len() {
        super::fuzz_segment(&bytes[..at]);
        super::fuzz_segment(&bytes[at..]);
        let mut flipped = bytes[at..].to_vec();
        flipped[0] ^= 0xff;
        super::fuzz_segment(&flipped);
        crate::keys::fuzz_keys(&flipped);
    }
}
