//! What the parts of a running host share: plugins, log, live sessions and limits.

use std::sync::Arc;
use std::time::Duration;

use crate::bus::Bus;
use crate::hooks::{Hooks, Settlement};
use crate::log::Log;
use crate::router::Router;
use crate::wire::AppId;
use crate::workers::Workers;

/// Limits of a session. Every one has a key under `[limits]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Bytes of a message.
    pub frame_bytes: usize,
    /// Nesting of JSON.
    pub depth: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// Bad frames until the session is closed.
    pub bad_frames: u32,
    /// Bytes queued.
    pub queue_bytes: usize,
    /// Members of a conversation up to which they are shown each other's receipts, and who is writing.
    pub signal_members: usize,
    /// Time for the first frame.
    pub hello: Duration,
    /// Silence after which the other side is asked for a sign of life; twice that ends the session.
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
    /// Other nodes.
    pub bus: Arc<dyn Bus>,
    /// Does what plugins leave to be done.
    pub settlement: Arc<Settlement>,
    /// The tenants.
    pub apps: Vec<AppId>,
    /// The limits.
    pub limits: SessionLimits,
    /// Threads for what may take long.
    pub workers: Arc<Workers>,
    /// For loopback only: a token that no plugin knows is taken as the actor.
    pub trust_tokens: bool,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("apps", &self.apps).finish_non_exhaustive()
    }
}
