//! What the operator configures for a plugin.

use super::PluginLimits;
use crate::fetch::Policy;
use crate::hooks::{HealthPolicy, WhenMissing};
use crate::services::Secrets;

/// What the operator says about a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSpec {
    /// The id that the manifest must have.
    pub id: String,
    /// Capabilities that it gets, if it asks for them.
    pub grants: Vec<String>,
    /// A JSON object for the plugin.
    pub configuration: String,
    /// Texts that only the plugin sees.
    pub secrets: Secrets,
    /// Where its requests may go, if it has the capability `fetch`.
    pub fetch: Policy,
    /// What it may take up.
    pub limits: PluginLimits,
    /// Whether a native library may be loaded, which no sandbox is around.
    pub trusted: bool,
    /// When it is left alone.
    pub health: HealthPolicy,
    /// What becomes of messages if its manifest can't be read.
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
