//! Watches: plugins that choose at run time which calls and observations they get.

use courtyard_tests::{CONVERSATION, Client, Site, plugin};
use serde_json::{Value, json};

const OTHER: &str = "01ARZ3NDEKTSV4RRFFQ69G5FB0";

fn site() -> Site {
    Site::bare(&format!(
        "[[plugins]]\nid = \"lookout\"\npath = {:?}\ngrant = [\"kv\", \"watches\"]\n\
         [development]\ntrust_tokens = true\nconversations = [\
         {{ id = \"{CONVERSATION}\", kind = \"direct\", members = [\"ann\", \"bob\"] }}, \
         {{ id = \"{OTHER}\", kind = \"group\", members = [\"ann\", \"cat\", \"dan\"] }}]\n",
        plugin("lookout")
    ))
}

async fn call(client: &mut Client, method: &str, params: Value) -> Value {
    let method = format!("lookout.{method}");
    client
        .request(json!({"type": "call", "id": "c", "method": method, "params": params}))
        .await
}

async fn send(client: &mut Client, id: &str, conversation: &str) -> u64 {
    let ack = client
        .request(
            json!({"type": "send", "id": id, "conversation": conversation, "kind": "text", "content": {"text": id}}),
        )
        .await;
    ack["seq"].as_u64().unwrap()
}

/// Waits until exactly these were observed.
async fn observed(client: &mut Client, wanted: &[&str]) {
    let begun = std::time::Instant::now();
    loop {
        let seen = call(client, "seen", json!({})).await["value"]["seen"].clone();
        if seen == json!(wanted) {
            return;
        }
        let count = seen.as_array().unwrap().len();
        assert!(
            count <= wanted.len() && begun.elapsed().as_secs() < 60,
            "{seen} instead of {wanted:?}"
        );
    }
}

#[tokio::test]
async fn only_watched_actors_and_conversations_are_observed() {
    let site = site();
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    send(&mut ann, "m1", CONVERSATION).await;
    call(&mut ann, "watch_conversation", json!({"id": CONVERSATION, "on": true})).await;
    assert_eq!(send(&mut ann, "m2", CONVERSATION).await, 2);
    assert_eq!(send(&mut ann, "m3", OTHER).await, 1);
    let react = json!({"type": "react", "id": "r1", "conversation": CONVERSATION, "target": 1, "emoji": "👍"});
    assert_eq!(ann.request(react).await["type"], "ack");
    observed(&mut ann, &["message 2", "react 1"]).await;

    // A watched actor is watched in all conversations, and watches survive restarts.
    call(&mut ann, "watch_conversation", json!({"id": CONVERSATION, "on": false})).await;
    call(&mut ann, "watch_actor", json!({"id": "dan", "on": true})).await;
    server.kill().await;
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    send(&mut ann, "m4", CONVERSATION).await;
    assert_eq!(send(&mut ann, "m5", OTHER).await, 2);
    observed(&mut ann, &["message 2", "react 1", "message 2"]).await;

    call(&mut ann, "watch_actor", json!({"id": "dan", "on": false})).await;
    send(&mut ann, "m6", OTHER).await;
    call(&mut ann, "watch_actor", json!({"id": "bob", "on": true})).await;
    assert_eq!(send(&mut ann, "m7", CONVERSATION).await, 5);
    observed(&mut ann, &["message 2", "react 1", "message 2", "message 5"]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_watching_guard_runs_and_fails_closed_only_where_it_watches() {
    let site = site();
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    let text = |id: &str, conversation: &str| json!({"type": "send", "id": id, "conversation": conversation, "kind": "text", "content": {"text": id}});
    let react = json!({"type": "react", "id": "react", "conversation": CONVERSATION, "target": 1, "emoji": "🚫"});
    send(&mut ann, "m1", CONVERSATION).await;
    send(&mut ann, "m2", OTHER).await;

    call(&mut ann, "watch_conversation", json!({"id": CONVERSATION, "on": true})).await;
    let refused = ann.request(text("unwanted", CONVERSATION)).await;
    assert_eq!(refused["code"], "lookout.unwanted", "{refused}");
    assert_eq!(ann.request(react.clone()).await["code"], "lookout.unwanted");
    assert_eq!(ann.request(text("unwanted elsewhere", OTHER)).await["type"], "ack");

    let disabled = site.operate("POST", "/v1/plugins/lookout/disable").await;
    assert_eq!(disabled.status, 200, "{}", disabled.body);
    let refused = ann.request(text("m3", CONVERSATION)).await;
    assert_eq!(refused["code"], "unavailable", "{refused}");
    assert_eq!(ann.request(text("m4", OTHER)).await["type"], "ack");
    let enabled = site.operate("POST", "/v1/plugins/lookout/enable").await;
    assert_eq!(enabled.status, 200, "{}", enabled.body);

    call(&mut ann, "watch_conversation", json!({"id": CONVERSATION, "on": false})).await;
    assert_eq!(
        ann.request(text("unwanted at first", CONVERSATION)).await["type"],
        "ack"
    );
    assert_eq!(ann.request(react).await["type"], "ack");
    server.stop().await;
}

#[tokio::test]
async fn watches_are_removed_with_the_data_of_the_plugin() {
    let site = site();
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    call(&mut ann, "watch_conversation", json!({"id": CONVERSATION, "on": true})).await;
    call(&mut ann, "watch_actor", json!({"id": "dan", "on": true})).await;
    let removed = site.operate("DELETE", "/v1/plugins/lookout?data=remove").await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    server.stop().await;
    // The configuration still names the plugin.
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for (id, conversation) in [("unwanted", CONVERSATION), ("unwanted elsewhere", OTHER)] {
        assert_eq!(send(&mut ann, id, conversation).await, 1);
    }
    server.stop().await;
}

#[tokio::test]
async fn invalid_ids_are_not_watched() {
    let site = site();
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for (method, id) in [
        ("watch_conversation", "home"),
        ("watch_actor", ""),
        ("watch_actor", "a\u{0}b"),
    ] {
        let refused = call(&mut ann, method, json!({"id": id, "on": true})).await;
        assert_eq!(refused["code"], "lookout.internal", "{refused}");
    }
    server.stop().await;
}
