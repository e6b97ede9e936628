//! The services of the host for plugins, end to end.

use courtyard_tests::{Client, Server, Site, plugin};
use serde_json::{Value, json};

const GRANT: &str = "\"kv\", \"conversations\", \"memberships\", \"sessions\", \"methods\", \"timers\", \"annotations\", \"events\", \"secrets\"";

async fn start(grant: &str) -> (Site, Server) {
    let configure = |id: &str, grant: &str| {
        let path = plugin(id);
        format!("[[plugins]]\nid = \"{id}\"\npath = {path:?}\ngrant = [{grant}]\n")
    };
    let hostile = configure("hostile", "\"kv\"");
    let site = Site::new(&format!("{}{hostile}", configure("clerk", grant)));
    let server = site.start().await;
    (site, server)
}

async fn call(client: &mut Client, method: &str, params: Value) -> Value {
    client
        .request(json!({"type": "call", "id": "c", "method": format!("clerk.{method}"), "params": params}))
        .await
}

async fn open(client: &mut Client, members: &[&str]) -> Value {
    let room = call(client, "open", json!({"address": "a", "members": members})).await;
    room["value"]["conversation"].clone()
}

async fn say(client: &mut Client, conversation: &Value, id: &str, text: &str) -> Value {
    client
        .request(json!({
            "type": "send", "id": id, "conversation": conversation, "kind": "text", "content": {"text": text}
        }))
        .await
}

/// Returns the next frame that isn't a response.
async fn pushed(client: &mut Client) -> Value {
    loop {
        let frame = client.next().await;
        if frame["type"] == "event" || frame["type"] == "signal" {
            return frame;
        }
    }
}

#[tokio::test]
async fn members_join_and_leave_with_the_transaction() {
    let (_site, server) = start(GRANT).await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let room = open(&mut ann, &["ann"]).await;
    assert_eq!(
        say(&mut bob, &room, "b1", "Hello").await["code"],
        "unknown_conversation"
    );

    let change = json!({"conversation": room, "join": ["bob", "ann", "bob"], "leave": []});
    assert_eq!(
        call(&mut ann, "change", change).await["value"]["members"],
        json!(["ann", "bob"])
    );
    assert_eq!(say(&mut bob, &room, "b2", "Hello").await["type"], "ack");
    let synced = bob.request(json!({"type": "sync", "id": "s"})).await;
    assert!(
        synced["conversations"]
            .as_array()
            .unwrap()
            .iter()
            .any(|known| known["id"] == room)
    );

    // Any plugin may read this, also for conversations of other plugins.
    let is_member = async |client: &mut Client, conversation: &Value, actor: &str| {
        let member = json!({"conversation": conversation, "actor": actor});
        call(client, "is_member", member).await["value"]["found"].clone()
    };
    let theirs = json!(courtyard_tests::CONVERSATION);
    for (conversation, actor, found) in [
        (&room, "bob", true),
        (&room, "eve", false),
        (&theirs, "ann", true),
        (&theirs, "eve", false),
        (&theirs, "", false),
        (&json!("nonsense"), "ann", false),
        (&json!("01ARZ3NDEKTSV4RRFFQ69G5FAA"), "ann", false),
    ] {
        assert_eq!(
            is_member(&mut ann, conversation, actor).await,
            found,
            "{conversation} {actor}"
        );
    }

    let change = json!({"conversation": room, "join": [], "leave": ["bob", "nobody"]});
    assert_eq!(
        call(&mut ann, "change", change).await["value"]["members"],
        json!(["ann"])
    );
    assert_eq!(is_member(&mut ann, &room, "bob").await, false);
    assert_eq!(
        say(&mut bob, &room, "b3", "Hello?").await["code"],
        "unknown_conversation"
    );
    let synced = bob.request(json!({"type": "sync", "id": "s"})).await;
    assert!(
        !synced["conversations"]
            .as_array()
            .unwrap()
            .iter()
            .any(|known| known["id"] == room)
    );

    for (wrong, code) in [
        (
            json!({"conversation": room, "join": [""], "leave": []}),
            "clerk.internal",
        ),
        (
            json!({"conversation": courtyard_tests::CONVERSATION, "join": ["bob"], "leave": []}),
            "clerk.internal",
        ),
        (
            json!({"conversation": "nonsense", "join": [], "leave": []}),
            "clerk.internal",
        ),
    ] {
        assert_eq!(call(&mut ann, "change", wrong).await["code"], code);
    }
    server.stop().await;
}

#[tokio::test]
async fn events_appended_by_a_plugin_commit_with_its_call() {
    let (_site, server) = start(GRANT).await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let room = open(&mut ann, &["ann", "bob"]).await;
    let note = |text: &str| json!({"conversation": room, "sender": "clerk", "text": text});
    assert_eq!(call(&mut ann, "note", note("Welcome")).await["type"], "result");
    for client in [&mut ann, &mut bob] {
        let event = pushed(client).await["event"].clone();
        assert_eq!(
            (&event["seq"], &event["sender"], &event["content"]["text"]),
            (&json!(1), &json!("clerk"), &json!("Welcome"))
        );
    }

    // A message appended by a guard precedes the accepted one, and is rolled back with a rejection.
    assert_eq!(say(&mut ann, &room, "m1", "refused").await["code"], "clerk.refused");
    assert_eq!(say(&mut ann, &room, "m2", "Hi").await["seq"], 3);
    let read = call(&mut ann, "read", json!({"conversation": room, "after": 0})).await["value"].clone();
    assert_eq!(
        read,
        json!({"seqs": [1, 2, 3], "texts": ["Welcome", "ann is about to speak", "Hi"]})
    );
    assert_eq!(
        call(&mut ann, "read", json!({"conversation": room, "after": 3})).await["value"]["seqs"],
        json!([])
    );
    let seen = [pushed(&mut bob).await, pushed(&mut bob).await];
    assert_eq!(
        (&seen[0]["event"]["seq"], &seen[1]["event"]["seq"]),
        (&json!(2), &json!(3))
    );

    // A retry gets the same ack, and doesn't duplicate the guard's message.
    assert_eq!(say(&mut ann, &room, "m2", "Hi").await["seq"], 3);
    let wrong = json!({"conversation": room, "sender": "", "text": "x"});
    assert_eq!(call(&mut ann, "note", wrong).await["code"], "clerk.internal");
    let from_ann = json!({"conversation": room, "sender": "ann", "text": "In her name"});
    assert_eq!(call(&mut ann, "note", from_ann).await["type"], "result");
    assert_eq!(pushed(&mut bob).await["event"]["receiver"], "bob");
    assert_eq!(
        call(&mut ann, "note", note("")).await["code"],
        "clerk.internal",
        "an empty text is no text"
    );
    let read = call(&mut ann, "read", json!({"conversation": room, "after": 0})).await;
    assert_eq!(read["value"]["seqs"], json!([1, 2, 3, 4]));
    server.stop().await;
}

#[tokio::test]
async fn signals_reach_online_actors_and_are_not_stored() {
    let (_site, server) = start(GRANT).await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let who = json!({"actors": ["ann", "bob", "cleo", "no one"]});
    let online = call(&mut ann, "who", who).await;
    assert_eq!(online["value"]["online"], json!([true, true, false, false]));
    let ping = |name: &str| json!({"actors": ["bob", "cleo"], "name": name});
    assert_eq!(call(&mut ann, "ping", ping("hint")).await["type"], "result");
    let signal = json!({"type": "signal", "plugin": "clerk", "name": "hint", "payload": {"text": "psst"}});
    assert_eq!(pushed(&mut bob).await, signal);
    assert_eq!(call(&mut ann, "ping", ping("No Name")).await["code"], "clerk.internal");
    server.stop().await;
}

#[tokio::test]
async fn plugins_call_each_other_on_behalf_of_the_caller_without_cycles() {
    let (_site, server) = start(GRANT).await;
    let mut ann = server.sign_in("ann").await;
    let ask = |method: &str, deed: &str| json!({"method": method, "deed": deed});
    let act = json!({"type": "call", "id": "a", "method": "hostile.act", "params": {"deed": "nothing"}});
    assert_eq!(ann.request(act).await["type"], "result");
    let last = json!({"type": "call", "id": "l", "method": "hostile.last", "params": {"deed": ""}});

    assert_eq!(
        call(&mut ann, "ask", ask("hostile.act", "flood")).await["value"]["outcome"],
        "ok"
    );
    assert_eq!(
        ann.request(last.clone()).await["value"]["deed"],
        "flood",
        "both are one transaction"
    );

    let asked = call(&mut ann, "ask", ask("hostile.act", "trap")).await;
    assert_eq!(asked["value"]["outcome"], "internal");
    assert_eq!(
        ann.request(last).await["value"]["deed"],
        "flood",
        "what the other wrote before its trap is gone"
    );
    assert_eq!(
        call(&mut ann, "last", json!({})).await["value"]["text"],
        "hostile.act",
        "what the caller wrote stays"
    );

    for (method, outcome) in [
        ("clerk.ask", "methods.cycle"),
        ("clerk.last", "methods.cycle"),
        ("nobody.act", "unknown_method"),
        ("hostile", "unknown_method"),
    ] {
        assert_eq!(
            call(&mut ann, "ask", ask(method, "")).await["value"]["outcome"],
            outcome,
            "{method}"
        );
    }
    server.stop().await;
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Waits until exactly these timers have fired.
async fn fired(client: &mut Client, names: &[&str]) {
    let begun = std::time::Instant::now();
    loop {
        let fired = call(client, "fired", json!({})).await["value"]["names"].clone();
        if fired == json!(names) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 60, "{fired} instead of {names:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn timers_fire_once_in_order_and_also_after_a_kill() {
    let (site, server) = start(GRANT).await;
    let mut ann = server.sign_in("ann").await;
    let now = now_ms();
    let remind = |name: &str, after: u64| json!({"name": name, "at_ms": now + after, "fails_until_ms": 0});
    for (name, after) in [
        ("second", 300),
        ("first", 150),
        ("never", 200),
        ("late", 600_000),
        ("late", 400),
    ] {
        assert_eq!(call(&mut ann, "remind", remind(name, after)).await["type"], "result");
    }
    assert_eq!(
        call(&mut ann, "forget", json!({"name": "never"})).await["value"]["found"],
        true
    );
    assert_eq!(
        call(&mut ann, "forget", json!({"name": "never"})).await["value"]["found"],
        false
    );
    server.kill().await;
    // They become due while no server runs.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;

    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    fired(&mut ann, &["first", "second", "late"]).await;
    assert_eq!(call(&mut ann, "remind", remind("past", 0)).await["type"], "result");
    fired(&mut ann, &["first", "second", "late", "past"]).await;
    assert_eq!(call(&mut ann, "remind", remind("", 0)).await["code"], "clerk.internal");
    server.stop().await;
}

#[tokio::test]
async fn a_failing_timer_is_retried_and_writes_nothing_until_it_succeeds() {
    let (_site, server) = start(GRANT).await;
    let mut ann = server.sign_in("ann").await;
    let now = now_ms();
    let stubborn = json!({"name": "stubborn", "at_ms": now, "fails_until_ms": now + 500});
    let behind = json!({"name": "behind", "at_ms": now + 1, "fails_until_ms": 0});
    assert_eq!(call(&mut ann, "remind", stubborn).await["type"], "result");
    assert_eq!(call(&mut ann, "remind", behind).await["type"], "result");
    fired(&mut ann, &["behind"]).await;
    fired(&mut ann, &["behind", "stubborn"]).await;
    assert!(server.stop().await.contains("not_yet"));
}

#[tokio::test]
async fn plugins_observe_sessions_in_order() {
    let (_site, server) = start(GRANT).await;
    let mut ann = server.sign_in("ann").await;
    for _ in 0..3 {
        drop(server.sign_in("bob").await);
    }
    let begun = std::time::Instant::now();
    let comings = loop {
        let comings = call(&mut ann, "comings", json!({})).await["value"]["names"].clone();
        if comings.as_array().unwrap().len() == 7 {
            break comings;
        }
        assert!(begun.elapsed().as_secs() < 60, "{comings}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let comings: Vec<&str> = comings
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert_eq!(comings.iter().filter(|name| **name == "+ann test").count(), 1);
    let mut here = 0;
    for coming in comings.iter().filter(|name| name.contains("bob")) {
        here += if *coming == "+bob test" { 1 } else { -1 };
        assert!(here >= 0, "a session ended before it began: {comings:?}");
    }
    assert_eq!(here, 0, "{comings:?}");
    server.stop().await;
}

#[tokio::test]
async fn an_ungranted_capability_is_not_linked() {
    let (site, server) =
        start("\"kv\", \"conversations\", \"memberships\", \"sessions\", \"timers\", \"annotations\", \"events\", \"secrets\"").await;
    let status = site.operate("GET", "/v1/plugins/clerk").await.json();
    assert_eq!(status["plugin"]["problem"]["code"], "forbidden");
    assert!(
        status["plugin"]["problem"]["message"]
            .as_str()
            .unwrap()
            .contains("methods")
    );
    server.stop().await;
}

#[tokio::test]
async fn an_expired_key_is_gone() {
    let (_site, server) = start(GRANT).await;
    let mut ann = server.sign_in("ann").await;
    let lease = |name: &str, until_ms: u64| json!({"name": name, "text": "mine", "until_ms": until_ms});
    for (name, until_ms) in [
        ("over", now_ms()),
        ("soon", now_ms() + 700),
        ("late", now_ms() + 600_000),
    ] {
        assert_eq!(call(&mut ann, "lease", lease(name, until_ms)).await["type"], "result");
    }
    let leased = async |client: &mut Client, name: &str| {
        call(client, "leased", json!({"name": name})).await["value"]["text"].clone()
    };
    assert_eq!(leased(&mut ann, "over").await, Value::Null);
    assert_eq!(leased(&mut ann, "late").await, "mine");
    let begun = std::time::Instant::now();
    while leased(&mut ann, "soon").await == "mine" {
        assert!(begun.elapsed().as_secs() < 60);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(leased(&mut ann, "late").await, "mine");
    server.stop().await;
}

#[tokio::test]
async fn secrets_are_private_to_their_plugin_and_plugin_metrics_are_exported() {
    let path = plugin("clerk");
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"clerk\"\npath = {path:?}\ngrant = [{GRANT}]\n\
         secrets = {{ key = \"0penSesame\", file = {{ file = \"key.txt\" }} }}\n"
    ));
    std::fs::write(site.folder.path().join("key.txt"), "fromAfile\n").unwrap();
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for (name, secret) in [
        ("key", json!("0penSesame")),
        ("file", json!("fromAfile")),
        ("other", Value::Null),
    ] {
        let read = call(&mut ann, "secret", json!({"name": name})).await;
        assert_eq!(read["value"]["text"], secret, "{name}");
    }
    let status = site.operate("GET", "/v1/plugins/clerk").await.body;
    let figures = site.operate("GET", "/metrics").await.body;
    for line in [
        "courtyard_plugin_counter_total{plugin=\"clerk\",name=\"secrets_read\"} 3",
        "courtyard_plugin_value_bucket{plugin=\"clerk\",name=\"name_bytes\",le=\"10\"} 3",
        "courtyard_plugin_value_sum{plugin=\"clerk\",name=\"name_bytes\"} 12",
    ] {
        assert!(figures.contains(line), "{line} is not in\n{figures}");
    }
    let log = server.stop().await;
    for text in [&status, &figures, &log] {
        assert!(!text.contains("0penSesame") && !text.contains("fromAfile"), "{text}");
    }
}

#[tokio::test]
async fn an_unreadable_secret_is_reported_with_its_line() {
    let path = plugin("clerk");
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"clerk\"\npath = {path:?}\nsecrets = {{ a = {{ file = \"absent.txt\" }}, \
         b = {{ env = \"COURTYARD_TEST_ABSENT\" }} }}\n"
    ));
    let said = site.start_fails().await;
    assert!(
        said.contains("absent.txt") && said.contains("COURTYARD_TEST_ABSENT"),
        "{said}"
    );
}
