//! Compiled code on the disk, in a folder that only the host writes.

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

/// What the file with the checksum of compiled code ends in.
const CHECKSUM: &str = "crc32";

/// Compiled code, one file for each plugin, engine configuration and processor; two for one that does jobs, which runs as a
/// module in the transaction lane and as a component in the action lane.
#[derive(Clone, Debug)]
pub struct CompiledCache {
    folder: Option<PathBuf>,
    /// What is being compiled, so that nothing is compiled twice at a time.
    compiling: Arc<Mutex<HashMap<PathBuf, Arc<Mutex<()>>>>>,
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
            compiling: Arc::default(),
        })
    }

    /// Keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            folder: None,
            compiling: Arc::default(),
        }
    }

    /// Returns the compiled code: from the folder if it is there and whole, else compiled now.
    pub(super) fn load<C: Compiled>(&self, engine: &Engine, id: &str, code: &WasmCode) -> Result<C, LoadError> {
        let Some(path) = self.path::<C>(engine, code) else {
            return compile(engine, id, code);
        };
        // Whoever has to wait finds it in the folder then.
        let one = self.compiling.lock().entry(path.clone()).or_default().clone();
        let _one = one.lock();
        let found = read(engine, &path);
        let compiled = found.map_or_else(|| compile_into::<C>(&path, engine, id, code), Ok);
        self.compiling.lock().remove(&path);
        compiled
    }

    /// Whether the code would have to be compiled, and be kept.
    pub(super) fn lacks<C: Compiled>(&self, engine: &Engine, code: &WasmCode) -> bool {
        self.path::<C>(engine, code).is_some_and(|path| !path.exists())
    }

    fn path<C: Compiled>(&self, engine: &Engine, code: &WasmCode) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        Some(folder.join(format!("{}.{}", name(engine, code), C::ENDING)))
    }
}

/// What code can be compiled to.
pub(super) trait Compiled: Sized {
    /// What its files end in.
    const ENDING: &'static str;

    /// Compiles code.
    ///
    /// # Errors
    /// When it can't be compiled to this.
    fn compile(engine: &Engine, code: &WasmCode) -> Result<Self, LoadError>;

    /// Returns what [`Compiled::map`] makes it of again.
    ///
    /// # Errors
    /// When that fails.
    fn serialize(&self) -> wasmtime::Result<Vec<u8>>;

    /// Maps the file of what [`Compiled::serialize`] returned.
    ///
    /// # Safety
    /// The file has these bytes, and is not changed while it is mapped.
    ///
    /// # Errors
    /// When it was compiled for another engine.
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
        // SAFETY: the caller's.
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
        // SAFETY: the caller's.
        unsafe { Self::deserialize_file(engine, path) }
    }
}

fn compile<C: Compiled>(engine: &Engine, id: &str, code: &WasmCode) -> Result<C, LoadError> {
    tracing::info!(plugin = id, "compiling a plugin, which takes a moment");
    C::compile(engine, code)
}

fn compile_into<C: Compiled>(path: &Path, engine: &Engine, id: &str, code: &WasmCode) -> Result<C, LoadError> {
    let compiled: C = compile(engine, id, code)?;
    // Without the file the next start compiles again; that is no reason to fail.
    if let Err(error) = write(&compiled, path) {
        tracing::warn!(path = %path.display(), %error, "compiled code could not be kept");
    }
    Ok(compiled)
}

/// Names the code and the engine that it is compiled for.
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

/// Finds what [`write`] made; none if it is not there, cut off or altered.
fn read<C: Compiled>(engine: &Engine, path: &Path) -> Option<C> {
    let wanted = fs::read(path.with_extension(CHECKSUM)).ok()?;
    if checksum(path).ok()?.to_le_bytes() != *wanted {
        tracing::warn!(path = %path.display(), "compiled code is damaged; compiling again");
        return None;
    }
    // SAFETY: the folder belongs to the host alone (mode 0700), the name holds the hash of the plugin and of the
    // engine's configuration, and the checksum tells that these are the bytes that `write` got from the engine. It is
    // against damage alone: whoever can write here could also make any other checksum right. Files here are replaced, and
    // never changed, while they are mapped.
    unsafe { C::map(engine, path) }.ok()
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

/// Keeps compiled code and its checksum. Between the two files a reader finds no pair that fits, and compiles anew.
fn write<C: Compiled>(compiled: &C, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let code = compiled.serialize()?;
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

pub(super) fn not_a_plugin(error: wasmtime::Error) -> LoadError {
    LoadError::NotAPlugin(format!("{error:#}"))
}
