//! The conformance suite of stores. An implementation runs [`run`] and [`run_reopening`] in its own tests.

use std::sync::{Arc, mpsc};

use bytes::Bytes;

use super::{
    Append, Appended, CommitError, CommitResult, Dedup, KeyRange, LogId, Position, Read, Store, Submitter, Transaction,
};
use crate::wire::{AppId, ConversationId};

/// Opens an empty store.
pub type Open<'a> = &'a dyn Fn() -> Arc<dyn Store>;

/// Checks the contract of [`Store`] on stores that `open` creates, each empty.
///
/// # Panics
/// When the store violates the contract.
pub fn run(open: Open<'_>) {
    let checks: [fn(&Arc<dyn Store>); 10] = [
        writes_are_read_back_and_deleted,
        scans_are_ordered_bounded_and_see_no_deleted_keys,
        a_transaction_whose_read_changed_conflicts,
        a_range_that_got_a_new_key_conflicts,
        a_rerun_takes_the_place_of_a_conflict,
        numbers_have_no_gaps_and_follow_the_order_of_submission,
        a_repeated_append_leaves_nothing_behind,
        events_are_read_in_both_directions,
        a_head_tells_when_its_log_changed,
        a_barrier_waits_for_what_came_before,
    ];
    for check in checks {
        let store = open();
        check(&store);
        store.close();
    }
    a_closed_store_refuses(&open());
}

/// Checks that closing and opening a store loses nothing; `open` must open the same one each time.
///
/// # Panics
/// When the store violates the contract.
pub fn run_reopening(open: Open<'_>) {
    // Remaining owners of a closed store don't prevent another opening.
    let mut closed = Vec::new();
    for round in 0..4_u64 {
        let store = open();
        assert_eq!(must(&store, |_| {}), Vec::new());
        for number in 0..50 {
            let key = format!("key{number}");
            let expected = (round > 0).then(|| Bytes::from(format!("{}", round - 1)));
            assert_eq!(get(&store, &key), expected, "{key} in round {round}");
            let dedup = Dedup {
                key: u128::from(round * 50 + number),
                fingerprint: 1,
            };
            must(&store, |transaction| {
                transaction.writes.push((key.into(), Some(round.to_string().into())));
                transaction.appends.push(append(1, "body", Some(dedup)));
            });
        }
        let last = (round + 1) * 50;
        assert_eq!(head(&store), last);
        let touched = changed(&store, 2);
        assert_eq!(touched > Position(0), round > 0, "round {round}");
        must(&store, |transaction| transaction.touches.push(log(2)));
        assert!(changed(&store, 2) > touched.max(changed(&store, 1)), "round {round}");
        let events = read(&store, 1, last, usize::MAX);
        assert_eq!(events, (1..=last).collect::<Vec<_>>(), "events in round {round}");
        let found = store.find(0).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            found.map(|found| found.appended.seq),
            Some(1),
            "the first idempotency key"
        );
        store.close();
        closed.push(store);
    }
}

fn log(conversation: u128) -> LogId {
    LogId {
        app: AppId::default_app(),
        conversation: ConversationId(conversation),
    }
}

fn append(conversation: u128, body: &str, dedup: Option<Dedup>) -> Append {
    Append {
        log: log(conversation),
        body: Bytes::copy_from_slice(&body.as_bytes()[..1]),
        tail: Bytes::copy_from_slice(&body.as_bytes()[1..]),
        dedup,
    }
}

fn head(store: &Arc<dyn Store>) -> u64 {
    store.head(&log(1)).unwrap_or_else(|error| panic!("{error}")).seq
}

fn changed(store: &Arc<dyn Store>, conversation: u128) -> Position {
    let heads = store.heads(&[log(conversation)]);
    heads.unwrap_or_else(|error| panic!("{error}"))[0].changed
}

fn get(store: &Arc<dyn Store>, key: &str) -> Option<Bytes> {
    store.get(key.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

fn read(store: &Arc<dyn Store>, first: u64, last: u64, limit: usize) -> Vec<u64> {
    let events = store
        .events(&log(1), first..=last, limit, false)
        .unwrap_or_else(|error| panic!("{error}"));
    events.iter().map(|event| event.seq).collect()
}

type Ended = Result<Vec<Appended>, CommitError>;

/// Submits a transaction; returns the receiver of its result.
fn submit(store: &Arc<dyn Store>, since: Position, fill: impl FnOnce(&mut Transaction)) -> mpsc::Receiver<Ended> {
    let (sender, receiver) = mpsc::channel();
    let mut transaction = Transaction {
        since,
        reads: Vec::new(),
        writes: Vec::new(),
        appends: Vec::new(),
        touches: Vec::new(),
        submitter: Box::new(move |outcome: CommitResult<'_>| {
            drop(sender.send(outcome.map(<[Appended]>::to_vec)));
        }),
    };
    fill(&mut transaction);
    store.submit(transaction);
    receiver
}

fn wait(outcome: &mpsc::Receiver<Ended>) -> Ended {
    let patience = std::time::Duration::from_secs(30);
    outcome
        .recv_timeout(patience)
        .unwrap_or_else(|_| panic!("`done` was not called in 30 s"))
}

fn must(store: &Arc<dyn Store>, fill: impl FnOnce(&mut Transaction)) -> Vec<Appended> {
    wait(&submit(store, store.position(), fill)).unwrap_or_else(|error| panic!("{error}"))
}

fn set(store: &Arc<dyn Store>, key: &'static str, value: Option<&'static str>) {
    must(store, |transaction| {
        transaction.writes.push((key.into(), value.map(Bytes::from)));
    });
}

fn writes_are_read_back_and_deleted(store: &Arc<dyn Store>) {
    let before = store.position();
    set(store, "new", Some("1"));
    assert!(store.newest_write() > before, "a write invalidates earlier reads");
    set(store, "key", Some("value"));
    assert_eq!(get(store, "key"), Some(Bytes::from("value")));
    set(store, "key", Some(""));
    assert_eq!(get(store, "key"), Some(Bytes::new()), "an empty value is a value");
    set(store, "key", None);
    assert_eq!(get(store, "key"), None);
}

fn scans_are_ordered_bounded_and_see_no_deleted_keys(store: &Arc<dyn Store>) {
    for key in ["b", "d", "a", "c", "e"] {
        set(store, key, Some("x"));
    }
    set(store, "c", None);
    let scan = |start: &str, end: &str, limit, reverse| {
        let found = store.scan(start.as_bytes(), end.as_bytes(), limit, reverse);
        let keys = found
            .unwrap_or_else(|error| panic!("{error}"))
            .into_iter()
            .map(|(key, _)| key);
        keys.map(|key| String::from_utf8_lossy(&key).into_owned())
            .collect::<Vec<_>>()
            .concat()
    };
    assert_eq!(scan("", "", 10, false), "abde");
    assert_eq!(scan("b", "e", 10, false), "bd");
    assert_eq!(scan("b", "", 2, false), "bd");
    assert_eq!(scan("a", "e", 2, true), "db");
}

fn a_transaction_whose_read_changed_conflicts(store: &Arc<dyn Store>) {
    let before = store.position();
    set(store, "key", Some("new"));
    let outcome = wait(&submit(store, before, |transaction| {
        transaction.reads.push(Read::Key("key".into()));
        transaction.writes.push(("other".into(), Some("x".into())));
        transaction.appends.push(append(1, "body", None));
    }));
    assert!(matches!(outcome, Err(CommitError::Conflict)), "{outcome:?}");
    assert_eq!(
        (get(store, "other"), head(store)),
        (None, 0),
        "a conflict commits nothing"
    );
    let outcome = wait(&submit(store, before, |transaction| {
        transaction.reads.push(Read::Key("quiet".into()));
    }));
    assert!(outcome.is_ok(), "another key is no conflict: {outcome:?}");
}

fn a_range_that_got_a_new_key_conflicts(store: &Arc<dyn Store>) {
    let before = store.position();
    set(store, "m", Some("new"));
    let conflicts = |start: &'static str, end: &'static str| {
        let range = Read::Range(Box::new(KeyRange {
            start: start.into(),
            end: end.into(),
        }));
        wait(&submit(store, before, |transaction| transaction.reads.push(range))).is_err()
    };
    assert!(conflicts("a", "z") && conflicts("m", ""));
    assert!(!conflicts("a", "m") && !conflicts("n", ""));
}

/// Appends `+1` to the present value of a key.
struct AddsOne {
    store: Arc<dyn Store>,
    sender: mpsc::Sender<Ended>,
}

impl Submitter for AddsOne {
    fn reruns(&self) -> bool {
        true
    }

    fn rerun(self: Box<Self>) -> Option<Transaction> {
        let since = self.store.position();
        let value = [&get(&self.store, "key")?[..], b"+1"].concat();
        Some(Transaction {
            since,
            reads: vec![Read::Key("key".into())],
            writes: vec![("key".into(), Some(value.into()))],
            appends: Vec::new(),
            touches: Vec::new(),
            submitter: self,
        })
    }

    fn finish(self: Box<Self>, outcome: CommitResult<'_>) {
        drop(self.sender.send(outcome.map(<[Appended]>::to_vec)));
    }
}

fn a_rerun_takes_the_place_of_a_conflict(store: &Arc<dyn Store>) {
    let before = store.position();
    set(store, "key", Some("1"));
    let (sender, receiver) = mpsc::channel();
    store.submit(Transaction {
        since: before,
        reads: vec![Read::Key("key".into())],
        writes: Vec::new(),
        appends: Vec::new(),
        touches: Vec::new(),
        submitter: Box::new(AddsOne {
            store: store.clone(),
            sender,
        }),
    });
    assert!(wait(&receiver).is_ok());
    assert_eq!(get(store, "key"), Some(Bytes::from("1+1")));
}

fn numbers_have_no_gaps_and_follow_the_order_of_submission(store: &Arc<dyn Store>) {
    const EACH: u64 = 200;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            std::thread::spawn(move || {
                let add = |_| {
                    submit(&store, Position(0), |transaction| {
                        transaction.appends.push(append(1, "body", None));
                    })
                };
                let outcomes: Vec<_> = (0..EACH).map(add).collect();
                let seq = |outcome| wait(outcome).ok().and_then(|appended| Some(appended.first()?.seq));
                outcomes.iter().map(seq).collect::<Vec<Option<u64>>>()
            })
        })
        .collect();
    let mut all = Vec::new();
    for thread in threads {
        let seqs = thread.join().unwrap_or_else(|_| panic!("a submitter panicked"));
        assert!(
            seqs.is_sorted() && seqs.iter().all(Option::is_some),
            "the order of one submitter changed: {seqs:?}"
        );
        all.extend(seqs.into_iter().flatten());
    }
    all.sort_unstable();
    assert_eq!(all, (1..=4 * EACH).collect::<Vec<_>>());
    assert_eq!(read(store, 1, u64::MAX, usize::MAX), all);
}

fn a_repeated_append_leaves_nothing_behind(store: &Arc<dyn Store>) {
    let dedup = Dedup { key: 7, fingerprint: 1 };
    let send = |dedup| {
        submit(store, Position(0), move |transaction| {
            transaction.writes.push(("count".into(), Some("x".into())));
            transaction.appends.push(append(1, "body", Some(dedup)));
        })
    };
    // The second one is submitted before the first one is durable.
    let (first, second) = (send(dedup), send(dedup));
    let first = wait(&first).unwrap_or_else(|error| panic!("{error}"));
    assert!(matches!(wait(&second), Err(CommitError::Duplicate(appended)) if appended == first[0]));
    set(store, "count", None);
    assert!(matches!(wait(&send(dedup)), Err(CommitError::Duplicate(appended)) if appended == first[0]));
    let other = wait(&send(Dedup {
        fingerprint: 2,
        ..dedup
    }));
    assert!(matches!(other, Err(CommitError::DedupConflict(_))), "{other:?}");
    assert_eq!((get(store, "count"), head(store)), (None, 1));
    let found = store.find(7).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.map(|found| found.appended), Some(first[0].clone()));
    assert!(matches!(store.find(8), Ok(None)));
}

fn events_are_read_in_both_directions(store: &Arc<dyn Store>) {
    for number in 1..=9 {
        must(store, |transaction| {
            transaction.appends.push(append(1, &number.to_string(), None));
        });
        must(store, |transaction| {
            transaction.appends.push(append(2, "elsewhere", None));
        });
    }
    assert_eq!(read(store, 3, 5, 10), [3, 4, 5]);
    assert_eq!(read(store, 3, u64::MAX, 2), [3, 4]);
    assert_eq!(read(store, 10, 20, 10), [0; 0]);
    let newest = store
        .events(&log(1), 1..=7, 2, true)
        .unwrap_or_else(|error| panic!("{error}"));
    let newest: Vec<_> = newest.iter().map(|event| (event.seq, &event.body[..])).collect();
    assert_eq!(newest, [(6, &b"6"[..]), (7, &b"7"[..])]);
    assert!(matches!(store.events(&log(3), 1..=9, 9, false), Ok(events) if events.is_empty()));
}

fn a_head_tells_when_its_log_changed(store: &Arc<dyn Store>) {
    assert_eq!(changed(store, 1), Position(0));
    let before = store.position();
    must(store, |transaction| transaction.appends.push(append(1, "1", None)));
    let appended = changed(store, 1);
    assert!(before < appended && appended <= store.position());
    must(store, |transaction| {
        transaction.writes.push(("other".into(), Some("value".into())));
    });
    assert_eq!(changed(store, 1), appended, "a write of a key doesn't change a log");
    must(store, |transaction| transaction.touches.push(log(1)));
    assert!(changed(store, 1) > appended, "a touch changes without an event");
    assert_eq!((head(store), changed(store, 2)), (1, Position(0)));
}

fn a_barrier_waits_for_what_came_before(store: &Arc<dyn Store>) {
    let before = submit(store, Position(0), |transaction| {
        transaction.appends.push(append(1, "body", None));
    });
    must(store, |_| {});
    assert!(
        before.try_recv().is_ok(),
        "the barrier ended before an earlier transaction"
    );
}

fn a_closed_store_refuses(store: &Arc<dyn Store>) {
    let last = submit(store, Position(0), |transaction| {
        transaction.appends.push(append(1, "body", None));
    });
    store.close();
    store.close();
    assert!(
        wait(&last).is_ok(),
        "a transaction that was submitted before closing is committed"
    );
    let late = wait(&submit(store, Position(0), |_| {}));
    assert!(matches!(late, Err(CommitError::Closed)), "{late:?}");
}
