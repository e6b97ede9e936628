//! The shop as its customers use it: real sockets, and a client that is no part of it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use courtyard::{AppId, Incoming};
use courtyard_client::{Client, Error, Event, Events, LogEvent, Options, Page};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn request(address: &str, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

async fn post(address: &str, path: &str) -> Value {
    serde_json::from_str(&request(address, "POST", path).await).unwrap()
}

async fn event(events: &mut Events) -> Event {
    timeout(Duration::from_secs(30), events.next()).await.unwrap().unwrap()
}

async fn message(events: &mut Events) -> LogEvent {
    loop {
        if let Event::Message(message) = event(events).await {
            return message;
        }
    }
}

#[tokio::test]
async fn a_service_mounts_the_chat_calls_it_and_has_a_plugin_of_its_own() {
    let data = tempfile::tempdir().unwrap();
    let (routes, server) = embed::shop(data.path()).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
    assert_eq!(request(&address, "GET", "/chat/ready").await, "ready\n");

    let token = post(&address, "/login/ann").await["token"].as_str().unwrap().to_owned();
    let options = Options::new(&format!("ws://{address}/chat/v1/ws"))
        .device("phone")
        .token(token);
    let (client, mut events) = Client::connect(options);
    // What is older than the first sync is history.
    while !matches!(event(&mut events).await, Event::Synced(_)) {}
    let order = post(&address, "/orders/ann").await;
    let conversation = order["conversation"].as_str().unwrap();
    let thanks = message(&mut events).await;
    assert_eq!(
        (thanks.sender.as_str(), thanks.seq, &thanks.content["text"]),
        ("shop", 1, &json!("Thank you, ann, your order is on its way."))
    );

    let shop = server
        .session(&AppId::default_app(), "shop".parse().unwrap(), "desk".parse().unwrap())
        .unwrap();
    let mut incoming = shop.subscribe();
    let card = client.send(conversation, "text", json!({"text": "4111 1111 1111 1111"}));
    match card.await {
        Err(Error::Refused { code, .. }) => assert_eq!(code, "desk.card_number"),
        other => panic!("a card number got through: {other:?}"),
    }
    assert_eq!(request(&address, "GET", "/cards-kept-out").await, "1");
    client
        .send(conversation, "text", json!({"text": "Thanks!"}))
        .await
        .unwrap();
    let Some(Incoming::Event(event)) = timeout(Duration::from_secs(30), incoming.next()).await.unwrap() else {
        panic!("the shop got no message");
    };
    assert_eq!(
        (&event["sender"], &event["content"]["text"]),
        (&json!("ann"), &json!("Thanks!"))
    );

    let seen = shop.history(conversation, 0, 10).await.unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        client
            .history(conversation, Page::After(0), 10)
            .await
            .unwrap()
            .events
            .len(),
        2
    );
    let unknown = shop.call("desk.nothing", &json!({})).await.unwrap_err();
    assert_eq!(unknown.code, "unknown_method");
    let again = shop
        .send("order-ann", conversation, "text", &json!({"text": "Other"}))
        .await;
    assert_eq!(
        again.unwrap_err().code,
        "invalid_id",
        "the session in process is idempotent as well"
    );

    // What can't be read is refused, however often, and the session goes on.
    let deep: Value = serde_json::from_str(&format!("{}1{}", "[".repeat(60), "]".repeat(60))).unwrap();
    for _ in 0..20 {
        let long = json!({"text": "x".repeat(70_000)});
        for (id, room, content) in [
            ("a", conversation, &long),
            ("b", conversation, &deep),
            ("c", "nowhere", &thanks.content),
            ("", conversation, &thanks.content),
        ] {
            let refused = shop.send(id, room, "text", content).await.unwrap_err();
            assert!(
                ["invalid_frame", "limit_bytes", "limit_depth", "unknown_conversation"].contains(&&*refused.code),
                "{id}: {refused}"
            );
        }
    }
    let sent = shop
        .send("last", conversation, "text", &json!({"text": "Goodbye"}))
        .await
        .unwrap();
    assert_eq!(sent.seq, 3);
    assert!(
        sent.time_ms > thanks.time,
        "{} is not after {}",
        sent.time_ms,
        thanks.time
    );

    client.close();
    serving.abort();
    drop((shop, incoming));
    server.shut_down().await;
}
