//! Developer commands: `cargo xtask run`, `cargo xtask test` and their parts.

mod bench;
mod dist;
mod lint;
mod parts;
mod plugins;
mod soak;
mod step;
mod suite;
mod tools;
mod wasm;
mod workspace;

use std::process::{Command, ExitCode};
use std::thread;

use step::{Failed, run, say};
use workspace::{cargo, root, target};

const HELP: &str = "\
cargo xtask run       build the host and the plugins, start them, and print the address
cargo xtask dist      build one optimised file with the host, the plugins and the page inside: target/dist/courtyard
cargo xtask test      run everything that must pass, and report all failures at the end
    --quick           leave out the lints and the browser
    --built           run the tests in Rust and in the browser alone, with what an earlier run built
    --long            run the long variants of tests
cargo xtask lint      check formatting, lints, wording, layers, names, and licences and sources of dependencies
cargo xtask plugins   build the plugins into target/plugins
cargo xtask docs      build the documentation as a site: target/docs
cargo xtask bench NAME [--against COMMIT]
                      run the benchmark hook, chat, fanout, sync, idle or disturbed, which prints a line of JSON at its end;
                      with a commit, build both, measure them in turns and fail if this one is slower
cargo xtask crash --kills N
                      kill the server N times under load, and count lost, duplicated and skipped messages
cargo xtask histories --minutes N
                      let 20 people with 3 devices each live through kills and broken connections, one seed after another,
                      and compare what every device saw with the log; COURTYARD_SEED sets the first seed
cargo xtask fuzz [--smoke | --seconds N] [--seed N] [TARGET …]
                      feed parsers with mutated inputs, 60 s each by default; a crash keeps its input in target/fuzz
cargo xtask archive   build the plugins that tests/archive keeps of this version of the contract
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let result = match command {
        "run" => serve(),
        "test" => suite::Options::parse(rest).and_then(suite::test),
        "crash" => soak::crash(value_of(rest, "--kills")),
        "histories" => soak::histories(value_of(rest, "--minutes")),
        "fuzz" => soak::fuzz(rest),
        "bench" => bench::bench(rest.to_vec()),
        "dist" => dist::build(),
        "lint" => lint::all(),
        "plugins" => plugins::build_all(),
        "docs" => docs(),
        "archive" => plugins::archive(),
        "help" | "--help" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failed(format!("unknown command {other:?}\n{HELP}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(reason)) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the argument behind an option.
fn value_of<'a>(arguments: &'a [String], option: &str) -> Option<&'a str> {
    let index = arguments.iter().position(|argument| argument == option)?;
    arguments.get(index + 1).map(String::as_str)
}

fn serve() -> Result<(), Failed> {
    // The plugins have another compiler, and the host's build leaves a processor idle at times.
    thread::scope(|scope| {
        let plugins = scope.spawn(plugins::build_configured);
        say("building the host (the first time takes some minutes: it contains a compiler)");
        // The whole workspace decides the features, as in the tests, so that dependencies are built once for both.
        run(cargo().args(["build", "--workspace", "--bin", "courtyard"]))?;
        plugins.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    say("starting it with config/courtyard.toml; stop it with Ctrl-C");
    run(Command::new(target().join("debug/courtyard"))
        .args(["serve", "--config", "config/courtyard.toml"])
        .current_dir(root()))
}

fn docs() -> Result<(), Failed> {
    let mdbook = tools::mdbook()?;
    say("building the documentation into target/docs");
    run(Command::new(mdbook)
        .args(["build", "--dest-dir"])
        .arg(target().join("docs"))
        .current_dir(root()))
}
