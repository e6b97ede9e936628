//! A plugin's file: what it is, what it declares and what it wants, before any of it runs.

use std::path::Path;
use std::sync::Arc;

use courtyard_plugin_sdk::manifest::Manifest;
use courtyard_plugin_sdk::native::Native;
use sha2::{Digest, Sha256};
use wasm_encoder::{CustomSection, Encode};
use wasmparser::{Encoding, Parser, Payload};

use super::{LoadError, native};

/// The custom section that holds the manifest.
const SECTION: &str = "courtyard:manifest";

/// A plugin, read and checked, but not compiled or started.
#[derive(Debug)]
pub struct Artifact {
    pub(super) code: Code,
    /// What it declares.
    pub manifest: Manifest,
}

/// What a plugin is made of.
#[derive(Debug)]
pub(super) enum Code {
    Wasm(Arc<WasmCode>),
    Native(Arc<dyn Native>),
}

/// A Wasm file.
#[derive(Debug)]
pub(super) struct WasmCode {
    pub(super) bytes: Vec<u8>,
    /// Whether it is a component already, or a core module with its component type.
    pub(super) is_component: bool,
    /// Identifies the bytes.
    pub(super) sha256: [u8; 32],
}

impl Artifact {
    /// Reads a plugin's file.
    ///
    /// # Errors
    /// When it can't be read, is no WebAssembly, or has no manifest that this version understands.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        Self::parse(read(path)?)
    }

    /// Reads a plugin's file; a native library only if it is trusted. Its code runs when it is read.
    ///
    /// # Errors
    /// As [`Artifact::read`], and when a library is not trusted or can't be used.
    pub fn open(path: &Path, trusted: bool) -> Result<Self, LoadError> {
        let bytes = read(path)?;
        match (native::is_library(&bytes), trusted) {
            (false, _) => Self::parse(bytes),
            (true, false) => Err(LoadError::NotTrusted),
            (true, true) => Self::native(native::open(path)?),
        }
    }

    /// Understands the bytes of a plugin.
    ///
    /// # Errors
    /// As [`Artifact::read`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, LoadError> {
        if !bytes.starts_with(b"\0asm") {
            return Err(LoadError::NotWasm(
                "the file does not begin like WebAssembly".to_owned(),
            ));
        }
        let (is_component, manifest) = scan(&bytes)?;
        let manifest = manifest.ok_or(LoadError::NoManifest)?;
        let manifest = Manifest::parse(manifest).map_err(LoadError::Manifest)?;
        let sha256 = Sha256::digest(&bytes).into();
        Ok(Self {
            code: Code::Wasm(Arc::new(WasmCode {
                bytes,
                is_component,
                sha256,
            })),
            manifest,
        })
    }

    /// Adds a manifest to a module or a component that was made without the SDK.
    ///
    /// # Errors
    /// When the bytes are no WebAssembly or have a manifest, or the manifest breaks a rule.
    pub fn pack(mut bytes: Vec<u8>, manifest: &str) -> Result<Vec<u8>, LoadError> {
        Manifest::parse(manifest.as_bytes()).map_err(LoadError::Manifest)?;
        if !bytes.starts_with(b"\0asm") {
            return Err(LoadError::NotWasm(
                "the file does not begin like WebAssembly".to_owned(),
            ));
        }
        if scan(&bytes)?.1.is_some() {
            return Err(LoadError::Packed);
        }
        let section = CustomSection {
            name: SECTION.into(),
            data: manifest.as_bytes().into(),
        };
        // A custom section is the same in modules and in components.
        bytes.push(wasm_encoder::Section::id(&section));
        section.encode(&mut bytes);
        Ok(bytes)
    }

    /// Understands a plugin that is a value in this process.
    ///
    /// # Errors
    /// When its manifest breaks a rule.
    pub fn native(plugin: Arc<dyn Native>) -> Result<Self, LoadError> {
        let manifest = Manifest::parse(plugin.manifest().as_bytes()).map_err(LoadError::Manifest)?;
        Ok(Self {
            code: Code::Native(plugin),
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

/// Finds the manifest without looking into the code.
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

/// Turns the file into a component.
///
/// # Errors
/// When a module's component type does not fit it.
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
