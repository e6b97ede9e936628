//! Runs fuzz targets with seeded mutation: `courtyard-fuzz [--smoke | --seconds N] [--seed N] [TARGET …]`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use courtyard_fuzz::{Crash, TARGETS, Target, fuzz};

struct Options {
    /// `None` runs each target for its short count.
    time: Option<Duration>,
    seed: u64,
    names: Vec<String>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("courtyard-fuzz: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let mut crashed = false;
    for target in &TARGETS {
        if options.names.is_empty() || options.names.iter().any(|name| name == target.name) {
            crashed |= !passes(target, &options);
        }
    }
    if crashed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        time: Some(Duration::from_secs(60)),
        seed: 1,
        names: Vec::new(),
    };
    let number = |value: Option<String>, name: &str| -> Result<u64, String> {
        value
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| format!("{name} needs a number"))
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--smoke" => options.time = None,
            "--seconds" => options.time = Some(Duration::from_secs(number(arguments.next(), "--seconds")?)),
            "--seed" => options.seed = number(arguments.next(), "--seed")?,
            name if TARGETS.iter().any(|target| target.name == name) => options.names.push(name.to_owned()),
            other => {
                let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                return Err(format!(
                    "unknown target or option {other:?}; targets: {}",
                    names.join(", ")
                ));
            }
        }
    }
    Ok(options)
}

/// Runs one target, and keeps the input that makes it panic.
fn passes(target: &Target, options: &Options) -> bool {
    let begin = Instant::now();
    let result = fuzz(target, options.seed, |count| match options.time {
        Some(time) => begin.elapsed() < time,
        None => count < target.smoke,
    });
    match result {
        Ok(count) => {
            println!(
                "{}: {count} inputs in {:.1} s",
                target.name,
                begin.elapsed().as_secs_f64()
            );
            true
        }
        Err(crash) => {
            println!("{}: {}", target.name, crash.message);
            match keep(target, &crash) {
                Ok(path) => println!("    the input is in {}", path.display()),
                Err(error) => println!("    the input can't be kept ({error}): {:?}", crash.input),
            }
            false
        }
    }
}

fn keep(target: &Target, crash: &Crash) -> std::io::Result<PathBuf> {
    let folder = Path::new("target/fuzz");
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("{}.input", target.name));
    std::fs::write(&path, &crash.input)?;
    Ok(path)
}
