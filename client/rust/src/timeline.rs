//! The events of one conversation, put in order.

use std::collections::BTreeMap;

use crate::LogEvent;

/// What a client knows of a conversation: everything up to a number, and what came too early.
#[derive(Debug)]
pub(crate) struct Timeline {
    seq: u64,
    epoch: Option<u32>,
    waiting: BTreeMap<u64, LogEvent>,
    /// Whether the missing events have been asked for.
    pub(crate) filling: bool,
}

impl Timeline {
    /// Begins behind a number.
    pub(crate) fn behind(seq: u64) -> Self {
        Self {
            seq,
            epoch: None,
            waiting: BTreeMap::new(),
            filling: false,
        }
    }

    /// Begins anew when the epoch is another one than before, and returns whether it did.
    pub(crate) fn set_epoch(&mut self, epoch: u32) -> bool {
        let anew = self.epoch.is_some_and(|known| known != epoch);
        if anew {
            self.seq = 0;
            self.waiting.clear();
        }
        self.epoch = Some(epoch);
        anew
    }

    /// Whether the server has ever listed the conversation.
    pub(crate) fn is_listed(&self) -> bool {
        self.epoch.is_some()
    }

    /// Takes an event, and returns those whose turn has come. One that is known already is dropped.
    pub(crate) fn arrive(&mut self, event: LogEvent) -> Vec<LogEvent> {
        if event.seq > self.seq {
            self.waiting.insert(event.seq, event);
        }
        let mut ready = Vec::new();
        while let Some(event) = self.waiting.remove(&(self.seq + 1)) {
            self.seq += 1;
            ready.push(event);
        }
        ready
    }

    /// Returns the number behind which events are missing.
    pub(crate) fn missing_behind(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then_some(self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> LogEvent {
        let json = serde_json::json!({"id": "e", "conversation": "c", "seq": seq, "type": "message", "time": 0});
        serde_json::from_value(json).unwrap()
    }

    fn arrive(timeline: &mut Timeline, seq: u64) -> Vec<u64> {
        let ready = timeline.arrive(event(seq));
        ready.iter().map(|event| event.seq).collect()
    }

    const NONE: [u64; 0] = [];

    #[test]
    fn events_come_out_once_and_in_order() {
        let mut timeline = Timeline::behind(2);
        assert_eq!(arrive(&mut timeline, 3), [3]);
        assert_eq!(arrive(&mut timeline, 3), NONE);
        assert_eq!(arrive(&mut timeline, 6), NONE);
        assert_eq!(timeline.missing_behind(), Some(3));
        assert_eq!(arrive(&mut timeline, 5), NONE);
        assert_eq!(arrive(&mut timeline, 4), [4, 5, 6]);
        assert_eq!(timeline.missing_behind(), None);
    }

    #[test]
    fn another_epoch_begins_anew() {
        let mut timeline = Timeline::behind(9);
        assert!(!timeline.set_epoch(0));
        assert!(!timeline.set_epoch(0));
        assert_eq!(arrive(&mut timeline, 1), NONE);
        assert!(timeline.set_epoch(1));
        assert_eq!(arrive(&mut timeline, 1), [1]);
    }
}
