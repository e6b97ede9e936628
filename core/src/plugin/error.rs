//! Why a plugin doesn't load or start.

use std::path::PathBuf;

use courtyard_plugin_sdk::manifest::ManifestError;

use super::contract::CONTRACT;
use crate::fetch::FetcherError;
use crate::hooks::Failure;
use crate::wire::ErrorCode;

/// Why a plugin doesn't load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file can't be read.
    #[error("{} can't be read", file.display())]
    Read {
        /// Path of the file.
        file: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The file is not WebAssembly.
    #[error("the file is not WebAssembly: {0}")]
    NotWasm(String),
    /// The operator doesn't trust this native library.
    #[error("it is a native library, which would run without a sandbox: if you trust it, write `trusted = true`")]
    NotTrusted,
    /// The native library can't be loaded.
    #[error("the native library can't be loaded: {0}")]
    Library(String),
    /// The file is WebAssembly, but wasn't built with the SDK.
    #[error("it has no manifest (custom section `courtyard:manifest`); was it built with courtyard-plugin-sdk?")]
    NoManifest,
    /// The file already has a manifest, which a second one would hide.
    #[error("it already has a manifest")]
    Packed,
    /// The manifest is invalid.
    #[error("its manifest is invalid")]
    Manifest(#[source] ManifestError),
    /// The plugin implements another major version of the contract.
    #[error("it was built for contract {found}, and this host implements {CONTRACT}")]
    Contract {
        /// Version in the manifest.
        found: String,
    },
    /// The id in the manifest differs from the configured one.
    #[error("its id is {found:?}, but the configuration names it {wanted:?}")]
    Id {
        /// Id in the manifest.
        found: String,
        /// Id in the configuration.
        wanted: String,
    },
    /// The plugin requires a capability that is not granted.
    #[error("it requires the capability {0:?}, which is not granted (add it to `grant`)")]
    NotGranted(String),
    /// The plugin has an import that no host of this contract offers.
    #[error("it imports {0:?}, which this host does not offer")]
    UnknownImport(String),
    /// The module violates the contract.
    #[error("it violates the contract: {0}")]
    NotAPlugin(String),
    /// The memory limit exceeds what the server reserved when it started.
    #[error(
        "its `memory_bytes` exceeds the {0} bytes per instance that the server reserved when it started; restart the server"
    )]
    Memory(usize),
    /// The client for outbound requests can't be created.
    #[error("its client for outbound requests can't be created")]
    Fetch(#[from] FetcherError),
    /// The plugin doesn't start.
    #[error(transparent)]
    Start(#[from] PluginStartError),
}

impl LoadError {
    /// Returns the stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        let code = match self {
            Self::Read { .. } => ErrorCode::InvalidFile,
            Self::NotWasm(_) => ErrorCode::InvalidWasm,
            Self::NotTrusted => ErrorCode::Forbidden,
            Self::Library(_) => ErrorCode::InvalidLibrary,
            Self::NoManifest | Self::Packed | Self::Manifest(_) => ErrorCode::InvalidManifest,
            Self::Contract { .. } => ErrorCode::UnknownContract,
            Self::Id { .. } => ErrorCode::InvalidPluginId,
            Self::NotGranted(_) => ErrorCode::Forbidden,
            Self::UnknownImport(_) => ErrorCode::UnknownImport,
            Self::NotAPlugin(_) => ErrorCode::InvalidPlugin,
            Self::Memory(_) => ErrorCode::LimitMemory,
            Self::Fetch(_) => ErrorCode::InvalidFetch,
            Self::Start(_) => ErrorCode::Internal,
        };
        code.as_str()
    }
}

/// Why an instance doesn't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginStartError {
    /// The instance can't be created, or lacks functions of the contract.
    #[error("it can't be instantiated: {0}")]
    Instantiate(String),
    /// `start` returned an error, for example because the configuration is invalid.
    #[error("its `start` returned an error: {code}: {message}")]
    Refused {
        /// Code that the plugin returned.
        code: String,
        /// Sentence that the plugin returned.
        message: String,
    },
    /// The plugin failed in `start`.
    #[error("it failed in `start`: {0}")]
    Failed(#[source] Failure),
}
