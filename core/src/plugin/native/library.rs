//! Opens native libraries.

#![allow(
    unsafe_code,
    reason = "running a library's code is unsafe by nature; the operator vouches for it"
)]

use std::path::Path;
use std::sync::Arc;

use courtyard_plugin_sdk::library::{ENTRY, Library, import};
use courtyard_plugin_sdk::native::Native;

use crate::plugin::LoadError;

/// How files of native libraries begin: ELF, Mach-O in both byte orders and as a fat file, PE.
const MAGIC: [&[u8]; 5] = [
    b"\x7fELF",
    b"\xcf\xfa\xed\xfe",
    b"\xfe\xed\xfa\xcf",
    b"\xca\xfe\xba\xbe",
    b"MZ",
];

/// Whether a file begins like a native library.
pub(in crate::plugin) fn is_library(bytes: &[u8]) -> bool {
    MAGIC.iter().any(|magic| bytes.starts_with(magic))
}

/// Takes the plugin out of a library, which stays loaded for as long as the process lives.
pub(in crate::plugin) fn open(path: &Path) -> Result<Arc<dyn Native>, LoadError> {
    let broken = |error: &dyn std::fmt::Display| LoadError::Library(error.to_string());
    // The loader looks for a bare name in the system's folders instead of here.
    let path = std::path::absolute(path).map_err(|source| LoadError::Read {
        file: path.to_owned(),
        source,
    })?;
    // SAFETY: the operator wrote `trusted = true`: what the library does when it is loaded is theirs to know.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| broken(&error))?;
    // SAFETY: the name belongs to the interface, and whoever exports it vouches for its type.
    let entry = unsafe { library.get::<extern "C" fn() -> *const Library>(ENTRY) }.map_err(|error| broken(&error))?;
    let table = entry();
    // Code may run in there as long as anybody holds the plugin, and threads of its own may outlive even that.
    std::mem::forget(library);
    // SAFETY: it is what the entry returned, and the library is never unloaded.
    unsafe { import(table) }.map_err(|error| broken(&error))
}
