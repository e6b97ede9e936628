//! What the operator configures for a plugin.

use super::PluginLimits;
use crate::fetch::Policy;
use crate::hooks::{HealthPolicy, WhenMissing};
use crate::services::Secrets;

/// What the operator configures for a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSpec {
    /// Id that the manifest must have.
    pub id: String,
    /// Capabilities that the plugin gets if its manifest requests them.
    pub grants: Vec<String>,
    /// A JSON object, passed to the plugin at its start.
    pub configuration: String,
    /// Texts that only the plugin can read.
    pub secrets: Secrets,
    /// Allowed destinations of outbound requests, for plugins with the capability `fetch`.
    pub fetch: Policy,
    /// Resource limits.
    pub limits: PluginLimits,
    /// `true` allows a native library, which runs without a sandbox.
    pub trusted: bool,
    /// When repeated failures quarantine the plugin.
    pub health: HealthPolicy,
    /// What happens to messages while the manifest can't be read.
    pub when_missing: WhenMissing,
}

impl PluginSpec {
    /// Describes a plugin with no grants, an empty configuration and the default limits.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            grants: Vec::new(),
            configuration: "{}".to_owned(),
            secrets: Secrets::default(),
            fetch: Policy::default(),
            limits: PluginLimits::default(),
            trusted: false,
            health: HealthPolicy::default(),
            when_missing: WhenMissing::default(),
        }
    }
}
