//! Developer commands: `cargo xtask run`, `cargo xtask test` and their parts.

mod dist;
mod step;
mod wasm;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use step::{Failed, apt_get, has, run, say};

const HELP: &str = "\
cargo xtask run       build the host and the plugins, start them, and print the address
cargo xtask dist      make one optimised file with the host, the plugins and the page inside: target/dist/courtyard
cargo xtask test      everything that must pass: formatting, lints, dependencies, unit, plugin and end-to-end tests
cargo xtask lint      formatting, lints, licences and sources of dependencies
cargo xtask plugins   build the plugins into target/plugins
cargo xtask bench hook|chat|fanout|sync|idle|disturbed   measure; see the text that each prints, and the line of JSON at its end
cargo xtask crash --kills N   kill the server N times under load, and count what was lost, doubled or skipped
cargo xtask histories --minutes N   let 20 people with 3 devices each live through kills and broken connections, one seed
                      after another, and compare what every device saw with the log; COURTYARD_SEED names the first seed

cargo xtask archive   build the plugins that tests/archive keeps of this version of the contract; for when one is declared

`test --quick` leaves out the lints and the browser.
";

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let done = match command.as_str() {
        "run" => serve(),
        "test" => test(std::env::args().any(|argument| argument == "--quick")),
        "crash" => crash(&std::env::args().nth(3).unwrap_or_default()),
        "histories" => histories(&std::env::args().nth(3).unwrap_or_default()),
        "bench" => bench(std::env::args().skip(2).collect()),
        "dist" => dist::make(),
        "lint" => lint().and_then(|()| dependencies()),
        "plugins" => plugins(),
        "archive" => archive(),
        "" | "help" | "--help" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failed(format!("there is no command {other:?}\n{HELP}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(reason)) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// Where cargo builds to.
fn target() -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    // One that is not absolute counts from where cargo is run.
    root().join(chosen)
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn serve() -> Result<(), Failed> {
    shipped_plugins()?;
    say("building the host (the first time takes some minutes: it has a compiler in it)");
    // With the features that it has in the tests, so that neither command builds its dependencies for itself.
    run(cargo().args(["build", "--workspace", "--bin", "courtyard"]))?;
    shown_to_the_configuration().map_err(|error| Failed(format!("the plugins can't be copied: {error}")))?;
    say("starting it with config/courtyard.toml; stop it with Ctrl-C");
    let binary = target().join("debug/courtyard");
    run(Command::new(binary)
        .args(["serve", "--config", "config/courtyard.toml"])
        .current_dir(root()))
}

/// Copies the plugins to where the configuration looks for them, if cargo builds to another folder.
fn shown_to_the_configuration() -> std::io::Result<()> {
    let (built, wanted) = (target().join("plugins"), root().join("target/plugins"));
    if built == wanted {
        return Ok(());
    }
    std::fs::create_dir_all(&wanted)?;
    for plugin in std::fs::read_dir(built)? {
        let plugin = plugin?;
        std::fs::copy(plugin.path(), wanted.join(plugin.file_name()))?;
    }
    Ok(())
}

/// Kills the server again and again under load; the test ends with one line of JSON.
fn crash(kills: &str) -> Result<(), Failed> {
    if kills.parse::<u32>().is_err() {
        return Err(Failed("say how often: cargo xtask crash --kills 50".to_owned()));
    }
    say("building the host");
    run(cargo().args(["build", "--workspace", "--bins"]))?;
    say(&format!(
        "killing it {kills} times at random moments while messages fly"
    ));
    run(cargo()
        .args(["test", "--quiet", "--workspace", "--test", "process"])
        .args(["--", "--nocapture", "kills_at_random_moments"])
        .env("COURTYARD_KILLS", kills)
        .env("COURTYARD_BIN", target().join("debug/courtyard")))
}

/// Lets many devices live through kills, again and again; each run ends with one line of JSON.
fn histories(minutes: &str) -> Result<(), Failed> {
    if minutes.parse::<u64>().is_err() {
        return Err(Failed("say how long: cargo xtask histories --minutes 10".to_owned()));
    }
    plugins()?;
    say("building the host");
    run(cargo().args(["build", "--workspace", "--bins"]))?;
    say(&format!("histories for {minutes} minutes, each with a seed of its own"));
    run(cargo()
        .args(["test", "--quiet", "--workspace", "--test", "process"])
        .args(["--", "--nocapture", "histories_of_many_devices"])
        .env("COURTYARD_MINUTES", minutes)
        .env("COURTYARD_BIN", target().join("debug/courtyard"))
        .env("COURTYARD_PLUGINS", target().join("plugins")))
}

/// Builds everything as it ships, and measures it: the generator on one processor, the server on another one.
fn bench(arguments: Vec<String>) -> Result<(), Failed> {
    let Some((name, options)) = arguments.split_first() else {
        return Err(Failed(
            "say which: cargo xtask bench hook|chat|fanout|sync|idle|disturbed".to_owned(),
        ));
    };
    if !has("taskset") {
        return Err(Failed("benchmarks need `taskset` (Debian: util-linux)".to_owned()));
    }
    plugins()?;
    say("building the host and the benchmarks with optimisation (the first time takes some minutes)");
    run(cargo().args([
        "build",
        "--release",
        "--package",
        "courtyard",
        "--package",
        "courtyard-bench",
    ]))?;
    let data = target().join("bench");
    std::fs::create_dir_all(&data).map_err(|error| Failed(format!("{}: {error}", data.display())))?;
    run(Command::new("taskset")
        .args(["--cpu-list", "1"])
        .arg(target().join("release/courtyard-bench"))
        .arg(name)
        .arg("--server")
        .arg(target().join("release/courtyard"))
        .arg("--plugins")
        .arg(target().join("plugins"))
        .arg("--data")
        .arg(data)
        .args(options))
}

/// Has cargo build with the lints: to check them for themselves, all that this project depends on would be compiled a
/// second time.
const LINTED: [&str; 2] = ["--config", "build.rustc-workspace-wrapper='clippy-driver'"];

/// What `cargo clippy -- --deny warnings` tells the compiler that it stands for.
const DENIED: (&str, &str) = ("CLIPPY_ARGS", "--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");

/// The same for every command of a run, so that none builds anew what another one has built.
fn linted(command: &mut Command, quick: bool) -> &mut Command {
    if quick {
        return command;
    }
    command.args(LINTED).env(DENIED.0, DENIED.1)
}

fn test(quick: bool) -> Result<(), Failed> {
    if !quick {
        formatting()?;
        dependencies()?;
    }
    plugins()?;
    let lints = if quick { "" } else { ", and checking the lints" };
    say(&format!("building the host and all tests{lints}"));
    // In one go: a package by itself has other features, for which most of what it depends on would be built once more.
    run(linted(cargo().args(["build", "--workspace", "--all-targets"]), quick))?;
    // Tests share the compiled code of plugins; this is what is left of those of before.
    let _ = std::fs::remove_dir_all(target().join("debug/compiled"));
    javascript()?;
    say("installing the provider of OpenID Connect for the tests");
    npm_ci(&root().join("tests/oidc"))?;
    tus_clients()?;
    apertium()?;
    say("running the examples in the documentation");
    run(linted(cargo().args(["test", "--quiet", "--doc", "--workspace"]), quick))?;
    say("running the tests of the JavaScript client");
    run(Command::new("node").arg("--test").current_dir(root().join("client/js")))?;
    if !quick {
        browser()?;
    }
    say("running all tests");
    let nextest = nextest()?;
    let mut tests = Command::new(nextest);
    wasm::toolchain()?.tell(&mut tests);
    run(
        linted(tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]), quick)
            .env("COURTYARD_BIN", target().join("debug/courtyard"))
            .env("COURTYARD_PLUGINS", target().join("plugins"))
            .current_dir(root()),
    )
}

/// Runs the tests in a real browser.
fn browser() -> Result<(), Failed> {
    let chromium = std::env::var("COURTYARD_CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    if !Path::new(&chromium).exists() {
        let sentence = "the browser tests need Chromium: run `apt-get install chromium` as root, \
                        or name one in COURTYARD_CHROMIUM";
        apt_get(&["chromium"], sentence)?;
    }
    say("running the tests in Chromium");
    let folder = root().join("tests/browser");
    npm_ci(&folder)?;
    run(Command::new("node")
        .arg("--test")
        .env("COURTYARD_BIN", target().join("debug/courtyard"))
        .env("COURTYARD_PLUGINS", target().join("plugins"))
        .env("COURTYARD_CHROMIUM", chromium)
        .current_dir(folder))
}

/// Installs clients of tus that others wrote, and a server of S3.
fn tus_clients() -> Result<(), Failed> {
    say("installing clients for uploads and a server of S3 for the tests");
    npm_ci(&root().join("tests/tus"))?;
    let (wanted, folder) = (root().join("tests/tus/requirements.txt"), target().join("python"));
    let read = |path: &Path| std::fs::read(path).map_err(|error| Failed(format!("{}: {error}", path.display())));
    // What is installed is as good as this copy says.
    let copy = folder.join("requirements.txt");
    if copy.exists() && read(&copy)? == read(&wanted)? {
        return Ok(());
    }
    let make = || run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    if make().is_err() {
        let sentence = "the tests of uploads need Python 3 with venv: run `apt-get install python3-venv` as root";
        apt_get(&["python3-venv"], sentence)?;
        make()?;
    }
    let options = [
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--requirement",
    ];
    run(Command::new(folder.join("bin/pip")).args(options).arg(&wanted))?;
    std::fs::write(&copy, read(&wanted)?).map_err(|error| Failed(format!("{}: {error}", copy.display())))
}

/// Installs a server of Apertium, which translates for tests in Rust and in the browser.
fn apertium() -> Result<(), Failed> {
    if Path::new("/usr/share/apertium/modes/eng-spa.mode").exists() && has("apertium-apy") {
        return Ok(());
    }
    let sentence = "the tests of translation need Apertium: run \
                    `apt-get install --no-install-recommends apertium-apy apertium-eng-spa` as root";
    apt_get(&["apertium-apy", "apertium-eng-spa"], sentence)
}

/// Installs what a package of JavaScript depends on, as its lock file says.
fn npm_ci(folder: &Path) -> Result<(), Failed> {
    run(Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(folder))
}

fn formatting() -> Result<(), Failed> {
    say("checking the formatting");
    run(cargo().args(["fmt", "--all", "--check"]))
}

fn lint() -> Result<(), Failed> {
    formatting()?;
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

/// Checks licences, sources and doubled dependencies; needs no network once cargo-deny is there.
fn dependencies() -> Result<(), Failed> {
    let deny = tool("cargo-deny", &[])?;
    say("checking licences and sources of the dependencies");
    run(Command::new(deny)
        .args(["check", "bans", "licenses", "sources"])
        .current_dir(root()))
}

fn nextest() -> Result<PathBuf, Failed> {
    // Without what it updates itself with, which is a good part of it.
    tool("cargo-nextest", &["--no-default-features"])
}

/// Finds a cargo tool; installs it into the target folder if it is not there.
fn tool(name: &str, features: &[&str]) -> Result<PathBuf, Failed> {
    if has(name) {
        return Ok(name.into());
    }
    let folder = target().join("tools");
    let binary = folder.join("bin").join(name);
    if !binary.exists() {
        say(&format!("installing {name} into target/tools (once)"));
        // Half the time of an optimised one, and quick enough; nobody debugs it. What tools have in common is built once.
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

/// Builds every plugin package.
fn plugins() -> Result<(), Failed> {
    build_plugins(&plugin_packages()?)
}

/// Builds the plugins that config/courtyard.toml names, and leaves those for tests alone.
fn shipped_plugins() -> Result<(), Failed> {
    let file = root().join("config/courtyard.toml");
    let text = std::fs::read_to_string(&file).map_err(|error| Failed(format!("{}: {error}", file.display())))?;
    let mut packages = plugin_packages()?;
    packages.retain(|(_, name)| {
        let path = format!("path = \"../target/plugins/{name}.wasm\"");
        text.lines().any(|line| line == path)
    });
    if packages.is_empty() {
        return Err(Failed(format!("{} names no plugin of this workspace", file.display())));
    }
    build_plugins(&packages)
}

/// Builds plugin packages for WebAssembly and copies the files to target/plugins.
fn build_plugins(packages: &[(String, String)]) -> Result<(), Failed> {
    let toolchain = wasm::toolchain()?;
    let names: Vec<&str> = packages.iter().map(|(_, name)| name.as_str()).collect();
    say(&format!("building the plugins {} for WebAssembly", names.join(", ")));
    let mut command = toolchain.cargo(&root());
    command.args(["build", "--profile", "plugin", "--target", wasm::TARGET]);
    for (package, _) in packages {
        command.args(["--package", package]);
    }
    run(&mut command)?;
    let folder = target().join("plugins");
    let built = target().join(wasm::TARGET).join("plugin");
    std::fs::create_dir_all(&folder).map_err(|error| Failed(format!("{}: {error}", folder.display())))?;
    for (package, name) in packages {
        let from = built.join(format!("{}.wasm", package.replace('-', "_")));
        let to = folder.join(format!("{name}.wasm"));
        std::fs::copy(&from, &to).map_err(|error| Failed(format!("{}: {error}", from.display())))?;
    }
    Ok(())
}

/// Builds the plugin that is written in JavaScript: its toolchain makes a component, to which the host adds the manifest.
fn javascript() -> Result<(), Failed> {
    say("building the plugin in JavaScript");
    let folder = root().join("tests/guests/javascript");
    npm_ci(&folder)?;
    // The toolchain wants the contract among the dependencies of the plugin's own world.
    let wit = target().join("javascript");
    let contract = wit.join("deps/courtyard");
    let copied = std::fs::create_dir_all(&contract).and_then(|()| {
        std::fs::copy(folder.join("guest.wit"), wit.join("guest.wit"))?;
        for file in std::fs::read_dir(root().join("plugin-sdk/wit"))? {
            let file = file?;
            std::fs::copy(file.path(), contract.join(file.file_name()))?;
        }
        Ok(())
    });
    copied.map_err(|error| Failed(format!("{}: {error}", wit.display())))?;
    let component = wit.join("component.wasm");
    run(Command::new(folder.join("node_modules/.bin/componentize-qjs"))
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
        .stdout(std::process::Stdio::null())
        .current_dir(&folder))?;
    run(Command::new(target().join("debug/courtyard"))
        .args(["plugin", "pack"])
        .arg(&component)
        .arg("--manifest")
        .arg(folder.join("manifest.json"))
        .arg("--output")
        .arg(target().join("plugins/javascript.wasm")))
}

/// The version of the contract that plugins are archived for.
const CONTRACT: &str = "1.0.0";

/// Plugins that use all of the contract between them, for `tests/process/hook_paths.rs`.
const ARCHIVED: [&str; 5] = ["clerk", "keeper", "steward", "users", "watcher"];

/// Builds plugins for the archive: without the paths of this machine, which have no place in a repository.
fn archive() -> Result<(), Failed> {
    let folder = root().join("tests/archive").join(format!("contract-{CONTRACT}"));
    if folder.exists() {
        let reason = format!("{} is there already, and never changes", folder.display());
        return Err(Failed(reason));
    }
    run(cargo().arg("fetch"))?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.unwrap_or_default().join("registry/src");
    let registries = std::fs::read_dir(&sources).map_err(|error| Failed(format!("{}: {error}", sources.display())))?;
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
    let packages = plugin_packages()?;
    let wanted = packages.iter().filter(|(_, name)| ARCHIVED.contains(&name.as_str()));
    for (package, _) in wanted.clone() {
        command.args(["--package", package]);
    }
    run(&mut command)?;
    std::fs::create_dir_all(&folder).map_err(|error| Failed(format!("{}: {error}", folder.display())))?;
    for (package, name) in wanted {
        let file = format!("{}.wasm", package.replace('-', "_"));
        let from = built.join(wasm::TARGET).join("plugin").join(file);
        std::fs::copy(&from, folder.join(format!("{name}.wasm")))
            .map_err(|error| Failed(format!("{}: {error}", from.display())))?;
    }
    Ok(())
}

/// Lists the plugin packages and the names of their files: plugins/NAME, examples/NAME-plugin, tests/guests/NAME.
fn plugin_packages() -> Result<Vec<(String, String)>, Failed> {
    let mut packages = Vec::new();
    for (folder, suffix) in [("plugins", ""), ("examples", "-plugin"), ("tests/guests", "")] {
        let Ok(entries) = std::fs::read_dir(root().join(folder)) else {
            continue;
        };
        for entry in entries.flatten() {
            let directory = entry.file_name().to_string_lossy().into_owned();
            let Some(name) = directory.strip_suffix(suffix) else {
                continue;
            };
            let Ok(manifest) = std::fs::read_to_string(entry.path().join("Cargo.toml")) else {
                continue;
            };
            let package = manifest
                .lines()
                .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
            let package =
                package.ok_or_else(|| Failed(format!("{} has no name", entry.path().join("Cargo.toml").display())))?;
            packages.push((package.to_owned(), name.to_owned()));
        }
    }
    packages.sort();
    Ok(packages)
}
