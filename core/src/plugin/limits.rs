//! What one plugin may use.

use std::time::Duration;

use crate::services::ServiceLimits;

/// Limits of one plugin. Every limit has a key under `[plugins.limits]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// Deadline of a hook.
    pub hook: Duration,
    /// Deadline of a method.
    pub method: Duration,
    /// Deadline of the start of an instance.
    pub start: Duration,
    /// Linear memory of one instance, in bytes.
    pub memory_bytes: usize,
    /// Linear memory of all instances together, in bytes.
    pub total_memory_bytes: usize,
    /// Number of instances, and thus of concurrent calls.
    pub instances: u32,
    /// Size of one result, in bytes.
    pub result_bytes: usize,
    /// Deadline of a job.
    pub action: Duration,
    /// Number of concurrent jobs.
    pub actions: usize,
    /// Number of attempts after which a failing job becomes a dead letter.
    pub job_attempts: u32,
    /// Limits of the services.
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
