//! Receipts of the members of a conversation, and the number of unread messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::{Conversation, LogEvent};

/// Limit up to which unread messages are counted, as on the server.
const MAX_UNREAD: u64 = 100;

/// Numbers up to which a member received and read the events of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// The member.
    pub actor: String,
    /// Number up to which a device of the member received them.
    pub delivered: u64,
    /// Number up to which the member read them.
    pub read: u64,
}

/// Receipts and unread messages of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Marks {
    /// Id of the conversation.
    pub conversation: String,
    /// Number up to which a device of the actor received the events.
    pub delivered: u64,
    /// Number up to which the actor read the events, on any device.
    pub read: u64,
    /// Messages of other members after `read`; 100 means 100 or more.
    pub unread: u64,
    /// Known receipts of the other members: see [`Client::receipts`](crate::Client::receipts).
    pub receipts: Arc<[Receipt]>,
}

/// Two watermarks, which only increase. `delivered` is at least `read`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Mark {
    pub(crate) delivered: u64,
    pub(crate) read: u64,
}

impl Mark {
    /// Raises the marks, and returns `true` if one changed.
    fn raise(&mut self, other: Self) -> bool {
        let before = *self;
        self.read = self.read.max(other.read);
        self.delivered = self.delivered.max(other.delivered).max(self.read);
        *self != before
    }
}

/// The watermarks of one conversation, and those of the actor that the server doesn't have yet.
#[derive(Debug, Default)]
pub(crate) struct Watermarks {
    /// The actor's marks on the server.
    own: Mark,
    /// The actor's marks that the server is to have.
    local: Mark,
    /// `true` while a report of the local marks has no answer.
    is_reporting: bool,
    /// Number of unread messages up to `counted_to`, as the server counted them.
    counted: u64,
    counted_to: u64,
    /// Numbers of later unread messages.
    fresh: Vec<u64>,
    /// Marks of the other members.
    others: BTreeMap<String, Mark>,
    /// `others` for [`Marks`]; `None` after a change.
    receipts: Option<Arc<[Receipt]>>,
    /// `true` if [`Marks`] changed since the last [`Watermarks::take_change`].
    has_changed: bool,
}

impl Watermarks {
    /// Returns the marks for the application.
    pub(crate) fn snapshot(&mut self, conversation: &str) -> Marks {
        let receipt = |(actor, mark): (&String, &Mark)| Receipt {
            actor: actor.clone(),
            delivered: mark.delivered,
            read: mark.read,
        };
        let others = &self.others;
        let receipts = self
            .receipts
            .get_or_insert_with(|| others.iter().map(receipt).collect());
        Marks {
            conversation: conversation.to_owned(),
            delivered: self.own.delivered,
            read: self.own.read,
            unread: (self.counted + self.fresh.len() as u64).min(MAX_UNREAD),
            receipts: receipts.clone(),
        }
    }

    /// Returns `true` if the snapshot changed since the last call.
    pub(crate) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Applies a listed conversation.
    pub(crate) fn apply_listed(&mut self, listed: &Conversation) {
        let unread = self.counted + self.fresh.len() as u64;
        (self.counted_to, self.counted) = (listed.seq, listed.unread);
        self.has_changed |= self.own.raise(Mark {
            delivered: listed.delivered,
            read: listed.read,
        });
        let known = self.own.read.max(self.counted_to);
        self.fresh.retain(|seq| *seq > known);
        self.has_changed |= unread != self.counted + self.fresh.len() as u64;
        for receipt in &listed.receipts {
            self.apply_receipt(receipt);
        }
    }

    /// Counts an event of another member.
    pub(crate) fn add_event(&mut self, event: &LogEvent) {
        let seq = event.seq;
        if !event.is_message() || seq <= self.counted_to.max(self.own.read) {
            return;
        }
        self.has_changed = true;
        self.fresh.push(seq);
        // Bounds the list for a conversation that is never read.
        if self.fresh.len() as u64 >= MAX_UNREAD {
            (self.counted, self.counted_to) = (MAX_UNREAD, seq);
            self.fresh.clear();
        }
    }

    /// Applies the actor's marks on the server. Returns `true` if only the server knows the number of unread messages now.
    pub(crate) fn apply_own(&mut self, mark: Mark) -> bool {
        let before = self.own.read;
        self.has_changed |= self.own.raise(mark);
        let read = self.own.read;
        self.fresh.retain(|seq| *seq > read);
        if read >= self.counted_to {
            self.counted = 0;
        }
        read > before && self.counted > 0
    }

    /// Applies the receipt of another member.
    pub(crate) fn apply_receipt(&mut self, receipt: &Receipt) {
        let Receipt { actor, delivered, read } = receipt;
        let (delivered, read) = (*delivered, *read);
        let known = self.others.entry(actor.clone()).or_default();
        if known.raise(Mark { delivered, read }) {
            (self.receipts, self.has_changed) = (None, true);
        }
    }

    /// Raises the marks that the server is to have.
    pub(crate) fn raise_local(&mut self, mark: Mark) {
        self.local.raise(mark);
    }

    /// Returns `true` if the server doesn't have all local marks.
    pub(crate) fn has_unreported(&self) -> bool {
        self.local.read > self.own.read || self.local.delivered > self.own.delivered
    }

    /// Returns the marks to report; `None` if the server has them, or while a report has no answer.
    pub(crate) fn begin_report(&mut self) -> Option<Mark> {
        let reports = self.has_unreported() && !self.is_reporting;
        self.is_reporting |= reports;
        reports.then_some(self.local)
    }

    /// Ends the report in progress.
    pub(crate) fn end_report(&mut self) {
        self.is_reporting = false;
    }

    /// Discards the local marks, which the server rejected.
    pub(crate) fn discard_local(&mut self) {
        (self.is_reporting, self.local) = (false, Mark::default());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(seq: u64) -> LogEvent {
        let json = json!({"id": "e", "conversation": "c", "seq": seq, "type": "message", "time": 0});
        serde_json::from_value(json).unwrap()
    }

    fn listed(seq: u64, read: u64, unread: u64) -> Conversation {
        let json = json!({"id": "c", "kind": "direct", "members": [], "epoch": 0, "seq": seq, "read": read,
            "delivered": read, "unread": unread, "receipts": [{"actor": "bob", "delivered": 3, "read": 1}]});
        serde_json::from_value(json).unwrap()
    }

    fn mark(delivered: u64, read: u64) -> Mark {
        Mark { delivered, read }
    }

    #[test]
    fn unread_messages_are_those_that_the_server_counted_and_later_ones() {
        let mut marks = Watermarks::default();
        marks.apply_listed(&listed(10, 4, 3));
        for seq in [10, 11, 13] {
            marks.add_event(&message(seq));
        }
        let snapshot = marks.snapshot("c");
        assert_eq!((snapshot.delivered, snapshot.read, snapshot.unread), (4, 4, 5));
        assert_eq!((snapshot.receipts[0].delivered, snapshot.receipts[0].read), (3, 1));
        assert!(!marks.apply_own(mark(11, 11)), "the remaining ones are known");
        assert_eq!(marks.snapshot("c").unread, 1);
        marks.apply_listed(&listed(13, 11, 1));
        assert_eq!(marks.snapshot("c").unread, 1, "the server has counted the later ones");
    }

    #[test]
    fn reading_a_part_of_the_counted_messages_requires_a_new_count() {
        let mut marks = Watermarks::default();
        marks.apply_listed(&listed(10, 4, 3));
        assert!(marks.apply_own(mark(10, 7)));
        assert!(!marks.apply_own(mark(10, 7)), "nothing changed");
        assert!(!marks.apply_own(mark(10, 10)));
        assert_eq!(marks.snapshot("c").unread, 0);
    }

    #[test]
    fn unread_messages_are_counted_up_to_a_hundred_in_bounded_memory() {
        let mut marks = Watermarks::default();
        (1..=1_050).for_each(|seq| marks.add_event(&message(seq)));
        assert_eq!(marks.snapshot("c").unread, 100);
        assert!(marks.fresh.len() < 100);
        assert!(marks.apply_own(mark(500, 500)));
        assert!(!marks.apply_own(mark(1_050, 1_049)));
        assert_eq!(marks.snapshot("c").unread, 1);
    }

    #[test]
    fn the_highest_mark_is_reported_once_and_again_without_an_answer() {
        let mut marks = Watermarks::default();
        assert_eq!(marks.begin_report(), None);
        marks.raise_local(mark(3, 0));
        assert_eq!(marks.begin_report(), Some(mark(3, 0)));
        marks.raise_local(mark(7, 7));
        marks.raise_local(mark(5, 5));
        assert_eq!(marks.begin_report(), None, "a report has no answer yet");
        marks.end_report();
        marks.apply_own(mark(3, 0));
        assert_eq!(marks.begin_report(), Some(mark(7, 7)));
        marks.end_report();
        assert_eq!(marks.begin_report(), Some(mark(7, 7)), "the report was lost");
        marks.end_report();
        // Another device is ahead.
        marks.apply_own(mark(9, 8));
        assert_eq!(marks.begin_report(), None);
        marks.raise_local(mark(100, 100));
        marks.discard_local();
        assert_eq!(marks.begin_report(), None);
    }
}
