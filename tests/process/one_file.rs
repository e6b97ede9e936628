//! One executable with the plugins and the page inside, which needs no file and no option.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use courtyard_tests::{Client, binary, free_port, operate, plugin, share_compiled};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(120);

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The shipped configuration, on a free port, with the plugins built for the tests.
fn shipped(port: u16) -> String {
    let text = std::fs::read_to_string(workspace().join("config/courtyard.toml")).unwrap();
    let plugins = plugin("users").parent().unwrap().to_owned();
    let (here, built) = (workspace().display().to_string(), plugins.display().to_string());
    [
        ("127.0.0.1:8080", &*format!("127.0.0.1:{port}")),
        ("\"../target/plugins/", &*format!("\"{built}/")),
        ("\"../web\"", &*format!("\"{here}/web\"")),
        ("\"../client/", &*format!("\"{here}/client/")),
    ]
    .iter()
    .fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text.replace(from, to)
    })
}

/// Creates an executable with the configuration that ships, on this port, in a folder of its own inside `folder`.
pub(crate) async fn bundled(folder: &Path, port: u16) -> PathBuf {
    let config = folder.join("given.toml");
    std::fs::write(&config, shipped(port)).unwrap();
    std::fs::create_dir(folder.join("bin")).unwrap();
    let executable = folder.join("bin/courtyard");
    let mut bundle = Command::new(binary());
    bundle.args(["bundle", "--checksum", "--config"]).arg(&config);
    let made = bundle.arg("--output").arg(&executable).output().await.unwrap();
    assert!(made.status.success(), "{}", errors(&made));
    std::fs::remove_file(config).unwrap();
    executable
}

/// An executable, and an empty folder to run it in.
struct Product {
    executable: PathBuf,
    folder: PathBuf,
    port: u16,
    _keep: TempDir,
}

/// A running server, and its output at the start.
struct Running {
    child: Child,
    said: Vec<String>,
}

impl Product {
    async fn make() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let port = free_port();
        let executable = bundled(keep.path(), port).await;
        let folder = keep.path().join("empty");
        std::fs::create_dir(&folder).unwrap();
        Self {
            executable,
            folder: folder.canonicalize().unwrap(),
            port,
            _keep: keep,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(arguments).current_dir(&self.folder).kill_on_drop(true);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    async fn output(&self, arguments: &[&str]) -> Output {
        timeout(PATIENCE, self.command(arguments).output())
            .await
            .unwrap()
            .unwrap()
    }

    async fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self.command(arguments).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = tokio::spawn(async move {
            let mut log = String::new();
            let _ = stderr.read_to_string(&mut log).await;
            log
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        while said.len() < 3 {
            match timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap() {
                Some(line) => said.push(line),
                None => panic!("the server ended\n{}", log.await.unwrap()),
            }
        }
        Running { child, said }
    }

    /// Requests a file of the page.
    async fn get(&self, path: &str) -> (u16, String) {
        let answer = operate(&format!("127.0.0.1:{}", self.port), "GET", path, "").await;
        (answer.status, answer.body)
    }

    async fn client(&self, token: Option<&str>) -> Client {
        let mut client = Client::connect(self.port).await;
        let mut hello = json!({"type": "hello", "protocol": 1, "device": "test"});
        if let Some(token) = token {
            hello["token"] = token.into();
        }
        client.send(&hello).await;
        assert_eq!(client.next().await["type"], "welcome");
        client
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", errors(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

async fn call(client: &mut Client, method: &str, params: Value) -> Value {
    let answer = client
        .request(json!({"type": "call", "id": method, "method": method, "params": params}))
        .await;
    assert_eq!(answer["type"], "result", "{method}: {answer}");
    answer["value"].clone()
}

fn source(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap()
}

#[tokio::test]
async fn one_executable_in_an_empty_folder_is_the_whole_product_and_survives_a_kill() {
    let product = Product::make().await;
    let mut running = product.start(&["serve"]).await;
    let (port, data) = (product.port, product.folder.join("data"));
    let said = [
        format!("listening on http://127.0.0.1:{port}"),
        format!("everything is kept in {}", data.display()),
        format!("open http://127.0.0.1:{port}/ in a browser"),
    ];
    assert_eq!(running.said, said);
    assert!(data.join("admin.json").exists());

    assert_eq!(product.get("/").await, (200, source("web/index.html")));
    assert_eq!(
        product.get("/client/courtyard.js").await,
        (200, source("client/js/courtyard.js"))
    );
    assert_eq!(product.get("/client/nothing.js").await.0, 404);

    let list = text(&product.output(&["plugin", "list", "--json"]).await);
    let list: Value = serde_json::from_str(&list).unwrap();
    let states: Vec<(&str, &str)> = list["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| (plugin["id"].as_str().unwrap(), plugin["state"].as_str().unwrap()))
        .collect();
    let configured = shipped(port).matches("\n[[plugins]]\n").count();
    assert!(configured >= 4, "{configured}");
    assert_eq!(states.len(), configured, "{states:?}");
    assert!(states.iter().all(|(_, state)| *state == "running"), "{list}");

    let mut stranger = product.client(None).await;
    let params = json!({"name": "ann", "password": "correct horse"});
    let session = call(&mut stranger, "users.register", params).await;
    let token = session["token"].as_str().unwrap();
    let mut ann = product.client(Some(token)).await;
    let group = call(&mut ann, "groups.create", json!({"name": "Garden"})).await;
    let packs = call(&mut ann, "stickers.packs", json!({})).await;
    assert_eq!(packs["packs"][0]["pack"], "pip", "{packs}");
    let conversation = &group["group"];
    let message = json!({
        "type": "send", "id": "m1", "conversation": conversation, "kind": "text", "content": {"text": "Hello"}
    });
    // The limits of the shipped configuration are tight for a busy machine.
    let sent = async { while ann.request(message.clone()).await["type"] != "ack" {} };
    timeout(PATIENCE, sent).await.unwrap();

    running.child.kill().await.unwrap();
    let mut running = product.start(&["serve"]).await;
    let mut ann = product.client(Some(token)).await;
    let history = json!({"type": "history", "id": "h", "conversation": conversation, "limit": 50});
    let history = ann.request(history).await.to_string();
    assert!(history.contains("\"Hello\""), "{history}");

    let reloaded = text(&product.output(&["plugin", "reload", "users"]).await);
    assert!(reloaded.contains("generation 2"), "{reloaded}");
    running.child.kill().await.unwrap();
}

#[tokio::test]
async fn the_bundled_configuration_works_as_a_file_from_any_folder() {
    let product = Product::make().await;
    let printed = text(&product.output(&["serve", "--print-config"]).await);
    let given = shipped(product.port);
    assert_eq!(printed.lines().count(), given.lines().count());
    let changed: Vec<&str> = printed
        .lines()
        .zip(given.lines())
        .filter_map(|(printed, given)| (printed != given).then_some(printed))
        .collect();
    let (paths, rest): (Vec<&str>, Vec<&str>) = changed.iter().partition(|line| line.contains("\"bundled:"));
    assert_eq!(rest, ["data = \"data\""]);
    assert!(paths.contains(&"path = \"bundled:plugins/users.wasm\""), "{paths:?}");
    assert!(paths.contains(&"folder = \"bundled:static/web\""), "{paths:?}");

    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("mine.toml");
    std::fs::write(&file, &printed).unwrap();
    let file = file.to_str().unwrap();
    text(&product.output(&["check-config", file]).await);
    share_compiled(&elsewhere.path().join("data"));
    let mut running = product.start(&["serve", "--config", file]).await;
    assert_eq!(product.get("/").await, (200, source("web/index.html")));
    assert!(elsewhere.path().join("data/admin.json").exists());
    assert!(
        !product.folder.join("data").exists(),
        "paths count from the folder of the file"
    );

    running.child.kill().await.unwrap();

    std::fs::write(
        file,
        printed.replace("bundled:plugins/users.wasm", "bundled:plugins/user.wasm"),
    )
    .unwrap();
    let shown = errors(&product.output(&["check-config", file]).await);
    let line = 1 + printed.lines().position(|line| line.contains("users.wasm")).unwrap();
    for part in [
        &*format!("mine.toml:{line}:8"),
        "the bundle in this executable does not have \"plugins/user.wasm\"",
        "did you mean `bundled:plugins/users.wasm`?",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }

    let manifest = text(
        &product
            .output(&["plugin", "inspect", "bundled:plugins/users.wasm"])
            .await,
    );
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["id"], "users");
    let sum = std::fs::read_to_string(product.executable.with_extension("sha256")).unwrap();
    assert!(sum.ends_with("  courtyard\n") && sum.len() == 64 + 12, "{sum}");
}

#[tokio::test]
async fn an_empty_executable_explains_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["serve"][..], &["serve", "--print-config"]] {
        let mut serve = Command::new(binary());
        let refused = serve.args(arguments).current_dir(folder.path()).output().await.unwrap();
        let shown = errors(&refused);
        assert!(!refused.status.success());
        assert_eq!(shown.lines().count(), 1, "{shown}");
        assert!(
            shown.contains("--config FILE") && shown.contains("cargo xtask dist"),
            "{shown}"
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}
