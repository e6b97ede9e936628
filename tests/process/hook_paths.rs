//! The hooks that fire on each path of a client, compared with a table: none is missing, and none fires needlessly.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, Instant};

use courtyard_tests::{CONVERSATION, Client, Server, Site, operate, plugin};
use serde_json::{Value, json};

/// A path of a client, and how often each hook fires on it. All plugins together have every hook once, except `before_send`,
/// which the watcher and the users plugin have.
const TABLE: [(Path, &[(&str, u64)]); 30] = [
    (Path::SignIn, &[("authenticate", 1), ("connected", 1)]),
    // An anonymous session that signs in and disconnects.
    (
        Path::Auth,
        &[("authenticate", 1), ("connected", 1), ("disconnected", 1)],
    ),
    // Bob is online, so his copy is rendered; Ann gets an ack instead.
    (Path::Send, &[("before_send", 2), ("after_send", 1), ("render", 1)]),
    (Path::Resend, &[("before_send", 2)]),
    (Path::History, &[("render", 1)]),
    (Path::Sync, &[("render", 1)]),
    (Path::Call, &[("method", 1)]),
    (Path::Timer, &[("method", 1), ("timer", 1)]),
    // Bob's copy of the new content is rendered like the first one.
    (Path::Edit, &[("before_send", 2), ("after_send", 1), ("render", 1)]),
    (Path::React, &[("before_act", 1), ("after_act", 1)]),
    (Path::Unreact, &[("before_act", 1), ("after_act", 1)]),
    // Plugins that filter acts by content kind aren't called.
    (Path::Typing, &[]),
    (Path::Receipt, &[]),
    (Path::Recall, &[("before_act", 1), ("after_act", 1)]),
    (Path::Begin, &[("method", 1), ("before_change", 1), ("after_change", 1)]),
    (Path::Join, &[("method", 2), ("before_change", 1), ("after_change", 1)]),
    // Messages of plugins pass no guard. Ann and Bob see it; Cleo is offline.
    (
        Path::Append,
        &[("method", 2), ("after_send", 1), ("render", 2), ("push", 1)],
    ),
    (Path::Annotate, &[("method", 2)]),
    (Path::Withdraw, &[("method", 2), ("after_act", 1)]),
    (
        Path::Depart,
        &[("method", 2), ("before_change", 1), ("after_change", 1)],
    ),
    (Path::Publish, &[("method", 1), ("event", 1)]),
    (Path::Http, &[("http", 1)]),
    (Path::HttpOfSomebody, &[("authenticate", 1), ("http", 1)]),
    // Each request is authenticated, and so is each counted part.
    (Path::BeginUpload, &[("authenticate", 1), ("before_upload", 1)]),
    (Path::EndUpload, &[("authenticate", 2), ("complete_upload", 1)]),
    (Path::Job, &[("method", 1), ("action", 1), ("transaction", 1)]),
    (Path::Download, &[("authenticate", 1), ("before_download", 1)]),
    (Path::Remove, &[("authenticate", 1), ("before_remove", 1)]),
    (Path::Leave, &[("disconnected", 1)]),
    // The other members are offline by now.
    (
        Path::SendToAbsent,
        &[("before_send", 2), ("after_send", 1), ("push", 1)],
    ),
];

#[derive(Clone, Copy, Debug)]
enum Path {
    SignIn,
    Auth,
    Send,
    Resend,
    History,
    Sync,
    Call,
    Timer,
    Edit,
    React,
    Unreact,
    Typing,
    Receipt,
    Recall,
    Begin,
    Join,
    Append,
    Annotate,
    Withdraw,
    Depart,
    Publish,
    Http,
    HttpOfSomebody,
    BeginUpload,
    EndUpload,
    Job,
    Download,
    Remove,
    Leave,
    SendToAbsent,
}

async fn walk(path: Path, server: &Server, ann: &mut Option<Client>, bob: &mut Client, blob: &mut String) {
    if let Path::SignIn = path {
        *ann = Some(server.sign_in("ann").await);
        return;
    }
    if let Path::Auth = path {
        let mut cleo = server.connect().await;
        cleo.send(&json!({"type": "hello", "protocol": 1})).await;
        assert_eq!(cleo.next().await["type"], "welcome");
        let auth = json!({"type": "auth", "id": "a", "token": "cleo", "device": "test"});
        assert_eq!(cleo.request(auth).await["actor"], "cleo");
        return;
    }
    if let Path::Leave = path {
        *ann = None;
        return;
    }
    if let Path::SendToAbsent = path {
        bob.text("m2", "Are you there?").await;
        while bob.next().await["type"] != "ack" {}
        return;
    }
    let ann = ann.as_mut().unwrap();
    let call = |method: &str, params: Value| json!({"type": "call", "id": "c", "method": method, "params": params});
    match path {
        Path::Send => {
            ann.text("m1", "Hello").await;
            assert_eq!(ann.next().await["type"], "ack");
            assert_eq!(bob.next().await["type"], "event");
        }
        Path::Resend => {
            ann.text("m1", "Hello").await;
            assert_eq!(ann.next().await["type"], "ack");
        }
        Path::History => {
            let history = json!({"type": "history", "id": "h", "conversation": CONVERSATION});
            assert_eq!(ann.request(history).await["type"], "events");
        }
        Path::Sync => {
            let sync = json!({"type": "sync", "id": "s"});
            assert_eq!(ann.request(sync).await["type"], "synced");
        }
        Path::Call => {
            let called = ann.request(call("watcher.trapped", json!({}))).await;
            assert_eq!(called["type"], "result");
        }
        Path::Timer => {
            let remind = json!({"name": "now", "at_ms": 0, "fails_until_ms": 0});
            let called = ann.request(call("clerk.remind", remind)).await;
            assert_eq!(called["type"], "result");
        }
        Path::Edit | Path::React | Path::Unreact | Path::Recall => {
            let name = format!("{path:?}").to_lowercase();
            let act = json!({
                "type": name, "id": name, "conversation": CONVERSATION, "target": 1, "emoji": "👍",
                "content": {"text": "Hello!"},
            });
            assert_eq!(ann.request(act).await["type"], "ack");
            assert_eq!(bob.next().await["type"], "event");
        }
        Path::Typing => {
            ann.send(&json!({"type": "typing", "conversation": CONVERSATION})).await;
            assert_eq!(bob.next().await["type"], "typing");
        }
        Path::Receipt => {
            let receipt = json!({"type": "receipt", "id": "r", "conversation": CONVERSATION, "read": 1});
            assert_eq!(ann.request(receipt).await["type"], "marked");
            assert_eq!(bob.next().await["type"], "receipt");
        }
        Path::Begin => {
            let open = json!({"address": "room", "members": ["ann", "bob"]});
            assert_eq!(ann.request(call("clerk.open", open)).await["type"], "result");
        }
        Path::Join | Path::Append | Path::Annotate | Path::Withdraw | Path::Depart => {
            let open = json!({"address": "room", "members": ["ann"]});
            // It exists already, and this changes nothing.
            let room = ann.request(call("clerk.open", open)).await["value"]["conversation"].clone();
            let (method, params) = match path {
                Path::Join => (
                    "clerk.change",
                    json!({"conversation": room, "join": ["cleo"], "leave": []}),
                ),
                // After the event of Cleo's join.
                Path::Append => (
                    "clerk.note",
                    json!({"conversation": room, "sender": "clerk", "text": "Welcome"}),
                ),
                Path::Annotate => (
                    "clerk.remark",
                    json!({"conversation": room, "seq": 2, "name": "x", "text": "x"}),
                ),
                Path::Withdraw => ("clerk.withdraw", json!({"conversation": room, "seq": 2})),
                _ => (
                    "clerk.change",
                    json!({"conversation": room, "join": [], "leave": ["cleo"]}),
                ),
            };
            assert_eq!(ann.request(call(method, params)).await["type"], "result");
        }
        Path::Publish => {
            let news = json!({"name": "news"});
            assert_eq!(ann.request(call("clerk.announce", news)).await["type"], "result");
        }
        Path::Http | Path::HttpOfSomebody => {
            let address = format!("127.0.0.1:{}", server.port);
            let (token, who) = match path {
                Path::Http => ("", "\"\""),
                _ => ("authorization: Bearer ann\r\n", "\"ann\""),
            };
            let answered = operate(&address, "GET", "/v1/plugins/steward/whoami", token).await;
            assert_eq!((answered.status, &*answered.body), (200, who));
        }
        Path::Job => {
            let id = json!({"id": blob.rsplit('/').next()});
            assert_eq!(ann.request(call("keeper.cut", id)).await["type"], "result");
        }
        Path::BeginUpload | Path::EndUpload | Path::Download | Path::Remove => {
            const SENDER: &str = "authorization: Bearer ann\r\n";
            const TUS: &str = "tus-resumable: 1.0.0\r\n";
            let address = format!("127.0.0.1:{}", server.port);
            let (method, headers, status) = match path {
                Path::BeginUpload => ("POST", format!("{SENDER}{TUS}upload-length: 1\r\n"), 201),
                Path::EndUpload => {
                    let bytes = "content-type: application/offset+octet-stream\r\ncontent-length: 1\r\n";
                    let headers = format!("{SENDER}{TUS}{bytes}upload-offset: 0\r\n\r\n!");
                    ("PATCH", headers, 204)
                }
                Path::Download => ("GET", SENDER.to_owned(), 200),
                _ => ("DELETE", SENDER.to_owned(), 204),
            };
            let answered = operate(&address, method, blob, &headers).await;
            assert_eq!(answered.status, status, "{}", answered.body);
            if let Some(place) = answered.head.lines().find_map(|line| line.strip_prefix("location: ")) {
                place.clone_into(blob);
            }
        }
        Path::SignIn | Path::Auth | Path::Leave | Path::SendToAbsent => {}
    }
}

/// Returns how often each hook has fired, over all plugins.
async fn counts(site: &Site) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let status = site.operate("GET", "/v1/plugins").await.json();
    for plugin in status["plugins"].as_array().unwrap() {
        for hook in plugin["hooks"].as_array().unwrap() {
            let name = hook["hook"].as_str().unwrap().to_owned();
            *counts.entry(name).or_insert(0) += hook["calls"].as_u64().unwrap();
        }
    }
    counts
}

#[tokio::test]
async fn every_path_fires_the_hooks_of_the_table_and_no_others() {
    walk_all(plugin).await;
}

/// The table of hooks in the documentation.
const GUIDE: &str = include_str!("../../docs/reference/contract.md");

#[test]
fn every_documented_hook_fires_on_some_path() {
    let head = "| hook, SDK method |";
    let rows = GUIDE.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let mut hooks = BTreeMap::new();
    for row in rows.take_while(|row| row.starts_with('|')) {
        let cell = row.split('|').nth(1).unwrap();
        for name in cell.split(',') {
            let name = name.trim().trim_matches('`').split('(').next().unwrap();
            let counted = match name {
                // Starting an instance and migrating keys are on no path of a client.
                "start" | "migrate" => continue,
                "methods" => "method",
                "transact" => "transaction",
                name => name,
            };
            let fires = TABLE
                .iter()
                .any(|(_, fires)| fires.iter().any(|(hook, _)| *hook == counted));
            hooks.insert(name, fires);
        }
    }
    assert!(hooks.len() >= 20 && hooks.values().all(|fires| *fires), "{hooks:?}");
}

/// Archived plugins are never rebuilt: a host that runs them supports all of their contract version.
#[tokio::test]
async fn archived_plugins_behave_the_same() {
    walk_all(archived).await;
}

/// Returns a plugin built with the contract 1.0.0.
fn archived(id: &str) -> PathBuf {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("archive/contract-1.0.0");
    folder.join(format!("{id}.wasm"))
}

async fn walk_all(file: impl Fn(&str) -> PathBuf) {
    let configure = |id: &str, grant: &str| {
        let path = file(id);
        format!("[[plugins]]\nid = \"{id}\"\npath = {path:?}\ngrant = [{grant}]\n")
    };
    // The current users plugin has hooks on many of these paths; the archived one has only the two that are counted.
    let users = archived("users");
    let users =
        format!("[[plugins]]\nid = \"users\"\npath = {users:?}\ngrant = [\"kv\", \"conversations\", \"sessions\"]\n");
    let site = Site::new(&format!(
        "{}{}{}",
        users,
        configure(
            "clerk",
            "\"kv\", \"conversations\", \"memberships\", \"sessions\", \"methods\", \"timers\", \"annotations\", \"events\", \"secrets\""
        ),
        configure("watcher", "\"kv\"")
            + &configure("steward", "\"kv\", \"events\", \"http\"")
            + &configure("keeper", "\"kv\", \"jobs\", \"blobs\"")
    ));
    let server = site.start().await;
    let mut bob = server.sign_in("bob").await;
    let (mut ann, mut blob) = (None, "/v1/blobs/keeper".to_owned());
    let begun = Instant::now();
    // Once this is committed, nothing that follows conflicts with it and runs twice.
    let comings = json!({"type": "call", "id": "c", "method": "clerk.comings", "params": {}});
    while bob.request(comings.clone()).await["value"]["names"] == json!([]) {
        assert!(begun.elapsed() < Duration::from_secs(60), "bob was not noticed");
    }
    for (path, fires) in TABLE {
        let mut wanted = counts(&site).await;
        for (hook, times) in fires {
            *wanted.entry((*hook).to_owned()).or_insert(0) += times;
        }
        walk(path, &server, &mut ann, &mut bob, &mut blob).await;
        let begun = Instant::now();
        loop {
            let counted = counts(&site).await;
            if counted == wanted {
                break;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60)
                    && counted.iter().all(|(hook, count)| wanted.get(hook) >= Some(count)),
                "{path:?}: {counted:?} instead of {wanted:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    server.stop().await;
}
