//! Compiled code on the disk, in a folder that only the host writes.

#![allow(unsafe_code, reason = "loading precompiled code is unsafe by nature; see SAFETY")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

use super::LoadError;
use super::artifact::{WasmCode, component_of};

/// Compiled components, one file for each plugin, engine configuration and processor.
#[derive(Clone, Debug)]
pub struct CompiledCache {
    folder: Option<PathBuf>,
}

impl CompiledCache {
    /// Uses a folder, and makes it if need be, so that nobody else can write there.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        Ok(Self {
            folder: Some(folder.to_owned()),
        })
    }

    /// Keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { folder: None }
    }

    /// Returns the compiled component: from the folder if it is there and whole, else compiled now.
    pub(super) fn load(&self, engine: &Engine, id: &str, code: &WasmCode) -> Result<Component, LoadError> {
        let path = self.folder.as_ref().map(|folder| folder.join(file_name(engine, code)));
        if let Some(component) = path.as_deref().and_then(|path| read(engine, path)) {
            return Ok(component);
        }
        tracing::info!(plugin = id, "compiling a plugin, which takes a moment");
        let bytes = component_of(code)?;
        let component =
            Component::from_binary(engine, &bytes).map_err(|error| LoadError::NotAPlugin(format!("{error:#}")))?;
        if let Some(path) = path {
            // Without the file the next start compiles again; that is no reason to fail.
            if let Err(error) = write(&component, &path) {
                tracing::warn!(path = %path.display(), %error, "compiled code could not be kept");
            }
        }
        Ok(component)
    }
}

fn file_name(engine: &Engine, code: &WasmCode) -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = siphasher::sip::SipHasher13::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let mut name = String::with_capacity(96);
    for byte in code.sha256 {
        name.push_str(&format!("{byte:02x}"));
    }
    name.push_str(&format!("-{:016x}.cwasm", hasher.finish()));
    name
}

/// Reads a file that [`write`] made; none if it is not there, cut off or altered.
fn read(engine: &Engine, path: &Path) -> Option<Component> {
    let bytes = fs::read(path).ok()?;
    let (checksum, code) = bytes.split_first_chunk()?;
    if crc32fast::hash(code).to_le_bytes() != *checksum {
        tracing::warn!(path = %path.display(), "compiled code is damaged; compiling again");
        return None;
    }
    // SAFETY: the folder belongs to the host alone (mode 0700), the name holds the hash of the plugin and of the
    // engine's configuration, and the checksum tells that these are the bytes that `write` got from the engine. It is
    // against damage alone: whoever can write here could also make any other checksum right.
    unsafe { Component::deserialize(engine, code) }.ok()
}

/// Writes aside and renames, so that no reader sees half a file.
fn write(component: &Component, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let code = component.serialize()?;
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = fs::File::create(&aside)?;
    file.write_all(&crc32fast::hash(&code).to_le_bytes())?;
    file.write_all(&code)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    Ok(())
}
