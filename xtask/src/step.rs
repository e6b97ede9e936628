//! Commands that run one after another, in the foreground or in a background lane with a log of its own.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

/// When the first step began.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Held while apt-get runs: it refuses to run twice at a time.
static APT: Mutex<()> = Mutex::new(());

thread_local! {
    /// Where this thread's output goes; `None` is the terminal.
    static LOG: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Why an xtask failed.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl Failed {
    /// Describes an error of a file operation.
    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

/// Returns the time since the first step as minutes and seconds.
pub(crate) fn clock() -> String {
    minutes(BEGIN.elapsed().as_secs())
}

/// Formats seconds as minutes and seconds.
pub(crate) fn minutes(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Prints what happens next, with the time since the first step.
pub(crate) fn say(text: &str) {
    let line = format!("==> {} {text}", clock());
    LOG.with_borrow_mut(|log| match log {
        // A log that can't be written must not end the step.
        Some(file) => _ = writeln!(file, "{line}"),
        None => println!("{line}"),
    });
}

/// Runs `work` with all output of its steps in `log` instead of on the terminal.
pub(crate) fn logged(log: &Path, work: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
    let file = File::create(log).map_err(|error| Failed::file(log, &error))?;
    let before = LOG.replace(Some(file));
    let result = work();
    LOG.set(before);
    result
}

/// Returns a command as a person would write it, without the variables that it sets.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs a command; fails if it can't be started or doesn't succeed.
pub(crate) fn run(command: &mut Command) -> Result<(), Failed> {
    let shown = shown(command);
    let log = LOG.with_borrow(|log| log.as_ref().map(File::try_clone).transpose());
    let log = log.map_err(|error| Failed(format!("{shown} has no log: {error}")))?;
    if let Some(log) = log {
        let errors = log
            .try_clone()
            .map_err(|error| Failed(format!("{shown} has no log: {error}")))?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("{shown} ended with {status}"))),
        Err(error) => Err(Failed(format!("{shown} can't be run: {error}"))),
    }
}

/// Returns true if a program of this name runs and answers `--version`.
pub(crate) fn has(program: &str) -> bool {
    let quiet = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

/// Returns true if Debian packages can be installed.
pub(crate) fn has_apt() -> bool {
    has("apt-get")
}

/// Downloads Debian packages into a folder.
pub(crate) fn apt_download(packages: &[&str], folder: &Path) -> Result<(), Failed> {
    let _turn = APT.lock().unwrap_or_else(PoisonError::into_inner);
    let download = || {
        run(Command::new("apt-get")
            .args(["download", "--quiet"])
            .args(packages)
            .current_dir(folder))
    };
    // The list of packages may be missing or old.
    download().or_else(|_| run(Command::new("apt-get").args(["update", "--quiet"])).and_then(|()| download()))
}

/// Installs Debian packages, one call at a time. `advice` says what to do where that fails.
pub(crate) fn apt_get(packages: &[&str], advice: &str) -> Result<(), Failed> {
    if !has_apt() {
        return Err(Failed(advice.to_owned()));
    }
    let _turn = APT.lock().unwrap_or_else(PoisonError::into_inner);
    say(&format!("installing {} with apt-get", packages.join(" and ")));
    let apt = |arguments: &[&str]| run(Command::new("apt-get").args(arguments));
    let options = ["install", "--yes", "--quiet", "--no-install-recommends"];
    apt(&["update", "--quiet"])
        .and_then(|()| apt(&[&options[..], packages].concat()))
        .map_err(|Failed(reason)| Failed(format!("{reason}; {advice}")))
}
