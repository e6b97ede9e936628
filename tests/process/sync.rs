//! Sync of returning devices, and receipts.

use courtyard_tests::{CONVERSATION, Client, Server, Site, plugin};
use serde_json::{Value, json};

async fn sync(client: &mut Client, since: Option<&Value>) -> Value {
    let mut frame = json!({"type": "sync", "id": "s"});
    if let Some(since) = since {
        frame["since"] = since.clone();
    }
    loop {
        let answer = client.request(frame.clone()).await;
        if answer["type"] == "synced" {
            return answer;
        }
    }
}

fn ids(synced: &Value) -> Vec<&str> {
    let listed = synced["conversations"].as_array().unwrap();
    listed.iter().map(|entry| entry["id"].as_str().unwrap()).collect()
}

/// Returns the next frame of a type.
async fn next(client: &mut Client, wanted: &str) -> Value {
    loop {
        let frame = client.next().await;
        if frame["type"] == wanted {
            return frame;
        }
    }
}

async fn say(client: &mut Client, id: &str) {
    client.text(id, "Hello").await;
    assert_eq!(next(client, "ack").await["id"], id);
}

fn receipt(id: &str, delivered: u64, read: u64) -> Value {
    json!({"type": "receipt", "id": id, "conversation": CONVERSATION, "delivered": delivered, "read": read})
}

/// Several conversations of ann: the fixed one with bob, and others that the clerk plugin creates.
async fn with_clerk() -> (Site, Server) {
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"clerk\"\npath = {:?}\ngrant = [\"kv\", \"conversations\", \"memberships\", \"sessions\", \"methods\", \"timers\", \
         \"annotations\", \"events\", \"secrets\"]\n",
        plugin("clerk")
    ));
    let server = site.start().await;
    (site, server)
}

async fn call(client: &mut Client, method: &str, params: Value) -> Value {
    let id = format!("c-{method}");
    client
        .send(&json!({"type": "call", "id": id, "method": format!("clerk.{method}"), "params": params}))
        .await;
    loop {
        let frame = client.next().await;
        if frame["id"] == id {
            assert_eq!(frame["type"], "result", "{frame}");
            return frame["value"].clone();
        }
    }
}

#[tokio::test]
async fn a_returning_device_gets_only_changes_also_after_a_restart() {
    let (site, server) = with_clerk().await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let mut rooms = Vec::new();
    for number in 0..5 {
        let room = json!({"address": format!("room{number}"), "members": ["ann", "bob"]});
        rooms.push(
            call(&mut ann, "open", room).await["conversation"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    let first = sync(&mut ann, None).await;
    assert_eq!(ids(&first).len(), 6);
    let nothing = sync(&mut ann, Some(&first["position"])).await;
    assert_eq!(ids(&nothing), [""; 0]);

    // A message, a receipt and a new conversation are changes; a method that writes elsewhere isn't.
    let text = json!({"type": "send", "id": "m1", "conversation": rooms[2], "kind": "text", "content": {"text": "Hi"}});
    bob.send(&text).await;
    let seq = next(&mut bob, "ack").await["seq"].clone();
    let changed = sync(&mut ann, Some(&nothing["position"])).await;
    assert_eq!(ids(&changed), [&rooms[2]]);
    assert_eq!(changed["conversations"][0]["last"]["seq"], seq);
    let read = json!({"type": "receipt", "id": "r", "conversation": rooms[2], "read": seq});
    ann.send(&read).await;
    next(&mut ann, "marked").await;
    let room = json!({"address": "room5", "members": ["ann", "bob"]});
    let new = call(&mut bob, "open", room).await["conversation"].clone();

    server.kill().await;
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    let after = sync(&mut ann, Some(&changed["position"])).await;
    let mut found = ids(&after);
    found.sort_unstable();
    let mut wanted = [&rooms[2], new.as_str().unwrap()];
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    // A position that this store has never reached is ignored.
    assert_eq!(
        ids(&sync(&mut ann, Some(&json!("18446744073709551615"))).await).len(),
        7
    );
    server.stop().await;
}

#[tokio::test]
async fn a_returning_device_learns_which_conversations_were_left() {
    let (_site, server) = with_clerk().await;
    let mut ann = server.sign_in("ann").await;
    let room = json!({"address": "room", "members": ["ann", "bob"]});
    let room = call(&mut ann, "open", room).await["conversation"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = sync(&mut ann, None).await;
    let leave = json!({"conversation": room, "join": [], "leave": ["ann"]});
    call(&mut ann, "change", leave).await;
    let after = sync(&mut ann, Some(&before["position"])).await;
    assert_eq!(after["left"], json!([room]));
    assert!(!ids(&after).contains(&&*room));
    // A new device has nothing to remove.
    assert_eq!(sync(&mut ann, None).await["left"], Value::Null);

    let back = json!({"conversation": room, "join": ["ann"], "leave": []});
    call(&mut ann, "change", back).await;
    let again = sync(&mut ann, Some(&before["position"])).await;
    assert_eq!((&again["left"], ids(&again)), (&Value::Null, vec![&*room]));
    server.stop().await;
}

#[tokio::test]
async fn receipts_reach_other_members_and_own_devices_and_only_grow() {
    let site = Site::new("");
    let server = site.start().await;
    let (mut ann, mut phone) = (server.sign_in("ann").await, server.sign_in("ann").await);
    let mut bob = server.sign_in("bob").await;
    for id in ["m1", "m2", "m3"] {
        say(&mut ann, id).await;
    }
    assert_eq!(sync(&mut bob, None).await["conversations"][0]["unread"], 3);

    bob.send(&receipt("r1", 3, 2)).await;
    let marked = next(&mut bob, "marked").await;
    assert_eq!((&marked["delivered"], &marked["read"]), (&json!(3), &json!(2)));
    for client in [&mut ann, &mut phone] {
        let received = next(client, "receipt").await;
        assert_eq!(
            (&received["actor"], &received["delivered"], &received["read"]),
            (&json!("bob"), &json!(3), &json!(2))
        );
    }
    // A lower mark changes nothing, and isn't forwarded.
    bob.send(&receipt("r2", 1, 0)).await;
    assert_eq!(next(&mut bob, "marked").await["read"], 2);
    // Read implies delivered.
    bob.send(&receipt("r3", 0, 3)).await;
    assert_eq!(next(&mut bob, "marked").await["read"], 3);
    assert_eq!(next(&mut ann, "receipt").await["read"], 3);
    assert_eq!(next(&mut phone, "receipt").await["read"], 3);
    let mut tablet = server.sign_in("bob").await;
    let synced = sync(&mut tablet, None).await;
    let entry = &synced["conversations"][0];
    assert_eq!((&entry["unread"], &entry["read"]), (&json!(0), &json!(3)));
    let synced = sync(&mut phone, None).await;
    let theirs = json!([{"actor": "bob", "delivered": 3, "read": 3}]);
    assert_eq!(synced["conversations"][0]["receipts"], theirs);
    let asked = json!({"type": "receipts", "id": "l", "conversation": CONVERSATION});
    assert_eq!(phone.request(asked).await["receipts"], theirs);
    let behind = json!({"type": "receipts", "id": "l", "conversation": CONVERSATION, "after_actor": "bob"});
    assert_eq!(phone.request(behind).await["receipts"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn invalid_receipts_are_rejected() {
    let site = Site::new("");
    let server = site.start().await;
    let (mut ann, mut eve) = (server.sign_in("ann").await, server.sign_in("eve").await);
    say(&mut ann, "m1").await;
    assert_eq!(ann.request(receipt("r", 0, 2)).await["code"], "unknown_message");
    assert_eq!(eve.request(receipt("r", 0, 1)).await["code"], "unknown_conversation");
    let nothing = json!({"type": "receipt", "id": "r", "conversation": CONVERSATION});
    assert_eq!(ann.request(nothing).await["code"], "invalid_frame");
    let negative = json!({"type": "receipt", "id": "r", "conversation": CONVERSATION, "read": -1});
    assert_eq!(ann.request(negative).await["code"], "invalid_frame");
    let asked = json!({"type": "receipts", "id": "l", "conversation": CONVERSATION, "limit": 501});
    assert_eq!(ann.request(asked).await["code"], "invalid_frame");
    server.stop().await;
}

#[tokio::test]
async fn concurrent_receipts_of_two_devices_end_at_the_maximum() {
    let site = Site::new("");
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for number in 0..40 {
        say(&mut ann, &format!("m{number}")).await;
    }
    let mut tasks = Vec::new();
    for device in 0..4_u64 {
        let mut bob = server.sign_in("bob").await;
        tasks.push(tokio::spawn(async move {
            for number in 1..=10 {
                let to = number * 4 - device;
                bob.send(&receipt(&format!("r{number}"), to, to)).await;
                let marked = next(&mut bob, "marked").await;
                assert!(marked["read"].as_u64().unwrap() >= to);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut bob = server.sign_in("bob").await;
    assert_eq!(sync(&mut bob, None).await["conversations"][0]["read"], 40);
    server.stop().await;
}

#[tokio::test]
async fn typing_reaches_the_other_members() {
    let site = Site::new("");
    let server = site.start().await;
    let (mut ann, mut phone) = (server.sign_in("ann").await, server.sign_in("ann").await);
    let (mut bob, mut eve) = (server.sign_in("bob").await, server.sign_in("eve").await);
    let typing = json!({"type": "typing", "conversation": CONVERSATION});
    eve.send(&typing).await;
    ann.send(&typing).await;
    let received = next(&mut bob, "typing").await;
    assert_eq!(
        (&received["actor"], &received["conversation"]),
        (&json!("ann"), &json!(CONVERSATION))
    );
    // Her other device and non-members get nothing, and the next signal passes only after a while.
    ann.send(&typing).await;
    say(&mut ann, "m1").await;
    assert_eq!(bob.next().await["type"], "event");
    assert_eq!(phone.next().await["type"], "event");
    assert_eq!(eve.request(json!({"type": "ping"})).await["type"], "pong");
    server.stop().await;
}

#[tokio::test]
async fn in_large_conversations_receipts_reach_own_devices_only() {
    let site = Site::new("[limits]\nsignal_members = 1\n");
    let server = site.start().await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let mut phone = server.sign_in("bob").await;
    say(&mut ann, "m1").await;
    bob.send(&json!({"type": "typing", "conversation": CONVERSATION})).await;
    bob.send(&receipt("r", 1, 1)).await;
    next(&mut bob, "marked").await;
    assert_eq!(next(&mut phone, "receipt").await["read"], 1);
    assert_eq!(ann.request(json!({"type": "ping"})).await["type"], "pong");
    server.stop().await;
}

#[tokio::test]
async fn a_plugin_can_suppress_typing() {
    for deed in ["garble", "trap"] {
        let site = Site::new(&format!(
            "[[plugins]]\nid = \"brute\"\npath = {:?}\ngrant = [\"kv\", \"events\", \"timers\", \"jobs\", \"http\", \"blobs\"]\n\
             config = {{ hook = \"before_act\", deed = \"{deed}\" }}\n",
            plugin("brute")
        ));
        let server = site.start().await;
        let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
        ann.send(&json!({"type": "typing", "conversation": CONVERSATION})).await;
        // A later frame of the same session arrives, so the signal was dropped.
        say(&mut ann, "m1").await;
        assert_eq!(bob.next().await["type"], "event", "{deed}");
        server.stop().await;
    }
}
