//! The `courtyard` binary.

/// Prints a line. Ignores a closed pipe, as behind `head`.
macro_rules! outln {
    ($($line:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($line)*);
    }};
}

mod bundle;
mod configuration;
mod control;
mod serve;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use courtyard::Bundle;
use courtyard::internals::plugin::Artifact;

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
        /// The configuration; without it, the one in this executable, with the data folder `data` in the current folder.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Prints the configuration with its comments instead of running.
        #[arg(long)]
        print_config: bool,
    },
    /// Checks a configuration, and reports every error with its line.
    CheckConfig {
        /// The configuration.
        config: PathBuf,
    },
    /// Builds one executable from this one, a configuration, and its plugins and static files.
    Bundle(bundle::BundleArgs),
    /// Commands for plugin files, and for the plugins of a running server.
    #[command(subcommand)]
    Plugin(PluginCommand),
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Shows the manifest of a plugin: its hooks, methods and capabilities.
    Inspect {
        /// The file of the plugin, or `bundled:` with the name of a plugin in this executable.
        file: PathBuf,
    },
    /// Adds a manifest to a module or component that was built without the SDK.
    Pack {
        /// The module or the component.
        file: PathBuf,
        /// The manifest, JSON.
        #[arg(long)]
        manifest: PathBuf,
        /// The path of the new plugin file.
        #[arg(long)]
        output: PathBuf,
    },
    #[command(flatten)]
    Control(control::Control),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve {
            config,
            print_config: false,
        } => serve::run(config.as_deref()),
        Command::Serve { config, .. } => match configuration::print(config.as_deref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => error.report(),
        },
        Command::CheckConfig { config } => match configuration::read(Some(&config)) {
            Ok(_) => {
                outln!("{}: OK", config.display());
                ExitCode::SUCCESS
            }
            Err(error) => error.report(),
        },
        Command::Bundle(args) => bundle::run(&args),
        Command::Plugin(PluginCommand::Inspect { file }) => inspect(&file),
        Command::Plugin(PluginCommand::Pack { file, manifest, output }) => pack(&file, &manifest, &output),
        Command::Plugin(PluginCommand::Control(control)) => control::run(control),
    }
}

fn inspect(file: &Path) -> ExitCode {
    let artifact = match read_plugin(file) {
        Ok(artifact) => artifact,
        Err(error) => return failed_at(&file.display().to_string(), &*error),
    };
    match serde_json::to_string_pretty(&artifact.manifest) {
        Ok(json) => {
            outln!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => failed_at("the manifest can't be shown", &error),
    }
}

fn read_plugin(file: &Path) -> Result<Artifact, Box<dyn Error>> {
    let Some(name) = Bundle::name_in(file) else {
        return Ok(Artifact::parse(std::fs::read(file)?)?);
    };
    let bundle = Bundle::of_executable()?;
    let bytes = bundle
        .part(name)
        .ok_or("the bundle in this executable does not have this file")?;
    Ok(Artifact::parse(bytes.to_vec())?)
}

fn pack(file: &Path, manifest: &Path, output: &Path) -> ExitCode {
    let name = |path: &Path| path.display().to_string();
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => return failed_at(&name(file), &error),
    };
    let manifest = match std::fs::read_to_string(manifest) {
        Ok(text) => text,
        Err(error) => return failed_at(&name(manifest), &error),
    };
    match Artifact::pack(bytes, &manifest) {
        Err(error) => failed_at(&name(file), &error),
        Ok(packed) => match std::fs::write(output, packed) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed_at(&name(output), &error),
        },
    }
}

/// Prints what failed, with all causes, and returns the exit code of a failure.
fn failed_at(what: &str, error: &dyn Error) -> ExitCode {
    eprint!("error: {what}: {error}");
    caused(error)
}

/// Prints an error with all causes, and returns the exit code of a failure.
fn failed(error: &dyn Error) -> ExitCode {
    eprint!("error: {error}");
    caused(error)
}

fn caused(error: &dyn Error) -> ExitCode {
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::FAILURE
}
