//! Commands that are run one after another.

use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Instant;

/// When the first step began.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Why an xtask ended.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

/// Says what happens next, and how many minutes have passed.
pub(crate) fn say(text: &str) {
    let seconds = BEGUN.elapsed().as_secs();
    println!("==> {}:{:02} {text}", seconds / 60, seconds % 60);
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Result<(), Failed> {
    let shown = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("{shown} ended with {status}"))),
        Err(error) => Err(Failed(format!("{shown} can't be run: {error}"))),
    }
}

/// Whether a program is on the path.
pub(crate) fn has(program: &str) -> bool {
    let quiet = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

/// Installs packages of Debian, or says what is needed.
pub(crate) fn apt_get(packages: &[&str], sentence: &str) -> Result<(), Failed> {
    if !has("apt-get") {
        return Err(Failed(sentence.to_owned()));
    }
    say(&format!("installing {} with apt-get", packages.join(" and ")));
    let install = |arguments: &[&str]| run(Command::new("apt-get").args(arguments));
    let options = ["install", "--yes", "--quiet", "--no-install-recommends"];
    install(&["update", "--quiet"])
        .and_then(|()| install(&[&options[..], packages].concat()))
        .map_err(|Failed(reason)| Failed(format!("{reason}; {sentence}")))
}
