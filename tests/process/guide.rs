//! docs/guides/plugins.md from its beginning: every file is written and every command run, as a reader would.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use courtyard_tests::{Client, binary};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const GUIDE: &str = include_str!("../../docs/guides/plugins.md");
const BEGIN: &str = "## From nothing to a running plugin\n";

/// What the guide has the reader do.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Write { file: &'a str, text: &'a str },
    Run(&'a str),
    Exchange(Vec<&'a str>),
}

/// Reads the steps of the first section, in order.
fn steps(guide: &str) -> Vec<Step<'_>> {
    let section = guide.split_once(BEGIN).unwrap().1;
    let section = section.split_once("\n## ").unwrap().0;
    let mut steps = Vec::new();
    let mut rest = section;
    while let Some((_, block)) = rest.split_once("```") {
        let (head, block) = block.split_once('\n').unwrap();
        let (text, behind) = block.split_once("```").unwrap();
        rest = behind;
        match head.split_once(" file=") {
            Some((_, file)) => steps.push(Step::Write { file, text }),
            None if head == "console" => {
                let commands = text.lines().filter_map(|line| line.strip_prefix("$ "));
                steps.extend(commands.map(Step::Run));
            }
            None if head == "json" => steps.push(Step::Exchange(text.lines().collect())),
            None => panic!("nobody knows what to do with a block of {head:?}"),
        }
    }
    steps
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where the reader is, and what runs.
struct Reader {
    folder: PathBuf,
    server: Option<(Child, u16)>,
}

impl Reader {
    fn command(&self, line: &str) -> Command {
        let mut words = line.split(' ');
        let program = words.next().unwrap();
        let for_wasm = line.contains("--target wasm32");
        // What `cargo xtask test` found to build plugins with, if it is not the cargo that runs this.
        let other = std::env::var("COURTYARD_WASM_CARGO").ok().filter(|_| for_wasm);
        let mut command = match (program, other) {
            ("cargo", Some(other)) => Command::new(other),
            ("cargo", None) => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            ("courtyard", _) => Command::new(binary()),
            _ => panic!("the guide uses {program:?}, which a reader may not have"),
        };
        command
            .args(words)
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

    async fn run(&mut self, line: &str) {
        if let Some(folder) = line.strip_prefix("cd ") {
            self.folder.push(folder);
            return self.settle_in();
        }
        let mut command = self.command(line);
        if line.starts_with("courtyard serve") {
            let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
            let said = timeout(Duration::from_secs(30), lines.next_line())
                .await
                .unwrap()
                .unwrap();
            let port = said.as_deref().and_then(|said| said.rsplit(':').next()?.parse().ok());
            let Some(port) = port else {
                let mut errors = String::new();
                server.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
                panic!("{line} says {said:?}\n{errors}");
            };
            self.server = Some((server, port));
            return;
        }
        let output = timeout(Duration::from_secs(170), command.output())
            .await
            .unwrap()
            .unwrap();
        assert!(
            output.status.success(),
            "{line} failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Puts what is not published yet, and what is built already, within reach.
    fn settle_in(&self) {
        let built = workspace().join("target/guide");
        std::fs::create_dir_all(&built).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(built, self.folder.join("target")).unwrap();
        std::fs::copy(workspace().join("Cargo.lock"), self.folder.join("Cargo.lock")).unwrap();
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let sdk = workspace().join("plugin-sdk");
        let patch = format!("\n[patch.crates-io]\ncourtyard-plugin-sdk = {{ path = {sdk:?} }}\n");
        let more = if file == "Cargo.toml" { &*patch } else { "" };
        std::fs::write(path, format!("{text}{more}")).unwrap();
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
}

#[tokio::test]
async fn the_guide_leads_from_nothing_to_a_running_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = Reader {
        folder: folder.path().to_owned(),
        server: None,
    };
    let steps = steps(GUIDE);
    assert!(steps.len() > 10, "{steps:?}");
    for step in steps {
        match step {
            Step::Write { file, text } => reader.write(file, text),
            Step::Run(line) => reader.run(line).await,
            Step::Exchange(frames) => reader.exchange(&frames).await,
        }
    }
    assert!(reader.server.is_some(), "the guide starts no server");
}
