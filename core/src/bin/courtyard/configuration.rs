//! The configuration of a command: a file, or the one in the executable.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use courtyard::internals::config::BUNDLED;
use courtyard::{Bundle, BundleError, Config, ConfigErrors};

/// Why a configuration can't be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadFailure {
    #[error("{0}")]
    Invalid(#[from] ConfigErrors),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("the current folder can't be determined")]
    Folder(#[source] std::io::Error),
    #[error("the configuration can't be printed")]
    Copy(#[source] std::io::Error),
    #[error(
        "this executable has no configuration: pass one with `--config FILE`, or build an executable that has one with \
         `cargo xtask dist`"
    )]
    NotBundled,
}

impl LoadFailure {
    /// Prints the reason, and returns the exit code of a failure.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Invalid(errors) => {
                eprint!("{errors}");
                ExitCode::FAILURE
            }
            other => super::failed(other),
        }
    }
}

/// Reads a file, or else the configuration in the executable, whose paths count from the current folder.
pub(crate) fn read(file: Option<&Path>) -> Result<Config, LoadFailure> {
    let bundle = Bundle::of_executable()?;
    match file {
        Some(file) => Ok(Config::load_with(file, &bundle)?),
        None => {
            let folder = std::env::current_dir().map_err(LoadFailure::Folder)?;
            Config::bundled(&bundle, &folder)?.ok_or(LoadFailure::NotBundled)
        }
    }
}

/// Prints the text of the configuration if [`read`] accepts it.
pub(crate) fn print(file: Option<&Path>) -> Result<(), LoadFailure> {
    let config = read(file)?;
    let text = match file {
        Some(file) => std::fs::read(file).map_err(LoadFailure::Copy)?.into(),
        None => config.bundle.part(BUNDLED).cloned().unwrap_or_default(),
    };
    match std::io::stdout().write_all(&text) {
        // The reader has closed the pipe, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(LoadFailure::Copy),
    }
}
