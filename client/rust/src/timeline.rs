//! Puts the events of one conversation in order.

use std::collections::BTreeMap;

use crate::LogEvent;

/// Order of the events of a conversation: delivers each number once, and holds back events that arrive too early.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// Number of the last delivered event.
    seq: u64,
    /// `None` until the server lists the conversation.
    epoch: Option<u32>,
    /// Events after a gap, by number.
    held_back: BTreeMap<u64, LogEvent>,
    /// `true` while the missing events are requested, or about to be.
    pub(crate) filling: bool,
}

impl Timeline {
    /// Starts after a number.
    pub(crate) fn after(seq: u64) -> Self {
        Self {
            seq,
            epoch: None,
            held_back: BTreeMap::new(),
            filling: false,
        }
    }

    /// Sets the epoch. If it differs from the one before, starts again at the first number and returns `true`.
    pub(crate) fn set_epoch(&mut self, epoch: u32) -> bool {
        let reset = self.epoch.is_some_and(|known| known != epoch);
        if reset {
            self.seq = 0;
            self.held_back.clear();
        }
        self.epoch = Some(epoch);
        reset
    }

    /// Returns `true` if the server has listed the conversation.
    pub(crate) fn is_listed(&self) -> bool {
        self.epoch.is_some()
    }

    /// Adds an event, and returns the events that can be delivered now, in order. Drops an event that was delivered before.
    pub(crate) fn add(&mut self, event: LogEvent) -> Vec<LogEvent> {
        if event.seq > self.seq {
            self.held_back.insert(event.seq, event);
        }
        let mut ready = Vec::new();
        while let Some(event) = self.held_back.remove(&(self.seq + 1)) {
            self.seq += 1;
            ready.push(event);
        }
        ready
    }

    /// Returns the number after which events are missing; `None` if none are.
    pub(crate) fn missing_after(&self) -> Option<u64> {
        (!self.held_back.is_empty()).then_some(self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> LogEvent {
        let json = serde_json::json!({"id": "e", "conversation": "c", "seq": seq, "type": "message", "time": 0});
        serde_json::from_value(json).unwrap()
    }

    fn add(timeline: &mut Timeline, seq: u64) -> Vec<u64> {
        let ready = timeline.add(event(seq));
        ready.iter().map(|event| event.seq).collect()
    }

    const NONE: [u64; 0] = [];

    #[test]
    fn events_are_delivered_once_and_in_order() {
        let mut timeline = Timeline::after(2);
        assert_eq!(add(&mut timeline, 3), [3]);
        assert_eq!(add(&mut timeline, 3), NONE);
        assert_eq!(add(&mut timeline, 6), NONE);
        assert_eq!(timeline.missing_after(), Some(3));
        assert_eq!(add(&mut timeline, 5), NONE);
        assert_eq!(add(&mut timeline, 4), [4, 5, 6]);
        assert_eq!(timeline.missing_after(), None);
    }

    #[test]
    fn a_new_epoch_starts_again_at_the_first_number() {
        let mut timeline = Timeline::after(9);
        assert!(!timeline.set_epoch(0));
        assert!(!timeline.set_epoch(0));
        assert_eq!(add(&mut timeline, 1), NONE);
        assert!(timeline.set_epoch(1));
        assert_eq!(add(&mut timeline, 1), [1]);
    }
}
