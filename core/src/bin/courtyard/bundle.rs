//! Builds one executable from this one, a configuration, and the files it refers to.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use courtyard::internals::bundle::executable;
use courtyard::{Bundle, Config};
use sha2::{Digest, Sha256};

use super::configuration::LoadFailure;

/// Arguments of `courtyard bundle`.
#[derive(Args)]
pub(crate) struct BundleArgs {
    /// The configuration, which is bundled with its plugins and static files.
    #[arg(long)]
    config: PathBuf,
    /// The path of the new executable.
    #[arg(long)]
    output: PathBuf,
    /// Writes the SHA-256 of the executable beside it, for `sha256sum --check`.
    #[arg(long)]
    checksum: bool,
}

pub(crate) fn run(args: &BundleArgs) -> ExitCode {
    let own = match Bundle::of_executable() {
        Ok(own) => own,
        Err(error) => return super::failed(&error),
    };
    let bundle = match Config::pack(&args.config, &own) {
        Ok(bundle) => bundle,
        Err(errors) => return LoadFailure::from(errors).report(),
    };
    match args.write(&bundle) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::failed_at(&args.output.display().to_string(), &*error),
    }
}

impl BundleArgs {
    fn write(&self, bundle: &Bundle) -> Result<(), Box<dyn Error>> {
        // Written to another file first: the executable is never incomplete, and a running one can be replaced.
        let aside = self.output.with_extension(format!("{}.new", std::process::id()));
        let written = write_executable(bundle, &aside).and_then(|()| Ok(std::fs::rename(&aside, &self.output)?));
        if let Err(error) = written {
            // The file may not exist.
            let _ = std::fs::remove_file(&aside);
            return Err(error);
        }
        for (name, bytes) in bundle.parts() {
            outln!("{:>12}  {name}", bytes.len());
        }
        outln!(
            "{:>12}  {}",
            std::fs::metadata(&self.output)?.len(),
            self.output.display()
        );
        if self.checksum {
            let name = self.output.file_name().unwrap_or_default().to_string_lossy();
            let line = format!("{}  {name}\n", sha256(&self.output)?);
            std::fs::write(self.output.with_extension("sha256"), line)?;
        }
        Ok(())
    }
}

fn write_executable(bundle: &Bundle, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o755);
    let mut output = BufWriter::new(options.open(path)?);
    bundle.write_behind(executable()?, &mut output)?;
    output.flush()?;
    Ok(())
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            let digits = hash.finalize();
            return Ok(digits.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&buffer[..read]);
    }
}
