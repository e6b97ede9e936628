//! Misbehaving plugins: each ends in a clear error, the server continues, and nothing is lost.

use courtyard_tests::{Client, Site, plugin, replaced};
use serde_json::{Value, json};

/// Configures the hostile plugin.
fn hostile(grant: &str, more: &str) -> String {
    let path = plugin("hostile");
    format!(
        "[[plugins]]\nid = \"hostile\"\npath = \"{}\"\ngrant = [{grant}]\n{more}",
        path.display()
    )
}

async fn answer(client: &mut Client, id: &str, text: &str) -> Value {
    client.text(id, text).await;
    loop {
        let answer = client.next().await;
        if answer["id"] == id {
            return answer;
        }
    }
}

#[tokio::test]
async fn a_failing_guard_rejects_the_message_alone() {
    let limits = "[plugins.limits]\nhook_ms = 2000\nstrikes = 100\nmemory_bytes = 8388608\n";
    let site = Site::new(&hostile("\"kv\"", limits));
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for (number, deed) in ["loop", "trap", "memory", "recurse", "storm", "garbage", "kind", "huge"]
        .iter()
        .enumerate()
    {
        let refused = answer(&mut ann, &format!("bad{number}"), &format!("do:{deed}")).await;
        assert_eq!(
            (&refused["code"], &refused["retry"]),
            (&json!("internal"), &json!(true)),
            "{deed}: {refused}"
        );
        let good = answer(&mut ann, &format!("good{number}"), "Hello").await;
        assert_eq!(good["seq"], number + 1, "after {deed}: {good}");
    }
    let log = server.stop().await;
    for reason in [
        "it ran longer than 2000 ms",
        "it trapped",
        "limit of memory",
        "limit of host calls",
        "broke the contract",
    ] {
        assert!(log.contains(reason), "{reason:?} is not in\n{log}");
    }
}

#[tokio::test]
async fn a_guard_rejects_and_replaces() {
    let site = Site::new(&hostile("\"kv\"", ""));
    let server = site.start().await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let refused = answer(&mut ann, "m1", "do:reject").await;
    assert_eq!(
        (&refused["code"], &refused["message"]),
        (&json!("hostile.because"), &json!("Rejected on request."))
    );
    let acked = answer(&mut ann, "m2", "do:replace").await;
    assert_eq!(
        (&acked["seq"], &acked["content"]["text"]),
        (&json!(1), &json!("replaced"))
    );
    assert_eq!(bob.next().await["event"]["content"]["text"], "replaced");
    assert_eq!(answer(&mut ann, "m2", "do:replace").await, acked);
    server.stop().await;
}

#[tokio::test]
async fn log_output_of_plugins_is_limited_and_cannot_forge_lines() {
    let site = Site::new(&hostile("\"kv\"", "[plugins.limits]\nlog_lines_per_s = 10\n"));
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    assert_eq!(answer(&mut ann, "m1", "do:flood").await["seq"], 1);
    let log = server.stop().await;
    let lines = log.lines().filter(|line| line.contains("and a forged one")).count();
    assert!((10..=20).contains(&lines), "{lines} lines");
    assert!(
        log.lines().all(|line| !line.starts_with("and a forged")),
        "a line was forged"
    );
}

#[tokio::test]
async fn a_quarantined_guard_stays_closed() {
    let site = Site::new(&hostile(
        "\"kv\"",
        "[plugins.limits]\nstrikes = 2\nquarantine_ms = 600000\nmax_quarantine_ms = 600000\n",
    ));
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for id in ["m1", "m2"] {
        assert_eq!(answer(&mut ann, id, "do:trap").await["code"], "internal");
    }
    let refused = answer(&mut ann, "m3", "Hello").await;
    assert_eq!(
        (&refused["code"], &refused["retry"]),
        (&json!("unavailable"), &json!(true))
    );
    assert!(server.stop().await.contains("quarantined"));
}

#[tokio::test]
async fn failures_caused_by_one_actor_do_not_quarantine_a_plugin_for_others() {
    let limits = "[plugins.limits]\nstrikes = 2\nquarantine_ms = 600000\nmax_quarantine_ms = 600000\n";
    let site = Site::new(&hostile("\"kv\"", limits));
    let server = site.start().await;
    let act = |deed: &str| json!({"type": "call", "id": deed, "method": "hostile.act", "params": {"deed": deed}});
    let (mut mallory, mut stranger) = (server.connect().await, server.connect().await);
    for client in [&mut mallory, &mut stranger] {
        client.send(&json!({"type": "hello", "protocol": 1})).await;
        assert_eq!(client.next().await["type"], "welcome");
    }
    for _ in 0..2 {
        assert_eq!(mallory.request(act("trap")).await["code"], "internal");
    }
    assert_eq!(mallory.request(act("nothing")).await["code"], "unavailable");
    assert_eq!(stranger.request(act("nothing")).await["value"]["done"], true);
    let mut ann = server.sign_in("ann").await;
    assert_eq!(answer(&mut ann, "m1", "Hello").await["seq"], 1);
    server.stop().await;
}

#[tokio::test]
async fn a_failing_method_writes_nothing() {
    let site = Site::new(&hostile("\"kv\"", "[plugins.limits]\nmethod_ms = 2000\n"));
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    let act = |deed: &str| json!({"type": "call", "id": deed, "method": "hostile.act", "params": {"deed": deed}});
    assert_eq!(ann.request(act("nothing")).await["value"]["done"], true);
    for deed in ["trap", "loop"] {
        assert_eq!(ann.request(act(deed)).await["code"], "internal");
        let last = ann
            .request(json!({"type": "call", "id": "l", "method": "hostile.last", "params": {"deed": ""}}))
            .await;
        assert_eq!(last["value"]["deed"], "nothing", "after {deed}");
    }
    let wrong = json!({"type": "call", "id": "w", "method": "hostile.act", "params": {"deed": 5}});
    assert_eq!(ann.request(wrong).await["code"], "hostile.invalid_params");
    server.stop().await;
}

#[tokio::test]
async fn plugins_that_fail_to_load_are_reported_and_their_guards_stay_closed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let good = std::fs::read(plugin("hostile")).unwrap();
    let of_contract = |version: &str| {
        let stamp = |version: &str| format!("\"contract\":\"{version}\"").into_bytes();
        replaced(&good, &stamp("1.0.0"), &stamp(version))
    };
    let of_the_future = replaced(&good, b"\"hook\":\"before_send\"", b"\"hook\":\"before_dawn\"");
    let cases = [
        (file("text.wasm", b"I am no plugin"), "", "invalid_wasm"),
        (file("empty.wasm", b"\0asm\x01\0\0\0"), "", "invalid_manifest"),
        (file("cut.wasm", &good[..good.len() / 2]), "", "invalid_wasm"),
        (
            file("old.wasm", &of_contract("0.9.0")),
            "grant = [\"kv\"]\n",
            "unknown_contract",
        ),
        (
            file("new.wasm", &of_contract("2.0.0")),
            "grant = [\"kv\"]\n",
            "unknown_contract",
        ),
        (
            file("future.wasm", &of_the_future),
            "grant = [\"kv\"]\n",
            "invalid_manifest",
        ),
        (folder.path().join("missing.wasm"), "", "invalid_file"),
        (plugin("hostile"), "", "forbidden"),
        (
            plugin("hostile"),
            "grant = [\"kv\"]\nconfig = { start = \"trap\" }\n",
            "internal",
        ),
        (
            plugin("hostile"),
            "grant = [\"kv\"]\nconfig = { start = \"refuse\" }\n",
            "internal",
        ),
        (
            plugin("hostile"),
            "grant = [\"kv\"]\nconfig = { start = \"loop\" }\nlimits = { start_ms = 100 }\n",
            "internal",
        ),
    ];
    for (path, more, code) in cases {
        let site = Site::new(&format!(
            "[[plugins]]\nid = \"hostile\"\npath = \"{}\"\n{more}",
            path.display()
        ));
        let server = site.start().await;
        let mut ann = server.connect().await;
        ann.send(&json!({"type": "hello", "protocol": 1, "device": "test", "token": "ann"}))
            .await;
        let welcome = ann.next().await;
        // A plugin that can't be read may be the one that knows the token.
        if matches!(code, "invalid_wasm" | "invalid_manifest" | "invalid_file") {
            assert_eq!(welcome["code"], "unavailable", "{code}");
            let log = server.stop().await;
            assert!(log.contains(code), "{code} is not in\n{log}");
            continue;
        }
        assert_eq!(answer(&mut ann, "m1", "Hello").await["code"], "unavailable", "{code}");
        assert_eq!(
            ann.request(json!({"type": "sync", "id": "s"})).await["type"],
            "synced",
            "{code}"
        );
        let log = server.stop().await;
        assert!(log.contains(code), "{code} is not in\n{log}");
    }
}

#[tokio::test]
async fn a_plugin_of_a_later_minor_version_runs_if_the_host_has_what_it_uses() {
    let site = Site::new("[[plugins]]\nid = \"hostile\"\npath = \"later.wasm\"\ngrant = [\"kv\"]\n");
    let built = std::fs::read(plugin("hostile")).unwrap();
    let later = replaced(&built, b"\"contract\":\"1.0.0\"", b"\"contract\":\"1.7.0\"");
    std::fs::write(site.folder.path().join("later.wasm"), later).unwrap();
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    assert_eq!(
        answer(&mut ann, "m1", "do:replace").await["content"]["text"],
        "replaced"
    );
    server.stop().await;
}

#[tokio::test]
async fn plugin_ids_and_method_names_are_unique() {
    // Two plugins with one id would have the same methods.
    let twice = Site::new(&(hostile("\"kv\"", "") + &hostile("\"kv\"", "")));
    let said = twice.start_fails().await;
    assert!(
        said.contains("the plugin \"hostile\" is configured more than once"),
        "{said}"
    );
    // A plugin configured under another id than its own.
    let path = plugin("hostile");
    let other = Site::new(&format!(
        "[[plugins]]\nid = \"users\"\npath = {path:?}\ngrant = [\"kv\"]\n"
    ));
    let server = other.start().await;
    let status = other.operate("GET", "/v1/plugins/users").await.json();
    assert_eq!(status["plugin"]["problem"]["code"], "invalid_plugin_id");
    server.stop().await;
    // A plugin that declares a method twice.
    let site = Site::new("[[plugins]]\nid = \"hostile\"\npath = \"double.wasm\"\ngrant = [\"kv\"]\n");
    let built = std::fs::read(&path).unwrap();
    let double = replaced(&built, b"{\"name\":\"last\"", b"{\"name\":\"act\" ");
    std::fs::write(site.folder.path().join("double.wasm"), double).unwrap();
    let server = site.start().await;
    let status = site.operate("GET", "/v1/plugins/hostile").await.json();
    assert_eq!(status["plugin"]["problem"]["code"], "invalid_manifest");
    server.stop().await;
}

#[tokio::test]
async fn an_operator_can_declare_that_a_plugin_guards_nothing() {
    let more = "[[plugins]]\nid = \"gone\"\npath = \"gone.wasm\"\nwhen_missing = \"skip\"\n";
    let site = Site::new(more);
    let server = site.start().await;
    assert_eq!(answer(&mut server.sign_in("ann").await, "m1", "Hello").await["seq"], 1);
    server.stop().await;
}

#[tokio::test]
async fn writes_over_the_storage_quota_are_rejected() {
    let site = Site::new(&hostile("\"kv\"", "[plugins.limits]\nquota_bytes = 4194304\n"));
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    let act = |deed: &str| json!({"type": "call", "id": deed, "method": "hostile.act", "params": {"deed": deed}});
    // Usage is counted in the background, at most once per second.
    let begun = std::time::Instant::now();
    let (mut hoarded, mut refused) = (0, Value::Null);
    while refused.is_null() {
        let answer = ann.request(act("hoard")).await;
        if answer["type"] == "error" {
            refused = answer;
        } else {
            hoarded += 1;
        }
        assert!(begun.elapsed().as_secs() < 60, "no quota error after {hoarded} MiB");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(hoarded >= 4, "refused after {hoarded} MiB");
    assert_eq!(refused["code"], "hostile.internal");
    assert!(
        refused["message"].as_str().unwrap().contains("the key space is full"),
        "{refused}"
    );
    assert_eq!(ann.request(act("clear")).await["type"], "result");
    while ann.request(act("hoard")).await["type"] == "error" {
        assert!(begun.elapsed().as_secs() < 60, "the freed storage is never counted");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn all_instances_together_stay_within_their_total() {
    // A single instance could use far more.
    let limits = "[plugins.limits]\ntotal_memory_bytes = 8388608\nhook_ms = 5000\nmethod_ms = 5000\nstrikes = 100\n";
    let site = Site::new(&hostile("\"kv\"", limits));
    let server = site.start().await;
    let act = json!({"type": "call", "id": "a", "method": "hostile.act", "params": {"deed": "memory"}});
    let mut hoarders = Vec::new();
    for number in 0..4 {
        let mut client = server.sign_in(&format!("actor{number}")).await;
        let act = act.clone();
        hoarders.push(tokio::spawn(async move { client.request(act).await["code"].clone() }));
    }
    for hoarder in hoarders {
        assert_eq!(hoarder.await.unwrap(), "internal");
    }
    let status = site.operate("GET", "/v1/plugins/hostile").await.json()["plugin"].clone();
    let methods = status["hooks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|hook| hook["hook"] == "method")
        .unwrap();
    assert_eq!(methods["failures"], json!([["limit", 4]]));
    assert!(
        status["usage"]["memory_bytes"].as_u64().unwrap() <= 8_388_608,
        "{status}"
    );
    let mut ann = server.sign_in("ann").await;
    assert_eq!(answer(&mut ann, "m1", "Hello").await["seq"], 1);
    server.stop().await;
}

#[tokio::test]
async fn a_damaged_compile_cache_is_rebuilt() {
    let site = Site::new(&hostile("\"kv\"", ""));
    let folder = site.folder.path().join("data/compiled");
    // Other tests share the undamaged cache.
    std::fs::remove_file(&folder).unwrap();
    site.start().await.stop().await;
    for kind in ["cwasm", "crc32"] {
        let is_wanted = |path: &std::path::PathBuf| path.extension().is_some_and(|found| found == kind);
        let paths = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let file = paths.into_iter().find(is_wanted).unwrap();
        let whole = std::fs::read(&file).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damaged in [&flipped[..], &whole[..whole.len() / 2], b""] {
            std::fs::write(&file, damaged).unwrap();
            let server = site.start().await;
            let id = format!("{kind}-{}", damaged.len());
            let mut ann = server.sign_in("ann").await;
            assert_eq!(answer(&mut ann, &id, "Hello").await["type"], "ack");
            server.stop().await;
            assert_eq!(std::fs::read(&file).unwrap().len(), whole.len());
        }
    }
}
