//! With a slow store, nobody sees events that aren't durable yet, and all see them in order.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use courtyard::{
    AppId, Appended, Bus, CommitError, CommitResult, Config, EmbeddedStore, LocalBus, LogId, Notice, Server, Store,
    StoredEvent, Submitter, Subscriber, Transaction,
};
use courtyard_tests::{CONVERSATION, Client};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::store::{Fault, FaultyStore};

/// A submitter, and its undelivered outcome.
type HeldOutcome = (Box<dyn Submitter>, Result<Vec<Appended>, CommitError>);

/// Undelivered outcomes.
#[derive(Default)]
struct Held {
    outcomes: Mutex<Vec<HeldOutcome>>,
    count: watch::Sender<usize>,
    /// Durable events of the conversation while outcomes are held.
    written: Mutex<Option<u64>>,
}

struct HeldSubmitter {
    submitter: Box<dyn Submitter>,
    held: Arc<Held>,
}

impl Submitter for HeldSubmitter {
    fn finish(self: Box<Self>, outcome: CommitResult<'_>) {
        let outcome = outcome.map(<[Appended]>::to_vec);
        self.held.outcomes.lock().unwrap().push((self.submitter, outcome));
        self.held.count.send_modify(|count| *count += 1);
    }
}

/// A store that can delay the durability of commits.
type DelayedStore = FaultyStore<Arc<Held>>;

impl DelayedStore {
    /// Delays all commits until [`Self::release`].
    fn hold(&self) {
        let app = AppId::default_app();
        let conversation = CONVERSATION.parse().unwrap();
        let written = self.store.head(&LogId { app, conversation }).unwrap().seq;
        *self.fault.written.lock().unwrap() = Some(written);
    }

    /// Waits until this many transactions are complete except for their durability.
    async fn held(&self, wanted: usize) {
        let mut count = self.fault.count.subscribe();
        count.wait_for(|count| *count >= wanted).await.unwrap();
    }

    fn release(&self) {
        *self.fault.written.lock().unwrap() = None;
        let outcomes = std::mem::take(&mut *self.fault.outcomes.lock().unwrap());
        for (submitter, outcome) in outcomes {
            submitter.finish(outcome.as_deref().map_err(Clone::clone));
        }
    }
}

impl Fault for Arc<Held> {
    fn is_visible(&self, event: &StoredEvent) -> bool {
        let written = *self.written.lock().unwrap();
        written.is_none_or(|written| event.seq <= written)
    }

    fn submit_all(&self, store: &EmbeddedStore, transactions: &mut Vec<Transaction>) {
        if self.written.lock().unwrap().is_some() {
            for transaction in transactions.iter_mut() {
                let submitter = std::mem::replace(&mut transaction.submitter, Box::new(|_: CommitResult<'_>| {}));
                let held = self.clone();
                transaction.submitter = Box::new(HeldSubmitter { submitter, held });
            }
        }
        store.submit_all(transactions);
    }
}

fn config(folder: &Path) -> Config {
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[development]\ntrust_tokens = true\n\
         conversations = [{{ id = \"{CONVERSATION}\", kind = \"direct\", members = [\"ann\", \"bob\"] }}]\n"
    );
    Config::parse(&text, "test", folder).unwrap()
}

async fn start(folder: &Path, store: &Arc<DelayedStore>) -> Server {
    Server::builder(config(folder))
        .store(store.clone())
        .start()
        .await
        .unwrap()
}

async fn sign_in(server: &Server, actor: &str) -> Client {
    let mut client = Client::connect(server.addresses()[0].0.port()).await;
    client
        .send(&json!({"type": "hello", "protocol": 1, "device": "test", "token": actor}))
        .await;
    assert_eq!(client.next().await["type"], "welcome");
    client
}

async fn say(client: &mut Client, id: &str) {
    client.text(id, "Hello").await;
    assert_eq!(client.next().await["id"], id);
}

/// Returns the next frame, which must not arrive before the store holds this many transactions.
async fn next_once_held(client: &mut Client, store: &DelayedStore, count: usize) -> Value {
    tokio::select! {
        early = client.next() => panic!("{early} is not on the disk"),
        () = store.held(count) => {}
    }
    store.release();
    client.next().await
}

#[tokio::test(flavor = "multi_thread")]
async fn history_shows_an_edit_once_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let store = DelayedStore::open(folder.path());
    let server = start(folder.path(), &store).await;
    let mut ann = sign_in(&server, "ann").await;
    say(&mut ann, "m1").await;
    let mut bob = sign_in(&server, "bob").await;

    store.hold();
    let edit =
        json!({"type": "edit", "id": "e1", "conversation": CONVERSATION, "target": 1, "content": {"text": "Hi"}});
    ann.send(&edit).await;
    store.held(1).await;
    bob.send(&json!({"type": "history", "id": "h", "conversation": CONVERSATION}))
        .await;
    let event = next_once_held(&mut bob, &store, 2).await;
    assert_eq!(event["event"]["seq"], 2);
    let page = bob.next().await;
    assert_eq!(page["events"][0]["content"]["text"], "Hi");
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watermark_is_listed_once_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let store = DelayedStore::open(folder.path());
    let server = start(folder.path(), &store).await;
    let mut ann = sign_in(&server, "ann").await;
    say(&mut ann, "m1").await;
    let mut bob = sign_in(&server, "bob").await;

    store.hold();
    bob.send(&json!({"type": "receipt", "id": "r", "conversation": CONVERSATION, "read": 1}))
        .await;
    store.held(1).await;
    ann.send(&json!({"type": "receipts", "id": "l", "conversation": CONVERSATION}))
        .await;
    let receipt = next_once_held(&mut ann, &store, 2).await;
    assert_eq!(receipt["type"], "receipt");
    assert_eq!(ann.next().await["receipts"][0]["read"], 1);
    server.shut_down().await;
}

/// A device that got a number without its event assumed that it had the event, and never showed it.
#[tokio::test(flavor = "multi_thread")]
async fn sync_waits_for_the_newest_event_and_counts_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = DelayedStore::open(folder.path());
    let server = start(folder.path(), &store).await;
    let mut ann = sign_in(&server, "ann").await;
    say(&mut ann, "m1").await;
    let mut bob = sign_in(&server, "bob").await;

    store.hold();
    ann.text("m2", "Hello again").await;
    store.held(1).await;
    bob.send(&json!({"type": "sync", "id": "s"})).await;
    let event = next_once_held(&mut bob, &store, 2).await;
    assert_eq!(event["event"]["seq"], 2);
    let listed = bob.next().await["conversations"][0].clone();
    assert_eq!(
        (&listed["seq"], &listed["last"]["seq"], &listed["unread"]),
        (&json!(2), &json!(2), &json!(2))
    );
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_act_is_acked_once_the_first_one_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let store = DelayedStore::open(folder.path());
    let server = start(folder.path(), &store).await;
    let mut phone = sign_in(&server, "ann").await;
    say(&mut phone, "m1").await;
    let mut desk = sign_in(&server, "ann").await;

    store.hold();
    let react = json!({"type": "react", "id": "r1", "conversation": CONVERSATION, "target": 1, "emoji": "👍"});
    phone.send(&react).await;
    store.held(1).await;
    desk.send(&react).await;
    let event = next_once_held(&mut desk, &store, 2).await;
    assert_eq!((&event["type"], &event["event"]["seq"]), (&json!("event"), &json!(2)));
    let ack = desk.next().await;
    assert_eq!((&ack["type"], &ack["seq"]), (&json!("ack"), &json!(2)));
    server.shut_down().await;
}

/// A bus that sends signals to ann all the time.
#[derive(Default)]
struct Noisy {
    bus: LocalBus,
    subscriber: OnceLock<Arc<dyn Subscriber>>,
    is_over: AtomicBool,
}

impl Noisy {
    fn speak(&self) {
        let subscriber = self.subscriber.get().unwrap();
        let notice = Notice {
            app: AppId::default_app(),
            actors: ["ann".parse().unwrap()].into(),
            except: None,
            ephemeral: false,
            frame: Bytes::from_static(b"{\"type\":\"event\"}"),
        };
        while !self.is_over.load(Ordering::Relaxed) {
            subscriber.notice(&notice);
        }
    }
}

impl Bus for Noisy {
    fn publish(&self, notice: Notice) {
        self.bus.publish(notice);
    }

    fn subscribe(&self, subscriber: Arc<dyn Subscriber>) {
        assert!(self.subscriber.set(subscriber.clone()).is_ok());
        self.bus.subscribe(subscriber);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_frame_is_the_welcome_despite_concurrent_traffic() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Arc::new(Noisy::default());
    let mut config = config(folder.path());
    // The remaining signals are sent soon.
    config.session.queue_bytes = 1_024;
    let server = Server::builder(config).bus(bus.clone()).start().await.unwrap();
    let speaking = tokio::task::spawn_blocking({
        let bus = bus.clone();
        move || bus.speak()
    });
    for _ in 0..50 {
        // It checks the first frame.
        sign_in(&server, "ann").await;
    }
    bus.is_over.store(true, Ordering::Relaxed);
    speaking.await.unwrap();
    server.shut_down().await;
}
