//! One plugin of every kind: a Wasm file, a native library, a value. All behave the same.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use courtyard::{Config, PluginProblem, PluginSetup, PluginSource, Server};
use courtyard_guest_watcher::Watcher;
use courtyard_plugin_sdk::native;
use courtyard_tests::{CONVERSATION, Client, plugin};
use serde_json::{Value, json};
use tempfile::TempDir;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Wasm,
    /// A component built by another toolchain, with an added manifest.
    JavaScript,
    Library,
    Value,
}

/// Cargo builds it with these tests.
fn library() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let name = format!(
        "{}courtyard_guest_library{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let path = tests.parent().unwrap().join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path
}

async fn start(kind: Kind, more: &str) -> (Server, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = match kind {
        Kind::Wasm => plugin("watcher"),
        Kind::JavaScript => plugin("javascript"),
        Kind::Library | Kind::Value => library(),
    };
    let text = format!(
        "data = \"data\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\nenabled = false\n\
         [development]\ntrust_tokens = true\n\
         conversations = [{{ id = \"{CONVERSATION}\", kind = \"direct\", members = [\"ann\", \"bob\"] }}]\n\
         [[plugins]]\nid = \"watcher\"\npath = {path:?}\n{more}"
    );
    let mut config = Config::parse(&text, "test", folder.path()).unwrap();
    let server = match kind {
        Kind::Wasm | Kind::JavaScript | Kind::Library => Server::start(config).await,
        Kind::Value => {
            let PluginSetup { spec, source } = config.plugins.remove(0);
            assert_eq!(source, PluginSource::File(path));
            let builder = Server::builder(config).plugin(native::of::<Watcher>(), spec);
            builder.start().await
        }
    };
    (server.unwrap(), folder)
}

fn port(server: &Server) -> u16 {
    server.addresses()[0].0.port()
}

async fn sign_in(server: &Server, actor: &str) -> Client {
    let mut client = Client::connect(port(server)).await;
    client
        .send(&json!({"type": "hello", "protocol": 1, "device": "test", "token": actor}))
        .await;
    assert_eq!(client.next().await["type"], "welcome");
    client
}

async fn send(client: &mut Client, id: &str, text: &str) -> Value {
    client
        .request(json!({
            "type": "send", "id": id, "conversation": CONVERSATION, "kind": "text", "content": {"text": text}
        }))
        .await
}

async fn seqs(client: &mut Client, method: &str) -> Value {
    let request = json!({"type": "call", "id": method, "method": format!("watcher.{method}"), "params": {}});
    client.request(request).await["value"]["seqs"].clone()
}

/// Checks all behaviour of the watcher plugin, with its failures.
async fn behaves(kind: Kind) {
    let (server, _folder) = start(
        kind,
        "grant = [\"kv\"]\ntrusted = true\n[plugins.limits]\nstrikes = 100\n",
    )
    .await;
    assert_eq!(problem(&server), None, "{kind:?}");
    let (mut ann, mut bob) = (sign_in(&server, "ann").await, sign_in(&server, "bob").await);

    // A transform replaces messages; its writes before a failure are rolled back, and only it is skipped.
    assert_eq!(
        send(&mut ann, "m1", "teh end").await["content"]["text"],
        "the end",
        "{kind:?}"
    );
    assert_eq!(bob.next().await["event"]["content"]["text"], "the end, bob", "{kind:?}");
    let ack = send(&mut ann, "m2", "trap").await;
    assert_eq!((&ack["seq"], &ack["content"]), (&json!(2), &Value::Null), "{kind:?}");
    assert_eq!(seqs(&mut ann, "trapped").await, json!([]), "{kind:?}");

    // Observers see messages in order; a failing observation becomes a dead letter.
    assert_eq!(send(&mut ann, "m3", "unbearable").await["seq"], 3, "{kind:?}");
    assert_eq!(send(&mut ann, "m4", "Hello").await["seq"], 4, "{kind:?}");
    let begun = Instant::now();
    while seqs(&mut ann, "seen").await != json!([1, 2, 4]) {
        assert!(begun.elapsed() < Duration::from_secs(30), "{kind:?}: not observed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // Rendering fails open.
    assert_eq!(send(&mut ann, "m5", "trap render").await["seq"], 5, "{kind:?}");
    let history = json!({"type": "history", "id": "h", "conversation": CONVERSATION});
    let events = bob.request(history).await["events"].clone();
    assert_eq!(events[4]["content"]["text"], "trap render", "{kind:?}");

    // Methods: typed parameters, and the plugin's own errors.
    let call = |method: &str, params: Value| json!({"type": "call", "id": "c", "method": method, "params": params});
    let wrong = ann.request(call("watcher.seen", json!(5))).await;
    assert_eq!(wrong["code"], "watcher.invalid_params", "{kind:?}");
    let unknown = ann.request(call("watcher.nothing", json!({}))).await;
    assert_eq!(unknown["code"], "unknown_method", "{kind:?}");

    let status = server.plugins().status_of("watcher").unwrap();
    let trapped = status.hooks.iter().find(|hook| hook.hook == "before_send").unwrap();
    assert_eq!(trapped.failures, [("trap", 1)], "{kind:?}");
    server.shut_down().await;
}

fn problem(server: &Server) -> Option<PluginProblem> {
    server.plugins().status_of("watcher").unwrap().problem
}

#[tokio::test]
async fn a_wasm_plugin_behaves() {
    behaves(Kind::Wasm).await;
}

#[tokio::test]
async fn a_plugin_in_javascript_behaves() {
    behaves(Kind::JavaScript).await;
}

#[tokio::test]
async fn a_native_library_behaves() {
    behaves(Kind::Library).await;
}

#[tokio::test]
async fn a_value_behaves() {
    behaves(Kind::Value).await;
}

#[tokio::test]
async fn ungranted_and_untrusted_plugins_do_not_run() {
    for (kind, more, code) in [
        (Kind::Wasm, "", "forbidden"),
        (Kind::JavaScript, "", "forbidden"),
        (Kind::Library, "trusted = true\n", "forbidden"),
        (Kind::Value, "", "forbidden"),
        (Kind::Library, "grant = [\"kv\"]\n", "forbidden"),
    ] {
        let (server, _folder) = start(kind, more).await;
        assert_eq!(
            problem(&server).map(|problem| problem.code).as_deref(),
            Some(code),
            "{kind:?}"
        );
        server.shut_down().await;
    }
}

#[tokio::test]
async fn a_library_without_a_plugin_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.so");
    std::fs::write(&cut, b"\x7fELF, or so it says").unwrap();
    for path in [cut.as_path(), Path::new("/proc/self/exe")] {
        let text = format!(
            "data = \"data\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\nenabled = false\n\
             [[plugins]]\nid = \"watcher\"\npath = {path:?}\ntrusted = true\n"
        );
        let config = Config::parse(&text, "test", folder.path()).unwrap();
        let server = Server::start(config).await.unwrap();
        assert_eq!(
            problem(&server).map(|problem| problem.code).as_deref(),
            Some("invalid_library")
        );
        server.shut_down().await;
    }
}
