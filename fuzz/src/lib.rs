//! Fuzz targets: plain functions on bytes that must not panic, each with inputs to start from.
//!
//! `cargo xtask fuzz` feeds them with mutated inputs on the stable toolchain; `fuzz/libfuzzer` has the same targets for
//! cargo-fuzz. A test runs each target for a moment.

#![allow(clippy::unwrap_used, reason = "a broken assertion is what a fuzz target reports")]

mod config;
mod frame;
mod manifest;
pub mod mutation;
mod segment;
mod table_key;

use std::panic::{AssertUnwindSafe, catch_unwind};

use mutation::Mutator;

/// A function on bytes that must not panic.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Runs it once.
    pub run: fn(&[u8]),
    /// Returns inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Inputs of a short run. Targets that open files take fewer.
    pub smoke: u64,
}

/// All targets.
pub const TARGETS: [Target; 9] = [
    Target {
        name: "frame",
        run: frame::run,
        seeds: frame::seeds,
        smoke: 30_000,
    },
    Target {
        name: "manifest",
        run: manifest::run,
        seeds: manifest::seeds,
        smoke: 5_000,
    },
    Target {
        name: "artifact",
        run: manifest::run_artifact,
        seeds: manifest::artifact_seeds,
        smoke: 5_000,
    },
    Target {
        name: "table_key",
        run: table_key::run,
        seeds: table_key::seeds,
        smoke: 30_000,
    },
    Target {
        name: "config",
        run: config::run,
        seeds: config::seeds,
        smoke: 500,
    },
    Target {
        name: "batch",
        run: courtyard::internals::store::fuzz_segment,
        seeds: segment::seeds,
        smoke: 20_000,
    },
    Target {
        name: "record",
        run: courtyard::internals::log::fuzz_records,
        seeds: segment::seeds,
        smoke: 20_000,
    },
    Target {
        name: "key",
        run: courtyard::internals::keys::fuzz_keys,
        seeds: table_key::seeds,
        smoke: 20_000,
    },
    Target {
        name: "segment",
        run: segment::run,
        seeds: segment::seeds,
        smoke: 100,
    },
];

/// Runs the target of this name once.
///
/// # Panics
/// When the target panics or doesn't exist.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("the target exists").run)(input);
}

/// An input that made a target panic.
#[derive(Debug)]
pub struct Crash {
    /// The input.
    pub input: Vec<u8>,
    /// The message of the panic.
    pub message: String,
}

/// Runs a target with mutated inputs while `more` returns true for the count so far; returns how many it ran.
///
/// # Errors
/// The first input that makes the target panic.
pub fn fuzz(target: &Target, seed: u64, mut more: impl FnMut(u64) -> bool) -> Result<u64, Crash> {
    let mut mutator = Mutator::new(seed, (target.seeds)());
    let mut count = 0;
    while more(count) {
        let input = mutator.next_input();
        // Targets share nothing that a panic could leave half changed.
        catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).map_err(|panic| Crash {
            input: input.clone(),
            message: message_of(&*panic),
        })?;
        count += 1;
    }
    Ok(count)
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smoke(name: &str) {
        let target = TARGETS.iter().find(|target| target.name == name).unwrap();
        for seed in (target.seeds)() {
            (target.run)(&seed);
        }
        if let Err(crash) = fuzz(target, 1, |count| count < target.smoke) {
            panic!("{}: input {:?}", crash.message, String::from_utf8_lossy(&crash.input));
        }
    }

    #[test]
    fn frames_are_read_alike_by_both_parsers() {
        smoke("frame");
    }

    #[test]
    fn manifests_never_panic() {
        smoke("manifest");
    }

    #[test]
    fn artifacts_never_panic() {
        smoke("artifact");
    }

    #[test]
    fn keys_of_tables_decode_to_what_encodes_to_the_same_bytes() {
        smoke("table_key");
    }

    #[test]
    fn configurations_never_panic() {
        smoke("config");
    }

    #[test]
    fn batches_records_and_keys_of_the_store_never_panic() {
        for name in ["batch", "record", "key"] {
            smoke(name);
        }
    }

    #[test]
    fn damaged_segments_are_recovered_or_refused() {
        smoke("segment");
    }

    #[test]
    fn a_panic_is_reported_with_its_input() {
        let target = Target {
            name: "broken",
            run: |input| assert!(input.len() < 4, "too long"),
            seeds: || vec![b"abc".to_vec()],
            smoke: 0,
        };
        let crash = fuzz(&target, 1, |count| count < 10_000).unwrap_err();
        assert!(crash.input.len() >= 4 && crash.message.contains("too long"));
    }
}
