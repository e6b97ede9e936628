//! A conversation on a device.

use std::collections::BTreeMap;

use courtyard_client::LogEvent;
use serde_json::Value;

use crate::fold::Message;
use crate::record::{Count, End, Mark, Sight, Stay};
use crate::town::View;

/// Members up to which `sync` tells all receipts.
const FEW: usize = 8;

#[derive(Default)]
pub(super) struct Room {
    pub(super) view: View,
    stay: Stay,
    /// What came too early.
    waiting: BTreeMap<u64, Sight>,
    /// The newest number that was heard of.
    pub(super) head: u64,
    pub(super) is_filling: bool,
    /// Whether it had everything once on this connection, so that nothing may be missing from then on.
    is_current: bool,
    own: Mark,
    others: BTreeMap<String, Mark>,
    /// The number up to which what came from history is folded into each message.
    folded: BTreeMap<u64, u64>,
}

/// What has happened to a room.
pub(super) enum Came {
    /// It has it, or it waits for what is before it.
    Taken,
    /// A number is missing that should have come.
    Skipped,
}

impl Room {
    pub(super) fn new(conversation: &str) -> Self {
        let conversation = conversation.to_owned();
        let stay = Stay {
            conversation,
            ..Stay::default()
        };
        Self {
            stay,
            ..Self::default()
        }
    }

    /// Knows no more whether it has everything.
    pub(super) fn lose_track(&mut self) {
        (self.is_filling, self.is_current) = (false, false);
    }

    /// Takes an event that came, in whatever order.
    pub(super) fn take(&mut self, sight: Sight) -> Came {
        let seq = sight.event.seq;
        if seq <= self.view.upto {
            return Came::Taken;
        }
        let skipped = self.is_current && seq > self.view.upto + 1 && self.waiting.is_empty();
        self.head = self.head.max(seq);
        self.waiting.entry(seq).or_insert(sight);
        match skipped {
            true => Came::Skipped,
            false => Came::Taken,
        }
    }

    /// Shows the next event whose turn has come; `as_of` is up to where history was folded into it.
    pub(super) fn show(&mut self, me: &str, as_of: u64) -> Option<LogEvent> {
        let sight = self.waiting.remove(&(self.view.upto + 1))?;
        let event = sight.event.clone();
        self.view.see(me, &event);
        let head = if sight.live { event.seq } else { as_of };
        match event.target {
            None if event.is_message() => {
                self.folded.insert(event.seq, head);
                self.stay.messages.insert(event.seq, Message::of(&event));
            }
            None => {}
            Some(target) => {
                if let Some(message) = self.stay.messages.get_mut(&target)
                    && self.folded.get(&target).is_none_or(|head| *head < event.seq)
                {
                    message.apply(&event);
                }
            }
        }
        self.stay.sights.push(sight);
        Some(event)
    }

    /// Returns the number behind which something is missing. Takes note that it has everything otherwise, if the
    /// connection was told what there is.
    pub(super) fn missing_behind(&mut self, is_told: bool) -> Option<u64> {
        if self.waiting.is_empty() && self.view.upto >= self.head {
            self.is_current = is_told;
            return None;
        }
        (!self.is_filling).then_some(self.view.upto)
    }

    /// Returns the last event that waits in which somebody leaves.
    pub(super) fn waits_with_leaving(&self, me: &str) -> Option<u64> {
        let leaves = |(_, sight): &(&u64, &Sight)| is_leaving(&sight.event, me);
        self.waiting.iter().rev().find(leaves).map(|(seq, _)| *seq)
    }

    /// Takes out what waits behind a number.
    pub(super) fn take_waiting_behind(&mut self, seq: u64) -> Vec<Sight> {
        self.waiting.split_off(&(seq + 1)).into_values().collect()
    }

    /// Merges what is said about the watermark of somebody.
    pub(super) fn mark(&mut self, me: &str, actor: &str, mark: Mark) {
        if actor == me {
            self.own = self.own.merged(mark);
        } else {
            let known = self.others.entry(actor.to_owned()).or_default();
            *known = known.merged(mark);
        }
    }

    /// Counts what is unread.
    pub(super) fn count(&self, me: &str) -> Count {
        let messages = self.stay.messages.values();
        let unread = messages.filter(|message| message.sender != me && message.seq > self.own.read);
        Count {
            mark: self.own,
            unread: unread.count(),
        }
    }

    pub(super) fn others_if_few(&self) -> Option<BTreeMap<String, Mark>> {
        (self.view.others.len() < FEW).then(|| self.others.clone())
    }

    pub(super) fn end(self, end: End) -> Stay {
        Stay { end, ..self.stay }
    }
}

/// Whether somebody leaves with an event.
pub(super) fn is_leaving(event: &LogEvent, me: &str) -> bool {
    let left = event.content["left"].as_array().map(Vec::as_slice).unwrap_or_default();
    event.event_type == "members" && left.iter().filter_map(Value::as_str).any(|left| left == me)
}
