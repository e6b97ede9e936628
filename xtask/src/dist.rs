//! The one file to hand out.

use std::process::Command;

use crate::step::{Failed, has, run, say};
use crate::{cargo, root, shipped_plugins, shown_to_the_configuration, target};

/// Builds everything as it ships, and puts it into one executable.
pub(crate) fn make() -> Result<(), Failed> {
    if !has("strip") {
        let reason = "this needs `strip`, which comes with C compilers (Debian: binutils)";
        return Err(Failed(reason.to_owned()));
    }
    shipped_plugins()?;
    shown_to_the_configuration().map_err(|error| Failed(format!("the plugins can't be copied: {error}")))?;
    say("building the host with optimisation (the first time takes many minutes)");
    run(cargo().args(["build", "--release", "--package", "courtyard"]))?;
    let folder = target().join("dist");
    std::fs::create_dir_all(&folder).map_err(|error| Failed(format!("{}: {error}", folder.display())))?;
    say("taking the symbols out of it");
    // Before anything follows the program: `strip` would cut it off.
    let bare = folder.join("courtyard-bare");
    run(Command::new("strip")
        .arg("-o")
        .arg(&bare)
        .arg(target().join("release/courtyard")))?;
    say("putting what config/courtyard.toml names inside; the size of each part, and of the whole, in bytes:");
    let whole = folder.join("courtyard");
    run(Command::new(&bare)
        .args(["bundle", "--config", "config/courtyard.toml", "--checksum", "--output"])
        .arg(&whole)
        .current_dir(root()))?;
    std::fs::remove_file(&bare).map_err(|error| Failed(format!("{}: {error}", bare.display())))?;
    say(&format!(
        "made {}, and {} to check copies with; `courtyard serve` in any folder runs all of it",
        whole.display(),
        whole.with_extension("sha256").display()
    ));
    Ok(())
}
