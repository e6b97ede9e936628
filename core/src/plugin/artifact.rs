//! The file of a plugin: its kind and its manifest, read before any of its code runs.

use std::path::Path;
use std::sync::Arc;

use courtyard_plugin_sdk::manifest::Manifest;
use courtyard_plugin_sdk::native::Native;
use sha2::{Digest, Sha256};
use wasm_encoder::{CustomSection, Encode};
use wasmparser::{Encoding, Parser, Payload};

use super::{LoadError, native};

/// Name of the custom section that holds the manifest.
const SECTION: &str = "courtyard:manifest";

/// A plugin, read and checked, but not compiled or started.
#[derive(Debug)]
pub struct Artifact {
    pub(super) code: PluginCode,
    /// What the plugin declares and requests.
    pub manifest: Manifest,
}

/// The code of a plugin.
#[derive(Debug)]
pub(super) enum PluginCode {
    Wasm(Arc<WasmCode>),
    Native(Arc<dyn Native>),
}

/// A Wasm file.
#[derive(Debug)]
pub(super) struct WasmCode {
    pub(super) bytes: Vec<u8>,
    /// `true` for a component, `false` for a core module with its component type.
    pub(super) is_component: bool,
    /// Hash of `bytes`.
    pub(super) sha256: [u8; 32],
}

impl Artifact {
    /// Reads a plugin's file.
    ///
    /// # Errors
    /// If the file can't be read, is not WebAssembly, or has no manifest that this version can parse.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        Self::parse(read(path)?)
    }

    /// Reads a plugin's file. A native library is read only if it is trusted: loading it runs its code.
    ///
    /// # Errors
    /// As for [`Artifact::read`], and if a library is not trusted or can't be loaded.
    pub fn open(path: &Path, trusted: bool) -> Result<Self, LoadError> {
        let bytes = read(path)?;
        match (native::is_library(&bytes), trusted) {
            (false, _) => Self::parse(bytes),
            (true, false) => Err(LoadError::NotTrusted),
            (true, true) => Self::native(native::open_library(path)?),
        }
    }

    /// Parses the bytes of a plugin's file.
    ///
    /// # Errors
    /// As for [`Artifact::read`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, LoadError> {
        check_magic(&bytes)?;
        let (is_component, manifest) = scan(&bytes)?;
        let manifest = manifest.ok_or(LoadError::NoManifest)?;
        let manifest = Manifest::parse(manifest).map_err(LoadError::Manifest)?;
        let sha256 = Sha256::digest(&bytes).into();
        Ok(Self {
            code: PluginCode::Wasm(Arc::new(WasmCode {
                bytes,
                is_component,
                sha256,
            })),
            manifest,
        })
    }

    /// Adds a manifest to a module or a component that was built without the SDK.
    ///
    /// # Errors
    /// If the bytes are not WebAssembly or already have a manifest, or the manifest is invalid.
    pub fn pack(mut bytes: Vec<u8>, manifest: &str) -> Result<Vec<u8>, LoadError> {
        Manifest::parse(manifest.as_bytes()).map_err(LoadError::Manifest)?;
        check_magic(&bytes)?;
        if scan(&bytes)?.1.is_some() {
            return Err(LoadError::Packed);
        }
        let section = CustomSection {
            name: SECTION.into(),
            data: manifest.as_bytes().into(),
        };
        // Custom sections have the same encoding in modules and in components.
        bytes.push(wasm_encoder::Section::id(&section));
        section.encode(&mut bytes);
        Ok(bytes)
    }

    /// Wraps a plugin that is a value in this process.
    ///
    /// # Errors
    /// If its manifest is invalid.
    pub fn native(plugin: Arc<dyn Native>) -> Result<Self, LoadError> {
        let manifest = Manifest::parse(plugin.manifest().as_bytes()).map_err(LoadError::Manifest)?;
        Ok(Self {
            code: PluginCode::Native(plugin),
            manifest,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|source| LoadError::Read {
        file: path.to_owned(),
        source,
    })
}

fn check_magic(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.starts_with(b"\0asm") {
        Ok(())
    } else {
        Err(LoadError::NotWasm("it does not begin with `\\0asm`".to_owned()))
    }
}

/// Returns whether the file is a component, and its manifest. The code is not parsed.
fn scan(bytes: &[u8]) -> Result<(bool, Option<&[u8]>), LoadError> {
    let (mut is_component, mut manifest, mut depth) = (false, None, 0_u32);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| LoadError::NotWasm(error.to_string()))? {
            Payload::Version { encoding, .. } => {
                is_component |= depth == 0 && encoding == Encoding::Component;
                depth += 1;
            }
            Payload::CustomSection(section) if section.name() == SECTION => manifest = Some(section.data()),
            _ => {}
        }
    }
    Ok((is_component, manifest))
}

/// Returns the file as a component: as it is, or wrapped around the module.
///
/// # Errors
/// If a module doesn't match its component type.
pub(super) fn component_of(code: &WasmCode) -> Result<std::borrow::Cow<'_, [u8]>, LoadError> {
    if code.is_component {
        return Ok(code.bytes.as_slice().into());
    }
    let encoded = wit_component::ComponentEncoder::default()
        .module(&code.bytes)
        .and_then(|encoder| encoder.validate(true).encode());
    encoded
        .map(Into::into)
        .map_err(|error| LoadError::NotAPlugin(format!("{error:#}")))
}
