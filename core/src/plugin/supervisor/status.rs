//! What operators see of plugins, and why one was not changed.

use serde::Serialize;

use crate::hooks::{HookCounts, Usage};
use crate::plugin::LoadError;
use crate::store::{CommitError, StoreError};

/// Why a plugin is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Stable.
    pub code: String,
    /// With all causes.
    pub message: String,
}

/// How a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Running {
    /// It is asked.
    Running,
    /// It broke down too often, and is left alone for a while.
    Quarantined,
    /// An operator disabled it. What it guards stays closed.
    Disabled,
    /// It could not be loaded. What it guards stays closed.
    Missing,
}

/// What operators see of a plugin.
#[derive(Clone, Debug, Serialize)]
pub struct PluginStatus {
    /// The id in the configuration.
    pub id: String,
    /// How it is.
    pub state: Running,
    /// Its version; none if that could not be read.
    pub version: Option<String>,
    /// How often it was put in place since the host started.
    pub generation: u64,
    /// The version that a roll-back leads to.
    pub previous_version: Option<String>,
    /// Why it does not run, or why the last change failed.
    pub problem: Option<Problem>,
    /// When this generation was put in place, in milliseconds since 1970.
    pub since_ms: u64,
    /// Calls that are in it now.
    pub entered: usize,
    /// What it takes up.
    pub usage: Usage,
    /// What was counted at its hooks.
    pub hooks: Vec<HookCounts>,
    /// What it has still to observe, up to 1,000.
    pub unobserved: usize,
    /// Jobs that it has still to do, up to 1,000.
    pub jobs: usize,
    /// What it could not bear or do, up to 1,000.
    pub dead_letters: usize,
}

/// Why a plugin was not changed. It runs on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManageError {
    /// There is no such plugin.
    #[error("there is no plugin {0:?}")]
    Unknown(String),
    /// The configuration is wrong, or does not name the plugin.
    #[error("the configuration can't be used: {0}")]
    Configuration(String),
    /// The new generation can't run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The new generation can't use the keys of the old one.
    #[error("its keys can't be changed from version {from}: {reason}")]
    Migration {
        /// The version that left them.
        from: String,
        /// What the plugin, or its failure, says.
        reason: String,
    },
    /// There was no other generation since the host started.
    #[error("there is no generation to roll back to")]
    NoPrevious,
    /// It is disabled.
    #[error("it is disabled; enable it first")]
    Disabled,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(String),
}

impl ManageError {
    /// Returns the stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown_plugin",
            Self::Configuration(_) => "bad_configuration",
            Self::Load(error) => error.code(),
            Self::Migration { .. } => "plugin_migration_failed",
            Self::NoPrevious => "plugin_no_previous",
            Self::Disabled => "plugin_disabled",
            Self::Store(_) => "storage_failed",
        }
    }

    pub(super) fn problem(&self) -> Problem {
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            message.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Problem {
            code: self.code().to_owned(),
            message,
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
