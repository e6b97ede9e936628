//! A plugin that fails in each of its hooks in turn: every hook fails according to its class, and the host continues.

use std::time::{Duration, Instant};

use courtyard_tests::{CONVERSATION, Server, Site, operate, plugin};
use serde_json::{Value, json};

const CLERK: &str = "\"kv\", \"conversations\", \"memberships\", \"sessions\", \"methods\", \"timers\", \"annotations\", \"events\", \"secrets\"";

/// The code that a client gets on the path of each hook when it fails; none if the client gets no error.
const TABLE: [(&str, Option<&str>); 21] = [
    ("authenticate", Some("internal")),
    ("before_send", Some("internal")),
    ("after_send", None),
    ("render", None),
    ("connected", None),
    ("disconnected", None),
    ("before_act", Some("internal")),
    ("after_act", None),
    ("before_change", Some("clerk.internal")),
    ("after_change", None),
    ("push", None),
    ("event", None),
    ("http", Some("internal")),
    ("before_upload", Some("internal")),
    ("complete_upload", Some("internal")),
    ("before_download", Some("internal")),
    ("before_remove", Some("internal")),
    ("timer", None),
    ("action", None),
    ("transaction", None),
    ("method", Some("internal")),
];

fn configure(id: &str, more: &str) -> String {
    let path = plugin(id);
    format!("[[plugins]]\nid = \"{id}\"\npath = {path:?}\n{more}\n")
}

async fn start(hook: &str, deed: &str) -> (Site, Server) {
    // Only a loop has to reach its deadline.
    let deadline_ms = if deed == "loop" { 400 } else { 10_000 };
    let brute = format!(
        "grant = [\"kv\", \"events\", \"timers\", \"jobs\", \"http\", \"blobs\"]\nconfig = {{ hook = \"{hook}\", deed = \"{deed}\" }}\n\
         limits = {{ hook_ms = {deadline_ms}, method_ms = {deadline_ms}, action_ms = {deadline_ms}, strikes = 1000 }}"
    );
    let clerk = format!("grant = [{CLERK}]");
    let site = Site::new(&format!("{}{}", configure("clerk", &clerk), configure("brute", &brute)));
    let server = site.start().await;
    (site, server)
}

/// Takes the path on which a hook fires. Returns the code of the rejection, if any.
async fn walk(hook: &str, server: &Server) -> Option<String> {
    let mut ann = server.connect().await;
    let hello = json!({"type": "hello", "protocol": 1, "device": "test", "token": "ann"});
    ann.send(&hello).await;
    let welcome = ann.next().await;
    if hook == "authenticate" {
        return welcome["code"].as_str().map(str::to_owned);
    }
    assert_eq!(welcome["type"], "welcome", "{hook}");
    if hook == "http" {
        let address = format!("127.0.0.1:{}", server.port);
        return Some(operate(&address, "GET", "/v1/plugins/brute/", "").await.code());
    }
    if hook.ends_with("load") || hook == "before_remove" {
        let address = format!("127.0.0.1:{}", server.port);
        // An empty upload starts and completes at once.
        let token = "authorization: Bearer ann\r\n";
        let upload = format!("{token}tus-resumable: 1.0.0\r\nupload-length: 0\r\n");
        let begun = operate(&address, "POST", "/v1/blobs/brute", &upload).await;
        if begun.status != 201 {
            return Some(begun.code());
        }
        let path = begun
            .head
            .lines()
            .find_map(|line| line.strip_prefix("location: "))
            .unwrap();
        let method = if hook == "before_remove" { "DELETE" } else { "GET" };
        return Some(operate(&address, method, path, token).await.code());
    }
    let call = |method: &str, params: Value| json!({"type": "call", "id": "c", "method": method, "params": params});
    let send = json!({
        "type": "send", "id": "m1", "conversation": CONVERSATION, "kind": "text", "content": {"text": "Hello"}
    });
    let last = match hook {
        "before_send" | "after_send" | "push" | "connected" | "disconnected" => ann.request(send).await,
        "render" => {
            ann.request(send).await;
            let page = ann
                .request(json!({"type": "history", "id": "h", "conversation": CONVERSATION}))
                .await;
            assert_eq!(
                page["events"][0]["content"]["text"], "Hello",
                "what a viewer sees stays as it was"
            );
            page
        }
        "before_act" | "after_act" => {
            ann.request(send).await;
            let react = json!({
                "type": "react", "id": "r", "conversation": CONVERSATION, "target": 1, "emoji": "👍"
            });
            ann.request(react).await
        }
        "before_change" | "after_change" => {
            let open = json!({"address": "a", "members": ["ann"]});
            ann.request(call("clerk.open", open)).await
        }
        "event" => ann.request(call("clerk.announce", json!({"name": "news"}))).await,
        _ => ann.request(call("brute.say", json!({}))).await,
    };
    last["code"].as_str().map(str::to_owned)
}

/// Waits until a hook has failed with this kind of failure.
async fn failed(site: &Site, hook: &str, kind: &str) {
    let begun = Instant::now();
    loop {
        let status = site.operate("GET", "/v1/plugins/brute").await.json();
        let hooks = status["plugin"]["hooks"].as_array().unwrap().clone();
        let failures = hooks.iter().find(|counted| counted["hook"] == hook);
        let failures = failures.map(|counted| counted["failures"].clone()).unwrap_or_default();
        if failures
            .as_array()
            .is_some_and(|failures| failures.iter().any(|failure| failure[0] == kind))
        {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{hook}: {failures}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn fails_in_every_hook(deed: &str, kind: &str) {
    for (hook, code) in TABLE {
        let (site, server) = start(hook, deed).await;
        assert_eq!(walk(hook, &server).await.as_deref(), code, "{hook}");
        failed(&site, hook, kind).await;
        // Other requests are served in spite of the plugin.
        let health = operate(&format!("127.0.0.1:{}", server.port), "GET", "/health", "").await;
        assert_eq!(health.status, 200, "{hook}");
        let last = site.operate("GET", "/v1/plugins/clerk").await.json();
        assert_eq!(last["plugin"]["state"], "running", "{hook}");
        server.stop().await;
    }
}

#[tokio::test]
async fn an_endless_loop_in_any_hook_ends_at_its_deadline() {
    fails_in_every_hook("loop", "timeout").await;
}

#[tokio::test]
async fn a_trap_in_any_hook_fails_as_its_class_says() {
    fails_in_every_hook("trap", "trap").await;
}

#[tokio::test]
async fn invalid_utf8_from_a_plugin_is_rejected_at_the_boundary() {
    for hook in ["before_send", "before_act", "method", "http"] {
        let (site, server) = start(hook, "garble").await;
        assert_eq!(walk(hook, &server).await.as_deref(), Some("internal"), "{hook}");
        failed(&site, hook, "contract").await;
        server.stop().await;
    }
}
