//! Checks of the sources: formatting, compiler lints, wording, layers, names, dependencies.

mod layers;
mod names;
mod wording;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Failed, run, say};
use crate::tools;
use crate::workspace::{cargo, root};

/// Something wrong at a place in a file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: PathBuf,
    line: usize,
    text: String,
}

/// A file of the repository, with its text.
struct Source {
    /// From the root.
    path: PathBuf,
    text: String,
}

/// Runs all checks, and reports all that fail.
pub(crate) fn all() -> Result<(), Failed> {
    let checks = [formatting as fn() -> _, sources, clippy, javascript, dependencies];
    let failed: Vec<String> = checks
        .into_iter()
        .filter_map(|check| check().err().map(|Failed(reason)| reason))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failed(failed.join("\nxtask: ")))
}

/// Checks the formatting.
pub(crate) fn formatting() -> Result<(), Failed> {
    say("checking the formatting");
    run(cargo().args(["fmt", "--all", "--check"]))
}

/// Checks the lints of the compiler and of clippy.
fn clippy() -> Result<(), Failed> {
    say("checking the lints");
    run(cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))
}

/// Checks the types and the formatting of the page, its client and their tests.
pub(crate) fn javascript() -> Result<(), Failed> {
    let folder = root().join("tests/browser");
    tools::npm_ci(&folder)?;
    say("checking the types and the formatting of the JavaScript");
    run(Command::new("npm")
        .args(["run", "--silent", "check"])
        .current_dir(folder))
}

/// Checks licences, sources and duplicates of the dependencies.
pub(crate) fn dependencies() -> Result<(), Failed> {
    let deny = tools::deny()?;
    say("checking licences and sources of the dependencies");
    run(Command::new(deny)
        .args(["check", "bans", "licenses", "sources"])
        .current_dir(root()))
}

/// Checks the wording, the layers of the core and doubled type names.
pub(crate) fn sources() -> Result<(), Failed> {
    say("checking wording, layers and names");
    let sources = tracked()?;
    let forms = std::fs::read_to_string(root().join(wording::LIST))
        .map_err(|error| Failed::file(Path::new(wording::LIST), &error))?;
    let mut findings = wording::check(&sources, &forms);
    findings.extend(layers::check(&sources));
    findings.extend(names::check(&sources));
    findings.sort();
    for finding in &findings {
        println!("{}:{}: {}", finding.path.display(), finding.line, finding.text);
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(Failed(format!("{count} findings in wording, layers and names"))),
    }
}

/// Reads the text files of the repository: those that git tracks or would track.
fn tracked() -> Result<Vec<Source>, Failed> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let output = output.map_err(|error| Failed(format!("git can't be run: {error}")))?;
    if !output.status.success() {
        return Err(Failed("git can't list the files of this folder".to_owned()));
    }
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = list.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from);
    // A file that was deleted and is still in git's index has no text, and neither has a picture.
    let sources = paths.filter_map(|path| {
        let text = std::fs::read_to_string(root().join(&path)).ok()?;
        Some(Source { path, text })
    });
    Ok(sources.collect())
}
