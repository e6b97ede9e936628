//! Transforms, observers and renderers: their effects, and the isolation of their failures.

use courtyard_tests::{CONVERSATION, Client, Site, plugin};
use serde_json::{Value, json};

fn site(more: &str) -> Site {
    let path = plugin("watcher");
    Site::new(&format!(
        "[[plugins]]\nid = \"watcher\"\npath = \"{}\"\ngrant = [\"kv\"]\n{more}",
        path.display()
    ))
}

async fn call(client: &mut Client, method: &str) -> Value {
    let request = json!({"type": "call", "id": method, "method": format!("watcher.{method}")});
    client.request(request).await["value"]["seqs"].clone()
}

/// Waits until the observer has seen exactly these.
async fn observed(client: &mut Client, wanted: &[u64]) {
    let started = std::time::Instant::now();
    while started.elapsed().as_secs() < 60 {
        let seen = call(client, "seen").await;
        if seen == json!(wanted) {
            return;
        }
        assert!(
            seen.as_array().unwrap().len() < wanted.len(),
            "{seen} instead of {wanted:?}"
        );
    }
    panic!("not seen in time: {wanted:?}");
}

#[tokio::test]
async fn a_transform_changes_messages_and_its_failure_skips_only_it() {
    let site = site("");
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    ann.text("m1", "teh end").await;
    assert_eq!(ann.next().await["content"]["text"], "the end");
    ann.text("m2", "trap").await;
    let ack = ann.next().await;
    assert_eq!((&ack["seq"], &ack["content"]), (&json!(2), &json!(null)));
    assert_eq!(
        call(&mut ann, "trapped").await,
        json!([]),
        "what a transform wrote before it failed was kept"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_observer_sees_every_message_in_order_also_over_a_kill() {
    let site = site("");
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for number in 1..=20 {
        ann.text(&format!("m{number}"), "Hello").await;
    }
    for _ in 1..=20 {
        ann.next().await;
    }
    // Most of them aren't observed yet.
    server.kill().await;
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    let wanted: Vec<u64> = (1..=20).collect();
    observed(&mut ann, &wanted).await;
    server.stop().await;
}

#[tokio::test]
async fn a_failing_observation_does_not_delay_later_ones() {
    let site = site("");
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for (id, text) in [("m1", "Hello"), ("m2", "unbearable"), ("m3", "Goodbye")] {
        ann.text(id, text).await;
        ann.next().await;
    }
    let mut done = false;
    let started = std::time::Instant::now();
    while !done && started.elapsed().as_secs() < 60 {
        done = call(&mut ann, "seen").await == json!([1, 3]);
    }
    assert!(done, "the message behind the bad one was not seen");
    assert!(server.stop().await.contains("dead letter"));
}

#[tokio::test]
async fn each_viewer_sees_messages_rendered_on_every_read_path() {
    let site = site("");
    let server = site.start().await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    ann.text("m1", "Hello").await;
    ann.next().await;
    assert_eq!(bob.next().await["event"]["content"]["text"], "Hello, bob");
    let history = json!({"type": "history", "id": "h", "conversation": CONVERSATION});
    let sync = json!({"type": "sync", "id": "s"});
    assert_eq!(
        bob.request(history.clone()).await["events"][0]["content"]["text"],
        "Hello, bob"
    );
    assert_eq!(
        bob.request(sync.clone()).await["conversations"][0]["last"]["content"]["text"],
        "Hello, bob"
    );
    assert_eq!(
        ann.request(history.clone()).await["events"][0]["content"]["text"],
        "Hello"
    );

    ann.text("m2", "trap render").await;
    ann.next().await;
    assert_eq!(
        bob.next().await["event"]["content"]["text"],
        "trap render",
        "a failure leaves the message as it is"
    );
    server.stop().await;
}
