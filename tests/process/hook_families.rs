//! The hook families other than messages and methods: changes of conversations, events of plugins, HTTP.

use courtyard_tests::{Client, Server, Site, operate, plugin};
use serde_json::{Value, json};

const CLERK: &str = "\"kv\", \"conversations\", \"memberships\", \"sessions\", \"methods\", \"timers\", \"annotations\", \"events\", \"secrets\"]";

async fn start(steward: &str) -> (Site, Server) {
    let configure = |id: &str, grant: &str| {
        let path = plugin(id);
        format!("[[plugins]]\nid = \"{id}\"\npath = {path:?}\ngrant = [{grant}\n")
    };
    // In the wrong order: the steward declares that it runs after the clerk.
    let site = Site::new(&format!(
        "{}{}",
        configure("steward", steward),
        configure("clerk", CLERK)
    ));
    let server = site.start().await;
    (site, server)
}

const STEWARD: &str = "\"kv\", \"events\", \"http\"]";

async fn call(client: &mut Client, method: &str, params: Value) -> Value {
    client
        .request(json!({"type": "call", "id": "c", "method": method, "params": params}))
        .await
}

async fn seen(client: &mut Client, wanted: &[&str]) {
    let begun = std::time::Instant::now();
    loop {
        let lines = call(client, "steward.seen", json!({})).await["value"]["lines"].clone();
        if lines == json!(wanted) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 60, "{lines:#} instead of {wanted:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_plugin_guards_and_observes_changes_of_another_plugin() {
    let (_site, server) = start(STEWARD).await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let open = |members: Value| json!({"address": "a", "members": members});
    let refused = call(&mut ann, "clerk.open", open(json!(["ann", "mallory"]))).await;
    assert_eq!(refused["code"], "clerk.steward.not_welcome");
    let room = call(&mut ann, "clerk.open", open(json!(["ann"]))).await["value"]["conversation"].clone();
    let change = |join: Value, leave: Value| json!({"conversation": room, "join": join, "leave": leave});
    let refused = call(&mut ann, "clerk.change", change(json!(["bob", "mallory"]), json!([]))).await;
    assert_eq!(refused["code"], "clerk.steward.not_welcome");
    let members = call(&mut ann, "clerk.members", json!({"conversation": room})).await;
    assert_eq!(members["value"]["members"], json!(["ann"]), "nothing is left of it");

    call(&mut ann, "clerk.change", change(json!(["bob"]), json!([]))).await;
    let joined = bob.next().await["event"].clone();
    assert_eq!(
        (&joined["type"], &joined["sender"], &joined["content"]),
        (
            &json!("members"),
            &json!("ann"),
            &json!({"joined": ["bob"], "left": []})
        )
    );
    call(&mut ann, "clerk.change", change(json!([]), json!(["bob"]))).await;
    assert_eq!(bob.next().await["event"]["content"]["left"], json!(["bob"]));
    seen(
        &mut ann,
        &[
            "clerk's begins by ann +ann -",
            "clerk's changes by ann +bob -",
            "clerk's changes by ann + -bob",
        ],
    )
    .await;
    server.stop().await;
}

#[tokio::test]
async fn changes_are_rejected_while_their_guard_does_not_run() {
    let (_site, server) = start("\"kv\"]").await;
    let mut ann = server.sign_in("ann").await;
    let open = json!({"address": "a", "members": ["ann"]});
    let refused = call(&mut ann, "clerk.open", open).await;
    assert_eq!(refused["code"], "clerk.unavailable");
    server.stop().await;
}

#[tokio::test]
async fn events_reach_subscribed_plugins_also_after_a_kill() {
    let (site, server) = start(STEWARD).await;
    let mut ann = server.sign_in("ann").await;
    for name in ["news", "gossip", "news"] {
        let answer = call(&mut ann, "clerk.announce", json!({"name": name})).await;
        assert_eq!(answer["type"], "result", "{answer}");
    }
    let answer = call(&mut ann, "clerk.announce", json!({"name": "No Name"})).await;
    assert_eq!(answer["code"], "clerk.internal");
    server.kill().await;
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    let line = "event clerk.news by ann: {\"text\":\"It is noon.\"}";
    seen(&mut ann, &[line, line]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_plugin_serves_http_below_its_own_path() {
    let (_site, server) = start(STEWARD).await;
    let mut ann = server.sign_in("ann").await;
    let address = format!("127.0.0.1:{}", server.port);
    let ask = async |method: &str, path: &str, header: &str| {
        let path = format!("/v1/plugins/{path}");
        operate(&address, method, &path, header).await
    };
    assert_eq!(ask("GET", "steward/whoami", "").await.body, "\"\"");
    let signed = ask("GET", "steward/whoami", "authorization: Bearer ann\r\n").await;
    assert_eq!((signed.status, &*signed.body), (200, "\"ann\""));
    let signed = ask("GET", "steward/whoami", "authorization: Bearer \r\n").await;
    assert_eq!((signed.status, &*signed.code()), (401, "unauthenticated"));

    let kept = ask(
        "POST",
        "steward/keep",
        "x-signature: abc\r\ncontent-length: 4\r\n\r\nnote",
    )
    .await;
    assert_eq!((kept.status, &*kept.body), (200, "abc"));
    assert!(kept.head.contains("x-kept: yes"), "{}", kept.head);
    assert!(kept.head.contains("content-security-policy: sandbox"), "{}", kept.head);
    let refused = ask("POST", "steward/keep?422", "content-length: 4\r\n\r\nlost").await;
    assert_eq!(refused.status, 422);
    seen(&mut ann, &["note"]).await;

    for (method, path, header, status, code) in [
        ("GET", "steward/refuse", "", 503, "steward.closed"),
        ("GET", "steward/trap", "", 502, "internal"),
        ("GET", "clerk/", "", 404, "unknown_method"),
        ("GET", "nobody/", "", 404, "unknown_method"),
        (
            "POST",
            "steward/keep",
            "content-length: 2000000\r\n\r\n",
            413,
            "limit_bytes",
        ),
    ] {
        let answered = ask(method, path, header).await;
        assert_eq!((answered.status, &*answered.code()), (status, code), "{path}");
    }
    let other_app = operate(&address, "GET", "/v1/apps/shop/plugins/steward/whoami", "").await;
    assert_eq!(other_app.code(), "unknown_app");
    server.stop().await;
}

#[tokio::test]
async fn a_failing_observation_becomes_a_dead_letter_of_its_hook() {
    let (site, server) = start("\"kv\", \"events\", \"http\"]\nlimits = { value_bytes = 20 }\n").await;
    let mut ann = server.sign_in("ann").await;
    call(&mut ann, "clerk.announce", json!({"name": "news"})).await;
    let begun = std::time::Instant::now();
    let letters = loop {
        let letters = site.operate("GET", "/v1/plugins/steward/dead-letters").await.json()["dead_letters"].clone();
        if letters.as_array().is_some_and(|letters| !letters.is_empty()) {
            break letters;
        }
        assert!(begun.elapsed().as_secs() < 60, "no letter");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(letters[0]["hook"], "event");
    assert_eq!(letters[0]["about"]["name"], "news");
    assert_eq!(letters[0]["about"]["payload"]["text"], "It is noon.");
    server.stop().await;
}
