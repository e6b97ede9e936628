//! How plugins are configured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use courtyard_plugin_sdk::native::Native;

use crate::plugin::{Artifact, LoadError, PluginSpec};

/// Where the code of a plugin comes from.
#[derive(Clone, Debug)]
pub enum PluginSource {
    /// A file: Wasm, or a native library.
    File(PathBuf),
    /// A Wasm file inside the executable.
    Bundled {
        /// Its name there.
        part: String,
        /// Its content.
        bytes: Bytes,
    },
    /// A value of this process. It is trusted: nothing interrupts a call that runs too long.
    Value(Arc<dyn Native>),
}

impl PluginSource {
    pub(super) fn read(&self, trusted: bool) -> Result<Artifact, LoadError> {
        match self {
            Self::File(path) => Artifact::open(path, trusted),
            Self::Bundled { bytes, .. } => Artifact::parse(bytes.to_vec()),
            Self::Value(plugin) => Artifact::native(plugin.clone()),
        }
    }

    /// Returns the stamp of the file; `None` if it is not a file or can't be read.
    pub(super) fn stamp(&self) -> Option<FileStamp> {
        match self {
            Self::File(path) => FileStamp::of(path),
            Self::Bundled { .. } | Self::Value(_) => None,
        }
    }
}

impl PartialEq for PluginSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(left), Self::File(right)) => left == right,
            (Self::Bundled { bytes: left, .. }, Self::Bundled { bytes: right, .. }) => left == right,
            (Self::Value(left), Self::Value(right)) => Arc::ptr_eq(left, right),
            _ => false,
        }
    }
}

impl Eq for PluginSource {}

/// A plugin as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSetup {
    /// Where its code comes from.
    pub source: PluginSource,
    /// Grants, configuration and limits.
    pub spec: PluginSpec,
}

/// Reads the current configuration of all plugins. The error says why it is invalid.
pub type PluginSetups = Box<dyn Fn() -> Result<Vec<PluginSetup>, String> + Send + Sync>;

/// Changes whenever the file is replaced or rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl FileStamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
        })
    }
}
