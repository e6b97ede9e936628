//! Edits, recalls, reactions and annotations, on every path that shows a message, and with plugins.

use courtyard_tests::{CONVERSATION, Client, Server, Site, plugin};
use serde_json::{Value, json};

const CLERK: &str = "\"kv\", \"conversations\", \"memberships\", \"sessions\", \"methods\", \"timers\", \"annotations\", \"events\", \"secrets\"";

async fn start() -> (Site, Server) {
    let configure = |id: &str, grant: &str| {
        let path = plugin(id);
        format!("[[plugins]]\nid = \"{id}\"\npath = {path:?}\ngrant = [{grant}]\n")
    };
    let steward = configure("steward", "\"kv\", \"events\", \"http\"");
    let site = Site::new(&format!("{}{steward}", configure("clerk", CLERK)));
    let server = site.start().await;
    (site, server)
}

fn act(id: &str, name: &str, target: u64, more: Value) -> Value {
    let mut frame = json!({"type": name, "id": id, "conversation": CONVERSATION, "target": target});
    frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    frame
}

async fn history(client: &mut Client) -> Vec<Value> {
    let asked = json!({"type": "history", "id": "h", "conversation": CONVERSATION});
    let page = client.request(asked).await;
    page["events"].as_array().unwrap().clone()
}

async fn say(client: &mut Client, id: &str, text: &str) -> u64 {
    client.text(id, text).await;
    loop {
        let frame = client.next().await;
        if frame["type"] == "ack" {
            return frame["seq"].as_u64().unwrap();
        }
    }
}

/// Waits until the steward has observed as many lines, and compares them.
async fn seen(client: &mut Client, wanted: &[&str]) {
    let begun = std::time::Instant::now();
    loop {
        let called = client
            .request(json!({"type": "call", "id": "s", "method": "steward.seen", "params": {}}))
            .await;
        let lines = called["value"]["lines"].clone();
        if lines == json!(wanted) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 60, "{lines:#} instead of {wanted:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_edit_is_seen_live_in_history_and_after_a_restart() {
    let (site, server) = start().await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    assert_eq!(say(&mut ann, "m1", "Helo").await, 1);
    assert_eq!(bob.next().await["event"]["seq"], 1);

    let edit = act("e1", "edit", 1, json!({"content": {"text": "Hello"}}));
    let ack = ann.request(edit.clone()).await;
    assert_eq!((&ack["type"], &ack["seq"]), (&json!("ack"), &json!(2)));
    let event = bob.next().await["event"].clone();
    assert_eq!(
        (&event["type"], &event["target"], &event["content"]),
        (&json!("edit"), &json!(1), &json!({"text": "Hello"}))
    );
    // A retry gets the same ack, and another edit under the same id is rejected.
    assert_eq!(ann.request(edit).await["seq"], 2);
    let other = act("e1", "edit", 1, json!({"content": {"text": "Hullo"}}));
    assert_eq!(ann.request(other).await["code"], "invalid_id");

    server.kill().await;
    let server = site.start().await;
    let mut bob = server.sign_in("bob").await;
    let events = history(&mut bob).await;
    assert_eq!(events[0]["content"], json!({"text": "Hello"}));
    assert!(events[0]["edited"].as_u64().unwrap() > 0);
    assert_eq!((&events[1]["type"], &events[1]["target"]), (&json!("edit"), &json!(1)));
    server.stop().await;
}

#[tokio::test]
async fn a_recall_removes_the_content_on_every_read_path() {
    let (_site, server) = start().await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    say(&mut ann, "m1", "a secret").await;
    ann.request(act("e1", "edit", 1, json!({"content": {"text": "another secret"}})))
        .await;
    let remark = json!({"conversation": CONVERSATION, "seq": 1, "name": "es", "text": "un secreto"});
    let remarked = ann
        .request(json!({"type": "call", "id": "r", "method": "clerk.remark", "params": remark}))
        .await;
    assert_eq!(remarked["type"], "result");
    assert_eq!(
        history(&mut bob).await[0]["annotations"],
        json!([{"plugin": "clerk", "name": "es", "value": {"text": "un secreto"}}])
    );

    assert_eq!(
        bob.request(act("b1", "recall", 1, json!({}))).await["code"],
        "forbidden"
    );
    assert_eq!(ann.request(act("r1", "recall", 1, json!({}))).await["type"], "ack");
    let events = history(&mut bob).await;
    assert_eq!(
        (&events[0]["content"], &events[0]["recalled"]),
        (&json!({}), &json!(true))
    );
    assert!(!json!(events).to_string().contains("secret"), "{events:#?}");
    let synced = bob.request(json!({"type": "sync", "id": "s"})).await;
    assert!(!synced.to_string().contains("secret"));
    for (id, name, more) in [
        ("x1", "edit", json!({"content": {"text": "again"}})),
        ("x2", "recall", json!({})),
        ("x3", "react", json!({"emoji": "👍"})),
    ] {
        assert_eq!(
            ann.request(act(id, name, 1, more)).await["code"],
            "unknown_message",
            "{name}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn reactions_are_added_once_and_removed() {
    let (_site, server) = start().await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    say(&mut ann, "m1", "Cake?").await;
    for (id, name, emoji) in [
        ("r1", "react", "👍"),
        ("r2", "react", "👍"),
        ("r3", "react", "🎂"),
        ("r4", "unreact", "👍"),
        ("r5", "unreact", "never"),
    ] {
        assert_eq!(
            bob.request(act(id, name, 1, json!({"emoji": emoji}))).await["type"],
            "ack"
        );
    }
    let event = ann.next().await["event"].clone();
    assert_eq!(
        (&event["type"], &event["content"]),
        (&json!("reaction"), &json!({"emoji": "👍", "on": true}))
    );
    ann.request(act("r1", "react", 1, json!({"emoji": "🎂"}))).await;
    let message = history(&mut ann).await[0].clone();
    assert_eq!(message["reactions"], json!([{"emoji": "🎂", "actors": ["bob", "ann"]}]));
    server.stop().await;
}

#[tokio::test]
async fn plugins_guard_and_observe_acts() {
    let (_site, server) = start().await;
    let mut ann = server.sign_in("ann").await;
    say(&mut ann, "m1", "Cake?").await;
    let react = |id: &str, emoji: &str| act(id, "react", 1, json!({"emoji": emoji}));
    assert_eq!(ann.request(react("r1", "🚫")).await["code"], "steward.no_such_emoji");
    assert_eq!(ann.request(react("r2", "💥")).await["code"], "internal");
    assert_eq!(ann.request(react("r3", "👍")).await["type"], "ack");
    assert_eq!(ann.request(act("r4", "recall", 1, json!({}))).await["type"], "ack");
    // Bob is offline, so the message is pushed to him.
    seen(
        &mut ann,
        &[
            "push 1 to bob",
            "act react ann 1 ann text 👍",
            "act recall ann 1 ann text ",
        ],
    )
    .await;
    server.stop().await;
}

#[tokio::test]
async fn acts_on_missing_messages_are_rejected() {
    let (_site, server) = start().await;
    let mut ann = server.sign_in("ann").await;
    say(&mut ann, "m1", "Hello").await;
    ann.request(act("r1", "react", 1, json!({"emoji": "👍"}))).await;
    for (frame, code) in [
        (act("x1", "recall", 0, json!({})), "unknown_message"),
        (act("x2", "recall", 9, json!({})), "unknown_message"),
        // A reaction isn't a message.
        (act("x3", "recall", 2, json!({})), "unknown_message"),
        (act("x4", "edit", 1, json!({})), "invalid_frame"),
        (
            act("x5", "edit", 1, json!({"content": {"text": ""}})),
            "invalid_content",
        ),
        (act("x6", "react", 1, json!({"emoji": ""})), "invalid_frame"),
        (act("x7", "react", 1, json!({"emoji": "x".repeat(65)})), "invalid_frame"),
        (
            json!({"type": "recall", "id": "x8", "conversation": CONVERSATION}),
            "invalid_frame",
        ),
        (
            json!({"type": "recall", "id": "x9", "conversation": "01ARZ3NDEKTSV4RRFFQ69G5FAW", "target": 1}),
            "unknown_conversation",
        ),
    ] {
        assert_eq!(ann.request(frame.clone()).await["code"], code, "{frame}");
    }
    server.stop().await;
}

#[tokio::test]
async fn acts_of_a_session_keep_their_order() {
    let (_site, server) = start().await;
    let mut ann = server.sign_in("ann").await;
    let target = say(&mut ann, "m1", "Hello").await;
    for round in 0..8 {
        for name in ["react", "unreact"] {
            let frame = act(&format!("{name}-{round}"), name, target, json!({"emoji": "👍"}));
            ann.send(&frame).await;
        }
    }
    let mut acked = Vec::new();
    while acked.len() < 16 {
        let frame = ann.next().await;
        if frame["type"] == "ack" {
            acked.push(frame["id"].as_str().unwrap().to_owned());
        }
    }
    let sent: Vec<String> = (0..8)
        .flat_map(|round| [format!("react-{round}"), format!("unreact-{round}")])
        .collect();
    assert_eq!(acked, sent);
    server.stop().await;
}
