//! Read marks, unread counts, receipts, typing and left conversations in the Rust client.

use std::time::Duration;

use courtyard_client::{Client, Conversation, Error, Event, Events, Marks, Options};
use courtyard_tests::{CONVERSATION, Site, plugin};
use serde_json::json;
use tokio::time::timeout;

/// Upper bound of every wait; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(site: &Site, actor: &str, device: &str) -> Options {
    Options::new(&format!("ws://127.0.0.1:{}/v1/ws", site.port))
        .device(device)
        .token(actor)
        .back_off(Duration::from_millis(20), Duration::from_millis(100))
}

async fn next(events: &mut Events) -> Event {
    timeout(PATIENCE, events.next()).await.unwrap().unwrap()
}

async fn synced(events: &mut Events) -> Vec<Conversation> {
    loop {
        if let Event::Synced(conversations) = next(events).await {
            return conversations;
        }
    }
}

/// Returns the marks of a conversation once they satisfy the condition.
async fn marked(events: &mut Events, wanted: impl Fn(&Marks) -> bool) -> Marks {
    loop {
        if let Event::Marks(marks) = next(events).await
            && wanted(&marks)
        {
            return marks;
        }
    }
}

/// Connects ann and bob, bob with or without delivery receipts, and returns when both have synced.
async fn pair(site: &Site, bob_delivers: bool) -> ((Client, Events), (Client, Events)) {
    let mut ann = Client::connect(options(site, "ann", "desk"));
    let mut bob = Client::connect(options(site, "bob", "desk").delivers(bob_delivers));
    for events in [&mut ann.1, &mut bob.1] {
        synced(events).await;
    }
    (ann, bob)
}

async fn say(client: &Client, conversation: &str, text: &str) -> u64 {
    let sending = client.send(conversation, "text", json!({"text": text}));
    timeout(PATIENCE, sending).await.unwrap().unwrap().seq
}

/// Returns the receipt of another member.
fn of(marks: &Marks, actor: &str) -> (u64, u64) {
    let found = marks.receipts.iter().find(|receipt| receipt.actor == actor);
    found.map_or((0, 0), |receipt| (receipt.delivered, receipt.read))
}

#[tokio::test]
async fn receipts_reach_the_sender_and_the_readers_devices_also_after_a_restart() {
    let site = Site::new("");
    let server = site.start().await;
    let (ann, mut on_anns) = Client::connect(options(&site, "ann", "desk"));
    let (bob, mut on_bobs) = Client::connect(options(&site, "bob", "phone"));
    let (_desk, mut on_desk) = Client::connect(options(&site, "bob", "desk").delivers(false));
    for events in [&mut on_anns, &mut on_bobs, &mut on_desk] {
        synced(events).await;
    }
    for number in 1..=3 {
        assert_eq!(say(&ann, CONVERSATION, "Hello").await, number);
    }
    for events in [&mut on_bobs, &mut on_desk] {
        assert_eq!(marked(events, |marks| marks.unread == 3).await.read, 0);
    }
    // Sent automatically, once for all three.
    marked(&mut on_anns, |marks| of(marks, "bob") == (3, 0)).await;

    server.kill().await;
    while !matches!(next(&mut on_bobs).await, Event::Offline { .. }) {}
    bob.mark_read(CONVERSATION, 1);
    bob.mark_read(CONVERSATION, 2);
    let server = site.start().await;
    marked(&mut on_anns, |marks| of(marks, "bob") == (3, 2)).await;
    for events in [&mut on_bobs, &mut on_desk] {
        marked(events, |marks| (marks.read, marks.unread) == (2, 1)).await;
    }
    assert_eq!(bob.marks(CONVERSATION).await.unwrap().unread, 1);
    // Own messages aren't unread, and get no receipt.
    let all = ann.receipts(CONVERSATION).await.unwrap();
    let all: Vec<_> = all.iter().map(|receipt| (&*receipt.actor, receipt.read)).collect();
    assert_eq!(all, [("bob", 2)]);
    assert_eq!(ann.marks(CONVERSATION).await.unwrap().unread, 0);

    // His other device starts with the same marks.
    let (_new, mut on_new) = Client::connect(options(&site, "bob", "new"));
    let listed = synced(&mut on_new).await;
    assert_eq!(
        (listed[0].delivered, listed[0].read, listed[0].unread),
        (3, 2, 1),
        "{listed:?}"
    );
    server.stop().await;
    assert_eq!(bob.receipts(CONVERSATION).await, Err(Error::Offline));
}

#[tokio::test]
async fn without_delivery_receipts_only_reads_are_sent_and_invalid_marks_are_dropped() {
    let site = Site::new("");
    let server = site.start().await;
    let ((ann, mut on_anns), (bob, mut on_bobs)) = pair(&site, false).await;
    say(&ann, CONVERSATION, "Hello").await;
    marked(&mut on_bobs, |marks| marks.unread == 1).await;
    say(&bob, CONVERSATION, "Hello yourself").await;
    // Ann's receipt is for a later event than bob's client has seen.
    marked(&mut on_bobs, |marks| of(marks, "ann") == (2, 0)).await;
    let reported = ann.receipts(CONVERSATION).await.unwrap();
    assert!(reported.iter().all(|receipt| receipt.actor == "ann"), "{reported:?}");

    bob.mark_read(CONVERSATION, 99);
    bob.mark_read("01ARZ3NDEKTSV4RRFFQ69G5FAA", 1);
    // Rejected marks aren't resent, and don't block valid ones. A mark set before the rejection arrives is rejected with it.
    while bob.marks(CONVERSATION).await.unwrap().read < 1 {
        bob.mark_read(CONVERSATION, 1);
        bob.receipts(CONVERSATION).await.unwrap();
    }
    let seen = marked(&mut on_anns, |marks| of(marks, "bob") != (0, 0)).await;
    assert_eq!(of(&seen, "bob"), (1, 1));
    server.stop().await;
}

#[tokio::test]
async fn typing_is_reported_once_until_a_message_or_a_disconnect() {
    let site = Site::new("");
    let server = site.start().await;
    let ((ann, _on_anns), (_bob, mut on_bobs)) = pair(&site, true).await;
    let mut reported = Vec::new();
    for _ in 0..20 {
        ann.typing(CONVERSATION);
    }
    say(&ann, CONVERSATION, "Hello").await;
    loop {
        match next(&mut on_bobs).await {
            Event::Typing {
                conversation,
                actor,
                on,
            } => {
                assert_eq!((&*conversation, &*actor), (CONVERSATION, "ann"));
                reported.push(on);
            }
            Event::Message(_) => break,
            _ => {}
        }
    }
    assert_eq!(reported, [true, false]);

    // A new client of hers isn't throttled.
    let (again, mut on_again) = Client::connect(options(&site, "ann", "phone"));
    synced(&mut on_again).await;
    again.typing(CONVERSATION);
    while !matches!(next(&mut on_bobs).await, Event::Typing { on: true, .. }) {}
    server.kill().await;
    while !matches!(next(&mut on_bobs).await, Event::Typing { on: false, .. }) {}
}

#[tokio::test]
async fn new_and_left_conversations_are_reported_and_a_restart_syncs_only_changes() {
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"clerk\"\npath = {:?}\ngrant = [\"kv\", \"conversations\", \"memberships\", \"sessions\", \"methods\", \
         \"timers\", \"annotations\", \"events\", \"secrets\"]\n",
        plugin("clerk")
    ));
    let server = site.start().await;
    let (ann, mut on_anns) = Client::connect(options(&site, "ann", "desk").delivers(false));
    let (bob, mut on_bobs) = Client::connect(options(&site, "bob", "desk").delivers(false));
    for events in [&mut on_anns, &mut on_bobs] {
        assert_eq!(synced(events).await.len(), 1);
    }
    let mut rooms = Vec::new();
    for name in ["one", "two"] {
        let params = json!({"address": name, "members": ["ann", "bob"]});
        let room = bob.call("clerk.open", params).await.unwrap();
        rooms.push(room["conversation"].as_str().unwrap().to_owned());
    }
    // It has no events yet, so it wasn't announced.
    ann.sync();
    let mut begun: Vec<_> = synced(&mut on_anns).await.into_iter().map(|room| room.id).collect();
    begun.sort();
    assert_eq!(begun, rooms);
    say(&ann, &rooms[0], "Hello").await;
    // Its first event makes bob's client request the members.
    let listed = synced(&mut on_bobs).await;
    assert!(listed.iter().any(|room| room.id == rooms[0] && room.members.len() == 2));

    server.kill().await;
    while !matches!(next(&mut on_bobs).await, Event::Offline { .. }) {}
    let server = site.start().await;
    assert_eq!(synced(&mut on_bobs).await, [], "nothing has changed");
    synced(&mut on_anns).await;
    ann.call(
        "clerk.change",
        json!({"conversation": rooms[0], "join": [], "leave": ["bob"]}),
    )
    .await
    .unwrap();
    loop {
        if let Event::Left { conversation } = next(&mut on_bobs).await {
            assert_eq!(conversation, rooms[0]);
            break;
        }
    }
    let refused = bob.send(&rooms[0], "text", json!({"text": "Still here?"})).await;
    assert_eq!(refused.unwrap_err().code(), "unknown_conversation");
    server.stop().await;
}
