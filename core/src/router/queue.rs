//! The bounded queue of frames to a session's client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::metrics::TrafficMetrics;
use crate::wire::{CloseCode, reply};

/// A frame that waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueItem {
    /// An answer to a request: never dropped.
    Answer(Bytes),
    /// An event: may be dropped, since the log has it.
    Event(Bytes),
    /// An ephemeral frame: dropped first.
    Signal(Bytes),
}

impl QueueItem {
    /// Returns the frame.
    #[must_use]
    pub fn frame(&self) -> &Bytes {
        match self {
            Self::Answer(frame) | Self::Event(frame) | Self::Signal(frame) => frame,
        }
    }
}

/// The code that a session is closed with; `None` while it stays open.
pub type Closing = Option<CloseCode>;

#[derive(Debug, Default)]
struct QueueState {
    items: VecDeque<QueueItem>,
    bytes: usize,
    closing: Closing,
}

/// Frames that a session has to send, bounded in bytes.
///
/// When the queue is full, signals are dropped first, then all events, and the client gets one `gap` instead. If answers
/// alone don't fit, the session is closed as too slow.
#[derive(Debug)]
pub struct SessionQueue {
    state: Mutex<QueueState>,
    waker: AtomicWaker,
    limit: usize,
    traffic: Arc<TrafficMetrics>,
}

impl SessionQueue {
    /// Creates an empty queue with a limit in bytes of frames, whose drops nobody counts.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self::counted(limit, Arc::default())
    }

    /// Creates an empty queue with a limit in bytes of frames, whose drops are counted in `traffic`.
    #[must_use]
    pub fn counted(limit: usize, traffic: Arc<TrafficMetrics>) -> Self {
        Self {
            state: Mutex::default(),
            waker: AtomicWaker::new(),
            limit,
            traffic,
        }
    }

    /// Adds an item, and wakes the session. Does nothing once the queue is closed.
    pub fn push(&self, item: QueueItem) {
        let mut state = self.state.lock();
        if state.closing.is_some() {
            return;
        }
        let was_empty = state.items.is_empty();
        state.bytes += item.frame().len();
        state.items.push_back(item);
        if state.bytes > self.limit {
            drop_excess(&mut state, self.limit, &self.traffic);
        }
        let closing = state.closing.is_some();
        drop(state);
        if was_empty || closing {
            self.waker.wake();
        }
    }

    /// Whether more than half of the limit is used.
    #[must_use]
    pub fn is_half_full(&self) -> bool {
        self.state.lock().bytes > self.limit / 2
    }

    /// Closes the session after everything in the queue was sent. The first code wins.
    pub fn close(&self, code: CloseCode) {
        let mut state = self.state.lock();
        state.closing.get_or_insert(code);
        drop(state);
        self.waker.wake();
    }

    /// Swaps all items into `items`, which must be empty, and returns the close code.
    pub fn swap_into(&self, items: &mut VecDeque<QueueItem>) -> Closing {
        let mut state = self.state.lock();
        state.bytes = 0;
        std::mem::swap(&mut state.items, items);
        state.closing
    }

    /// Is ready when the queue has items or is closed.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_work() {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        // An item may have been added between the check and the registration.
        if self.has_work() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn has_work(&self) -> bool {
        let state = self.state.lock();
        !state.items.is_empty() || state.closing.is_some()
    }
}

fn drop_excess(state: &mut QueueState, limit: usize, traffic: &TrafficMetrics) {
    // Returns the number of dropped items.
    let keep = |state: &mut QueueState, keep: fn(&QueueItem) -> bool| {
        let before = state.items.len();
        state.items.retain(keep);
        state.bytes = state.items.iter().map(|item| item.frame().len()).sum();
        (before - state.items.len()) as u64
    };
    let signals = keep(state, |item| !matches!(item, QueueItem::Signal(_)));
    traffic.signals_dropped.inc_by(signals);
    if state.bytes <= limit {
        return;
    }
    let gaps = state.items.iter().filter(|item| *item.frame() == reply::gap()).count() as u64;
    let dropped = keep(state, |item| {
        matches!(item, QueueItem::Answer(_)) && *item.frame() != reply::gap()
    });
    traffic.events_dropped.inc_by(dropped - gaps);
    // A single large answer doesn't mean that the client is slow, and a repeated request wouldn't make it smaller.
    let newest = state.items.back().map_or(0, |item| item.frame().len());
    let is_slow = state.bytes - newest > limit || (state.bytes > limit && state.items.len() > 1);
    state.items.push_back(QueueItem::Answer(reply::gap()));
    if is_slow {
        state.items.clear();
        state.bytes = 0;
        state.closing = Some(CloseCode::TooSlow);
        traffic.slow_sessions.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(queue: &SessionQueue) -> (VecDeque<QueueItem>, Closing) {
        let mut items = VecDeque::new();
        let closing = queue.swap_into(&mut items);
        (items, closing)
    }

    fn frame(length: usize) -> Bytes {
        vec![b'x'; length].into()
    }

    #[test]
    fn one_large_answer_passes_and_two_are_too_many() {
        let queue = SessionQueue::new(25);
        queue.push(QueueItem::Event(frame(10)));
        queue.push(QueueItem::Answer(frame(100)));
        let (items, closing) = drained(&queue);
        assert!(closing.is_none());
        assert_eq!(items.iter().map(|item| item.frame().len()).max(), Some(100));
        queue.push(QueueItem::Answer(frame(20)));
        queue.push(QueueItem::Answer(frame(100)));
        assert!(drained(&queue).1.is_some());
    }

    #[test]
    fn signals_are_dropped_before_events() {
        let queue = SessionQueue::new(25);
        queue.push(QueueItem::Signal(frame(10)));
        queue.push(QueueItem::Event(frame(10)));
        queue.push(QueueItem::Event(frame(10)));
        let (items, closing) = drained(&queue);
        assert_eq!(items, [QueueItem::Event(frame(10)), QueueItem::Event(frame(10))]);
        assert_eq!(closing, None);
    }

    #[test]
    fn drops_are_counted_by_kind() {
        let traffic = Arc::new(TrafficMetrics::default());
        let queue = SessionQueue::counted(25, traffic.clone());
        queue.push(QueueItem::Signal(frame(10)));
        for _ in 0..4 {
            queue.push(QueueItem::Event(frame(12)));
        }
        queue.push(QueueItem::Answer(frame(20)));
        queue.push(QueueItem::Answer(frame(100)));
        assert_eq!(traffic.signals_dropped.get(), 1);
        assert_eq!(traffic.events_dropped.get(), 4);
        assert_eq!(traffic.slow_sessions.get(), 1);
    }

    #[test]
    fn dropped_events_leave_one_gap_and_answers_stay() {
        let queue = SessionQueue::new(25);
        queue.push(QueueItem::Answer(frame(5)));
        for _ in 0..4 {
            queue.push(QueueItem::Event(frame(12)));
        }
        let (items, closing) = drained(&queue);
        assert_eq!(items[0], QueueItem::Answer(frame(5)));
        assert_eq!(items.iter().filter(|item| *item.frame() == reply::gap()).count(), 1);
        assert_eq!(closing, None);
    }

    #[test]
    fn answers_that_do_not_fit_close_the_session() {
        let queue = SessionQueue::new(25);
        for _ in 0..4 {
            queue.push(QueueItem::Answer(frame(12)));
        }
        assert_eq!(drained(&queue), (VecDeque::new(), Some(CloseCode::TooSlow)));
    }
}
