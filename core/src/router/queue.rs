//! The bounded queue of a session.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::wire::{CloseCode, reply};

/// Something that a session is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An answer to a request: never dropped.
    Answer(Bytes),
    /// An event: may be dropped, since the log has it.
    Event(Bytes),
    /// An ephemeral frame: the first to be dropped.
    Signal(Bytes),
}

impl Item {
    /// Returns the frame.
    #[must_use]
    pub fn frame(&self) -> &Bytes {
        match self {
            Self::Answer(frame) | Self::Event(frame) | Self::Signal(frame) => frame,
        }
    }
}

/// Why a session is to end.
pub type Closing = Option<CloseCode>;

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    closing: Closing,
}

/// What a session is to send, bounded in bytes.
///
/// When it is full, signals are dropped first, then all events, in whose place the client gets one `gap`. If answers
/// alone don't fit, the session is closed as too slow.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    waker: AtomicWaker,
    limit: usize,
}

impl Queue {
    /// Makes an empty queue for so many bytes of frames.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            waker: AtomicWaker::new(),
            limit,
        }
    }

    /// Adds an item, and wakes the session if it sleeps.
    pub fn push(&self, item: Item) {
        let mut state = self.state.lock();
        if state.closing.is_some() {
            return;
        }
        let was_empty = state.items.is_empty();
        state.bytes += item.frame().len();
        state.items.push_back(item);
        if state.bytes > self.limit {
            make_room(&mut state, self.limit);
        }
        let closing = state.closing.is_some();
        drop(state);
        if was_empty || closing {
            self.waker.wake();
        }
    }

    /// Whether half of what it has room for waits.
    #[must_use]
    pub fn is_half_full(&self) -> bool {
        self.state.lock().bytes > self.limit / 2
    }

    /// Ends the session after what is in the queue.
    pub fn close(&self, code: CloseCode) {
        let mut state = self.state.lock();
        state.closing.get_or_insert(code);
        drop(state);
        self.waker.wake();
    }

    /// Puts everything into `items`, which is empty.
    pub fn take(&self, items: &mut VecDeque<Item>) -> Closing {
        let mut state = self.state.lock();
        state.bytes = 0;
        std::mem::swap(&mut state.items, items);
        state.closing
    }

    /// Is ready when there is something to take.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_work() {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        // Something may have come between the look and the registration.
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

fn make_room(state: &mut State, limit: usize) {
    let keep = |state: &mut State, keep: fn(&Item) -> bool| {
        state.items.retain(keep);
        state.bytes = state.items.iter().map(|item| item.frame().len()).sum();
    };
    keep(state, |item| !matches!(item, Item::Signal(_)));
    if state.bytes <= limit {
        return;
    }
    keep(state, |item| {
        matches!(item, Item::Answer(_)) && *item.frame() != reply::gap()
    });
    // An answer that is large by itself is no sign of a slow client, and asking again would not make it smaller.
    let newest = state.items.back().map_or(0, |item| item.frame().len());
    let is_slow = state.bytes - newest > limit || (state.bytes > limit && state.items.len() > 1);
    state.items.push_back(Item::Answer(reply::gap()));
    if is_slow {
        state.items.clear();
        state.bytes = 0;
        state.closing = Some(CloseCode::TooSlow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &Queue) -> (VecDeque<Item>, Closing) {
        let mut items = VecDeque::new();
        let closing = queue.take(&mut items);
        (items, closing)
    }

    fn frame(length: usize) -> Bytes {
        vec![b'x'; length].into()
    }

    #[test]
    fn one_large_answer_passes_and_two_are_too_many() {
        let queue = Queue::new(25);
        queue.push(Item::Event(frame(10)));
        queue.push(Item::Answer(frame(100)));
        let (items, closing) = taken(&queue);
        assert!(closing.is_none());
        assert_eq!(items.iter().map(|item| item.frame().len()).max(), Some(100));
        queue.push(Item::Answer(frame(20)));
        queue.push(Item::Answer(frame(100)));
        assert!(taken(&queue).1.is_some());
    }

    #[test]
    fn signals_are_dropped_before_events() {
        let queue = Queue::new(25);
        queue.push(Item::Signal(frame(10)));
        queue.push(Item::Event(frame(10)));
        queue.push(Item::Event(frame(10)));
        let (items, closing) = taken(&queue);
        assert_eq!(items, [Item::Event(frame(10)), Item::Event(frame(10))]);
        assert_eq!(closing, None);
    }

    #[test]
    fn dropped_events_leave_one_gap_and_answers_stay() {
        let queue = Queue::new(25);
        queue.push(Item::Answer(frame(5)));
        for _ in 0..4 {
            queue.push(Item::Event(frame(12)));
        }
        let (items, closing) = taken(&queue);
        assert_eq!(items[0], Item::Answer(frame(5)));
        assert_eq!(items.iter().filter(|item| *item.frame() == reply::gap()).count(), 1);
        assert_eq!(closing, None);
    }

    #[test]
    fn answers_that_do_not_fit_close_the_session() {
        let queue = Queue::new(25);
        for _ in 0..4 {
            queue.push(Item::Answer(frame(12)));
        }
        assert_eq!(taken(&queue), (VecDeque::new(), Some(CloseCode::TooSlow)));
    }
}
