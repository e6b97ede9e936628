//! Benchmarks of optimised builds, by themselves or against those of another commit.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::plugins::{self, packages_of};
use crate::step::{Failed, has, run, say, shown};
use crate::workspace::{cargo, root, target};

/// Pairs of measurements in a comparison.
const PAIRS: usize = 9;

/// Largest accepted median ratio of server CPU per operation.
const CPU_LIMIT: f64 = 1.03;

/// Largest accepted median ratio of a 99th percentile.
const P99_LIMIT: f64 = 1.10;

/// Programs of one commit.
struct Build {
    bench: PathBuf,
    server: PathBuf,
    plugins: PathBuf,
}

/// Builds everything as it ships and measures it: the generator on one processor, the server on another.
pub(crate) fn bench(mut arguments: Vec<String>) -> Result<(), Failed> {
    let against = option(&mut arguments, "--against")?;
    let Some((name, options)) = arguments.split_first() else {
        return Err(Failed(
            "name a benchmark: cargo xtask bench hook|chat|fanout|sync|idle|disturbed".to_owned(),
        ));
    };
    if !has("taskset") {
        return Err(Failed("benchmarks need `taskset` (Debian: util-linux)".to_owned()));
    }
    let Some(commit) = against else {
        let build = build(&root(), &target(), &target().join("bench/new"))?;
        return run(&mut build.command(name, options)?);
    };
    let old = build_commit(&commit)?;
    let new = build(&root(), &target(), &target().join("bench/new"))?;
    compare(name, options, &old, &new)
}

/// Removes an option with its value from the arguments.
fn option(arguments: &mut Vec<String>, name: &str) -> Result<Option<String>, Failed> {
    let Some(index) = arguments.iter().position(|argument| argument == name) else {
        return Ok(None);
    };
    if index + 1 >= arguments.len() {
        return Err(Failed(format!("{name} needs a commit")));
    }
    arguments.remove(index);
    Ok(Some(arguments.remove(index)))
}

/// Builds the workspace at `source` into the target folder `target`, and copies the programs to `folder`.
fn build(source: &Path, target: &Path, folder: &Path) -> Result<Build, Failed> {
    let build = Build {
        bench: folder.join("courtyard-bench"),
        server: folder.join("courtyard"),
        plugins: folder.join("plugins"),
    };
    plugins::build((source, target), &packages_of(source)?, "plugin", &build.plugins)?;
    say("building the host and the benchmarks with optimisation (the first time takes some minutes)");
    run(cargo()
        .current_dir(source)
        .args([
            "build",
            "--release",
            "--package",
            "courtyard",
            "--package",
            "courtyard-bench",
            "--target-dir",
        ])
        .arg(target))?;
    for program in [&build.bench, &build.server] {
        let built = target.join("release").join(program.file_name().unwrap_or_default());
        std::fs::copy(&built, program).map_err(|error| Failed::file(&built, &error))?;
    }
    Ok(build)
}

/// Builds a commit from a checkout of its own.
fn build_commit(commit: &str) -> Result<Build, Failed> {
    let output = Command::new("git")
        .args(["rev-parse", "--verify", "--quiet", &format!("{commit}^{{commit}}")])
        .current_dir(root())
        .output();
    let output = output.map_err(|error| Failed(format!("git can't be run: {error}")))?;
    let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if id.is_empty() {
        return Err(Failed(format!("this repository has no commit {commit:?}")));
    }
    let folder = target().join("bench").join(&id);
    let source = folder.join("source");
    if !source.exists() {
        std::fs::create_dir_all(&folder).map_err(|error| Failed::file(&folder, &error))?;
        say(&format!("checking out {id}"));
        let clone = ["clone", "--quiet", "--shared", "--no-checkout"];
        run(Command::new("git").args(clone).arg(root()).arg(&source))?;
        run(Command::new("git")
            .args(["checkout", "--quiet", "--detach", &id])
            .current_dir(&source))?;
    }
    // Cargo tells packages of two checkouts apart by nothing but time stamps, so each has a target folder of its own.
    build(&source, &folder.join("target"), &folder)
}

impl Build {
    /// Returns the command that runs a benchmark with this build.
    fn command(&self, name: &str, options: &[String]) -> Result<Command, Failed> {
        let data = target().join("bench/data");
        std::fs::create_dir_all(&data).map_err(|error| Failed::file(&data, &error))?;
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "1"]).arg(&self.bench).arg(name);
        command.arg("--server").arg(&self.server);
        command.arg("--plugins").arg(&self.plugins);
        command.arg("--data").arg(data).args(options);
        Ok(command)
    }

    /// Runs a benchmark and returns the numbers of its last line.
    fn measure(&self, name: &str, options: &[String]) -> Result<BTreeMap<String, f64>, Failed> {
        let mut command = self.command(name, options)?;
        let shown = shown(&command);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failed(format!("{shown} can't be run: {error}")))?;
        let lines = child.stdout.take().map(|output| BufReader::new(output).lines());
        let last = lines
            .into_iter()
            .flatten()
            .map_while(Result::ok)
            .last()
            .unwrap_or_default();
        match child.wait() {
            Ok(status) if status.success() => Ok(numbers(&last)),
            other => Err(Failed(format!("{shown} ended with {other:?}"))),
        }
    }
}

/// Returns the numbers of a flat JSON object.
fn numbers(line: &str) -> BTreeMap<String, f64> {
    let inner = line.trim().trim_start_matches('{').trim_end_matches('}');
    let members = inner.split(',').filter_map(|member| member.split_once(':'));
    members
        .filter_map(|(key, value)| Some((key.trim().trim_matches('"').to_owned(), value.trim().parse().ok()?)))
        .collect()
}

/// What a key measures.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    /// CPU per operation, whose inverse the key holds if `inverse`.
    Cpu {
        inverse: bool,
    },
    P99,
    /// Another figure: shown, not judged.
    Other,
}

fn measure_of(key: &str) -> Measure {
    // What stands beside Courtyard says nothing of it.
    if key.starts_with("relay_") || key.starts_with("bare_") || key.contains("ratio") {
        return Measure::Other;
    }
    if key.ends_with("_per_cpu_s") {
        return Measure::Cpu { inverse: true };
    }
    if key.ends_with("_accept_ns") || key.ends_with("_replace_ns") || key == "empty_hook_ns" || key == "no_plugin_ns" {
        return Measure::Cpu { inverse: false };
    }
    if key.contains("p99") && key.ends_with("_ms") {
        return Measure::P99;
    }
    Measure::Other
}

/// Measures both builds in turns, and fails if the new one is slower than the limits allow.
fn compare(name: &str, options: &[String], old: &Build, new: &Build) -> Result<(), Failed> {
    // Short rounds in many pairs: what else the machine does meets both alike.
    let mut options = options.to_vec();
    if options.is_empty() && matches!(name, "chat" | "fanout") {
        options = ["--rounds", "1", "--seconds", "2"].map(str::to_owned).to_vec();
    }
    let mut ratios: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for pair in 1..=PAIRS {
        say(&format!("pair {pair} of {PAIRS}"));
        // The order turns around, so that neither always comes second.
        let (before, after) = if pair % 2 == 1 {
            let before = old.measure(name, &options)?;
            (before, new.measure(name, &options)?)
        } else {
            let after = new.measure(name, &options)?;
            (old.measure(name, &options)?, after)
        };
        for (key, after) in after {
            let Some(before) = before.get(&key).filter(|before| **before != 0.0) else {
                continue;
            };
            ratios.entry(key).or_default().push(after / before);
        }
    }
    report(&ratios)
}

/// Prints the median ratio of each key; fails if one is over its limit.
fn report(ratios: &BTreeMap<String, Vec<f64>>) -> Result<(), Failed> {
    let mut slower = Vec::new();
    for (key, values) in ratios {
        let measure = measure_of(key);
        let mut values: Vec<f64> = match measure {
            Measure::Cpu { inverse: true } => values.iter().map(|value| 1.0 / value).collect(),
            _ => values.clone(),
        };
        values.sort_by(f64::total_cmp);
        let median = values[values.len() / 2];
        let limit = match measure {
            Measure::Cpu { .. } => Some(CPU_LIMIT),
            Measure::P99 => Some(P99_LIMIT),
            Measure::Other => None,
        };
        let what = match measure {
            Measure::Cpu { .. } => "CPU per operation, new to old",
            _ => "new to old",
        };
        let (low, high) = (values[0], values[values.len() - 1]);
        let judged = limit.map_or_else(String::new, |limit| format!(", at most {limit:.2}"));
        println!("    {key}: {what}: {median:.3} ({low:.3} to {high:.3}{judged})");
        if limit.is_some_and(|limit| median > limit) {
            slower.push(key.as_str());
        }
    }
    if slower.is_empty() {
        return Ok(());
    }
    Err(Failed(format!("the new build is slower: {}", slower.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_report_are_read() {
        let numbers = numbers(r#"{"bench":"chat","messages_per_cpu_s":81234.0,"p99_ms":2.5}"#);
        assert_eq!(numbers.len(), 2);
        assert_eq!(numbers.get("p99_ms"), Some(&2.5));
    }

    #[test]
    fn cpu_is_judged_by_its_inverse_where_the_key_counts_operations() {
        let ratios = |key: &str, value: f64| BTreeMap::from([(key.to_owned(), vec![value; PAIRS])]);
        assert!(report(&ratios("messages_per_cpu_s", 1.2)).is_ok());
        assert!(report(&ratios("messages_per_cpu_s", 0.9)).is_err());
        assert!(report(&ratios("typed_accept_ns", 1.1)).is_err());
        assert!(report(&ratios("p99_ms", 1.09)).is_ok());
        assert!(report(&ratios("p99_ms", 1.2)).is_err());
        assert!(report(&ratios("relay_messages_per_cpu_s", 0.5)).is_ok());
    }

    #[test]
    fn the_option_and_its_value_are_removed_from_the_arguments() {
        let mut arguments = ["chat", "--against", "871259e", "--rounds", "1"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(option(&mut arguments, "--against").unwrap(), Some("871259e".to_owned()));
        assert_eq!(arguments, ["chat", "--rounds", "1"]);
        assert!(option(&mut vec!["--against".to_owned()], "--against").is_err());
    }
}
