//! The build of the one file to distribute.

use std::process::Command;

use crate::plugins;
use crate::step::{Failed, has, run, say};
use crate::workspace::{cargo, root, target};

/// Builds everything as it ships into one executable.
pub(crate) fn build() -> Result<(), Failed> {
    if !has("strip") {
        let reason = "this needs `strip`, which comes with C compilers (Debian: binutils)";
        return Err(Failed(reason.to_owned()));
    }
    plugins::build_configured()?;
    say("building the host with optimisation (the first time takes many minutes)");
    run(cargo().args(["build", "--release", "--package", "courtyard"]))?;
    let folder = target().join("dist");
    std::fs::create_dir_all(&folder).map_err(|error| Failed(format!("{}: {error}", folder.display())))?;
    say("removing its symbols");
    // `strip` would cut off what the bundle appends to the program, so it comes first.
    let bare = folder.join("courtyard-bare");
    run(Command::new("strip")
        .arg("-o")
        .arg(&bare)
        .arg(target().join("release/courtyard")))?;
    say("bundling what config/courtyard.toml names; the size of each part and of the whole in bytes:");
    let whole = folder.join("courtyard");
    run(Command::new(&bare)
        .args(["bundle", "--config", "config/courtyard.toml", "--checksum", "--output"])
        .arg(&whole)
        .current_dir(root()))?;
    std::fs::remove_file(&bare).map_err(|error| Failed(format!("{}: {error}", bare.display())))?;
    say(&format!(
        "built {}, and {} to verify copies; `courtyard serve` in any folder runs all of it",
        whole.display(),
        whole.with_extension("sha256").display()
    ));
    Ok(())
}
