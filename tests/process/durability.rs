//! Acked messages exist once and in order, even if the process is killed.

use std::collections::HashMap;

use courtyard_tests::{CONVERSATION, Client, Server, Site};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

/// Reads the whole conversation.
async fn history(client: &mut Client) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    loop {
        let after = events.len();
        let request = json!({"type": "history", "id": "h", "conversation": CONVERSATION, "after": after, "limit": 500});
        let page = client.request(request).await["events"].as_array().unwrap().clone();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// Sends texts with a window of 16, and kills the server after `acks` acks. Returns the received acks.
async fn write_until_killed(server: Server, round: u32, acks: usize) -> HashMap<String, u64> {
    let mut ann = server.sign_in("ann").await;
    let mut acked = HashMap::new();
    let mut next = 0;
    let mut server = Some(server);
    while next < 16 {
        ann.text(&format!("r{round}-{next}"), "payload").await;
        next += 1;
    }
    while let Some(frame) = ann.try_next().await {
        assert_eq!(frame["type"], "ack", "{frame}");
        acked.insert(frame["id"].as_str().unwrap().to_owned(), frame["seq"].as_u64().unwrap());
        if acked.len() == acks {
            // The messages after the last ack are in flight at this moment.
            server.take().unwrap().kill().await;
        } else if server.is_some() {
            ann.text(&format!("r{round}-{next}"), "payload").await;
            next += 1;
        }
    }
    acked
}

/// `cargo xtask crash --kills N` runs this with more kills than the suite does.
#[tokio::test]
async fn kills_at_random_moments_lose_duplicate_and_skip_nothing() {
    let seed = 7;
    let kills = std::env::var("COURTYARD_KILLS").map_or(if courtyard_tests::long() { 50 } else { 8 }, |kills| {
        kills.parse().unwrap()
    });
    let mut random = StdRng::seed_from_u64(seed);
    // Small segments, so that some kills interrupt the indexing.
    let site = Site::new("[store]\nsegment_bytes = 16384\n");
    let mut acked: HashMap<String, u64> = HashMap::new();
    for round in 0..kills {
        let server = site.start().await;
        acked.extend(write_until_killed(server, round, random.random_range(1..200)).await);
    }
    let server = site.start().await;
    let events = history(&mut server.sign_in("ann").await).await;
    let mut by_id: HashMap<&str, u64> = HashMap::new();
    let (mut duplicated, mut gaps) = (0, 0);
    for (event, wanted) in events.iter().zip(1..) {
        let seq = event["seq"].as_u64().unwrap();
        gaps += u32::from(seq != wanted);
        duplicated += u32::from(by_id.insert(event["client_id"].as_str().unwrap(), seq).is_some());
    }
    let lost = acked
        .iter()
        .filter(|(id, seq)| by_id.get(id.as_str()) != Some(*seq))
        .count();
    server.stop().await;
    let counts = json!({
        "kills": kills, "acked": acked.len(), "lost": lost, "duplicated": duplicated, "gaps": gaps, "seed": seed
    });
    println!("{counts}");
    assert_eq!((lost, duplicated, gaps), (0, 0, 0), "{counts}");
}

#[tokio::test]
async fn a_retry_after_a_kill_gets_the_first_ack() {
    let site = Site::new("");
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    ann.text("m1", "Hello").await;
    let first = ann.next().await;
    server.kill().await;
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    ann.text("m1", "Hello").await;
    assert_eq!(ann.next().await, first);
    server.stop().await;
}

#[tokio::test]
async fn a_graceful_stop_asks_clients_to_reconnect_and_loses_nothing() {
    let site = Site::new("");
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    ann.text("m1", "Hello").await;
    ann.next().await;
    let (code, _) = tokio::join!(ann.closed(), server.stop());
    assert_eq!(code, 1001);
    let server = site.start().await;
    assert_eq!(history(&mut server.sign_in("bob").await).await.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_damaged_log_stops_the_start_with_file_and_offset() {
    let site = Site::new("");
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for number in 0..5 {
        ann.text(&format!("m{number}"), "Hello").await;
        ann.next().await;
    }
    server.stop().await;
    let segment = site.folder.path().join("data/log/0000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let said = site.start_fails().await;
    assert!(said.contains("0000000001.seg is damaged at byte"), "{said}");
    assert_eq!(std::fs::read(&segment).unwrap(), bytes);
    bytes[middle] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let server = site.start().await;
    assert_eq!(history(&mut server.sign_in("ann").await).await.len(), 5);
    server.stop().await;
}
