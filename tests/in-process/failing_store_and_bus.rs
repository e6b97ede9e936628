//! A server reports failures of its store or bus, loses nothing, and continues as far as possible.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use courtyard::bus::{Bus, LocalBus, Notice, Subscriber};
use courtyard::store::{
    CommitError, EmbeddedOptions, EmbeddedStore, Found, Head, LogId, Position, Store, StoreError, StoredEvent,
    Transaction,
};
use courtyard::{Config, Server};
use courtyard_client::{Client, Event, Events, Options, Page};
use courtyard_tests::CONVERSATION;
use serde_json::json;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

fn config(folder: &Path) -> Config {
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[development]\ntrust_tokens = true\n\
         conversations = [{{ id = \"{CONVERSATION}\", kind = \"direct\", members = [\"ann\", \"bob\"] }}]\n"
    );
    Config::parse(&text, "test", folder).unwrap()
}

fn connect(server: &Server, actor: &str) -> (Client, Events) {
    let (address, _) = server.addresses()[0];
    let options = Options::new(&format!("ws://{address}/v1/ws")).token(actor);
    Client::connect(options.back_off(Duration::from_millis(20), Duration::from_millis(50)))
}

async fn next_text(events: &mut Events) -> String {
    loop {
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
        if let Event::Message(message) = event {
            return message.content["text"].as_str().unwrap().to_owned();
        }
    }
}

/// A store that can be switched to fail all writes.
struct Breakable {
    store: EmbeddedStore,
    broken: AtomicBool,
}

impl Store for Breakable {
    fn position(&self) -> Position {
        self.store.position()
    }

    fn get(&self, key: &[u8]) -> Result<Option<bytes::Bytes>, StoreError> {
        self.store.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(bytes::Bytes, bytes::Bytes)>, StoreError> {
        self.store.scan(start, end, limit, reverse)
    }

    fn head(&self, log: &LogId) -> Result<Head, StoreError> {
        self.store.head(log)
    }

    fn events(
        &self,
        log: &LogId,
        range: RangeInclusive<u64>,
        limit: usize,
        newest_first: bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.store.events(log, range, limit, newest_first)
    }

    fn find(&self, key: u128) -> Result<Option<Found>, StoreError> {
        self.store.find(key)
    }

    fn submit_all(&self, transactions: &mut Vec<Transaction>) {
        if !self.broken.load(Ordering::Relaxed) {
            return self.store.submit_all(transactions);
        }
        for transaction in transactions.drain(..) {
            let failure = CommitError::Failed("no space left on the device".to_owned());
            transaction.submitter.settled(Err(failure));
        }
    }

    fn close(&self) {
        self.store.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_store_acks_nothing_and_clients_resend() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Breakable {
        store: EmbeddedStore::open(&folder.path().join("store"), EmbeddedOptions::default()).unwrap(),
        broken: AtomicBool::new(false),
    });
    let server = Server::builder(config(folder.path()))
        .store(store.clone())
        .start()
        .await
        .unwrap();
    let (ann, _ann_events) = connect(&server, "ann");
    ann.send(CONVERSATION, "text", json!({"text": "kept"})).await.unwrap();

    store.broken.store(true, Ordering::Relaxed);
    let (bob, mut bob_events) = connect(&server, "bob");
    assert_eq!(
        next_text(&mut bob_events).await,
        "kept",
        "existing messages can be read"
    );
    let mut stuck = bob.send(CONVERSATION, "text", json!({"text": "later"}));
    let history = ann.history(CONVERSATION, Page::Newest, 10).await.unwrap();
    assert_eq!(history.head, 1);
    assert!(
        timeout(Duration::from_millis(200), &mut stuck).await.is_err(),
        "an ack means durable"
    );
    assert_eq!(bob.unsent().await.unwrap().len(), 1);

    store.broken.store(false, Ordering::Relaxed);
    let ack = timeout(PATIENCE, stuck).await.unwrap().unwrap();
    assert_eq!(ack.seq, 2);
    server.shut_down().await;
    drop(store);
    // Tasks that have just ended may hold the store for another moment.
    let store = loop {
        match EmbeddedStore::open(&folder.path().join("store"), EmbeddedOptions::default()) {
            Ok(store) => break store,
            Err(StoreError::Locked(_) | StoreError::Index(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let log = LogId {
        app: courtyard::wire::AppId::default_app(),
        conversation: CONVERSATION.parse().unwrap(),
    };
    assert_eq!(store.head(&log).unwrap().seq, 2);
}

/// A bus that drops every second notice.
#[derive(Default)]
struct Lossy {
    bus: LocalBus,
    lose: AtomicBool,
}

impl Bus for Lossy {
    fn publish(&self, notice: Notice) {
        if !self.lose.fetch_xor(true, Ordering::Relaxed) {
            self.bus.publish(notice);
        }
    }

    fn subscribe(&self, subscriber: Arc<dyn Subscriber>) {
        self.bus.subscribe(subscriber);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_lost_by_the_bus_are_fetched_from_the_log() {
    const MESSAGES: usize = 21;
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&folder.path().join("store"), EmbeddedOptions::default()).unwrap();
    let server = Server::builder(config(folder.path()))
        .store(Arc::new(store))
        .bus(Arc::new(Lossy::default()))
        .start()
        .await
        .unwrap();
    let (_bob, mut bob_events) = connect(&server, "bob");
    while !matches!(
        timeout(PATIENCE, bob_events.next()).await.unwrap().unwrap(),
        Event::Synced(_)
    ) {}
    let (ann, _ann_events) = connect(&server, "ann");
    for number in 0..MESSAGES {
        // One after the other, so that the last one isn't dropped.
        ann.send(CONVERSATION, "text", json!({"text": number.to_string()}))
            .await
            .unwrap();
    }
    for number in 0..MESSAGES {
        assert_eq!(next_text(&mut bob_events).await, number.to_string());
    }
    server.shut_down().await;
}
