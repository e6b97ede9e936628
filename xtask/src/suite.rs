//! `cargo xtask test`: everything that must pass.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread;

use crate::parts::{Ended, Parts};
use crate::step::{Failed, run, say, shown};
use crate::tools::{self, npm_ci};
use crate::workspace::{cargo, root, target};
use crate::{lint, plugins, wasm};

/// What to run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    /// True to leave out the lints and the browser.
    quick: bool,
    /// True for the long variants of tests: large uploads, minutes of histories.
    long: bool,
    /// True to run the Rust and browser tests alone, with what an earlier run built.
    built: bool,
}

impl Options {
    /// Reads the arguments of the command.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Failed> {
        let mut options = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--long" => options.long = true,
                "--built" => options.built = true,
                other => {
                    return Err(Failed(format!(
                        "test has no option {other:?}: --quick, --long or --built"
                    )));
                }
            }
        }
        Ok(options)
    }
}

/// Makes cargo build with the lints. Checking them by itself would compile all dependencies a second time.
const LINTED: [&str; 2] = ["--config", "build.rustc-workspace-wrapper='clippy-driver'"];

/// The variable by which `cargo clippy -- --deny warnings` passes its arguments to clippy-driver.
const DENIED: (&str, &str) = ("CLIPPY_ARGS", "--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");

/// Adds the lints to a command. All commands of a run need the same, so that none rebuilds what another one built.
fn linted(command: &mut Command, quick: bool) -> &mut Command {
    if quick {
        return command;
    }
    command.args(LINTED).env(DENIED.0, DENIED.1)
}

/// Runs all parts and reports every failure at the end. Installations and the plugins run beside the build of the host,
/// tests in the browser beside those in Rust.
pub(crate) fn test(options: Options) -> Result<(), Failed> {
    let all = Parts::new(target().join("logs"))?;
    let parts = &all;
    let summary = thread::scope(|scope| {
        if options.built {
            let browser = scope.spawn(|| browser(parts, &[]));
            let summary = rust(parts, &[], options);
            join(browser);
            return summary;
        }
        let installations = scope.spawn(|| install(parts, options.quick));
        let plugins = scope.spawn(|| parts.run_logged("plugins", &[], false, plugins::build_all));
        let tools = parts.run("tools", &[], tools::install);
        if !options.quick {
            parts.run("formatting", &[], lint::formatting);
            parts.run("wording, layers and names", &[], lint::sources);
            parts.run("dependencies", &[tools], lint::dependencies);
        }
        let host = parts.run("host and tests", &[], || build(options.quick));
        parts.run("examples in the documentation", &[host], || {
            let mut command = cargo();
            run(linted(
                command.args(["test", "--quiet", "--doc", "--workspace"]),
                options.quick,
            ))
        });
        let plugins = join(plugins);
        let [packages, programs] = join(installations);
        let javascript = parts.run_logged(
            "plugin in JavaScript",
            &[host, plugins],
            false,
            plugins::build_javascript,
        );
        let browser = scope.spawn(move || {
            let needs = [host, plugins, packages, programs];
            javascript_client(parts);
            if !options.quick {
                parts.run_logged("types and format of JavaScript", &[packages], false, lint::javascript);
                browser(parts, &needs);
            }
        });
        let summary = rust(parts, &[tools, host, javascript, packages, programs], options);
        join(browser);
        summary
    });
    all.finish()?;
    // The last line is the test runner's own.
    if let Some(summary) = summary {
        println!("{summary}");
    }
    Ok(())
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Installs what the tests need and no build does.
fn install(parts: &Parts, quick: bool) -> [Ended; 2] {
    let packages = parts.run_logged("packages of Node.js and Python", &[], false, || {
        npm_ci(&root().join("tests/oidc"))?;
        npm_ci(&root().join("tests/tus"))?;
        if !quick {
            npm_ci(&root().join("tests/browser"))?;
        }
        tools::pip_install(&root().join("tests/tus/requirements.txt"), &[])
    });
    let programs = parts.run_logged("programs", &[], false, || {
        tools::apertium()?;
        tools::proxies()?;
        if quick { Ok(()) } else { tools::install_chromium() }
    });
    [packages, programs]
}

/// Builds the host and all tests in one go: a package by itself has other features, for which its dependencies would be
/// built once more.
fn build(quick: bool) -> Result<(), Failed> {
    let lints = if quick { "" } else { ", and checking the lints" };
    say(&format!("building the host and all tests{lints}"));
    let mut command = cargo();
    run(linted(
        command.args(["build", "--workspace", "--all-targets", "--keep-going"]),
        quick,
    ))?;
    // Tests share the compiled code of plugins; an earlier run left its own.
    let _ = std::fs::remove_dir_all(target().join("debug/compiled"));
    Ok(())
}

/// Runs the tests of the JavaScript client.
fn javascript_client(parts: &Parts) -> Ended {
    parts.run_logged("JavaScript client", &[], false, || {
        run(Command::new("node").arg("--test").current_dir(root().join("client/js")))
    })
}

/// Runs the tests in a real browser.
fn browser(parts: &Parts, needs: &[Ended]) -> Ended {
    parts.run_logged("browser", needs, true, || {
        run(Command::new("node")
            .arg("--test")
            .env("COURTYARD_BIN", target().join("debug/courtyard"))
            .env("COURTYARD_PLUGINS", plugins::folder())
            .env("COURTYARD_CHROMIUM", tools::chromium())
            .current_dir(root().join("tests/browser")))
    })
}

/// Runs the tests in Rust; returns the runner's summary.
fn rust(parts: &Parts, needs: &[Ended], options: Options) -> Option<String> {
    let mut summary = None;
    parts.run("Rust", needs, || {
        say("running the tests in Rust");
        let mut tests = Command::new(tools::nextest()?);
        wasm::toolchain()?.export_to(&mut tests);
        tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
        if options.long {
            tests.env("COURTYARD_LONG", "1").args(["--profile", "long"]);
        }
        linted(&mut tests, options.quick)
            .env("COURTYARD_BIN", target().join("debug/courtyard"))
            .env("COURTYARD_PLUGINS", plugins::folder())
            .env("PATH", tools::path())
            .current_dir(root());
        let (result, line) = run_for_summary(&mut tests);
        summary = line;
        result
    });
    summary
}

/// Runs nextest, passes its report on, and returns the line with its counts.
fn run_for_summary(command: &mut Command) -> (Result<(), Failed>, Option<String>) {
    let shown = shown(command);
    let mut child = match command.stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return (Err(Failed(format!("{shown} can't be run: {error}"))), None),
    };
    let mut summary = None;
    if let Some(report) = child.stderr.take() {
        let mut lines = BufReader::new(report).split(b'\n');
        while let Some(Ok(line)) = lines.next() {
            // A report that can't be printed doesn't change the result.
            let _ = std::io::stderr().write_all(&[&line[..], b"\n"].concat());
            let line = String::from_utf8_lossy(&line);
            if line.trim_start().starts_with("Summary [") {
                summary = Some(line.into_owned());
            }
        }
    }
    let result = match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("{shown} ended with {status}"))),
        Err(error) => Err(Failed(format!("{shown} can't be waited for: {error}"))),
    };
    (result, summary)
}
