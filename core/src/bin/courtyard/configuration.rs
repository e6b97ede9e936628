//! Which configuration a command means: a file, or the one inside the executable.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use courtyard::bundle::{Bundle, BundleError};
use courtyard::config::{BUNDLED, Config, ConfigErrors};

/// Why there is no configuration to work with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("{0}")]
    Mistakes(#[from] ConfigErrors),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("the current folder can't be found")]
    Folder(#[source] std::io::Error),
    #[error("the configuration can't be copied")]
    Copy(#[source] std::io::Error),
    #[error(
        "there is no configuration inside this executable: give one with `--config FILE`, or let `cargo xtask dist` \
         make an executable with everything inside"
    )]
    NoneInside,
}

impl Unusable {
    /// Says why.
    pub(crate) fn tell(&self) -> ExitCode {
        match self {
            Self::Mistakes(mistakes) => {
                eprint!("{mistakes}");
                ExitCode::FAILURE
            }
            other => super::failed(other),
        }
    }
}

/// Reads a file, or else the configuration inside the executable, whose paths count from the current folder.
pub(crate) fn read(file: Option<&Path>) -> Result<Config, Unusable> {
    let bundle = Bundle::of_executable()?;
    match file {
        Some(file) => Ok(Config::load_with(file, &bundle)?),
        None => {
            let folder = std::env::current_dir().map_err(Unusable::Folder)?;
            Config::bundled(&bundle, &folder)?.ok_or(Unusable::NoneInside)
        }
    }
}

/// Writes the text that [`read`] understands, once it has no mistakes.
pub(crate) fn print(file: Option<&Path>) -> Result<(), Unusable> {
    let config = read(file)?;
    let text = match file {
        Some(file) => std::fs::read(file).map_err(Unusable::Copy)?.into(),
        None => config.bundle.part(BUNDLED).cloned().unwrap_or_default(),
    };
    match std::io::stdout().write_all(&text) {
        // Whoever reads it has read enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Unusable::Copy),
    }
}
