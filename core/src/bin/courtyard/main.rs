//! The `courtyard` binary.

/// Prints a line. Whoever reads it may have heard enough, as `head` does.
macro_rules! tell {
    ($($line:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($line)*);
    }};
}

mod control;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use courtyard::config::Config;
use courtyard::plugin::Artifact;
use courtyard::server::Server;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A messaging server that hosts its features as sandboxed plugins.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server until it gets SIGTERM or SIGINT.
    Serve {
        /// The configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Reads a configuration and shows every mistake with its line.
    CheckConfig {
        /// The configuration.
        config: PathBuf,
    },
    /// Works with plugins: with their files, and with those of a running server.
    #[command(subcommand)]
    Plugin(PluginCommand),
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Shows what a plugin declares: its hooks, its methods and what it wants to use.
    Inspect {
        /// The plugin's file.
        file: PathBuf,
    },
    /// Adds a manifest to a module or a component that was made without the SDK.
    Pack {
        /// The module or the component.
        file: PathBuf,
        /// The manifest, JSON.
        #[arg(long)]
        manifest: PathBuf,
        /// Where the plugin is written to.
        #[arg(long)]
        output: PathBuf,
    },
    #[command(flatten)]
    Control(control::Control),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve { config } => serve(&config),
        Command::CheckConfig { config } => match Config::load(&config) {
            Ok(_) => {
                tell!("{} is right", config.display());
                ExitCode::SUCCESS
            }
            Err(errors) => {
                eprint!("{errors}");
                ExitCode::FAILURE
            }
        },
        Command::Plugin(PluginCommand::Inspect { file }) => inspect(&file),
        Command::Plugin(PluginCommand::Pack { file, manifest, output }) => pack(&file, &manifest, &output),
        Command::Plugin(PluginCommand::Control(control)) => control::run(control),
    }
}

fn serve(path: &Path) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            eprint!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    let filter = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if config.log_json {
        lines.json().init();
    } else {
        lines.init();
    }
    raise_file_limit(config.net.connections);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed("the runtime does not start", &error),
    };
    let ended = runtime.block_on(run(config));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("the server does not start", &*error),
    }
}

/// Lets the process open as many files as it may: each connection is one.
fn raise_file_limit(connections: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX);
    if let Some(most) = limit.maximum.filter(|most| *most < wanted) {
        tracing::warn!(
            "the system allows {most} open files, fewer than `connections` ({connections}); see `ulimit -Hn`"
        );
    }
}

async fn run(config: Config) -> Result<(), Box<dyn Error>> {
    // Before anything is printed: whoever reads that the server listens may stop it at once.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let server = Server::start(config).await?;
    for plugin in server.plugins().status() {
        if let Some(problem) = plugin.problem {
            tracing::error!(
                plugin = plugin.id,
                code = problem.code,
                "a plugin does not run: {}",
                problem.message
            );
        }
    }
    for (address, secure) in server.addresses() {
        tell!("listening on {}://{address}", if *secure { "https" } else { "http" });
    }
    std::io::stdout().flush()?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => match server.reload_certificates() {
                Ok(()) => tracing::info!("read the certificates again"),
                Err(error) => tracing::error!(%error, "the certificates stay as they were"),
            },
        }
    }
    tracing::info!("stopping");
    server.shut_down().await;
    Ok(())
}

fn inspect(file: &Path) -> ExitCode {
    let artifact = match Artifact::read(file) {
        Ok(artifact) => artifact,
        Err(error) => return failed(&file.display().to_string(), &error),
    };
    match serde_json::to_string_pretty(&artifact.manifest) {
        Ok(json) => {
            tell!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => failed("the manifest can't be shown", &error),
    }
}

fn pack(file: &Path, manifest: &Path, output: &Path) -> ExitCode {
    let name = |path: &Path| path.display().to_string();
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => return failed(&name(file), &error),
    };
    let manifest = match std::fs::read_to_string(manifest) {
        Ok(text) => text,
        Err(error) => return failed(&name(manifest), &error),
    };
    match Artifact::pack(bytes, &manifest) {
        Err(error) => failed(&name(file), &error),
        Ok(packed) => match std::fs::write(output, packed) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&name(output), &error),
        },
    }
}

/// Says what failed, with all causes.
fn failed(what: &str, error: &dyn Error) -> ExitCode {
    eprint!("error: {what}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::FAILURE
}
