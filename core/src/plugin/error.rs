//! Why a plugin doesn't load or start.

use std::path::PathBuf;

use courtyard_plugin_sdk::manifest::ManifestError;

use super::contract::CONTRACT;
use crate::fetch::FetcherError;
use crate::hooks::Failure;

/// Why a plugin does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file can't be read.
    #[error("{} can't be read", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("it is no WebAssembly: {0}")]
    NotWasm(String),
    /// A native library that the operator did not vouch for.
    #[error("it is a native library, which would run without a sandbox: if you trust it, write `trusted = true`")]
    NotTrusted,
    /// A native library that can't be used.
    #[error("the library can't be used: {0}")]
    Library(String),
    /// WebAssembly, but not built with the SDK.
    #[error("it has no manifest (custom section `courtyard:manifest`); was it built with courtyard-plugin-sdk?")]
    NoManifest,
    /// It has a manifest, which is not to be hidden by another.
    #[error("it has a manifest already")]
    Packed,
    /// The manifest is wrong.
    #[error("its manifest is wrong")]
    Manifest(#[source] ManifestError),
    /// Another contract.
    #[error("it was built for contract {found}, and this host speaks {CONTRACT}")]
    Contract {
        /// The version in the manifest.
        found: String,
    },
    /// The configuration means another plugin.
    #[error("its id is {found:?}, and the configuration calls it {wanted:?}")]
    Id {
        /// In the manifest.
        found: String,
        /// In the configuration.
        wanted: String,
    },
    /// It needs what the operator does not grant.
    #[error("it needs the capability {0:?}, which is not granted (add it to `grant`)")]
    NotGranted(String),
    /// It imports what no host of this contract has.
    #[error("it imports {0:?}, which this host does not have")]
    UnknownImport(String),
    /// The module does not keep to the contract.
    #[error("it does not keep to the contract: {0}")]
    NotAPlugin(String),
    /// It may use more memory than was set aside when the server started.
    #[error(
        "its `memory_bytes` is over the {0} bytes that the server set aside when it started; start the server anew"
    )]
    Memory(usize),
    /// Its requests to other servers can't be sent.
    #[error("its requests to other servers can't be sent")]
    Fetch(#[from] FetcherError),
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl LoadError {
    /// Returns the stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "plugin_unreadable",
            Self::NotWasm(_) => "plugin_not_wasm",
            Self::NotTrusted => "plugin_not_trusted",
            Self::Library(_) => "plugin_bad_library",
            Self::NoManifest | Self::Packed | Self::Manifest(_) => "plugin_bad_manifest",
            Self::Contract { .. } => "plugin_wrong_contract",
            Self::Id { .. } => "plugin_wrong_id",
            Self::NotGranted(_) => "plugin_not_granted",
            Self::UnknownImport(_) => "plugin_unknown_import",
            Self::NotAPlugin(_) => "plugin_breaks_contract",
            Self::Memory(_) => "plugin_needs_restart",
            Self::Fetch(_) => "plugin_can_not_fetch",
            Self::Start(_) => "plugin_does_not_start",
        }
    }
}

/// Why there is no new instance.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The instance can't be made, or does not have the functions of the contract.
    #[error("it can't be instantiated: {0}")]
    Instantiate(String),
    /// It refuses its configuration.
    #[error("it does not start: {code}: {message}")]
    Refused {
        /// The plugin's code.
        code: String,
        /// The plugin's sentence.
        message: String,
    },
    /// It broke down.
    #[error("it broke down in start: {0}")]
    Failed(#[source] Failure),
}
