//! Compares the views of devices with the log, and the log with the requests. No other input or output.

mod devices;
mod logs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use courtyard_client::LogEvent;
use serde_json::{Value, json};

use crate::histories::fold::Message;
use crate::histories::record::{Call, Log, Outcome, RequestRecord, RunRecord};

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// An expected event is missing.
    Lost,
    /// An event exists twice.
    Doubled,
    /// The order differs.
    Reordered,
    /// An event exists that nobody requested, or that was rejected.
    Invented,
    /// A content differs from the request.
    Altered,
    /// The numbering has gaps.
    Gap,
    /// A message differs from its folded events.
    Folded,
    /// A membership is wrong.
    Membership,
    /// A watermark is wrong.
    Watermark,
    /// An unread count is wrong.
    Unread,
    /// A device detected a fault itself.
    Odd,
}

/// A fault, with its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) fault: Fault,
    pub(crate) text: String,
}

/// Returns all faults of a record.
pub(crate) fn check(record: &RunRecord) -> Vec<Complaint> {
    let mut checker = Checker::new(record);
    for oddity in &record.oddities {
        checker.complain(Fault::Odd, oddity.clone());
    }
    checker.check_asked();
    for (conversation, log) in &record.logs {
        checker.check_log(conversation, log);
        checker.check_members(conversation, log);
    }
    for device in &record.devices {
        checker.check_device(device);
    }
    checker.complaints
}

struct Checker<'a> {
    record: &'a RunRecord,
    /// Requests by actor and client id.
    asked: HashMap<(&'a str, &'a str), &'a RequestRecord>,
    /// Events of each conversation, as they were when they were written.
    raw: BTreeMap<&'a str, BTreeMap<u64, LogEvent>>,
    /// Messages of each conversation, folded from its events.
    messages: BTreeMap<&'a str, BTreeMap<u64, Message>>,
    complaints: Vec<Complaint>,
}

impl<'a> Checker<'a> {
    fn new(record: &'a RunRecord) -> Self {
        let ids = record.asked.iter().map(|asked| ((&*asked.actor, &*asked.id), asked));
        let mut checker = Self {
            record,
            asked: ids.collect(),
            raw: BTreeMap::new(),
            messages: BTreeMap::new(),
            complaints: Vec::new(),
        };
        for (conversation, log) in &record.logs {
            let raw: BTreeMap<u64, LogEvent> = log
                .events
                .iter()
                .map(|event| (event.seq, checker.as_it_was(event)))
                .collect();
            let mut messages = BTreeMap::new();
            for event in raw.values() {
                match event.target {
                    None if event.is_message() => drop(messages.insert(event.seq, Message::of(event))),
                    None => {}
                    Some(target) => {
                        if let Some(message) = messages.get_mut(&target) {
                            message.apply(event);
                        }
                    }
                }
            }
            checker.raw.insert(conversation, raw);
            checker.messages.insert(conversation, messages);
        }
        checker
    }

    fn complain(&mut self, fault: Fault, text: String) {
        self.complaints.push(Complaint { fault, text });
    }

    /// Returns the request of an event; none for events of plugins.
    fn origin(&self, event: &LogEvent) -> Option<&'a RequestRecord> {
        self.asked.get(&(&*event.sender, &*event.client_id)).copied()
    }

    /// Undoes the folding of later changes into an event of history.
    fn as_it_was(&self, event: &LogEvent) -> LogEvent {
        let mut raw = event.clone();
        (raw.edited, raw.recalled) = (None, false);
        raw.reactions.clear();
        raw.annotations.clear();
        if let Some(asked) = self.origin(event) {
            raw.content = asked.deed.content();
        }
        raw
    }

    /// Returns true if a message is recalled in the end, so that its content can't be read any more.
    fn is_recalled(&self, conversation: &str, seq: u64) -> bool {
        let messages = self.messages.get(conversation);
        messages.is_some_and(|messages| messages.get(&seq).is_some_and(|message| message.recalled))
    }
}
