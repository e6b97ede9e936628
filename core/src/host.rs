//! What the parts of a running host share: plugins, log, live sessions and limits.

use std::sync::Arc;
use std::time::Duration;

use crate::bus::Bus;
use crate::effects::Settlement;
use crate::hooks::Hooks;
use crate::log::Log;
use crate::metrics::TrafficMetrics;
use crate::router::Router;
use crate::wire::AppId;
use crate::workers::Workers;

/// Limits of a session. Every one has a key under `[limits]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Size of a frame of the client, in bytes.
    pub frame_bytes: usize,
    /// Nesting of JSON, in levels.
    pub depth: usize,
    /// Requests of a session in flight.
    pub in_flight: usize,
    /// Invalid frames until the session is closed.
    pub bad_frames: u32,
    /// Size of a session's queue, in bytes.
    pub queue_bytes: usize,
    /// Members of the largest conversation with receipts and typing signals.
    pub signal_members: usize,
    /// Time limit of the first frame.
    pub hello: Duration,
    /// Idle time before a ping; twice as long closes the session.
    pub heartbeat: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 64 << 10,
            depth: 32,
            in_flight: 256,
            bad_frames: 8,
            queue_bytes: 1 << 20,
            signal_members: 200,
            hello: Duration::from_secs(10),
            heartbeat: Duration::from_secs(20),
        }
    }
}

/// What all sessions of a host share.
pub struct Host {
    /// The plugins.
    pub hooks: Arc<Hooks>,
    /// Conversations and messages.
    pub log: Arc<Log>,
    /// Live sessions.
    pub router: Arc<Router>,
    /// The bus to other nodes.
    pub bus: Arc<dyn Bus>,
    /// Commits the effects of plugin calls.
    pub settlement: Arc<Settlement>,
    /// The tenants.
    pub apps: Vec<AppId>,
    /// Counts of what sessions do.
    pub traffic: Arc<TrafficMetrics>,
    /// Limits of sessions.
    pub limits: SessionLimits,
    /// Threads for blocking work.
    pub workers: Arc<Workers>,
    /// For loopback only: accepts a token that no plugin recognizes as the actor's name.
    pub trust_tokens: bool,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("apps", &self.apps).finish_non_exhaustive()
    }
}
