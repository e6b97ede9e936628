//! Pages with instructions: every file is written and every command run, as a reader would.
//!
//! Blocks of a page are marked by their first line: `file=NAME` writes a file, `append=NAME` extends one, `console` runs
//! the lines behind `$` and compares the lines below with the output, `text` is what the server prints at its start, `json`
//! is sent frame by frame with the last one as the answer. `sh` is not run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use courtyard_tests::{Client, binary, free_port, share_compiled};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const PLUGINS: &str = include_str!("../../docs/guides/plugins.md");
const START: &str = include_str!("../../docs/start.md");

/// One instruction of a page.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Write { file: &'a str, text: &'a str },
    Append { file: &'a str, text: &'a str },
    Run { line: &'a str, output: Vec<&'a str> },
    Printed(Vec<&'a str>),
    Exchange(Vec<&'a str>),
}

/// Returns the steps of a part of a page, in order.
fn steps(part: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = part;
    while let Some((_, block)) = rest.split_once("\n```") {
        let (head, block) = block.split_once('\n').unwrap();
        let (text, after) = block.split_once("```").unwrap();
        rest = after;
        match (head.split_once(" file="), head.split_once(" append=")) {
            (Some((_, file)), _) => steps.push(Step::Write { file, text }),
            (_, Some((_, file))) => steps.push(Step::Append { file, text }),
            _ => match head {
                "console" => steps.extend(runs(text)),
                "text" => steps.push(Step::Printed(text.lines().collect())),
                "json" => steps.push(Step::Exchange(text.lines().collect())),
                "sh" => {}
                _ => panic!("unknown kind of block: {head:?}"),
            },
        }
    }
    steps
}

/// Returns the commands of a block, each with the output that stands below it.
fn runs(text: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for text in text.lines() {
        match (text.strip_prefix("$ "), steps.last_mut()) {
            (Some(line), _) => steps.push(Step::Run {
                line,
                output: Vec::new(),
            }),
            (None, Some(Step::Run { output, .. })) => output.push(text),
            (None, _) => panic!("output without a command: {text}"),
        }
    }
    steps
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The reader's current folder, executable and server.
struct Reader {
    folder: PathBuf,
    executable: PathBuf,
    /// The port that replaces the 8080 of the page, which may be in use.
    port: Option<u16>,
    server: Option<(Child, u16)>,
    /// Lines that the server printed at its start.
    printed: Vec<String>,
}

impl Reader {
    fn new(folder: &Path, executable: PathBuf, port: Option<u16>) -> Self {
        Self {
            folder: folder.to_owned(),
            executable,
            port,
            server: None,
            printed: Vec::new(),
        }
    }

    /// Returns a text of the page with the port of this run.
    fn adapted(&self, text: &str) -> String {
        match self.port {
            Some(port) => text.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}")),
            None => text.to_owned(),
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut words = line.split(' ');
        let program = words.next().unwrap();
        let for_wasm = line.contains("--target wasm32");
        // The cargo that `cargo xtask test` found for plugins, if that is not the one that runs this test.
        let other = std::env::var("COURTYARD_WASM_CARGO").ok().filter(|_| for_wasm);
        let mut command = match (program, other) {
            ("cargo", Some(other)) => Command::new(other),
            ("cargo", None) => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            ("courtyard" | "curl" | "mkdir" | "node", _) => Command::new("sh"),
            _ => panic!("the page uses {program:?}, which a reader may not have"),
        };
        if program == "cargo" {
            command.args(words);
        } else {
            // As in the reader's shell, in which `courtyard` is the executable of this test.
            let line = format!("courtyard() {{ {:?} \"$@\"; }}\n{line}", self.executable);
            command.arg("-c").arg(line);
        }
        command
            .current_dir(&self.folder)
            .kill_on_drop(true)
            .stdin(Stdio::null());
        if for_wasm {
            for variable in std::env::var("COURTYARD_WASM_ENVIRONMENT").unwrap_or_default().lines() {
                let (name, value) = variable.split_once('=').unwrap();
                command.env(name, value);
            }
        }
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG") || name == "CARGO_TARGET_DIR")
        {
            command.env_remove(name);
        }
        // The crates are those that this workspace was built with.
        command.env("CARGO_NET_OFFLINE", "true");
        command
    }

    async fn run(&mut self, line: &str, wanted: &[&str]) {
        if let Some(folder) = line.strip_prefix("cd ") {
            self.folder.push(folder);
            return;
        }
        // The toolchain of this run has the target, and the network is not needed.
        if line.starts_with("rustup target add ") {
            return;
        }
        let line = &*self.adapted(line);
        if line.starts_with("courtyard serve --config") {
            return self.serve(line).await;
        }
        let output = timeout(Duration::from_secs(300), self.command(line).output())
            .await
            .unwrap()
            .unwrap();
        assert!(
            output.status.success(),
            "{line} failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if !wanted.is_empty() {
            let printed = String::from_utf8(output.stdout).unwrap();
            assert_eq!(printed.lines().collect::<Vec<_>>(), wanted, "{line}");
        }
        if let Some((_, name)) = line.split_once(" --lib ") {
            self.offer_built(&self.folder.join(name));
        }
    }

    /// Starts the server, and keeps it running.
    async fn serve(&mut self, line: &str) {
        let file = line.rsplit(' ').next().unwrap();
        let config = std::fs::read_to_string(self.folder.join(file)).unwrap();
        let mut words = line.split(' ');
        words.next();
        // Without a shell between, which would leave the server behind when the test ends.
        let mut server = Command::new(&self.executable);
        server.args(words).current_dir(&self.folder).kill_on_drop(true);
        if !self.folder.join("data").exists() {
            share_compiled(&self.folder.join("data"));
        }
        let mut server = server.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let wanted = if config.contains("[[http.static]]") { 3 } else { 2 };
        while self.printed.len() < wanted {
            let Some(line) = timeout(Duration::from_secs(120), lines.next_line())
                .await
                .unwrap()
                .unwrap()
            else {
                let mut errors = String::new();
                server.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
                panic!("{line} printed {:?}\n{errors}", self.printed);
            };
            self.printed.push(line);
        }
        let port = self.printed[0].rsplit(':').next().unwrap().parse().unwrap();
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let mut errors = server.stderr.take().unwrap();
        tokio::spawn(async move { tokio::io::copy(&mut errors, &mut tokio::io::sink()).await });
        self.server = Some((server, port));
    }

    /// Lets a new crate use what is not published yet, and what is built already.
    fn offer_built(&self, package: &Path) {
        let built = workspace().join("target/guide");
        std::fs::create_dir_all(&built).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(built, package.join("target")).unwrap();
        std::fs::copy(workspace().join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let sdk = workspace().join("plugin-sdk");
        let patch = format!("\n[patch.crates-io]\ncourtyard-plugin-sdk = {{ path = {sdk:?} }}\n");
        let is_unpublished = text.contains("courtyard-plugin-sdk = \"");
        let more = if is_unpublished { &*patch } else { "" };
        std::fs::write(path, format!("{}{more}", self.adapted(text))).unwrap();
    }

    fn append(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, before + &self.adapted(text)).unwrap();
    }

    /// Sends all frames but the last, which is the answer to the one before it.
    async fn exchange(&self, frames: &[&str]) {
        let mut client = Client::connect(self.server.as_ref().unwrap().1).await;
        let (wanted, sent) = frames.split_last().unwrap();
        let mut answer = Value::Null;
        for frame in sent {
            client.send(&serde_json::from_str(frame).unwrap()).await;
            answer = client.next().await;
        }
        assert_eq!(answer, serde_json::from_str::<Value>(wanted).unwrap());
    }

    /// Compares what the server printed, but for addresses and paths, with the page.
    fn compare_printed(&self, wanted: &[&str]) {
        let first_words = |line: &str| line.split(' ').take(1).collect::<String>();
        let printed: Vec<String> = self.printed.iter().map(|line| first_words(line)).collect();
        let wanted: Vec<String> = wanted.iter().map(|line| first_words(line)).collect();
        assert_eq!(printed, wanted, "{:?}", self.printed);
    }

    async fn follow(&mut self, step: &Step<'_>) {
        match step {
            Step::Write { file, text } => self.write(file, text),
            Step::Append { file, text } => self.append(file, text),
            Step::Run { line, output } => self.run(line, output).await,
            Step::Printed(lines) => self.compare_printed(lines),
            Step::Exchange(frames) => self.exchange(frames).await,
        }
    }
}

#[tokio::test]
async fn the_guide_leads_from_nothing_to_a_running_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = Reader::new(folder.path(), binary(), None);
    let section = PLUGINS.split_once("## From nothing to a running plugin\n").unwrap().1;
    let steps = steps(section.split_once("\n## ").unwrap().0);
    assert!(steps.len() > 10, "{steps:?}");
    for step in &steps {
        reader.follow(step).await;
    }
    assert!(reader.server.is_some(), "the guide starts no server");
}

#[tokio::test]
async fn the_start_page_leads_to_a_message_by_a_script_and_a_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let executable = super::one_file::bundled(folder.path(), port).await;
    // The checkout that the page has the reader build the executable in.
    #[cfg(unix)]
    std::os::unix::fs::symlink(workspace(), folder.path().join("courtyard")).unwrap();
    let mut reader = Reader::new(folder.path(), executable, Some(port));
    let steps = steps(START);
    assert!(steps.len() > 12, "{steps:?}");
    for step in &steps {
        reader.follow(step).await;
        if matches!(step, Step::Printed(_)) {
            create_account(port, "ann").await;
        }
    }
}

/// Stands in for the part of the page that is done in a browser.
async fn create_account(port: u16, name: &str) {
    let mut client = Client::connect(port).await;
    client.send(&json!({"type": "hello", "protocol": 1})).await;
    assert_eq!(client.next().await["type"], "welcome");
    let params = json!({"name": name, "password": "a long password"});
    let registered = json!({"type": "call", "id": "c", "method": "users.register", "params": params});
    assert_eq!(client.request(registered).await["type"], "result");
}
