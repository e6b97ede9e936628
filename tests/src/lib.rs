//! Helpers of the end-to-end tests: the real binary in a temporary folder, and a client that sees every frame.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "for tests only; a broken premise is to end the test"
)]

pub mod accounts;
pub mod certificate;
pub mod line;
pub mod pause;
pub mod tus;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};
use yawc::{Frame, MaybeTlsStream, OpCode, WebSocket};

/// Upper bound of every response; tests never wait for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// The two people of the development settings, and their conversation.
pub const CONVERSATION: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

fn built(variable: &str, otherwise: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = std::env::var_os(variable).map_or_else(|| workspace.join(otherwise), PathBuf::from);
    assert!(
        path.exists(),
        "{} is missing; `cargo xtask test` builds it",
        path.display()
    );
    path
}

/// Returns a free port that stays free between restarts of a server: it isn't in the range that the system assigns to connections
/// and to listeners on port 0, and other processes start their search elsewhere.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 22_000;
    static ASKED: AtomicU32 = AtomicU32::new(0);
    loop {
        let nth = std::process::id() * 11 + ASKED.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + nth % PORTS).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Replaces every occurrence: texts of the manifest are in a plugin's data as well as in its custom section.
pub fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut changed = bytes.to_vec();
    let places = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from));
    places.for_each(|at| changed[at..at + to.len()].copy_from_slice(to));
    changed
}

/// Adds deadlines to the plugins of a configuration that set none: the defaults are for optimised hosts on idle machines.
fn with_generous_deadlines(configuration: &str) -> String {
    const PLUGIN: &str = "[[plugins]]";
    const LIMITS: &str = "[plugins.limits]\n";
    let mut sections = configuration.split(PLUGIN);
    let mut text = sections.next().unwrap_or_default().to_owned();
    for section in sections {
        text += PLUGIN;
        let deadlines: String = [("hook_ms", 10_000), ("start_ms", 30_000), ("method_ms", 30_000)]
            .into_iter()
            .filter(|(key, _)| !section.contains(key))
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        if section.contains("limits = {") {
            text += section;
        } else if let Some((before, after)) = section.split_once(LIMITS) {
            text += &format!("{before}{LIMITS}{deadlines}{after}");
        } else {
            text += &format!("{section}\n{LIMITS}{deadlines}");
        }
    }
    text
}

/// Fails if a file or folder of tests in `folder` isn't a module of its `main.rs`.
pub fn assert_no_forgotten_file(folder: &Path, main: &str) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap();
        let holds_tests = path.extension().is_some_and(|extension| extension == "rs") || path.join("mod.rs").exists();
        let compiled = module == "main" || main.lines().any(|line| line == format!("mod {module};"));
        assert!(!holds_tests || compiled, "{} is no module of main.rs", path.display());
    }
}

/// Returns true in a long run: `cargo xtask test --long`.
pub fn long() -> bool {
    std::env::var_os("COURTYARD_LONG").is_some()
}

pub fn binary() -> PathBuf {
    built("COURTYARD_BIN", "target/debug/courtyard")
}

pub fn plugin(name: &str) -> PathBuf {
    built("COURTYARD_PLUGINS", "target/plugins").join(format!("{name}.wasm"))
}

/// Creates a data folder whose compiled code is shared by all tests: compiling a plugin takes longer than most tests.
pub fn share_compiled(data: &Path) {
    let shared = std::path::absolute(binary().with_file_name("compiled")).unwrap();
    std::fs::create_dir_all(&shared).unwrap();
    std::fs::create_dir(data).unwrap();
    std::os::unix::fs::symlink(shared, data.join("compiled")).unwrap();
}

/// A server's folder and configuration; the process can be restarted.
pub struct Site {
    pub folder: TempDir,
    pub port: u16,
}

/// A running server.
pub struct Server {
    pub child: Child,
    pub port: u16,
    errors: tokio::task::JoinHandle<String>,
}

impl Site {
    /// Creates a folder with a configuration: a listener on a free port, `ann` and `bob` with a conversation, and `more`.
    pub fn new(more: &str) -> Self {
        let development = format!(
            "[development]\ntrust_tokens = true\nconversations = [{{ id = \"{CONVERSATION}\", kind = \"direct\", \
             members = [\"ann\", \"bob\"] }}]\n"
        );
        Self::bare(&format!("{development}{more}"))
    }

    /// Creates a folder with a configuration: a listener on a free port, and `more`.
    pub fn bare(more: &str) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        share_compiled(&folder.path().join("data"));
        let more = with_generous_deadlines(more);
        let text = format!("data = \"data\"\n[[listen]]\naddress = \"127.0.0.1:{port}\"\n{more}");
        std::fs::write(folder.path().join("courtyard.toml"), text).unwrap();
        Self { folder, port }
    }

    pub async fn start(&self) -> Server {
        let mut child = Command::new(binary())
            .args(["serve", "--config"])
            .arg(self.folder.path().join("courtyard.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let errors = tokio::spawn(async move {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text).await;
            text
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
        let address = line.as_deref().and_then(|line| line.split_once("://"));
        assert_eq!(
            address.map(|(_, address)| address),
            Some(&*format!("127.0.0.1:{}", self.port)),
            "{line:?}"
        );
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Server {
            child,
            port: self.port,
            errors,
        }
    }

    /// Runs a server that must not start, and returns its output.
    pub async fn start_fails(&self) -> String {
        let output = Command::new(binary())
            .args(["serve", "--config"])
            .arg(self.folder.path().join("courtyard.toml"))
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE, output).await.unwrap().unwrap();
        assert!(!output.status.success(), "the server started");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// A response to an operator: the status and the body.
pub struct Answered {
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    pub body: String,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Returns the error code.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Site {
    /// Replaces a part of the configuration.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let file = self.folder.path().join("courtyard.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        std::fs::write(file, text.replace(from, to)).unwrap();
    }

    /// Sends a request to the running server as an operator.
    pub async fn operate(&self, method: &str, path: &str) -> Answered {
        let access = std::fs::read_to_string(self.folder.path().join("data/admin.json")).unwrap();
        let access: Value = serde_json::from_str(&access).unwrap();
        let token = access["token"].as_str().unwrap();
        let header = format!("authorization: Bearer {token}\r\n");
        operate(access["address"].as_str().unwrap(), method, path, &header).await
    }

    /// Runs `courtyard plugin` for this server. Returns its output, or its errors.
    pub async fn plugin(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(binary())
            .arg("plugin")
            .args(arguments)
            .arg("--config")
            .arg(self.folder.path().join("courtyard.toml"))
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE, output).await.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }
}

/// Sends one request with this header to an admin interface.
pub async fn operate(address: &str, method: &str, path: &str, header: &str) -> Answered {
    use tokio::io::AsyncWriteExt;
    let asked = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A header may be followed by a body.
        let end = if header.contains("\r\n\r\n") { "" } else { "\r\n" };
        let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{header}{end}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answered {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    };
    timeout(PATIENCE, asked).await.unwrap()
}

impl Server {
    pub async fn kill(mut self) -> String {
        self.child.kill().await.unwrap();
        self.errors.await.unwrap()
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Makes the server reload its certificates.
    pub async fn reload(&self) {
        self.signal("-HUP").await;
    }

    /// Stops the server with SIGTERM, waits for its end, and returns its log.
    pub async fn stop(mut self) -> String {
        self.signal("-TERM").await;
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
        self.errors.await.unwrap()
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.port).await
    }

    /// Opens a session of an actor with a trusted token.
    pub async fn sign_in(&self, actor: &str) -> Client {
        let mut client = self.connect().await;
        client
            .send(&json!({"type": "hello", "protocol": 1, "device": "test", "token": actor}))
            .await;
        assert_eq!(client.next().await["type"], "welcome");
        client
    }
}

/// Result of waiting on a connection.
pub enum Heard {
    Frame(Value),
    Nothing,
    End,
}

/// One WebSocket, frame by frame.
pub struct Client {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub async fn connect(port: u16) -> Self {
        let url = format!("ws://127.0.0.1:{port}/v1/ws").parse().unwrap();
        Self {
            socket: timeout(PATIENCE, WebSocket::connect(url)).await.unwrap().unwrap(),
        }
    }

    pub async fn send(&mut self, frame: &Value) {
        self.send_raw(Frame::text(frame.to_string())).await;
    }

    pub async fn send_raw(&mut self, frame: Frame) {
        timeout(PATIENCE, self.socket.send(frame)).await.unwrap().unwrap();
    }

    /// Sends a text in the conversation of the development settings.
    pub async fn text(&mut self, id: &str, text: &str) {
        self.send(&json!({
            "type": "send", "id": id, "conversation": CONVERSATION, "kind": "text", "content": {"text": text}
        }))
        .await;
    }

    /// Returns the next frame of the server.
    pub async fn next(&mut self) -> Value {
        loop {
            let frame = timeout(PATIENCE, self.socket.next_frame()).await.unwrap().unwrap();
            match frame.opcode() {
                OpCode::Text => return serde_json::from_str(frame.as_str()).unwrap(),
                OpCode::Ping | OpCode::Pong => {}
                other => panic!("{other:?} instead of a frame, code {:?}", frame.close_code()),
            }
        }
    }

    /// Returns the next frame, or none when the connection ends.
    pub async fn try_next(&mut self) -> Option<Value> {
        loop {
            let frame = timeout(PATIENCE, self.socket.next_frame()).await.unwrap().ok()?;
            match frame.opcode() {
                OpCode::Text => return serde_json::from_str(frame.as_str()).ok(),
                OpCode::Close => return None,
                _ => {}
            }
        }
    }

    /// Connects; none if nothing listens.
    pub async fn try_connect(port: u16) -> Option<Self> {
        let url = format!("ws://127.0.0.1:{port}/v1/ws").parse().unwrap();
        let socket = timeout(PATIENCE, WebSocket::connect(url)).await.ok()?.ok()?;
        Some(Self { socket })
    }

    /// Sends a frame. Returns false if the connection has ended, or accepts no bytes.
    pub async fn try_send(&mut self, frame: &Value) -> bool {
        let sent = self.socket.send(Frame::text(frame.to_string()));
        matches!(timeout(PATIENCE, sent).await, Ok(Ok(())))
    }

    /// Waits for the next frame until a time. Cancel safe: dropping it loses no frame.
    pub async fn next_until(&mut self, until: Instant) -> Heard {
        loop {
            let frame = match timeout_at(until, self.socket.next_frame()).await {
                Err(_) => return Heard::Nothing,
                Ok(Err(_)) => return Heard::End,
                Ok(Ok(frame)) => frame,
            };
            match frame.opcode() {
                OpCode::Text => return Heard::Frame(serde_json::from_str(frame.as_str()).unwrap()),
                OpCode::Close => return Heard::End,
                _ => {}
            }
        }
    }

    /// Sends a request and returns its response, skipping events.
    pub async fn request(&mut self, frame: Value) -> Value {
        self.send(&frame).await;
        loop {
            let answer = self.next().await;
            if answer["id"] == frame["id"] {
                return answer;
            }
        }
    }

    /// Waits for the close frame and returns its code.
    pub async fn closed(&mut self) -> u16 {
        loop {
            let frame = timeout(PATIENCE, self.socket.next_frame()).await.unwrap().unwrap();
            if frame.opcode() == OpCode::Close {
                return frame.close_code().unwrap().into();
            }
        }
    }
}
