//! Builds of plugins for WebAssembly.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::step::{Failed, run, say};
use crate::tools::npm_ci;
use crate::wasm;
use crate::workspace::{cargo, root, target};

/// A plugin of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct PluginPackage {
    /// The name of its cargo package.
    pub(crate) package: String,
    /// The name of its file, without `.wasm`.
    pub(crate) file: String,
    /// True for a guest that only tests load.
    guest: bool,
}

/// Returns the folder that plugins are copied to.
pub(crate) fn folder() -> PathBuf {
    target().join("plugins")
}

/// Builds every plugin: those that ship as they ship, guests of the tests with little optimisation.
pub(crate) fn build_all() -> Result<(), Failed> {
    let (guests, shipped): (Vec<_>, Vec<_>) = packages()?.into_iter().partition(|plugin| plugin.guest);
    let here = (&*root(), &*target());
    build(here, &shipped, "plugin", &folder())?;
    build(here, &guests, "guest", &folder())
}

/// Builds the plugins that config/courtyard.toml names, and copies them to where it looks for them.
pub(crate) fn build_configured() -> Result<(), Failed> {
    let file = root().join("config/courtyard.toml");
    let text = std::fs::read_to_string(&file).map_err(|error| Failed::file(&file, &error))?;
    let mut configured = packages()?;
    configured.retain(|plugin| {
        let path = format!("path = \"../target/plugins/{}.wasm\"", plugin.file);
        text.lines().any(|line| line == path)
    });
    if configured.is_empty() {
        return Err(Failed(format!("{} names no plugin of this workspace", file.display())));
    }
    build(
        (&root(), &target()),
        &configured,
        "plugin",
        &root().join("target/plugins"),
    )
}

/// Builds plugins of the workspace at `root` into the target folder `target` with a cargo profile, and copies their files to
/// `folder`.
pub(crate) fn build(
    (root, target): (&Path, &Path),
    plugins: &[PluginPackage],
    profile: &str,
    folder: &Path,
) -> Result<(), Failed> {
    let toolchain = wasm::toolchain()?;
    let names: Vec<&str> = plugins.iter().map(|plugin| plugin.file.as_str()).collect();
    say(&format!("building the plugins {} for WebAssembly", names.join(", ")));
    let mut command = toolchain.cargo(root);
    command.args(["build", "--profile", profile, "--target", wasm::TARGET, "--target-dir"]);
    command.arg(target);
    for plugin in plugins {
        command.args(["--package", &plugin.package]);
    }
    run(&mut command)?;
    copy(plugins, &target.join(wasm::TARGET).join(profile), folder)
}

fn copy(plugins: &[PluginPackage], built: &Path, folder: &Path) -> Result<(), Failed> {
    std::fs::create_dir_all(folder).map_err(|error| Failed::file(folder, &error))?;
    for plugin in plugins {
        let from = built.join(format!("{}.wasm", plugin.package.replace('-', "_")));
        let to = folder.join(format!("{}.wasm", plugin.file));
        std::fs::copy(&from, &to).map_err(|error| Failed::file(&from, &error))?;
    }
    Ok(())
}

/// Builds the guest in JavaScript: its toolchain makes a component, to which the built host adds the manifest.
pub(crate) fn build_javascript() -> Result<(), Failed> {
    let source = root().join("tests/guests/javascript");
    npm_ci(&source)?;
    // The toolchain wants the contract among the dependencies of the plugin's own world.
    let wit = target().join("javascript");
    let contract = wit.join("deps/courtyard");
    let copied = std::fs::create_dir_all(&contract).and_then(|()| {
        std::fs::copy(source.join("guest.wit"), wit.join("guest.wit"))?;
        for file in std::fs::read_dir(root().join("plugin-sdk/wit"))? {
            let file = file?;
            std::fs::copy(file.path(), contract.join(file.file_name()))?;
        }
        Ok(())
    });
    copied.map_err(|error| Failed::file(&wit, &error))?;
    let component = wit.join("component.wasm");
    run(Command::new(source.join("node_modules/.bin/componentize-qjs"))
        .args([
            "--sync",
            "--stub-wasi",
            "--world",
            "guest",
            "--js",
            "plugin.js",
            "--wit",
        ])
        .arg(&wit)
        .arg("--output")
        .arg(&component)
        .stdout(Stdio::null())
        .current_dir(&source))?;
    run(Command::new(target().join("debug/courtyard"))
        .args(["plugin", "pack"])
        .arg(&component)
        .arg("--manifest")
        .arg(source.join("manifest.json"))
        .arg("--output")
        .arg(folder().join("javascript.wasm")))
}

/// The version of the contract that plugins are archived for.
const CONTRACT: &str = "1.0.0";

/// Plugins that use all of the contract between them, for `tests/process/hook_paths.rs`.
const ARCHIVED: [&str; 5] = ["clerk", "keeper", "steward", "users", "watcher"];

/// Builds plugins for the archive, without the paths of this machine.
pub(crate) fn archive() -> Result<(), Failed> {
    let archive = root().join("tests/archive").join(format!("contract-{CONTRACT}"));
    if archive.exists() {
        return Err(Failed(format!(
            "{} exists: an archive of a contract never changes",
            archive.display()
        )));
    }
    run(cargo().arg("fetch"))?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.unwrap_or_default().join("registry/src");
    let registries = std::fs::read_dir(&sources).map_err(|error| Failed::file(&sources, &error))?;
    let mut flags = vec![format!("--remap-path-prefix={}=.", root().display())];
    for registry in registries.flatten() {
        flags.push(format!("--remap-path-prefix={}=crates", registry.path().display()));
    }
    let built = target().join("archive");
    let mut command = wasm::toolchain()?.cargo(&root());
    command
        .args(["build", "--profile", "plugin", "--target", wasm::TARGET, "--target-dir"])
        .arg(&built)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let mut archived = packages()?;
    archived.retain(|plugin| ARCHIVED.contains(&plugin.file.as_str()));
    for plugin in &archived {
        command.args(["--package", &plugin.package]);
    }
    run(&mut command)?;
    copy(&archived, &built.join(wasm::TARGET).join("plugin"), &archive)
}

/// Lists the plugins of the workspace.
pub(crate) fn packages() -> Result<Vec<PluginPackage>, Failed> {
    packages_of(&root())
}

/// Lists the plugins of a workspace: plugins/NAME, examples/NAME-plugin, tests/guests/NAME.
pub(crate) fn packages_of(root: &Path) -> Result<Vec<PluginPackage>, Failed> {
    let mut packages = Vec::new();
    for (parent, suffix, guest) in [
        ("plugins", "", false),
        ("examples", "-plugin", false),
        ("tests/guests", "", true),
    ] {
        let Ok(entries) = std::fs::read_dir(root.join(parent)) else {
            continue;
        };
        for entry in entries.flatten() {
            let directory = entry.file_name().to_string_lossy().into_owned();
            let Some(file) = directory.strip_suffix(suffix) else {
                continue;
            };
            let path = entry.path().join("Cargo.toml");
            let Ok(manifest) = std::fs::read_to_string(&path) else {
                continue;
            };
            let package = manifest
                .lines()
                .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
                .ok_or_else(|| Failed(format!("{} has no name", path.display())))?;
            packages.push(PluginPackage {
                package: package.to_owned(),
                file: file.to_owned(),
                guest,
            });
        }
    }
    packages.sort_by(|left, right| left.package.cmp(&right.package));
    Ok(packages)
}
