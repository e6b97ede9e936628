//! Benchmarks. Each explains itself while it runs, and ends with one line of JSON whose keys carry their units.
//!
//! Machines are shared and noisy, so speed is told as a ratio to something that runs in the same minute, in turns where both can
//! be up at a time.

#![allow(clippy::unwrap_used, reason = "a broken premise is to end the benchmark")]

mod bare;
mod chat;
mod disturbed;
mod fanout;
mod flood;
mod hook;
mod idle;
mod load;
mod pace;
mod peers;
mod process;
mod product;
mod relay;
mod sync;

use std::path::PathBuf;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What to measure.
#[derive(Parser)]
enum Bench {
    /// What entering a plugin costs.
    Hook {
        #[command(flatten)]
        built: Built,
        /// Measure this alone, for a profiler.
        #[arg(long)]
        only: Option<hook::Only>,
    },
    /// Durable messages, beside a bare relay.
    Chat {
        #[command(flatten)]
        built: Built,
        /// Rounds, of which the median counts.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 4)]
        seconds: u64,
    },
    /// Latency of messages while a plugin is reloaded, and beside one that misbehaves.
    Disturbed {
        #[command(flatten)]
        built: Built,
        /// Rounds, of which the median counts.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 8)]
        seconds: u64,
    },
    /// Deliveries to a large group, beside a bare relay.
    Fanout {
        #[command(flatten)]
        built: Built,
        /// Rounds, of which the median counts.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 4)]
        seconds: u64,
    },
    /// Time to catch up, with many conversations of which few changed.
    Sync {
        #[command(flatten)]
        built: Built,
        /// Rounds, of which the median counts.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Memory of idle connections, beside a bare server.
    Idle {
        #[command(flatten)]
        built: Built,
        /// Connections.
        #[arg(long, default_value_t = 10_000)]
        connections: usize,
    },
    /// A hook as a child process; started by the other benchmarks.
    #[command(hide = true)]
    AnswerPipe,
    /// A hook as a webhook; started by the other benchmarks.
    #[command(hide = true)]
    AnswerHttp,
    /// The bare relay that Courtyard is compared with; started by the other benchmarks.
    #[command(hide = true)]
    Relay {
        /// The file that messages are appended to.
        log: PathBuf,
        /// Whether every message goes to all other connections.
        #[arg(long)]
        to_all: bool,
    },
}

/// What was built before.
#[derive(clap::Args)]
struct Built {
    /// The `courtyard` binary.
    #[arg(long)]
    server: PathBuf,
    /// The folder of the plugins.
    #[arg(long)]
    plugins: PathBuf,
    /// A folder for data, on the disk that is to be measured.
    #[arg(long)]
    data: PathBuf,
}

fn main() {
    match Bench::parse() {
        Bench::Hook { built, only } => hook::run(&built, only),
        Bench::Chat { built, rounds, seconds } => chat::run(&built, rounds, seconds),
        Bench::Disturbed { built, rounds, seconds } => disturbed::run(&built, rounds, seconds),
        Bench::Fanout { built, rounds, seconds } => fanout::run(&built, rounds, seconds),
        Bench::Sync { built, rounds } => sync::run(&built, rounds),
        Bench::Idle { built, connections } => idle::run(&built, connections),
        Bench::AnswerPipe => peers::answer_pipe(),
        Bench::AnswerHttp => peers::answer_http(),
        Bench::Relay { log, to_all } => relay::run(&log, to_all),
    }
}

/// Returns the value in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
