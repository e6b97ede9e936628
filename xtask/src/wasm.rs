//! Where the WebAssembly target comes from.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::step::{Failed, apt_get, has, say};

/// What plugins are built for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// How long rustup may take; where its server can't be reached it would wait far longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Debian's compiler with its sources, which can build the standard library for the target.
const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// A compiler that can build plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The one that runs this, with the target installed.
    Installed,
    /// Debian's, with the linker of the one that runs this.
    Debian { linker: PathBuf },
}

impl Toolchain {
    /// Returns cargo, ready to build for the target.
    pub(crate) fn cargo(&self, root: &Path) -> Command {
        let mut command = match self {
            Self::Installed => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            Self::Debian { .. } => {
                let mut command = Command::new(DEBIAN_CARGO);
                command.envs(self.environment()).env_remove("RUSTUP_TOOLCHAIN");
                command
            }
        };
        command.current_dir(root);
        command
    }

    /// Returns what its cargo needs in the environment.
    fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Installed => Vec::new(),
            Self::Debian { linker } => vec![
                ("RUSTC_BOOTSTRAP", "1".to_owned()),
                ("RUSTC", "/usr/bin/rustc".to_owned()),
                (
                    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
                    linker.display().to_string(),
                ),
                ("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort".to_owned()),
            ],
        }
    }

    /// Sets the variables from which a command that runs cargo itself learns how to build for the target.
    pub(crate) fn export_to(&self, command: &mut Command) {
        if let Self::Debian { .. } = self {
            let lines = self
                .environment()
                .into_iter()
                .map(|(name, value)| format!("{name}={value}\n"));
            command
                .env("COURTYARD_WASM_CARGO", DEBIAN_CARGO)
                .env("COURTYARD_WASM_ENVIRONMENT", lines.collect::<String>());
        }
    }
}

/// What a machine has towards building plugins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Machine {
    /// The target of the toolchain that runs this.
    target: bool,
    /// rustup, which was not asked yet.
    rustup: bool,
    /// Debian's compiler with its sources.
    debian: bool,
    /// apt-get, which was not asked yet.
    apt: bool,
    /// The linker of the toolchain that runs this.
    linker: Option<PathBuf>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Use(Toolchain),
    AskRustup,
    AskApt,
    GiveUp,
}

/// Chooses the next step: what is there, then rustup, then Debian.
fn next_step(machine: &Machine) -> Step {
    match machine {
        Machine { target: true, .. } => Step::Use(Toolchain::Installed),
        Machine { rustup: true, .. } => Step::AskRustup,
        Machine { linker: None, .. } => Step::GiveUp,
        Machine {
            debian: true,
            linker: Some(linker),
            ..
        } => Step::Use(Toolchain::Debian { linker: linker.clone() }),
        Machine { apt: true, .. } => Step::AskApt,
        _ => Step::GiveUp,
    }
}

/// Finds a compiler for the target, and installs what is missing. `COURTYARD_WASM=debian` passes over rustup's.
pub(crate) fn toolchain() -> Result<Toolchain, Failed> {
    let root = sysroot()?;
    let no_rustup = std::env::var_os("COURTYARD_WASM").is_some_and(|wanted| wanted == "debian");
    let target = || !no_rustup && root.join("lib/rustlib").join(TARGET).join("lib").is_dir();
    let mut machine = Machine {
        target: target(),
        rustup: !no_rustup && has("rustup"),
        debian: has_debian(),
        apt: has("apt-get"),
        linker: linker(&root),
    };
    loop {
        match next_step(&machine) {
            Step::Use(toolchain) => return Ok(toolchain),
            Step::AskRustup => {
                say(&format!("installing the target {TARGET} with rustup"));
                // Whether that worked is seen by what is there.
                within(Command::new("rustup").args(["target", "add", TARGET]), PATIENCE);
                (machine.rustup, machine.target) = (false, target());
            }
            Step::AskApt => {
                // The next look at the machine shows whether it worked.
                let _ = apt_get(&DEBIAN, "");
                (machine.apt, machine.debian) = (false, has_debian());
            }
            Step::GiveUp => {
                return Err(Failed(format!(
                    "plugins need the target {TARGET}: run `rustup target add {TARGET}`, or as root `apt-get install \
                     {}`, and then this command again",
                    DEBIAN.join(" ")
                )));
            }
        }
    }
}

/// Whether Debian's compiler is there, and the sources of the standard library with it.
fn has_debian() -> bool {
    let sources = Command::new("/usr/bin/rustc").args(["--print", "sysroot"]).output();
    sources.is_ok_and(|output| {
        let root = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        Path::new("/usr/bin/cargo").exists() && root.join("lib/rustlib/src/rust/library/std").is_dir()
    })
}

fn linker(sysroot: &Path) -> Option<PathBuf> {
    let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?.flatten();
    hosts
        .map(|host| host.path().join("bin/rust-lld"))
        .find(|linker| linker.exists())
}

fn sysroot() -> Result<PathBuf, Failed> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "sysroot"]).output();
    let output = output.map_err(|error| Failed(format!("rustc can't be run: {error}")))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// Runs a command and ends it if it takes too long; returns whether it succeeded.
fn within(command: &mut Command, patience: Duration) -> bool {
    let Ok(mut child) = command.stdin(Stdio::null()).spawn() else {
        return false;
    };
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if started.elapsed() < patience => std::thread::sleep(Duration::from_millis(100)),
            _ => {
                // It may have ended just now.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_comes_before_rustup_and_rustup_before_debian() {
        let linker = Some(PathBuf::from("/x/rust-lld"));
        let debian = Toolchain::Debian {
            linker: "/x/rust-lld".into(),
        };
        let everything = Machine {
            target: true,
            rustup: true,
            debian: true,
            apt: true,
            linker,
        };
        let without = |change: fn(&mut Machine)| {
            let mut machine = everything.clone();
            machine.target = false;
            change(&mut machine);
            next_step(&machine)
        };
        assert_eq!(next_step(&everything), Step::Use(Toolchain::Installed));
        assert_eq!(without(|_| {}), Step::AskRustup);
        assert_eq!(without(|machine| machine.rustup = false), Step::Use(debian));
        assert_eq!(
            without(|machine| (machine.rustup, machine.debian) = (false, false)),
            Step::AskApt
        );
        assert_eq!(
            without(|machine| (machine.rustup, machine.linker) = (false, None)),
            Step::GiveUp
        );
        assert_eq!(next_step(&Machine::default()), Step::GiveUp);
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended() {
        let started = Instant::now();
        assert!(!within(Command::new("sleep").arg("60"), Duration::from_millis(50)));
        assert!(started.elapsed() < Duration::from_secs(30));
        assert!(within(&mut Command::new("true"), Duration::from_secs(30)));
        assert!(!within(
            &mut Command::new("no-such-program-anywhere"),
            Duration::from_secs(30)
        ));
    }

    #[test]
    fn debians_cargo_gets_the_linker_and_builds_the_standard_library() {
        let command = Toolchain::Debian {
            linker: "/x/rust-lld".into(),
        }
        .cargo(Path::new("/"));
        let told = |wanted: &str| command.get_envs().any(|(_, value)| value == Some(wanted.as_ref()));
        assert!(told("std,panic_abort"));
        assert!(told("/x/rust-lld"));
    }
}
