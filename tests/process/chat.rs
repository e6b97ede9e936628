//! Two people, their devices, and the guarantees of a message.

use courtyard_tests::{CONVERSATION, Site};
use serde_json::json;

#[tokio::test]
async fn a_message_is_acked_and_reaches_all_devices_of_both_members() {
    let site = Site::new("");
    let server = site.start().await;
    let (mut phone, mut desk) = (server.sign_in("ann").await, server.sign_in("ann").await);
    let mut bob = server.sign_in("bob").await;
    phone.text("m1", "Hello").await;
    let ack = phone.next().await;
    assert_eq!(
        (&ack["type"], &ack["id"], &ack["seq"]),
        (&json!("ack"), &json!("m1"), &json!(1))
    );
    for client in [&mut desk, &mut bob] {
        let event = client.next().await["event"].clone();
        assert_eq!(event["content"], json!({"text": "Hello"}));
        assert_eq!((&event["sender"], &event["receiver"]), (&json!("ann"), &json!("bob")));
        assert_eq!(
            (&event["id"], &event["seq"], &event["client_id"]),
            (&ack["event"], &json!(1), &json!("m1"))
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_retry_gets_the_first_ack_and_another_payload_is_a_conflict() {
    let site = Site::new("");
    let server = site.start().await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    ann.text("m1", "Hello").await;
    let first = ann.next().await;
    ann.text("m1", "Hello").await;
    assert_eq!(ann.next().await, first);
    ann.text("m1", "Something else").await;
    assert_eq!(ann.next().await["code"], "invalid_id");
    ann.text("m2", "Next").await;
    assert_eq!(ann.next().await["seq"], 2);
    // Bob may use the same id, since ids are unique for each sender.
    bob.text("m1", "Hi").await;
    let seen = [bob.next().await, bob.next().await, bob.next().await];
    let seqs: Vec<_> = seen
        .iter()
        .map(|frame| frame["event"]["seq"].as_u64().or(frame["seq"].as_u64()))
        .collect();
    assert_eq!(seqs, [Some(1), Some(2), Some(3)]);
    server.stop().await;
}

#[tokio::test]
async fn pipelined_messages_keep_their_order() {
    let site = Site::new("");
    let server = site.start().await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    for number in 0..200 {
        ann.text(&format!("m{number}"), &number.to_string()).await;
    }
    for number in 0..200 {
        assert_eq!(ann.next().await["seq"], number + 1);
        let event = bob.next().await["event"].clone();
        assert_eq!(
            (&event["seq"], &event["content"]["text"]),
            (&json!(number + 1), &json!(number.to_string()))
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn history_is_read_by_range_in_both_directions() {
    let site = Site::new("");
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for number in 1..=10 {
        ann.text(&format!("m{number}"), &number.to_string()).await;
        ann.next().await;
    }
    for (range, wanted) in [
        (json!({"after": 3, "limit": 2}), vec![4, 5]),
        (json!({"before": 4, "limit": 2}), vec![2, 3]),
        (json!({"limit": 3}), vec![8, 9, 10]),
        (json!({"after": 10}), vec![]),
        (json!({"before": 1}), vec![]),
    ] {
        let mut request = json!({"type": "history", "id": "h", "conversation": CONVERSATION});
        request
            .as_object_mut()
            .unwrap()
            .extend(range.as_object().unwrap().clone());
        let page = ann.request(request).await;
        let seqs: Vec<u64> = page["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(seqs, wanted, "{range}");
        assert_eq!(page["head"], 10);
    }
    server.stop().await;
}

#[tokio::test]
async fn sync_lists_the_conversations_with_their_newest_event() {
    let site = Site::new("");
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    ann.text("m1", "Hello").await;
    ann.next().await;
    let synced = ann.request(json!({"type": "sync", "id": "s"})).await;
    let conversation = &synced["conversations"][0];
    assert_eq!(
        (&conversation["id"], &conversation["seq"]),
        (&json!(CONVERSATION), &json!(1))
    );
    assert_eq!(conversation["members"], json!(["ann", "bob"]));
    assert_eq!(conversation["last"]["content"]["text"], "Hello");
    server.stop().await;
}

#[tokio::test]
async fn only_members_read_and_write() {
    let site = Site::new("");
    let server = site.start().await;
    let mut eve = server.sign_in("eve").await;
    eve.text("m1", "Let me in").await;
    assert_eq!(eve.next().await["code"], "unknown_conversation");
    let history = json!({"type": "history", "id": "h", "conversation": CONVERSATION});
    assert_eq!(eve.request(history).await["code"], "unknown_conversation");
    assert_eq!(
        eve.request(json!({"type": "sync", "id": "s"})).await["conversations"],
        json!([])
    );
    let mut anonymous = server.connect().await;
    anonymous.send(&json!({"type": "hello", "protocol": 1})).await;
    assert_eq!(anonymous.next().await["actor"], json!(null));
    anonymous.text("m1", "Let me in").await;
    assert_eq!(anonymous.next().await["code"], "unauthenticated");
    server.stop().await;
}

/// Pipelined requests were answered together, and the session was closed if the answers exceeded its queue:
/// a device with many conversations never caught up.
#[tokio::test]
async fn many_pipelined_requests_are_all_answered() {
    let site = Site::new("[limits]\nqueue_bytes = 8192\n");
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for number in 0..5 {
        ann.text(&format!("m{number}"), &"x".repeat(500)).await;
        assert_eq!(ann.next().await["type"], "ack");
    }
    let ask = |number: u32| json!({"type": "history", "id": format!("h{number}"), "conversation": CONVERSATION});
    for number in 0..200 {
        ann.send(&ask(number)).await;
    }
    for number in 0..200 {
        let page = ann.next().await;
        assert_eq!(
            (&page["id"], page["events"].as_array().unwrap().len()),
            (&json!(format!("h{number}")), 5)
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_page_of_history_is_limited_by_its_bytes() {
    let site = Site::new("[limits]\nqueue_bytes = 8192\n");
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for number in 0..20 {
        ann.text(&format!("m{number}"), &"x".repeat(700)).await;
        while ann.next().await["type"] != "ack" {}
    }
    let (mut after, mut pages) = (0, 0);
    while after < 20 {
        let asked = json!({"type": "history", "id": "h", "conversation": CONVERSATION, "after": after, "limit": 20});
        let page = ann.request(asked).await;
        let seqs: Vec<u64> = page["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(seqs, (after + 1..=after + seqs.len() as u64).collect::<Vec<u64>>());
        after += seqs.len() as u64;
        pages += 1;
    }
    assert!((4..=20).contains(&pages), "{pages}");
    // From the end: newest first.
    let newest = ann
        .request(json!({"type": "history", "id": "h", "conversation": CONVERSATION, "limit": 20}))
        .await;
    assert_eq!(newest["events"].as_array().unwrap().last().unwrap()["seq"], 20);
    server.stop().await;
}
