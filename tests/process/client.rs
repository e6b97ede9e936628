//! The Rust client against the real server: it reconnects by itself, and loses and duplicates nothing.

use std::sync::Arc;
use std::time::Duration;

use courtyard_client::{Client, Error, Event, Events, LogEvent, MessageList, Options, Page};
use courtyard_tests::accounts::GRANT;
use courtyard_tests::certificate::certify;
use courtyard_tests::{CONVERSATION, Site, plugin};
use serde_json::json;
use tokio::time::timeout;

/// Upper bound of every wait; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(site: &Site, token: &str) -> Options {
    Options::new(&format!("ws://127.0.0.1:{}/v1/ws", site.port))
        .device("test")
        .token(token)
        .back_off(Duration::from_millis(20), Duration::from_millis(100))
}

async fn next(events: &mut Events) -> Event {
    timeout(PATIENCE, events.next()).await.unwrap().unwrap()
}

async fn next_message(events: &mut Events) -> LogEvent {
    loop {
        if let Event::Message(message) = next(events).await {
            return message;
        }
    }
}

/// Reads this many messages.
async fn read(mut events: Events, count: usize) -> Vec<LogEvent> {
    let mut messages = Vec::new();
    while messages.len() < count {
        messages.push(next_message(&mut events).await);
    }
    messages
}

#[tokio::test]
async fn messages_sent_while_the_server_is_killed_arrive_once_and_in_order_on_both_sides() {
    const EACH: usize = 150;
    let site = Site::new("");
    let mut server = site.start().await;
    let mut readers = Vec::new();
    let mut sendings = Vec::new();
    let mut clients = Vec::new();
    for actor in ["ann", "bob"] {
        let (client, mut events) = Client::connect(options(&site, actor));
        while !matches!(next(&mut events).await, Event::Synced(_)) {}
        readers.push(tokio::spawn(read(events, 2 * EACH)));
        clients.push(client);
    }
    for number in 0..EACH {
        for client in &clients {
            sendings.push(client.send(CONVERSATION, "text", json!({"text": format!("{number}")})));
        }
        if number % 50 == 25 {
            server.kill().await;
            server = site.start().await;
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    for sending in sendings {
        timeout(PATIENCE, sending).await.unwrap().unwrap();
    }
    let mut seen = Vec::new();
    for reader in readers {
        let messages = reader.await.unwrap();
        let numbers: Vec<u64> = messages.iter().map(|message| message.seq).collect();
        assert_eq!(numbers, (1..=2 * EACH as u64).collect::<Vec<_>>());
        seen.push(messages.iter().map(|message| message.id.clone()).collect::<Vec<_>>());
        for actor in ["ann", "bob"] {
            let own = messages.iter().filter(|message| message.sender == actor);
            let texts: Vec<_> = own
                .map(|message| message.content["text"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(
                texts,
                (0..EACH).map(|number| number.to_string()).collect::<Vec<_>>(),
                "{actor}"
            );
        }
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(clients[0].unsent().await, Ok(Vec::new()));
    server.stop().await;
}

#[tokio::test]
async fn messages_sent_before_the_server_starts_are_delivered_later() {
    let site = Site::new("");
    let (client, _events) = Client::connect(options(&site, "ann"));
    let sending = client.send(CONVERSATION, "text", json!({"text": "early"}));
    assert_eq!(client.call("users.whoami", json!({})).await, Err(Error::Offline));
    let unsent = client.unsent().await.unwrap();
    assert_eq!(unsent.len(), 1);
    client.close();
    assert_eq!(sending.await, Err(Error::Closed));

    // The program was restarted, and kept its unsent messages.
    let (client, mut events) = Client::connect(options(&site, "ann").unsent(unsent.clone()));
    let server = site.start().await;
    let message = next_message(&mut events).await;
    assert_eq!((message.client_id, message.seq), (unsent[0].id.clone(), 1));
    let history = client.history(CONVERSATION, Page::Newest, 10).await.unwrap();
    assert_eq!((history.head, history.events.len()), (1, 1));
    server.stop().await;
}

/// A server rejects messages over its in-flight limit with a retry; later ones overtook them then.
#[tokio::test]
async fn a_burst_over_the_in_flight_limit_keeps_its_order() {
    const MESSAGES: u64 = 1_000;
    let site = Site::new("[limits]\nin_flight = 8\n");
    let (client, events) = Client::connect(options(&site, "ann"));
    let say = |number: u64| client.send(CONVERSATION, "text", json!({"text": number.to_string()}));
    let sendings: Vec<_> = (1..=MESSAGES).map(say).collect();
    let reader = tokio::spawn(read(events, 1_000));
    let server = site.start().await;
    for (sending, number) in sendings.into_iter().zip(1..) {
        assert_eq!(timeout(PATIENCE, sending).await.unwrap().unwrap().seq, number);
    }
    assert_eq!(reader.await.unwrap().len(), 1_000);
    server.stop().await;
}

#[tokio::test]
async fn a_full_outbox_and_a_rejection_are_reported_to_the_sender() {
    let site = Site::new("");
    let (client, _events) = Client::connect(options(&site, "ann").outbox(1));
    let first = client.send(CONVERSATION, "text", json!({"text": ""}));
    let second = client.send(CONVERSATION, "text", json!({"text": "no room"}));
    assert_eq!(second.await, Err(Error::Full));
    let server = site.start().await;
    let error = timeout(PATIENCE, first).await.unwrap().unwrap_err();
    assert_eq!(error.code(), "invalid_content", "{error}");
    let sent = client
        .send(CONVERSATION, "text", json!({"text": "fine"}))
        .await
        .unwrap();
    assert_eq!(sent.seq, 1);
    server.stop().await;
}

/// Folds live events until a message satisfies the condition.
async fn folded(events: &mut Events, list: &mut MessageList, wanted: impl Fn(&LogEvent) -> bool) -> LogEvent {
    loop {
        match next(events).await {
            Event::Message(event) => {
                assert!(event.is_message());
                list.add(event);
            }
            Event::Change(event) => {
                assert!(!event.is_message());
                list.add(event);
            }
            _ => continue,
        }
        if let Some(message) = list.get(1).filter(|message| wanted(message)) {
            return message.clone();
        }
    }
}

#[tokio::test]
async fn acts_apply_once_across_a_restart_and_fold_alike_everywhere() {
    let site = Site::new("");
    let server = site.start().await;
    let (ann, mut on_anns) = Client::connect(options(&site, "ann"));
    let (bob, mut on_bobs) = Client::connect(options(&site, "bob"));
    for events in [&mut on_anns, &mut on_bobs] {
        while !matches!(next(events).await, Event::Synced(_)) {}
    }
    let (mut anns, mut bobs) = (MessageList::new(), MessageList::new());
    let seq = ann
        .send(CONVERSATION, "text", json!({"text": "Helo"}))
        .await
        .unwrap()
        .seq;
    assert_eq!(seq, 1);
    folded(&mut on_bobs, &mut bobs, |_| true).await;
    let refused = bob.recall(CONVERSATION, seq).await.unwrap_err();
    assert_eq!(refused.code(), "forbidden");

    server.kill().await;
    while !matches!(next(&mut on_bobs).await, Event::Offline { .. }) {}
    let mut acts = vec![ann.edit(CONVERSATION, seq, json!({"text": "Hello"}))];
    for number in 0..5 {
        acts.push(bob.react(CONVERSATION, seq, "👍"));
        acts.push(bob.unreact(CONVERSATION, seq, "👍"));
        acts.push(ann.react(CONVERSATION, seq, &number.to_string()));
    }
    acts.push(bob.react(CONVERSATION, seq, "🎂"));
    assert_eq!(bob.unsent().await.unwrap().len(), 11);
    let server = site.start().await;
    for act in acts {
        timeout(PATIENCE, act).await.unwrap().unwrap();
    }

    // Bob's acts keep the order of his calls, so his 👍 is removed.
    let done = |message: &LogEvent| message.edited.is_some() && message.reactions.len() == 6;
    let no_thumb = |message: &LogEvent| message.reactions.iter().all(|reaction| reaction.emoji != "👍");
    let done = |message: &LogEvent| done(message) && no_thumb(message);
    let seen = folded(&mut on_bobs, &mut bobs, done).await;
    assert_eq!(seen.content, json!({"text": "Hello"}));
    assert_eq!(folded(&mut on_anns, &mut anns, done).await.reactions, seen.reactions);
    let page = ann.history(CONVERSATION, Page::Newest, 100).await.unwrap();
    assert_eq!(page.head, 18, "each act is one event");
    let mut read = MessageList::new();
    read.add_page(&page);
    assert_eq!(read.iter().count(), 1);
    assert_eq!(read.get(seq).unwrap().reactions, seen.reactions);

    ann.recall(CONVERSATION, seq).await.unwrap();
    let gone = folded(&mut on_bobs, &mut bobs, |message| message.recalled).await;
    assert_eq!((gone.content, gone.reactions.len()), (json!({}), 0));
    let late = bob.react(CONVERSATION, seq, "👍").await.unwrap_err();
    assert_eq!(late.code(), "unknown_message");
    server.stop().await;
}

#[tokio::test]
async fn sign_up_and_sign_in_share_one_connection() {
    let path = plugin("users");
    let site = Site::bare(&format!(
        "[[plugins]]\nid = \"users\"\npath = {path:?}\ngrant = {GRANT}\n\
         config = {{ argon2 = {{ memory_kib = 8, iterations = 1 }} }}\n"
    ));
    let server = site.start().await;
    let url = format!("ws://127.0.0.1:{}/v1/ws", site.port);
    let (client, mut events) = Client::connect(Options::new(&url));
    let Event::Online(welcome) = next(&mut events).await else {
        panic!()
    };
    assert_eq!(welcome.actor, None);
    let params = json!({"name": "ann", "password": "correct horse"});
    let session = client.call("users.register", params).await.unwrap();
    let welcome = client.sign_in(session["token"].as_str().unwrap()).await.unwrap();
    assert_eq!(welcome.actor.as_deref(), session["actor"].as_str());
    let refused = client.call("users.open_direct", json!({"actor": "nobody"})).await;
    assert_eq!(refused.unwrap_err().code(), "users.unknown_person");

    let (_client, mut events) = Client::connect(options(&site, "no token of ours"));
    assert_eq!(next(&mut events).await, Event::Ended { code: 4101 });
    assert_eq!(timeout(PATIENCE, events.next()).await.unwrap(), None);
    server.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_applies_to_new_connections_only() {
    let site = Site::bare(&format!(
        "tls = {{ certificate = \"cert.pem\", key = \"key.pem\" }}\n[development]\ntrust_tokens = true\n\
         conversations = [{{ id = \"{CONVERSATION}\", kind = \"direct\", members = [\"ann\", \"bob\"] }}]\n"
    ));
    let first = Arc::new(certify(&site));
    let server = site.start().await;
    let secure = |actor: &str, tls: &Arc<rustls::ClientConfig>| {
        let url = format!("wss://localhost:{}/v1/ws", site.port);
        Client::connect(
            Options::new(&url)
                .token(actor)
                .tls(tls.clone())
                .back_off(Duration::from_millis(20), Duration::from_millis(100)),
        )
    };
    let (ann, mut ann_events) = secure("ann", &first);
    assert!(matches!(next(&mut ann_events).await, Event::Online(_)));

    let second = Arc::new(certify(&site));
    let (_bob, mut bob_events) = secure("bob", &second);
    assert!(
        matches!(next(&mut bob_events).await, Event::Offline { .. }),
        "the old certificate is in use"
    );
    server.reload().await;
    while !matches!(next(&mut bob_events).await, Event::Synced(_)) {}
    let ack = ann
        .send(CONVERSATION, "text", json!({"text": "over TLS"}))
        .await
        .unwrap();
    assert_eq!(next_message(&mut bob_events).await.id, ack.event);
    server.stop().await;
}
