//! A server reports failures of its store or bus, loses nothing, and continues as far as possible.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use courtyard::{
    Bus, CommitError, Config, EmbeddedOptions, EmbeddedStore, LocalBus, LogId, Notice, Server, Store, StoreError,
    Subscriber, Transaction,
};
use courtyard_client::{Client, Event, Events, Options, Page};
use courtyard_tests::CONVERSATION;
use serde_json::json;
use tokio::time::timeout;

use crate::store::{Fault, FaultyStore};

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

/// Fails all writes while it is set.
#[derive(Default)]
struct Broken(AtomicBool);

impl Fault for Broken {
    fn submit_all(&self, store: &EmbeddedStore, transactions: &mut Vec<Transaction>) {
        if !self.0.load(Ordering::Relaxed) {
            return store.submit_all(transactions);
        }
        for transaction in transactions.drain(..) {
            let failure = CommitError::Failed("no space left on the device".to_owned());
            transaction.submitter.finish(Err(failure));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_store_acks_nothing_and_clients_resend() {
    let folder = tempfile::tempdir().unwrap();
    let store = FaultyStore::<Broken>::open(folder.path());
    let server = Server::builder(config(folder.path()))
        .store(store.clone())
        .start()
        .await
        .unwrap();
    let (ann, _ann_events) = connect(&server, "ann");
    ann.send(CONVERSATION, "text", json!({"text": "kept"})).await.unwrap();

    store.fault.0.store(true, Ordering::Relaxed);
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

    store.fault.0.store(false, Ordering::Relaxed);
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
        app: courtyard::AppId::default_app(),
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
