//! Counts of what the sessions of a host do, for its metrics.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What the sessions of a host do. Each count is one relaxed atomic operation.
#[derive(Debug, Default)]
pub struct TrafficMetrics {
    sessions: Gauge,
    /// Frames that clients sent.
    pub frames_received: Counter,
    /// Frames that were sent to clients.
    pub frames_sent: Counter,
    /// Signals that a full queue dropped.
    pub signals_dropped: Counter,
    /// Events that a full queue dropped; their sessions got a `gap`.
    pub events_dropped: Counter,
    /// Sessions that were closed since they read too slowly.
    pub slow_sessions: Counter,
}

/// Counts a WebSocket session as open until it is dropped.
#[derive(Debug)]
pub struct OpenSession(Arc<TrafficMetrics>);

impl TrafficMetrics {
    /// Counts a WebSocket session as open while the result lives.
    #[must_use]
    pub fn open_session(self: &Arc<Self>) -> OpenSession {
        self.sessions.inc();
        OpenSession(self.clone())
    }

    /// Adds the metrics to those of a host.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "courtyard_sessions",
            "Open WebSocket sessions, signed in or not",
            self.sessions.clone(),
        );
        let counters = [
            (
                "courtyard_frames_received",
                "Frames that clients sent",
                &self.frames_received,
            ),
            (
                "courtyard_frames_sent",
                "Frames that were sent to clients",
                &self.frames_sent,
            ),
            (
                "courtyard_signals_dropped",
                "Signals that full queues of sessions dropped",
                &self.signals_dropped,
            ),
            (
                "courtyard_events_dropped",
                "Events that full queues of sessions dropped; the clients got a gap",
                &self.events_dropped,
            ),
            (
                "courtyard_slow_sessions",
                "Sessions that were closed since they read too slowly",
                &self.slow_sessions,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.sessions.dec();
    }
}
