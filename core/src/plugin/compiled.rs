//! Compiled code on the disk, in a folder that only the host writes.

#![allow(unsafe_code, reason = "loading precompiled code is unsafe by nature; see SAFETY")]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

use super::LoadError;
use super::artifact::{WasmCode, component_of};

/// What the file with the checksum of a compiled component ends in.
const CHECKSUM: &str = "crc32";

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

/// Finds what [`write`] made; none if it is not there, cut off or altered.
fn read(engine: &Engine, path: &Path) -> Option<Component> {
    let wanted = fs::read(path.with_extension(CHECKSUM)).ok()?;
    if checksum(path).ok()?.to_le_bytes() != *wanted {
        tracing::warn!(path = %path.display(), "compiled code is damaged; compiling again");
        return None;
    }
    // SAFETY: the folder belongs to the host alone (mode 0700), the name holds the hash of the plugin and of the
    // engine's configuration, and the checksum tells that these are the bytes that `write` got from the engine. It is
    // against damage alone: whoever can write here could also make any other checksum right. Files here are replaced, and
    // never changed, while they are mapped.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}

/// Reads a file piece by piece: only what runs of it takes up memory.
fn checksum(path: &Path) -> std::io::Result<u32> {
    let (mut file, mut hasher) = (fs::File::open(path)?, crc32fast::Hasher::new());
    let mut piece = [0; 16 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finalize()),
            length => hasher.update(&piece[..length]),
        }
    }
}

/// Keeps a compiled component and its checksum. Between the two files a reader finds no pair that fits, and compiles anew.
fn write(component: &Component, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let code = component.serialize()?;
    replace(path, &code)?;
    replace(&path.with_extension(CHECKSUM), &crc32fast::hash(&code).to_le_bytes())?;
    Ok(())
}

/// Writes aside and renames, so that no reader sees half a file.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}.new", std::process::id()));
    let mut file = fs::File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)
}
