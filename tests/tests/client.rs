//! The Rust client against the real server: it comes back by itself, and loses and doubles nothing.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use courtyard_client::{Client, Error, Event, Events, Message, Options, Page};
use courtyard_tests::{CONVERSATION, Site, plugin};
use serde_json::json;
use tokio::time::timeout;

/// What nothing may take longer than; no test waits for it to pass.
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

async fn next_message(events: &mut Events) -> Message {
    loop {
        if let Event::Message(message) = next(events).await {
            return message;
        }
    }
}

/// Reads messages until there are so many.
async fn read(mut events: Events, count: usize) -> Vec<Message> {
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
async fn what_is_sent_before_there_is_a_server_is_sent_when_there_is_one() {
    let site = Site::new("");
    let (client, _events) = Client::connect(options(&site, "ann"));
    let sending = client.send(CONVERSATION, "text", json!({"text": "early"}));
    assert_eq!(client.call("users.whoami", json!({})).await, Err(Error::Offline));
    let unsent = client.unsent().await.unwrap();
    assert_eq!(unsent.len(), 1);
    client.close();
    assert_eq!(sending.await, Err(Error::Closed));

    // The program was restarted, and kept what it had.
    let (client, mut events) = Client::connect(options(&site, "ann").unsent(unsent.clone()));
    let server = site.start().await;
    let message = next_message(&mut events).await;
    assert_eq!((message.client_id, message.seq), (unsent[0].id.clone(), 1));
    let history = client.history(CONVERSATION, Page::Newest, 10).await.unwrap();
    assert_eq!((history.head, history.events.len()), (1, 1));
    server.stop().await;
}

#[tokio::test]
async fn a_full_outbox_and_a_refusal_are_told_to_the_sender() {
    let site = Site::new("");
    let (client, _events) = Client::connect(options(&site, "ann").outbox(1));
    let first = client.send(CONVERSATION, "text", json!({"text": ""}));
    let second = client.send(CONVERSATION, "text", json!({"text": "no room"}));
    assert_eq!(second.await, Err(Error::Full));
    let server = site.start().await;
    let error = timeout(PATIENCE, first).await.unwrap().unwrap_err();
    assert_eq!(error.code(), "bad_content", "{error}");
    let sent = client
        .send(CONVERSATION, "text", json!({"text": "fine"}))
        .await
        .unwrap();
    assert_eq!(sent.seq, 1);
    server.stop().await;
}

#[tokio::test]
async fn someone_signs_up_and_in_on_one_connection() {
    let path = plugin("users");
    let site = Site::bare(&format!(
        "[[plugins]]\nid = \"users\"\npath = {path:?}\ngrant = [\"kv\", \"conversations\", \"sessions\"]\n\
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

/// Writes a fresh certificate for `localhost` into a site's folder, and returns what trusts it.
fn certify(site: &Site) -> Arc<rustls::ClientConfig> {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(site.folder.path().join("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(
        site.folder.path().join("key.pem"),
        certified.signing_key.serialize_pem(),
    )
    .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

#[tokio::test]
async fn a_renewed_certificate_is_used_for_new_connections_and_old_ones_stay() {
    let site = Site::bare(&format!(
        "tls = {{ certificate = \"cert.pem\", key = \"key.pem\" }}\n[development]\ntrust_tokens = true\n\
         conversations = [{{ id = \"{CONVERSATION}\", kind = \"direct\", members = [\"ann\", \"bob\"] }}]\n"
    ));
    let first = certify(&site);
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

    let second = certify(&site);
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
