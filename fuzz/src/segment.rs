//! Segments of the embedded store: damage is repaired or refused, and what opens can be read.

use std::path::Path;
use std::sync::mpsc;

use courtyard::{
    AppId, Append, CommitResult, ConversationId, EmbeddedOptions, EmbeddedStore, LogId, Position, Store, Transaction,
};

const SEGMENT: &str = "log/0000000001.seg";

fn log() -> LogId {
    LogId {
        app: AppId::default_app(),
        conversation: ConversationId(1),
    }
}

pub(crate) fn run(input: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("log")).unwrap();
    std::fs::write(folder.path().join(SEGMENT), input).unwrap();
    let Ok(store) = open(folder.path()) else {
        return;
    };
    let head = store.head(&log()).unwrap().seq;
    let events = store.events(&log(), 1..=u64::MAX, usize::MAX, false).unwrap();
    assert_eq!(events.len() as u64, head, "events up to the head are in the log");
    store.close();
}

/// Returns a segment with three events.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for body in ["one", "a second event", "three"] {
        let (sender, receiver) = mpsc::channel();
        store.submit(Transaction {
            since: Position(0),
            reads: Vec::new(),
            writes: vec![(b"key".to_vec().into(), Some(body.into()))],
            appends: vec![Append {
                log: log(),
                body: body.into(),
                tail: Default::default(),
                dedup: None,
            }],
            touches: Vec::new(),
            submitter: Box::new(move |outcome: CommitResult<'_>| sender.send(outcome.is_ok()).unwrap()),
        });
        assert!(receiver.recv().unwrap());
    }
    store.close();
    drop(store);
    vec![std::fs::read(folder.path().join(SEGMENT)).unwrap()]
}

fn open(folder: &Path) -> Result<EmbeddedStore, courtyard::StoreError> {
    EmbeddedStore::open(folder, EmbeddedOptions::default())
}
