//! Up to where the members of a conversation have it, and what is unread.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::{Conversation, LogEvent};

/// What unread messages are counted up to, as the server does.
const MANY: u64 = 100;

/// Up to where a member has a conversation, as numbers of events.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// Who.
    pub actor: String,
    /// Up to where some device of theirs has it.
    pub delivered: u64,
    /// Up to where they have read it.
    pub read: u64,
}

/// What is read and unread in a conversation, and up to where the others have it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Marks {
    /// Which.
    pub conversation: String,
    /// Up to where some device of one's own has it.
    pub delivered: u64,
    /// Up to where one has read it, on whichever device.
    pub read: u64,
    /// Messages of others behind `read`; 100 stands for 100 or more.
    pub unread: u64,
    /// Up to where the other members have it, as far as that was told: see [`Client::receipts`](crate::Client::receipts).
    pub receipts: Arc<[Receipt]>,
}

/// Two watermarks, which only grow; what was read was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Mark {
    pub(crate) delivered: u64,
    pub(crate) read: u64,
}

impl Mark {
    /// Raises the marks to others, and returns whether one moved.
    fn raise(&mut self, other: Self) -> bool {
        let before = *self;
        self.read = self.read.max(other.read);
        self.delivered = self.delivered.max(other.delivered).max(self.read);
        *self != before
    }
}

/// The watermarks of one conversation, and those of one's own that the server does not have yet.
#[derive(Debug, Default)]
pub(crate) struct Watermarks {
    own: Mark,
    wanted: Mark,
    /// Whether an answer to the wanted ones is awaited.
    is_asked: bool,
    /// So many messages are unread of those up to a number;
    behind: u64,
    listed: u64,
    /// and these of the later ones.
    fresh: Vec<u64>,
    others: BTreeMap<String, Mark>,
    /// The others as they are shown; none when they have moved since.
    receipts: Option<Arc<[Receipt]>>,
    has_changed: bool,
}

impl Watermarks {
    /// Returns them as they are shown.
    pub(crate) fn shown(&mut self, conversation: &str) -> Marks {
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
            unread: (self.behind + self.fresh.len() as u64).min(MANY),
            receipts: receipts.clone(),
        }
    }

    /// Whether what is shown has changed since this was asked last.
    pub(crate) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Takes what the server lists.
    pub(crate) fn list(&mut self, entry: &Conversation) {
        let unread = self.behind + self.fresh.len() as u64;
        (self.listed, self.behind) = (entry.seq, entry.unread);
        self.has_changed |= self.own.raise(Mark {
            delivered: entry.delivered,
            read: entry.read,
        });
        let counted = self.own.read.max(self.listed);
        self.fresh.retain(|seq| *seq > counted);
        self.has_changed |= unread != self.behind + self.fresh.len() as u64;
        for receipt in &entry.receipts {
            self.other(receipt);
        }
    }

    /// Takes an event of somebody else.
    pub(crate) fn arrive(&mut self, event: &LogEvent) {
        let seq = event.seq;
        if !event.is_message() || seq <= self.listed.max(self.own.read) {
            return;
        }
        self.has_changed = true;
        self.fresh.push(seq);
        // Whoever never reads needs no list of it all.
        if self.fresh.len() as u64 >= MANY {
            (self.behind, self.listed) = (MANY, seq);
            self.fresh.clear();
        }
    }

    /// Takes where the own marks are, and returns whether only the server knows now how much is unread.
    pub(crate) fn stand(&mut self, mark: Mark) -> bool {
        let before = self.own.read;
        self.has_changed |= self.own.raise(mark);
        let read = self.own.read;
        self.fresh.retain(|seq| *seq > read);
        if read >= self.listed {
            self.behind = 0;
        }
        read > before && self.behind > 0
    }

    /// Takes where another member is.
    pub(crate) fn other(&mut self, receipt: &Receipt) {
        let Receipt { actor, delivered, read } = receipt;
        let (delivered, read) = (*delivered, *read);
        let known = self.others.entry(actor.clone()).or_default();
        if known.raise(Mark { delivered, read }) {
            (self.receipts, self.has_changed) = (None, true);
        }
    }

    /// Wants the server to know that it was delivered, and read, up to a number.
    pub(crate) fn want(&mut self, mark: Mark) {
        self.wanted.raise(mark);
    }

    /// Whether the server does not have all that it is to know.
    pub(crate) fn wants(&self) -> bool {
        self.wanted.read > self.own.read || self.wanted.delivered > self.own.delivered
    }

    /// Returns what is to be said to the server, unless an answer is awaited.
    pub(crate) fn ask(&mut self) -> Option<Mark> {
        let asks = self.wants() && !self.is_asked;
        self.is_asked |= asks;
        asks.then_some(self.wanted)
    }

    /// Takes that the answer is there.
    pub(crate) fn answered(&mut self) {
        self.is_asked = false;
    }

    /// Takes that the server will never have what is wanted.
    pub(crate) fn give_up(&mut self) {
        (self.is_asked, self.wanted) = (false, Mark::default());
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
    fn what_the_server_counted_and_what_came_since_is_unread() {
        let mut marks = Watermarks::default();
        marks.list(&listed(10, 4, 3));
        for seq in [10, 11, 13] {
            marks.arrive(&message(seq));
        }
        let shown = marks.shown("c");
        assert_eq!((shown.delivered, shown.read, shown.unread), (4, 4, 5));
        assert_eq!((shown.receipts[0].delivered, shown.receipts[0].read), (3, 1));
        assert!(!marks.stand(mark(11, 11)), "the rest is known");
        assert_eq!(marks.shown("c").unread, 1);
        marks.list(&listed(13, 11, 1));
        assert_eq!(marks.shown("c").unread, 1, "the list has counted what came");
    }

    #[test]
    fn only_the_server_knows_what_is_left_of_what_it_counted() {
        let mut marks = Watermarks::default();
        marks.list(&listed(10, 4, 3));
        assert!(marks.stand(mark(10, 7)));
        assert!(!marks.stand(mark(10, 7)), "nothing has moved");
        assert!(!marks.stand(mark(10, 10)));
        assert_eq!(marks.shown("c").unread, 0);
    }

    #[test]
    fn many_unread_messages_are_counted_up_to_a_hundred_and_take_no_room() {
        let mut marks = Watermarks::default();
        (1..=1_050).for_each(|seq| marks.arrive(&message(seq)));
        assert_eq!(marks.shown("c").unread, 100);
        assert!(marks.fresh.len() < 100);
        assert!(marks.stand(mark(500, 500)));
        assert!(!marks.stand(mark(1_050, 1_049)));
        assert_eq!(marks.shown("c").unread, 1);
    }

    #[test]
    fn the_last_of_many_marks_is_said_once_and_again_when_no_answer_came() {
        let mut marks = Watermarks::default();
        assert_eq!(marks.ask(), None);
        marks.want(mark(3, 0));
        assert_eq!(marks.ask(), Some(mark(3, 0)));
        marks.want(mark(7, 7));
        marks.want(mark(5, 5));
        assert_eq!(marks.ask(), None, "an answer is awaited");
        marks.answered();
        marks.stand(mark(3, 0));
        assert_eq!(marks.ask(), Some(mark(7, 7)));
        marks.answered();
        assert_eq!(marks.ask(), Some(mark(7, 7)), "there was none");
        marks.answered();
        // Another device was further.
        marks.stand(mark(9, 8));
        assert_eq!(marks.ask(), None);
        marks.want(mark(100, 100));
        marks.give_up();
        assert_eq!(marks.ask(), None);
    }
}
