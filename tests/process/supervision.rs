//! Plugins are replaced, rolled back, disabled and removed while the server runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use courtyard_tests::{CONVERSATION, Client, Site, operate, plugin, replaced};
use serde_json::{Value, json};

/// A server whose changeling plugin is a file in its own folder, so that tests can replace it.
struct Stage {
    site: Site,
    file: PathBuf,
}

impl Stage {
    fn new(top: &str, more: &str) -> Self {
        let path = "changeling.wasm";
        let site = Site::new(&format!(
            "[[plugins]]\nid = \"changeling\"\npath = \"{path}\"\ngrant = [\"kv\"]\n{more}"
        ));
        site.reconfigure("data = \"data\"\n", &format!("data = \"data\"\n{top}"));
        let file = site.folder.path().join(path);
        let stage = Self { site, file };
        stage.put_version("0.1.0");
        stage
    }

    /// Replaces the file by another version, atomically.
    fn put_version(&self, version: &str) {
        let built = std::fs::read(plugin("changeling")).unwrap();
        let new = format!("\"version\":\"{version}\"");
        self.put(&replaced(&built, b"\"version\":\"0.1.0\"", new.as_bytes()));
    }

    fn put(&self, bytes: &[u8]) {
        let aside = self.file.with_extension("new");
        std::fs::write(&aside, bytes).unwrap();
        std::fs::rename(aside, &self.file).unwrap();
    }

    async fn post(&self, verb: &str) -> courtyard_tests::Answered {
        self.site
            .operate("POST", &format!("/v1/plugins/changeling/{verb}"))
            .await
    }

    async fn status(&self) -> Value {
        self.site.operate("GET", "/v1/plugins/changeling").await.json()["plugin"].clone()
    }
}

async fn state(client: &mut Client) -> Value {
    let request = json!({"type": "call", "id": "state", "method": "changeling.state", "params": {}});
    client.request(request).await["value"].clone()
}

async fn send(client: &mut Client, id: &str, text: &str) -> Value {
    client
        .request(json!({
            "type": "send", "id": id, "conversation": CONVERSATION, "kind": "text", "content": {"text": text}
        }))
        .await
}

#[tokio::test]
async fn a_new_version_migrates_the_keys_and_can_be_rolled_back() {
    let stage = Stage::new("", "");
    let server = stage.site.start().await;
    let mut ann = server.sign_in("ann").await;
    assert_eq!(send(&mut ann, "m1", "Hello").await["seq"], 1);
    assert_eq!(state(&mut ann).await, json!({"tag": "", "from": "", "passed": 1}));

    stage.put_version("0.1.1");
    let listed = stage.site.plugin(&["reload", "changeling"]).await.unwrap();
    assert!(listed.contains("changeling 0.1.1 is running"), "{listed}");
    assert_eq!(state(&mut ann).await["from"], "0.1.0");
    assert_eq!(send(&mut ann, "m2", "Hello").await["seq"], 2);

    let status = stage.post("rollback").await.json();
    assert_eq!(
        (
            &status["plugin"]["version"],
            &status["plugin"]["previous_version"],
            &status["plugin"]["generation"]
        ),
        (&json!("0.1.0"), &json!("0.1.1"), &json!(3))
    );
    assert_eq!(state(&mut ann).await, json!({"tag": "", "from": "0.1.1", "passed": 2}));
    server.stop().await;
}

#[tokio::test]
async fn a_failed_reload_keeps_the_old_generation_running() {
    let stage = Stage::new("", "config = { tag = \"first\" }\n");
    let server = stage.site.start().await;
    let mut ann = server.sign_in("ann").await;
    assert_eq!(stage.post("rollback").await.code(), "unknown_generation");

    stage.put(b"I am no plugin");
    assert_eq!(stage.post("reload").await.code(), "invalid_wasm");
    stage.put_version("0.1.1");
    stage.site.reconfigure("tag = \"first\"", "tag = 5");
    assert_eq!(stage.post("reload").await.code(), "internal");
    stage.site.reconfigure("tag = 5", "tag = \"second\", refuse = true");
    let refused = stage.post("reload").await;
    assert_eq!((refused.status, &*refused.code()), (409, "invalid_keys"));
    assert!(refused.body.contains("I can't read these."), "{}", refused.body);
    stage
        .site
        .reconfigure("[plugins.limits]\n", "[plugins.limits]\nmemory_bytes = 1000000000\n");
    assert_eq!(stage.post("reload").await.code(), "limit_memory");
    stage.site.reconfigure("memory_bytes = 1000000000\n", "");
    stage.site.reconfigure("grant = [\"kv\"]", "grant = []");
    assert_eq!(stage.post("reload").await.code(), "forbidden");
    stage.site.reconfigure("grant = []", "grand = []");
    let refused = stage.post("reload").await;
    assert_eq!(refused.code(), "invalid_configuration");
    assert!(refused.body.contains("did you mean `grant`?"), "{}", refused.body);

    assert_eq!(state(&mut ann).await["tag"], "first");
    assert_eq!(send(&mut ann, "m1", "Hello").await["seq"], 1);
    let status = stage.status().await;
    assert_eq!(
        (&status["version"], &status["generation"], &status["problem"]["code"]),
        (&json!("0.1.0"), &json!(1), &json!("invalid_configuration"))
    );
    stage.site.reconfigure("grand = []", "grant = [\"kv\"]");
    stage.site.reconfigure(", refuse = true", "");
    assert_eq!(stage.post("reload").await.status, 200);
    assert_eq!(state(&mut ann).await["tag"], "second");
    assert_eq!(stage.status().await["problem"], Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn guards_of_a_disabled_plugin_stay_closed_also_after_a_restart() {
    let stage = Stage::new("", "");
    let server = stage.site.start().await;
    let shown = stage.site.plugin(&["disable", "changeling"]).await.unwrap();
    assert!(shown.contains("is disabled"), "{shown}");
    let mut ann = server.sign_in("ann").await;
    assert_eq!(send(&mut ann, "m1", "Hello").await["code"], "unavailable");
    assert_eq!(stage.post("reload").await.code(), "conflict");
    server.stop().await;

    let server = stage.site.start().await;
    let mut ann = server.sign_in("ann").await;
    assert_eq!(send(&mut ann, "m2", "Hello").await["code"], "unavailable");
    assert_eq!(stage.status().await["state"], "disabled");
    assert_eq!(stage.post("enable").await.json()["plugin"]["state"], "running");
    assert_eq!(send(&mut ann, "m3", "Hello").await["seq"], 1);
    server.stop().await;
}

#[tokio::test]
async fn a_changed_plugin_file_is_reloaded() {
    let stage = Stage::new("watch_ms = 20\n", "");
    let server = stage.site.start().await;
    stage.put_version("0.1.7");
    let begun = Instant::now();
    while stage.status().await["version"] != "0.1.7" {
        assert!(begun.elapsed() < Duration::from_secs(60), "not loaded again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn plugins_follow_the_configuration_and_uninstalling_removes_their_data() {
    let stage = Stage::new("", "");
    let server = stage.site.start().await;
    let mut ann = server.sign_in("ann").await;
    assert_eq!(send(&mut ann, "m1", "Hello").await["seq"], 1);

    stage.site.reconfigure("id = \"changeling\"", "id = \"other\"");
    let listed = stage.site.plugin(&["reload"]).await.unwrap();
    assert!(listed.contains("invalid_plugin_id"), "{listed}");
    assert_eq!(stage.site.operate("GET", "/v1/plugins/changeling").await.status, 404);
    stage.site.reconfigure("id = \"other\"", "id = \"changeling\"");
    assert_eq!(stage.site.operate("POST", "/v1/plugins").await.status, 200);
    assert_eq!(state(&mut ann).await["passed"], 1, "its data was kept");

    let removed = stage.site.plugin(&["uninstall", "changeling", "--remove-data"]).await;
    assert_eq!(removed.unwrap(), "changeling is removed\n");
    let gone = json!({"type": "call", "id": "g", "method": "changeling.state", "params": {}});
    assert_eq!(ann.request(gone).await["code"], "unknown_method");
    assert_eq!(stage.site.operate("POST", "/v1/plugins").await.status, 200);
    assert_eq!(state(&mut ann).await, json!({"tag": "", "from": "", "passed": 0}));
    server.stop().await;
}

#[tokio::test]
async fn operators_need_the_token_and_metrics_count_every_call() {
    let stage = Stage::new("", "[plugins.limits]\nstrikes = 100\n");
    let server = stage.site.start().await;
    let mut ann = server.sign_in("ann").await;
    for (id, text) in [("m1", "Hello"), ("m2", "trap"), ("m3", "forbidden")] {
        send(&mut ann, id, text).await;
    }
    let file = stage.site.folder.path().join("data/admin.json");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let access: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let address = access["address"].as_str().unwrap();
    for header in ["", "authorization: Bearer wrong\r\n", "authorization: Basic YTpi\r\n"] {
        let answered = operate(address, "GET", "/v1/plugins", header).await;
        assert_eq!((answered.status, &*answered.code()), (401, "unauthenticated"));
    }
    assert_eq!(operate(address, "GET", "/health", "").await.status, 200);
    assert_eq!(stage.site.operate("GET", "/v1/nothing").await.code(), "unknown_route");
    assert_eq!(
        stage.site.operate("POST", "/v1/plugins/nobody/reload").await.code(),
        "unknown_plugin"
    );

    let metrics = stage.site.operate("GET", "/metrics").await.body;
    for line in [
        "courtyard_actors_online 1",
        "courtyard_plugin_up{plugin=\"changeling\",version=\"0.1.0\"} 1",
        "courtyard_plugin_calls_total{plugin=\"changeling\",hook=\"before_send\"} 3",
        "courtyard_plugin_failures_total{plugin=\"changeling\",hook=\"before_send\",kind=\"trap\"} 1",
        "courtyard_plugin_call_seconds_count{plugin=\"changeling\",hook=\"before_send\"} 1",
        "courtyard_plugin_generation{plugin=\"changeling\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
    let value = |name: &str| -> f64 {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{metrics}"))
            .parse()
            .unwrap()
    };
    assert!(value("courtyard_sessions") >= 1.0);
    assert!(value("courtyard_frames_received_total") >= 3.0);
    assert!(value("courtyard_frames_sent_total") >= 3.0);
    assert!(value("courtyard_commit_seconds_count") >= 1.0);
    assert!(value("courtyard_commit_transactions_sum") >= 1.0);
    assert!(value("courtyard_store_bytes") > 0.0);
    assert!(value("courtyard_disk_free_bytes") > 0.0);
    server.stop().await;
    let complaint = stage.site.plugin(&["list"]).await.unwrap_err();
    assert!(complaint.contains("no server listens"), "{complaint}");
}

#[tokio::test]
async fn dead_letters_are_listed_replayed_and_discarded() {
    let path = plugin("watcher");
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"watcher\"\npath = \"{}\"\ngrant = [\"kv\"]\n",
        path.display()
    ));
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    assert_eq!(send(&mut ann, "m1", "unbearable").await["seq"], 1);
    let letters = dead_letters(&site, 1).await;
    let message = &letters[0]["message"];
    assert_eq!(
        (&message["sender"], &message["seq"], &message["content"]["text"]),
        (&json!("ann"), &json!(1), &json!("unbearable"))
    );
    assert!(letters[0]["reason"].as_str().unwrap().contains("I can't look at this."));

    assert_eq!(
        site.plugin(&["dead-letters", "watcher", "--replay", "all"])
            .await
            .unwrap(),
        "1 replayed\n"
    );
    let again = dead_letters(&site, 1).await;
    assert_eq!(again[0]["message"], *message, "it failed once more");
    let unknown = site
        .plugin(&["dead-letters", "watcher", "--discard", "00"])
        .await
        .unwrap_err();
    assert!(unknown.contains("unknown_dead_letter"), "{unknown}");
    let id = again[0]["id"].as_str().unwrap();
    assert_eq!(
        site.plugin(&["dead-letters", "watcher", "--discard", id])
            .await
            .unwrap(),
        "1 discarded\n"
    );
    dead_letters(&site, 0).await;
    server.stop().await;
}

/// Waits for this many dead letters of the watcher, and returns them.
async fn dead_letters(site: &Site, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let answered = site.operate("GET", "/v1/plugins/watcher/dead-letters").await.json();
        let letters = answered["dead_letters"].as_array().unwrap().clone();
        if letters.len() == count {
            return letters;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{letters:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends texts with 16 in flight until stopped. Returns the numbers of the acked ones, in order.
async fn write(mut client: Client, stop: tokio::sync::watch::Receiver<bool>) -> Vec<u64> {
    let (mut next, mut seqs, mut trapped) = (0_u64, Vec::new(), 0_u32);
    let mut in_flight = std::collections::HashMap::new();
    while !*stop.borrow() || !in_flight.is_empty() || trapped < 1_000 {
        while in_flight.len() < 16 && (!*stop.borrow() || trapped < 1_000) {
            let text = match next % 5 {
                0 => "trap",
                1 => "forbidden",
                _ => "Hello",
            };
            client.text(&format!("w{next}"), text).await;
            in_flight.insert(format!("w{next}"), text);
            next += 1;
        }
        let answer = client.next().await;
        let Some(text) = in_flight.remove(answer["id"].as_str().unwrap_or_default()) else {
            continue;
        };
        match text {
            "Hello" => {
                assert_eq!(answer["type"], "ack", "{answer}");
                seqs.push(answer["seq"].as_u64().unwrap());
            }
            "forbidden" => assert_eq!(answer["code"], "changeling.forbidden", "a guard let it pass"),
            _ => {
                assert_eq!(answer["code"], "internal", "a guard let it pass");
                trapped += 1;
            }
        }
    }
    seqs
}

#[tokio::test]
async fn two_hundred_reloads_a_thousand_traps_and_twenty_roll_backs_lose_nothing() {
    let stage = Stage::new("", "[plugins.limits]\nstrikes = 1000000\nhook_ms = 5000\n");
    let server = stage.site.start().await;
    let ann = server.sign_in("ann").await;
    let mut bob = server.sign_in("bob").await;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let writer = tokio::spawn(write(ann, stopping));
    let reader = tokio::spawn(async move {
        let mut seqs: Vec<u64> = Vec::new();
        loop {
            let event = bob.next().await["event"].clone();
            if event["content"]["text"] == "end" {
                return seqs;
            }
            seqs.push(event["seq"].as_u64().unwrap());
        }
    });
    for round in 0..200 {
        stage.put_version(if round % 2 == 0 { "0.1.1" } else { "0.1.2" });
        let reloaded = stage.post("reload").await;
        assert_eq!(reloaded.status, 200, "{}", reloaded.body);
        if round % 10 == 9 {
            let rolled_back = stage.post("rollback").await;
            assert_eq!(rolled_back.status, 200, "{}", rolled_back.body);
        }
    }
    stop.send(true).unwrap();
    let acked = writer.await.unwrap();
    let mut ann = server.sign_in("ann").await;
    assert_eq!(
        state(&mut ann).await["passed"],
        acked.len(),
        "the plugin's count and the log differ"
    );
    let end = send(&mut ann, "end", "end").await["seq"].as_u64().unwrap();
    let wanted: Vec<u64> = (1..end).collect();
    assert_eq!(acked, wanted, "acked in order, without a gap");
    assert_eq!(reader.await.unwrap(), wanted, "delivered in order, once");
    assert_eq!(stage.status().await["generation"], 221);
    server.stop().await;
}
