//! Benchmarks. Each describes itself while it runs, and ends with one line of JSON whose keys contain their units.
//!
//! Machines are shared and noisy, so speed is reported as a ratio to a reference that runs in the same minute, in turns where
//! both can run at the same time.

#![allow(clippy::unwrap_used, reason = "a violated assumption ends the benchmark")]

mod alternatives;
mod chat;
mod fanout;
mod full_product;
mod hook;
mod idle;
mod interference;
mod latency;
mod load;
mod process;
mod relay;
mod sync;
mod throughput;
mod wasmtime_baseline;

use std::path::PathBuf;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmark to run.
#[derive(Parser)]
enum Bench {
    /// Cost of calling a plugin.
    Hook {
        #[command(flatten)]
        built: Built,
        /// Measure only this, for a profiler.
        #[arg(long)]
        only: Option<hook::Only>,
    },
    /// Durable messages, compared with a bare relay.
    Chat {
        #[command(flatten)]
        built: Built,
        /// Rounds; the result is their median.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 4)]
        seconds: u64,
    },
    /// Latency of messages while a plugin is reloaded, and next to a misbehaving plugin.
    #[command(name = "disturbed")]
    Interference {
        #[command(flatten)]
        built: Built,
        /// Rounds; the result is their median.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 8)]
        seconds: u64,
    },
    /// Deliveries to a large group, compared with a bare relay.
    Fanout {
        #[command(flatten)]
        built: Built,
        /// Rounds; the result is their median.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 4)]
        seconds: u64,
    },
    /// Time to catch up on many conversations of which few changed.
    Sync {
        #[command(flatten)]
        built: Built,
        /// Rounds; the result is their median.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Memory of idle connections, compared with a bare server.
    Idle {
        #[command(flatten)]
        built: Built,
        /// Number of connections.
        #[arg(long, default_value_t = 10_000)]
        connections: usize,
    },
    /// A hook in a child process; started by other benchmarks.
    #[command(hide = true)]
    AnswerPipe,
    /// A hook as a webhook; started by other benchmarks.
    #[command(hide = true)]
    AnswerHttp,
    /// The bare relay with which Courtyard is compared; started by other benchmarks.
    #[command(hide = true)]
    Relay {
        /// File to which messages are appended.
        log: PathBuf,
        /// Send every message to all other connections.
        #[arg(long)]
        to_all: bool,
    },
}

/// Paths of the build results, and of the data.
#[derive(clap::Args)]
struct Built {
    /// The `courtyard` binary.
    #[arg(long)]
    server: PathBuf,
    /// The folder of the plugins.
    #[arg(long)]
    plugins: PathBuf,
    /// Folder for data, on the disk that is measured.
    #[arg(long)]
    data: PathBuf,
}

fn main() {
    match Bench::parse() {
        Bench::Hook { built, only } => hook::run(&built, only),
        Bench::Chat { built, rounds, seconds } => chat::run(&built, rounds, seconds),
        Bench::Interference { built, rounds, seconds } => interference::run(&built, rounds, seconds),
        Bench::Fanout { built, rounds, seconds } => fanout::run(&built, rounds, seconds),
        Bench::Sync { built, rounds } => sync::run(&built, rounds),
        Bench::Idle { built, connections } => idle::run(&built, connections),
        Bench::AnswerPipe => alternatives::answer_pipe(),
        Bench::AnswerHttp => alternatives::answer_http(),
        Bench::Relay { log, to_all } => relay::run(&log, to_all),
    }
}

/// Returns the median.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
