//! Where the WebAssembly target comes from.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::step::{Failed, has, run, say};

/// What plugins are built for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// How long rustup may take; where its server can't be reached it would wait far longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Debian's compiler with its sources, which can build the standard library for the target.
const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

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
            Self::Debian { linker } => {
                let mut command = Command::new("/usr/bin/cargo");
                command
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .arg("-Zbuild-std=std,panic_abort");
                command
            }
        };
        command.current_dir(root);
        command
    }
}

/// Finds a compiler for the target, and installs what is missing.
pub(crate) fn toolchain() -> Result<Toolchain, Failed> {
    let root = sysroot()?;
    let installed = |root: &Path| root.join("lib/rustlib").join(TARGET).join("lib").is_dir();
    if installed(&root) {
        return Ok(Toolchain::Installed);
    }
    say(&format!("installing the target {TARGET} with rustup"));
    if has("rustup") && within(Command::new("rustup").args(["target", "add", TARGET]), PATIENCE) && installed(&root) {
        return Ok(Toolchain::Installed);
    }
    debian(&root).ok_or_else(|| {
        Failed(format!(
            "plugins need the target {TARGET}: run `rustup target add {TARGET}`, or as root \
             `apt-get install {}`, and then this command again",
            DEBIAN.join(" ")
        ))
    })
}

fn sysroot() -> Result<PathBuf, Failed> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "sysroot"]).output();
    let output = output.map_err(|error| Failed(format!("rustc can't be run: {error}")))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn debian(sysroot: &Path) -> Option<Toolchain> {
    let host = std::fs::read_dir(sysroot.join("lib/rustlib"))
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let linker = host
        .map(|folder| folder.join("bin/rust-lld"))
        .find(|linker| linker.exists())?;
    if !Path::new("/usr/bin/rustc").exists() && has("apt-get") {
        say("installing Debian's compiler for WebAssembly");
        run(Command::new("apt-get")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(DEBIAN))
        .ok()?;
    }
    Path::new("/usr/bin/rustc")
        .exists()
        .then_some(Toolchain::Debian { linker })
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
        assert!(
            command
                .get_args()
                .any(|argument| argument == "-Zbuild-std=std,panic_abort")
        );
        assert!(
            command
                .get_envs()
                .any(|(_, value)| value == Some("/x/rust-lld".as_ref()))
        );
    }
}
