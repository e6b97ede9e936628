//! Jobs of plugins in the action lane, end to end.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use courtyard_tests::{Client, Server, Site, plugin};
use serde_json::{Value, json};

const GRANT: &str = "grant = [\"kv\", \"jobs\", \"fetch\"]\n";

async fn start(more: &str) -> (Site, Server) {
    let path = plugin("courier");
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"courier\"\npath = {path:?}\n{GRANT}{more}"
    ));
    let server = site.start().await;
    (site, server)
}

async fn call(client: &mut Client, method: &str, params: Value) -> Value {
    client
        .request(json!({"type": "call", "id": "c", "method": format!("courier.{method}"), "params": params}))
        .await
}

async fn run(client: &mut Client, name: &str, text: &str, at_ms: u64) {
    let errand = json!({"name": name, "text": text, "at_ms": at_ms});
    assert_eq!(call(client, "run", errand).await["type"], "result");
}

/// Waits until this was done, and nothing else.
async fn done(client: &mut Client, wanted: &[&str]) {
    let begun = Instant::now();
    loop {
        let lines = call(client, "done", json!({})).await["value"]["lines"].clone();
        if lines == json!(wanted) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 30, "{lines} instead of {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn letters(site: &Site, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let letters = site.operate("GET", "/v1/plugins/courier/dead-letters").await.json()["dead_letters"].clone();
        let letters = letters.as_array().unwrap().clone();
        if letters.len() == count {
            return letters;
        }
        assert!(begun.elapsed().as_secs() < 30, "{letters:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn a_job_is_done_after_its_transaction_and_keeps_what_it_hands_back() {
    let (_site, server) = start("").await;
    let mut ann = server.sign_in("ann").await;
    run(&mut ann, "note", "first", 0).await;
    done(&mut ann, &["first"]).await;
    let errand = json!({"name": "note", "text": "never", "at_ms": 0});
    assert_eq!(call(&mut ann, "take_back", errand).await["code"], "courier.taken_back");
    run(&mut ann, "grab", "", 0).await;
    done(&mut ann, &["first", "there is no transaction that may do this"]).await;
    let refused = call(&mut ann, "overreach", json!({})).await;
    assert_eq!(refused["value"]["lines"], json!(["unavailable", "unavailable"]));
    server.stop().await;
}

#[tokio::test]
async fn a_job_survives_a_kill_and_waits_for_its_time() {
    let (site, server) = start("").await;
    let mut ann = server.sign_in("ann").await;
    let now = now_ms();
    run(&mut ann, "note", "late", now + 1_200).await;
    run(&mut ann, "note", "soon", now + 600).await;
    server.kill().await;
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    done(&mut ann, &["soon", "late"]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_job_that_fails_comes_again_and_one_that_can_not_succeed_is_a_dead_letter() {
    let (site, server) = start("").await;
    let mut ann = server.sign_in("ann").await;
    run(&mut ann, "try", "2", 0).await;
    done(&mut ann, &["attempt 1", "attempt 2"]).await;
    run(&mut ann, "give_up", "for ever", 0).await;
    run(&mut ann, "refused", "", 0).await;
    let found = letters(&site, 2).await;
    let about = |name: &str| found.iter().find(|letter| letter["about"]["name"] == name).unwrap();
    assert_eq!(about("give_up")["hook"], "action");
    assert_eq!(about("give_up")["reason"], "hopeless: for ever");
    assert_eq!(about("refused")["reason"], "refused: As told.");
    done(&mut ann, &["attempt 1", "attempt 2"]).await;

    // A replayed one is tried again, and fails again.
    let path = format!(
        "/v1/plugins/courier/dead-letters/{}",
        about("give_up")["id"].as_str().unwrap()
    );
    assert_eq!(site.operate("POST", &path).await.json()["replayed"], 1);
    letters(&site, 2).await;
    assert_eq!(
        site.operate("DELETE", "/v1/plugins/courier/dead-letters").await.json()["discarded"],
        2
    );
    server.stop().await;
}

#[tokio::test]
async fn jobs_that_break_down_hold_up_nobody() {
    let (site, server) = start(
        "[plugins.limits]\naction_ms = 300\njob_attempts = 1\nactions = 4\nmemory_bytes = 8388608\nstrikes = 1000\n",
    )
    .await;
    let mut ann = server.sign_in("ann").await;
    for name in ["loop", "trap", "hoard", "loop", "nonsense"] {
        run(&mut ann, name, "", 0).await;
    }
    run(&mut ann, "note", "still here", 0).await;
    // Answers don't wait for jobs.
    let begun = Instant::now();
    assert_eq!(call(&mut ann, "done", json!({})).await["type"], "result");
    assert!(begun.elapsed() < Duration::from_secs(5));
    done(&mut ann, &["still here"]).await;
    let found = letters(&site, 5).await;
    let reason = |name: &str| {
        let letter = found.iter().find(|letter| letter["about"]["name"] == name).unwrap();
        letter["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason("loop"), "it ran longer than 300 ms");
    assert!(reason("trap").starts_with("it trapped"), "{}", reason("trap"));
    assert_eq!(reason("hoard"), "it went over its limit of memory");
    assert_eq!(reason("nonsense"), "unknown_job: There is no such job.");
    let status = site.operate("GET", "/v1/plugins/courier").await.json();
    let action = status["plugin"]["hooks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|hook| hook["hook"] == "action");
    let failures = action.unwrap()["failures"].clone();
    assert_eq!(failures, json!([["trap", 1], ["timeout", 2], ["limit", 1]]));
    server.stop().await;
}

#[tokio::test]
async fn a_stopping_host_does_not_wait_for_jobs_and_does_them_again() {
    let (site, server) = start("").await;
    let mut ann = server.sign_in("ann").await;
    run(&mut ann, "loop", "", 0).await;
    run(&mut ann, "note", "before", 0).await;
    done(&mut ann, &["before"]).await;
    let begun = Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let server = site.start().await;
    let begun = Instant::now();
    loop {
        let status = site.operate("GET", "/v1/plugins/courier").await.json()["plugin"].clone();
        let calls = status["hooks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|hook| hook["hook"] == "action")
            .cloned();
        if calls.is_some_and(|hook| hook["calls"].as_u64() >= Some(1)) && status["jobs"] == 1 {
            break;
        }
        assert!(begun.elapsed().as_secs() < 20, "{status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}
