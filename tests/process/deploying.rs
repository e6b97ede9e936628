//! docs/operating/deploying.md: its systemd unit is verified, and its reverse proxies carry a client's session.
//!
//! Each test is skipped, and says so, where its program isn't installed (Debian: systemd, nginx, caddy).

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use courtyard_client::{Client, Event, Options};
use courtyard_tests::certificate::certify;
use courtyard_tests::{CONVERSATION, Site, binary, free_port};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const PAGE: &str = include_str!("../../docs/operating/deploying.md");
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the block of the page that is the text of a file.
fn block(file: &str) -> &'static str {
    let begin = PAGE.find(&format!(" file={file}\n")).unwrap();
    let text = PAGE[begin..].split_once('\n').unwrap().1;
    text.split_once("```").unwrap().0
}

/// Returns where a program is installed.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none() || name == "systemd-analyze",
            "{name} is not installed"
        );
        eprintln!("skipped: {name} is not installed");
    }
    found
}

async fn output(command: &mut Command) -> Output {
    timeout(PATIENCE, command.kill_on_drop(true).output())
        .await
        .unwrap()
        .unwrap()
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in\n{text}");
    text.replace(from, to)
}

/// A server behind a proxy, and how to reach it.
struct Proxied {
    site: Site,
    server: courtyard_tests::Server,
    tls: rustls::ClientConfig,
    port: u16,
}

impl Proxied {
    async fn new() -> Self {
        let origins = PAGE.split_once("[http]\norigins = ").unwrap().1;
        let origins = origins.split_once('\n').unwrap().0;
        // A session without a first frame ends soon, so that the handshake with an origin need not be waited for.
        let site = Site::new(&format!("[http]\norigins = {origins}\n[limits]\nhello_ms = 1000\n"));
        let tls = certify(&site);
        let server = site.start().await;
        Self {
            site,
            server,
            tls,
            port: free_port(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.folder.path().join(name)
    }

    fn server(&self) -> String {
        format!("127.0.0.1:{}", self.server.port)
    }

    /// Waits until the proxy listens.
    async fn listens(&self, proxy: &mut Child) {
        let listening = async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                let ended = proxy.try_wait().unwrap();
                assert!(ended.is_none(), "the proxy ended: {ended:?}");
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, listening).await.unwrap();
    }

    /// Sends a message through the proxy, and begins a session as the page of the configured origin.
    async fn carries_sessions(&self) {
        let options = Options::new(&format!("wss://localhost:{}/v1/ws", self.port));
        let options = options.device("laptop").token("ann").tls(self.tls.clone().into());
        let (client, mut events) = Client::connect(options);
        let synced = async {
            while !matches!(events.next().await, Some(Event::Synced(_))) {}
            client.send(CONVERSATION, "text", json!({"text": "Hello"})).await
        };
        assert_eq!(timeout(PATIENCE, synced).await.unwrap().unwrap().seq, 1);
        client.close();
        assert_eq!(self.handshake("https://chat.example").await, "101");
        assert_eq!(self.handshake("https://other.example").await, "403");
    }

    /// Returns the status of a WebSocket handshake of a page.
    async fn handshake(&self, origin: &str) -> String {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--http1.1", "--max-time", "30", "--output", "/dev/null"]);
        curl.args(["--write-out", "%{http_code}", "--cacert"])
            .arg(self.path("cert.pem"));
        for header in [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            &format!("Origin: {origin}"),
        ] {
            curl.args(["--header", header]);
        }
        curl.args(["--resolve", &format!("localhost:{}:127.0.0.1", self.port)]);
        let answered = output(curl.arg(format!("https://localhost:{}/v1/ws", self.port))).await;
        String::from_utf8(answered.stdout).unwrap()
    }
}

fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn systemd_accepts_the_unit() {
    let Some(analyze) = installed("systemd-analyze") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let executable = std::path::absolute(binary()).unwrap();
    let unit = replaced(
        block("courtyard.service"),
        "/usr/local/bin/courtyard",
        executable.to_str().unwrap(),
    );
    let file = folder.path().join("courtyard.service");
    std::fs::write(&file, unit).unwrap();
    let verified = output(Command::new(analyze).args(["verify", "--man=no"]).arg(&file)).await;
    let errors = String::from_utf8(verified.stderr).unwrap();
    // Other units of the machine may have faults of their own.
    assert!(
        verified.status.success() && !errors.contains("courtyard.service"),
        "{errors}"
    );
}

#[tokio::test]
async fn nginx_carries_sessions() {
    let Some(nginx) = installed("nginx") else { return };
    let proxied = Proxied::new().await;
    let folder = proxied.site.folder.path();
    let server = replaced(block("nginx.conf"), "127.0.0.1:8080", &proxied.server());
    let server = replaced(
        &server,
        "listen 443 ssl;",
        &format!("listen 127.0.0.1:{} ssl;", proxied.port),
    );
    let server = replaced(
        &server,
        "/etc/courtyard/chat.pem",
        &proxied.path("cert.pem").display().to_string(),
    );
    let server = replaced(
        &server,
        "/etc/courtyard/chat.key",
        &proxied.path("key.pem").display().to_string(),
    );
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {};\n", proxied.path(name).display()))
        .collect();
    let pid = proxied.path("nginx.pid");
    let config = format!(
        "daemon off;\nmaster_process off;\npid {};\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{server}}}\n",
        pid.display()
    );
    let file = proxied.path("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let mut nginx = Command::new(nginx);
    let mut proxy = spawn(nginx.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(&file));
    proxied.listens(&mut proxy).await;
    proxied.carries_sessions().await;
}

#[tokio::test]
async fn caddy_carries_sessions() {
    let Some(caddy) = installed("caddy") else { return };
    let proxied = Proxied::new().await;
    // Certificates for public names are Caddy's own affair; here it gets one.
    let address = format!(
        "https://localhost:{} {{\n\ttls {} {}",
        proxied.port,
        proxied.path("cert.pem").display(),
        proxied.path("key.pem").display()
    );
    let site = replaced(block("Caddyfile"), "chat.example {", &address);
    let site = replaced(&site, "127.0.0.1:8080", &proxied.server());
    let file = proxied.path("Caddyfile");
    std::fs::write(
        &file,
        format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}"),
    )
    .unwrap();
    let mut proxy = spawn(
        run_caddy(&caddy, &file, proxied.site.folder.path())
            .arg("--adapter")
            .arg("caddyfile"),
    );
    proxied.listens(&mut proxy).await;
    proxied.carries_sessions().await;
}

/// Returns a command that keeps everything that Caddy stores in a folder.
fn run_caddy(caddy: &Path, file: &Path, folder: &Path) -> Command {
    let mut command = Command::new(caddy);
    command.args(["run", "--config"]).arg(file);
    command
        .env("XDG_DATA_HOME", folder.join("caddy-data"))
        .env("XDG_CONFIG_HOME", folder.join("caddy-config"));
    command
}
