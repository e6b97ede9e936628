//! What operators see of plugins, and why a change failed.

use serde::Serialize;

use crate::hooks::{HookCounts, Usage};
use crate::plugin::LoadError;
use crate::store::{CommitError, StoreError};
use crate::wire::ErrorCode;

/// Why a plugin doesn't run, or why its last change failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginProblem {
    /// Stable code.
    pub code: String,
    /// Sentence with all causes.
    pub message: String,
}

/// State of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// Its hooks and methods are called.
    Running,
    /// It failed too often, and is not called for a while.
    Quarantined,
    /// An operator disabled it. What it guards stays closed.
    Disabled,
    /// It could not be loaded. What it guards stays closed.
    Missing,
}

/// What operators see of a plugin.
#[derive(Clone, Debug, Serialize)]
pub struct PluginStatus {
    /// Id in the configuration.
    pub id: String,
    /// Current state.
    pub state: PluginState,
    /// Version in the manifest; `None` if the manifest could not be read.
    pub version: Option<String>,
    /// Number of the current generation, counted from 1 since the host started.
    pub generation: u64,
    /// Version that a rollback activates.
    pub previous_version: Option<String>,
    /// Why it doesn't run, or why the last change failed.
    pub problem: Option<PluginProblem>,
    /// When this generation was activated, in milliseconds since 1970.
    pub since_ms: u64,
    /// Calls in progress.
    pub entered: usize,
    /// Resources in use.
    pub usage: Usage,
    /// Counters of its hooks.
    pub hooks: Vec<HookCounts>,
    /// Pending observations, counted up to 1,000.
    pub unobserved: usize,
    /// Pending jobs, counted up to 1,000.
    pub jobs: usize,
    /// Dead letters (observations and jobs that failed too often), counted up to 1,000.
    pub dead_letters: usize,
}

/// Why a plugin was not changed. The generation that ran keeps running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManageError {
    /// No plugin has this id.
    #[error("unknown plugin {0:?}")]
    Unknown(String),
    /// The configuration is invalid, or does not name the plugin.
    #[error("the configuration can't be used: {0}")]
    Configuration(String),
    /// The new generation can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The keys can't be migrated to the new generation.
    #[error("its keys can't be migrated from version {from}: {reason}")]
    Migration {
        /// Version that wrote the keys.
        from: String,
        /// Error that the plugin returned, or its failure.
        reason: String,
    },
    /// This is the first generation since the host started.
    #[error("no previous generation to roll back to")]
    NoPrevious,
    /// The plugin is disabled.
    #[error("the plugin is disabled; enable it first")]
    Disabled,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(String),
}

impl ManageError {
    /// Returns the stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        let code = match self {
            Self::Unknown(_) => ErrorCode::UnknownPlugin,
            Self::Configuration(_) => ErrorCode::InvalidConfiguration,
            Self::Load(error) => return error.code(),
            Self::Migration { .. } => ErrorCode::InvalidKeys,
            Self::NoPrevious => ErrorCode::UnknownGeneration,
            Self::Disabled => ErrorCode::Conflict,
            Self::Store(_) => ErrorCode::Unavailable,
        };
        code.as_str()
    }

    pub(super) fn problem(&self) -> PluginProblem {
        PluginProblem {
            code: self.code().to_owned(),
            message: crate::error_chain::with_causes(self),
        }
    }
}

impl From<StoreError> for ManageError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<CommitError> for ManageError {
    fn from(error: CommitError) -> Self {
        Self::Store(error.to_string())
    }
}
