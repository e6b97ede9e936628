//! Measured servers: processes on a processor of their own, and their resource usage.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Built;

/// Processor of the servers; the generator uses the other one.
const PROCESSOR: &str = "0";
/// Ticks per second of the accounting of the kernel (`getconf CLK_TCK`; 100 on every Linux).
const TICKS_PER_S: f64 = 100.0;

/// A running server, which is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts the bare relay, for pairs or for one group.
    pub(crate) fn relay(log: &Path, to_all: bool) -> Self {
        let mut command = pinned(&std::env::current_exe().unwrap());
        command.arg("relay").arg(log);
        if to_all {
            command.arg("--to-all");
        }
        Self::start(command)
    }

    /// Starts the server of the webhook.
    pub(crate) fn webhook() -> Self {
        let mut command = pinned(&std::env::current_exe().unwrap());
        command.arg("answer-http");
        Self::start(command)
    }

    /// Starts Courtyard in a folder, with this configuration.
    pub(crate) fn courtyard(built: &Built, folder: &Path, configuration: &str) -> Self {
        let file = folder.join("courtyard.toml");
        std::fs::write(&file, configuration).unwrap();
        let mut command = pinned(&built.server.canonicalize().unwrap());
        command.args(["serve", "--config"]).arg(file);
        Self::start(command)
    }

    /// Starts a command that prints its address.
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .and_then(|address| address.parse().ok());
        Self {
            child,
            address: address.unwrap_or_else(|| panic!("the server printed {line:?}")),
        }
    }

    /// Returns the processor time used so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(&self.child.id().to_string())
    }

    /// Returns the resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts this program with a subcommand, and pipes to it.
pub(crate) fn piped(command: &str) -> Child {
    let mut program = pinned(&std::env::current_exe().unwrap());
    let program = program.arg(command).stdin(Stdio::piped()).stdout(Stdio::piped());
    program.spawn().unwrap()
}

fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", PROCESSOR]).arg(program);
    command
}

/// Returns the processor time of a process so far; `self` is this process.
pub(crate) fn cpu(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The second field is an arbitrary name, which ends with the last parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    Duration::from_secs_f64(ticks / TICKS_PER_S)
}
