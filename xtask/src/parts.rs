//! The parts of a long command: each runs whether or not others failed, and the end lists every failure.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::step::{Failed, logged, minutes, say};

/// The results of parts, in the order in which they ended.
#[derive(Default)]
pub(crate) struct Parts {
    results: Mutex<Vec<PartResult>>,
    /// Where background parts write their logs.
    logs: PathBuf,
}

struct PartResult {
    name: String,
    seconds: u64,
    outcome: Outcome,
}

enum Outcome {
    Passed,
    Failed(String),
    /// Not run, since the named part failed.
    Skipped(&'static str),
}

/// A part that others need: its name, and whether it passed.
#[derive(Clone, Copy)]
pub(crate) struct Ended {
    name: &'static str,
    passed: bool,
}

impl Parts {
    /// Creates an empty list whose background parts log to `logs`.
    pub(crate) fn new(logs: PathBuf) -> Result<Self, Failed> {
        std::fs::create_dir_all(&logs).map_err(|error| Failed::file(&logs, &error))?;
        Ok(Self {
            results: Mutex::default(),
            logs,
        })
    }

    /// Runs a part, unless one that it needs failed.
    pub(crate) fn run(&self, name: &'static str, needs: &[Ended], work: impl FnOnce() -> Result<(), Failed>) -> Ended {
        let start = Instant::now();
        let outcome = match needs.iter().find(|need| !need.passed) {
            Some(need) => Outcome::Skipped(need.name),
            None => match work() {
                Ok(()) => Outcome::Passed,
                Err(Failed(reason)) => {
                    say(&format!("FAILED: {name}: {reason}"));
                    Outcome::Failed(reason)
                }
            },
        };
        let passed = matches!(outcome, Outcome::Passed);
        let result = PartResult {
            name: name.to_owned(),
            seconds: start.elapsed().as_secs(),
            outcome,
        };
        // A panic in another part leaves the list whole.
        self.results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        Ended { name, passed }
    }

    /// Runs a part whose output goes to a log, which is printed where the part fails. With `print`, it is printed always.
    pub(crate) fn run_logged(
        &self,
        name: &'static str,
        needs: &[Ended],
        print: bool,
        work: impl FnOnce() -> Result<(), Failed>,
    ) -> Ended {
        let log = self.logs.join(format!("{}.log", name.replace(' ', "-")));
        self.run(name, needs, || {
            let result = logged(&log, work);
            if print || result.is_err() {
                let text = std::fs::read(&log).unwrap_or_default();
                say(&format!("the output of: {name}"));
                println!("{}", String::from_utf8_lossy(&text).trim_end());
            }
            result
        })
    }

    /// Prints every part with its time; fails if one failed.
    pub(crate) fn finish(self) -> Result<(), Failed> {
        let results = self.results.into_inner().unwrap_or_else(PoisonError::into_inner);
        say("the parts, and the minutes that each took:");
        let mut failed = Vec::new();
        for result in &results {
            let outcome = match &result.outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::Failed(reason) => format!("FAILED: {reason}"),
                Outcome::Skipped(need) => format!("not run, since this failed: {need}"),
            };
            println!("    {:>6}  {}: {outcome}", minutes(result.seconds), result.name);
            if !matches!(result.outcome, Outcome::Passed) {
                failed.push(result.name.as_str());
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(Failed(format!(
            "these parts failed or did not run: {}",
            failed.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_run_after_a_failure_and_the_end_names_all_that_failed() {
        let folder = std::env::temp_dir().join(format!("courtyard-parts-{}", std::process::id()));
        let parts = Parts::new(folder.clone()).unwrap();
        let broken = parts.run("build", &[], || Err(Failed("broken".to_owned())));
        let mut ran = false;
        parts.run("tests", &[broken], || {
            ran = true;
            Ok(())
        });
        assert!(!ran, "a part must not run without what it needs");
        let lints = parts.run("lints", &[], || Ok(()));
        assert!(lints.passed);
        parts.run_logged("browser", &[lints], false, || Err(Failed("1 test failed".to_owned())));
        let Err(Failed(reason)) = parts.finish() else {
            panic!("must fail")
        };
        assert!(reason.ends_with("build, tests, browser"), "{reason}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
