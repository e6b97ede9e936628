//! Cache of compiled code on disk, in a folder that only the host can write.

#![allow(unsafe_code, reason = "loading precompiled code is unsafe by nature; see SAFETY")]

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::plugin::LoadError;
use crate::plugin::artifact::{WasmCode, component_of};

/// Extension of the file with the checksum of compiled code.
const CHECKSUM: &str = "crc32";

/// Cache of compiled code: one file for each plugin, engine configuration and processor. A plugin with jobs has two, since
/// it runs as a module in the transaction lane and as a component in the action lane.
#[derive(Clone, Debug)]
pub struct CompiledCache {
    folder: Option<PathBuf>,
    /// Locks of the files that are being compiled, so that nothing is compiled twice at the same time.
    compiling: Arc<Mutex<HashMap<PathBuf, Arc<Mutex<()>>>>>,
}

impl CompiledCache {
    /// Opens a folder, creating it if it doesn't exist, and denies access to other users.
    ///
    /// # Errors
    /// If the folder can't be created, or its permissions can't be set.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        Ok(Self {
            folder: Some(folder.to_owned()),
            compiling: Arc::default(),
        })
    }

    /// Returns a cache that keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            folder: None,
            compiling: Arc::default(),
        }
    }

    /// Returns the compiled code: from the folder if an intact file exists, else compiled now.
    pub(super) fn load<C: Compiled>(&self, engine: &Engine, id: &str, code: &WasmCode) -> Result<C, LoadError> {
        let Some(path) = self.path::<C>(engine, code) else {
            return compile(engine, id, code);
        };
        // Others wait here, and then find the code in the folder.
        let lock = self.compiling.lock().entry(path.clone()).or_default().clone();
        let _lock = lock.lock();
        let found = read(engine, &path);
        let compiled = found.map_or_else(|| compile_into::<C>(&path, engine, id, code), Ok);
        self.compiling.lock().remove(&path);
        compiled
    }

    /// Returns `true` if the folder has no file for the code. `false` for a cache that keeps nothing.
    pub(super) fn lacks<C: Compiled>(&self, engine: &Engine, code: &WasmCode) -> bool {
        self.path::<C>(engine, code).is_some_and(|path| !path.exists())
    }

    fn path<C: Compiled>(&self, engine: &Engine, code: &WasmCode) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        Some(folder.join(format!("{}.{}", name(engine, code), C::ENDING)))
    }
}

/// A form of compiled code.
pub(super) trait Compiled: Sized {
    /// Extension of its files.
    const ENDING: &'static str;

    /// Compiles code.
    ///
    /// # Errors
    /// If the code can't be compiled to this form.
    fn compile(engine: &Engine, code: &WasmCode) -> Result<Self, LoadError>;

    /// Returns the bytes of the file that [`Compiled::map`] maps.
    ///
    /// # Errors
    /// If the engine can't serialize the code.
    fn serialize(&self) -> wasmtime::Result<Vec<u8>>;

    /// Maps a file whose content [`Compiled::serialize`] returned.
    ///
    /// # Safety
    /// The file has exactly these bytes, and doesn't change while it is mapped.
    ///
    /// # Errors
    /// If the code was compiled for another engine.
    unsafe fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self>;
}

impl Compiled for Component {
    const ENDING: &'static str = "cwasm";

    fn compile(engine: &Engine, code: &WasmCode) -> Result<Self, LoadError> {
        Self::from_binary(engine, &component_of(code)?).map_err(not_a_plugin)
    }

    fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        Self::serialize(self)
    }

    unsafe fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self> {
        // SAFETY: the caller upholds the contract.
        unsafe { Self::deserialize_file(engine, path) }
    }
}

impl Compiled for Module {
    const ENDING: &'static str = "module.cwasm";

    fn compile(engine: &Engine, code: &WasmCode) -> Result<Self, LoadError> {
        Self::from_binary(engine, &code.bytes).map_err(not_a_plugin)
    }

    fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        Self::serialize(self)
    }

    unsafe fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self> {
        // SAFETY: the caller upholds the contract.
        unsafe { Self::deserialize_file(engine, path) }
    }
}

fn compile<C: Compiled>(engine: &Engine, id: &str, code: &WasmCode) -> Result<C, LoadError> {
    tracing::info!(plugin = id, "compiling a plugin; this may take some seconds");
    C::compile(engine, code)
}

fn compile_into<C: Compiled>(path: &Path, engine: &Engine, id: &str, code: &WasmCode) -> Result<C, LoadError> {
    let compiled: C = compile(engine, id, code)?;
    // Not fatal: without the file, the next start compiles again.
    if let Err(error) = write(&compiled, path) {
        tracing::warn!(path = %path.display(), %error, "compiled code could not be stored");
    }
    Ok(compiled)
}

/// Returns a file name that identifies the code and the engine for which it is compiled.
fn name(engine: &Engine, code: &WasmCode) -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = siphasher::sip::SipHasher13::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let mut name = String::with_capacity(96);
    for byte in code.sha256 {
        name.push_str(&format!("{byte:02x}"));
    }
    name.push_str(&format!("-{:016x}", hasher.finish()));
    name
}

/// Maps a file that [`write`] stored; `None` if it doesn't exist or its checksum doesn't match.
fn read<C: Compiled>(engine: &Engine, path: &Path) -> Option<C> {
    let wanted = fs::read(path.with_extension(CHECKSUM)).ok()?;
    if checksum(path).ok()?.to_le_bytes() != *wanted {
        tracing::warn!(path = %path.display(), "compiled code is damaged and will be compiled again");
        return None;
    }
    // SAFETY: only the host can write in the folder (mode 0700), the name contains the hashes of the plugin and of the
    // engine's configuration, and the checksum shows that `write` got these bytes from the engine. It detects damage only:
    // a process that can write here could forge any checksum. Files here are replaced, and never changed, while they are
    // mapped.
    unsafe { C::map(engine, path) }.ok()
}

/// Returns the checksum of a file. Reads it in pieces, so that only the code that runs occupies memory.
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

/// Stores compiled code and its checksum. A reader between the two writes finds a mismatch, and compiles again.
fn write<C: Compiled>(compiled: &C, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let code = compiled.serialize()?;
    replace(path, &code)?;
    replace(&path.with_extension(CHECKSUM), &crc32fast::hash(&code).to_le_bytes())?;
    Ok(())
}

/// Writes a temporary file and renames it, so that no reader sees half a file.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let mut file = fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

pub(super) fn not_a_plugin(error: wasmtime::Error) -> LoadError {
    LoadError::NotAPlugin(format!("{error:#}"))
}
