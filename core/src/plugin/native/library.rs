//! Loads native libraries.

#![allow(
    unsafe_code,
    reason = "running a library's code is unsafe by nature; the operator vouches for it"
)]

use std::path::Path;
use std::sync::Arc;

use courtyard_plugin_sdk::library::{ENTRY, Library, import};
use courtyard_plugin_sdk::native::Native;

use crate::plugin::LoadError;

/// First bytes of native libraries: ELF, Mach-O in both byte orders and as a fat file, PE.
const MAGIC: [&[u8]; 5] = [
    b"\x7fELF",
    b"\xcf\xfa\xed\xfe",
    b"\xfe\xed\xfa\xcf",
    b"\xca\xfe\xba\xbe",
    b"MZ",
];

/// Returns `true` if a file begins like a native library.
pub(in crate::plugin) fn is_library(bytes: &[u8]) -> bool {
    MAGIC.iter().any(|magic| bytes.starts_with(magic))
}

/// Loads a library and returns its plugin. The library stays loaded until the process ends.
pub(in crate::plugin) fn open_library(path: &Path) -> Result<Arc<dyn Native>, LoadError> {
    let broken = |error: &dyn std::fmt::Display| LoadError::Library(error.to_string());
    // The loader searches the system's folders for a bare file name.
    let path = std::path::absolute(path).map_err(|source| LoadError::Read {
        file: path.to_owned(),
        source,
    })?;
    // SAFETY: the operator wrote `trusted = true`, and so vouches for the code that runs when the library is loaded.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| broken(&error))?;
    // SAFETY: the name is part of the interface: a library that exports it vouches for its type.
    let entry = unsafe { library.get::<extern "C" fn() -> *const Library>(ENTRY) }.map_err(|error| broken(&error))?;
    let table = entry();
    // Never unloaded: its code may run while the plugin exists, and its own threads even longer.
    std::mem::forget(library);
    // SAFETY: the entry function returned the table, and the library is never unloaded.
    unsafe { import(table) }.map_err(|error| broken(&error))
}
