//! What one plugin may use.

use std::time::Duration;

use crate::services::ServiceLimits;

/// What one plugin may take up. Every limit has a key under `[plugins.limits]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// How long a hook may take.
    pub hook: Duration,
    /// How long a method may take.
    pub method: Duration,
    /// How long an instance may take to start.
    pub start: Duration,
    /// Linear memory of one instance.
    pub memory_bytes: usize,
    /// Linear memory of all instances.
    pub total_memory_bytes: usize,
    /// Instances, and thus calls at a time.
    pub instances: u32,
    /// Bytes of one result.
    pub result_bytes: usize,
    /// How long a job may take.
    pub action: Duration,
    /// Jobs at a time.
    pub actions: usize,
    /// How often a job may fail before it is given up.
    pub job_attempts: u32,
    /// What it may use up of the services.
    pub services: ServiceLimits,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            hook: Duration::from_millis(50),
            method: Duration::from_secs(5),
            start: Duration::from_secs(1),
            memory_bytes: 64 << 20,
            total_memory_bytes: 256 << 20,
            instances: 8,
            result_bytes: 1 << 20,
            action: Duration::from_secs(60),
            actions: 8,
            job_attempts: 12,
            services: ServiceLimits::default(),
        }
    }
}
