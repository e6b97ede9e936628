//! Jobs of plugins in the action lane, end to end.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use courtyard_plugin_sdk::FetchRequest;
use courtyard_tests::{Client, Server, Site, plugin};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

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

/// Waits until exactly these jobs have run.
async fn done(client: &mut Client, wanted: &[&str]) {
    let begun = Instant::now();
    loop {
        let lines = call(client, "done", json!({})).await["value"]["lines"].clone();
        if lines == json!(wanted) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 60, "{lines} instead of {wanted:?}");
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
        assert!(begun.elapsed().as_secs() < 60, "{letters:?}");
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
async fn a_job_runs_after_its_transaction_and_its_writes_are_kept() {
    let (_site, server) = start("").await;
    let mut ann = server.sign_in("ann").await;
    run(&mut ann, "note", "first", 0).await;
    done(&mut ann, &["first"]).await;
    let errand = json!({"name": "note", "text": "never", "at_ms": 0});
    assert_eq!(call(&mut ann, "take_back", errand).await["code"], "courier.taken_back");
    run(&mut ann, "grab", "", 0).await;
    done(&mut ann, &["first", "the call has no transaction that may do this"]).await;
    let refused = call(&mut ann, "overreach", json!({})).await;
    assert_eq!(refused["value"]["lines"], json!(["unavailable", "unavailable"]));
    server.stop().await;
}

#[tokio::test]
async fn a_job_survives_a_kill_and_runs_when_due() {
    let (site, server) = start("").await;
    let mut ann = server.sign_in("ann").await;
    let soon = now_ms() + 600;
    run(&mut ann, "note", "late", soon + 3_600_000).await;
    run(&mut ann, "note", "soon", soon).await;
    server.kill().await;
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    done(&mut ann, &["soon"]).await;
    assert!(now_ms() >= soon);
    server.stop().await;
}

#[tokio::test]
async fn a_failing_job_is_retried_and_becomes_a_dead_letter() {
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
    assert_eq!(about("refused")["reason"], "refused: Rejected on request.");
    done(&mut ann, &["attempt 1", "attempt 2"]).await;

    // A replayed one runs again, and fails again.
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
async fn failing_jobs_delay_nothing_else() {
    let (site, server) = start(
        "[plugins.limits]\naction_ms = 2000\njob_attempts = 1\nactions = 4\nmemory_bytes = 8388608\nstrikes = 1000\n",
    )
    .await;
    let mut ann = server.sign_in("ann").await;
    for name in ["loop", "trap", "hoard", "loop", "nonsense"] {
        run(&mut ann, name, "", 0).await;
    }
    run(&mut ann, "note", "still here", 0).await;
    // Responses don't wait for jobs.
    let begun = Instant::now();
    assert_eq!(call(&mut ann, "done", json!({})).await["type"], "result");
    assert!(begun.elapsed() < Duration::from_secs(5));
    done(&mut ann, &["still here"]).await;
    let found = letters(&site, 5).await;
    let reason = |name: &str| {
        let letter = found.iter().find(|letter| letter["about"]["name"] == name).unwrap();
        letter["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason("loop"), "it ran longer than 2000 ms");
    assert!(reason("trap").starts_with("it trapped"), "{}", reason("trap"));
    assert_eq!(reason("hoard"), "it exceeded its limit of memory");
    assert_eq!(reason("nonsense"), "unknown_job: This job doesn't exist.");
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
async fn a_stopping_host_interrupts_jobs_and_reruns_them() {
    let (site, server) = start("").await;
    let mut ann = server.sign_in("ann").await;
    run(&mut ann, "loop", "", 0).await;
    run(&mut ann, "note", "before", 0).await;
    done(&mut ann, &["before"]).await;
    let begun = Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
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
        assert!(begun.elapsed().as_secs() < 60, "{status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}

/// Serves one response per path, and records the requested paths.
async fn answering(answers: &'static [(&str, &str)]) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).await.unwrap_or_default() == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let answer = answers.iter().find(|(known, _)| *known == path);
            let answer = answer.map_or("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", |(_, answer)| {
                answer
            });
            seen.lock().unwrap().push(path);
            let answer = answer.replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, asked)
}

async fn fetch(client: &mut Client, url: &str) {
    let request = FetchRequest::get(url);
    run(client, "fetch", &serde_json::to_string(&request).unwrap(), 0).await;
}

#[tokio::test]
async fn a_job_fetches_from_granted_hosts_only() {
    let (port, asked) = answering(&[
        ("/hello", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
        (
            "/metadata",
            "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "/again",
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n",
        ),
    ])
    .await;
    // A literal address is granted as written; a name that resolves to it isn't.
    let hosts = format!("\"http://127.0.0.1:{port}\", \"http://localhost:{port}\"");
    let (_site, server) = start(&format!("[plugins.fetch]\nhosts = [{hosts}]\n")).await;
    let mut ann = server.sign_in("ann").await;
    let cases = [
        (format!("http://127.0.0.1:{port}/hello"), "200 hello"),
        (format!("http://127.0.0.1:{port}/absent"), "404 "),
        (format!("http://localhost:{port}/hello"), "fetch_private_address false"),
        (format!("http://127.0.0.1:{port}/metadata"), "fetch_not_granted false"),
        (
            format!("http://127.0.0.1:{port}/again"),
            "fetch_too_many_redirects false",
        ),
        ("http://169.254.169.254/latest/".to_owned(), "fetch_not_granted false"),
        ("file:///etc/passwd".to_owned(), "fetch_bad_url false"),
    ];
    let mut wanted = Vec::new();
    for (url, line) in &cases {
        fetch(&mut ann, url).await;
        wanted.push(*line);
        done(&mut ann, &wanted).await;
    }
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked[..3], ["/hello", "/absent", "/metadata"]);
    assert!(asked[3..].iter().all(|path| path == "/again"), "{asked:?}");
    server.stop().await;
}

#[tokio::test]
async fn an_operator_can_grant_a_private_address_to_one_plugin() {
    let (port, _asked) = answering(&[("/hello", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")]).await;
    let (_site, server) = start(&format!(
        "[plugins.fetch]\nhosts = [\"GET http://localhost:{port}\"]\nprivate = [\"localhost:{port}\"]\n"
    ))
    .await;
    let mut ann = server.sign_in("ann").await;
    fetch(&mut ann, &format!("http://localhost:{port}/hello")).await;
    done(&mut ann, &["200 hello"]).await;
    let post = FetchRequest::new("POST", format!("http://localhost:{port}/hello"));
    run(&mut ann, "fetch", &serde_json::to_string(&post).unwrap(), 0).await;
    done(&mut ann, &["200 hello", "fetch_not_granted false"]).await;
    server.stop().await;
}
