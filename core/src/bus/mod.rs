//! Carries live frames between the nodes of a cluster.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::wire::{ActorId, AppId, SessionId};

pub mod conformance;

/// A frame for live sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The tenant.
    pub app: AppId,
    /// The actors whose sessions get it.
    pub actors: Arc<[ActorId]>,
    /// The session that gets another answer instead.
    pub except: Option<SessionId>,
    /// Whether it may be dropped without a `gap`, since no event is missing then.
    pub ephemeral: bool,
    /// The frame as sessions send it.
    pub frame: Bytes,
}

/// Receives notices from a bus. The notices of one publisher arrive one at a time; implementations must not block.
pub trait Subscriber: Send + Sync + 'static {
    /// Receives one notice.
    fn notice(&self, notice: &Notice);
}

/// Carries notices from any node to every node, the publishing one included.
///
/// # Contract
/// - **Order.** Notices of one publisher arrive at each subscriber in the order of publication.
/// - **At most once.** A notice may be lost (a node restarts, a link breaks) but never arrives twice. The log is the
///   truth: a session that misses an event sees a gap in the numbers and fetches the range.
/// - **Failure.** `publish` never blocks and never fails; an implementation counts dropped notices.
pub trait Bus: Send + Sync + 'static {
    /// Sends a notice to every node.
    fn publish(&self, notice: Notice);

    /// Sets who gets the notices on this node. Called once, before the first `publish`.
    fn subscribe(&self, subscriber: Arc<dyn Subscriber>);
}

/// A bus within the process, which delivers in the call to `publish`.
#[derive(Default)]
pub struct LocalBus {
    subscriber: OnceLock<Arc<dyn Subscriber>>,
}

impl LocalBus {
    /// Creates a bus without a subscriber. Notices are dropped until it has one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Bus for LocalBus {
    fn publish(&self, notice: Notice) {
        if let Some(subscriber) = self.subscriber.get() {
            subscriber.notice(&notice);
        }
    }

    fn subscribe(&self, subscriber: Arc<dyn Subscriber>) {
        // A second subscriber would get frames that the first already delivered.
        let _ = self.subscriber.set(subscriber);
    }
}
