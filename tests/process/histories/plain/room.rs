//! A conversation on a device.

use std::collections::BTreeMap;

use crate::histories::fold::Message;
use crate::histories::record::{Count, End, FEW, Mark, Sight, Stay};
use crate::histories::town::View;

#[derive(Default)]
pub(super) struct Room {
    pub(super) view: View,
    stay: Stay,
    /// Events ahead of their turn, with the number up to which history was folded into them.
    waiting: BTreeMap<u64, (Sight, u64)>,
    /// The newest known number.
    pub(super) head: u64,
    pub(super) is_filling: bool,
    /// True once it was complete on this connection, so that no event may be missing afterwards.
    is_current: bool,
    own: Mark,
    others: BTreeMap<String, Mark>,
    /// The number up to which history was folded into each message.
    folded: BTreeMap<u64, u64>,
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

    /// Marks it as possibly incomplete.
    pub(super) fn lose_track(&mut self) {
        (self.is_filling, self.is_current) = (false, false);
    }

    /// Adds an event, in any order; an event of history includes all changes up to `as_of`.
    pub(super) fn take(&mut self, sight: Sight, as_of: u64) {
        let seq = sight.event.seq;
        self.head = self.head.max(seq).max(as_of);
        if seq > self.view.upto {
            self.waiting.entry(seq).or_insert((sight, as_of));
        }
    }

    /// Returns true if a number after the next one can only arrive if an event was lost.
    pub(super) fn is_skipped_by(&self, seq: u64) -> bool {
        self.is_current && self.waiting.is_empty() && seq > self.view.upto + 1
    }

    /// Displays the next event in order.
    pub(super) fn show(&mut self, me: &str) -> Option<&Sight> {
        let (sight, as_of) = self.waiting.remove(&(self.view.upto + 1))?;
        let event = &sight.event;
        self.view.see(me, event);
        match event.target {
            None if event.is_message() => {
                self.folded.insert(event.seq, as_of);
                self.stay.messages.insert(event.seq, Message::of(event));
            }
            None => {}
            Some(target) => {
                if let Some(message) = self.stay.messages.get_mut(&target)
                    && self.folded.get(&target).is_none_or(|head| *head < event.seq)
                {
                    message.apply(event);
                }
            }
        }
        self.stay.sights.push(sight);
        self.stay.sights.last()
    }

    /// Returns the number after which events are missing. Otherwise marks it as complete, if the
    /// connection has synced.
    pub(super) fn missing_behind(&mut self, is_told: bool) -> Option<u64> {
        if self.waiting.is_empty() && self.view.upto >= self.head {
            self.is_current = is_told;
            return None;
        }
        (!self.is_filling).then_some(self.view.upto)
    }

    /// Returns the last waiting event with which the actor leaves.
    pub(super) fn waits_with_leaving(&self, me: &str) -> Option<u64> {
        let mut newest_first = self.waiting.iter().rev();
        newest_first
            .find(|(_, (sight, _))| sight.ends_stay_of(me))
            .map(|(seq, _)| *seq)
    }

    /// Returns the room of the next stay, if events after the number at which this one ends are waiting. Its counts and
    /// watermarks carry over.
    pub(super) fn split_off(&mut self, seq: u64) -> Option<Self> {
        let waiting = self.waiting.split_off(&(seq + 1));
        (!waiting.is_empty()).then(|| Self {
            view: View {
                others: self.view.others.clone(),
                ..View::default()
            },
            head: self.head,
            waiting,
            own: self.own,
            others: std::mem::take(&mut self.others),
            ..Self::new(&self.stay.conversation)
        })
    }

    /// Merges a watermark of an actor.
    pub(super) fn mark(&mut self, me: &str, actor: &str, mark: Mark) {
        if actor == me {
            self.own = self.own.merged(mark);
        } else {
            let known = self.others.entry(actor.to_owned()).or_default();
            *known = known.merged(mark);
        }
    }

    /// Counts unread messages.
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

impl Sight {
    /// Returns true if the actor leaves with this event. Only members get history, which includes their earlier stays.
    pub(super) fn ends_stay_of(&self, me: &str) -> bool {
        let left = self.event.content["left"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        self.live && self.event.event_type == "members" && left.iter().any(|left| left == me)
    }
}
