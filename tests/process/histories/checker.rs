//! Compares what devices saw with the log, and the log with what was asked for. Reads and writes nothing else.

mod devices;
mod logs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use courtyard_client::LogEvent;
use serde_json::{Value, json};

use crate::histories::fold::Message;
use crate::histories::record::{Asked, Call, Log, Outcome, Record};

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// What is to be there is not.
    Lost,
    /// Something is there twice.
    Doubled,
    /// The order is another one.
    Reordered,
    /// Something is there that nobody asked for, or that was refused.
    Invented,
    /// Something is not what was said.
    Altered,
    /// Numbers are missing.
    Gap,
    /// A message is not what its events make of it.
    Folded,
    /// Somebody is, or was, where they are not to be.
    Membership,
    /// A watermark is not where it is to be.
    Watermark,
    /// An unread count is wrong.
    Unread,
    /// A device saw at once that something is wrong.
    Odd,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) fault: Fault,
    pub(crate) text: String,
}

/// Finds everything that is wrong.
pub(crate) fn check(record: &Record) -> Vec<Complaint> {
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
    record: &'a Record,
    /// By who asked, and the id that they gave it.
    asked: HashMap<(&'a str, &'a str), &'a Asked>,
    /// The events of each conversation as they were when they came.
    raw: BTreeMap<&'a str, BTreeMap<u64, LogEvent>>,
    /// The messages of each conversation, as its events make them.
    messages: BTreeMap<&'a str, BTreeMap<u64, Message>>,
    complaints: Vec<Complaint>,
}

impl<'a> Checker<'a> {
    fn new(record: &'a Record) -> Self {
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

    /// Returns who asked for an event; none for those of plugins.
    fn origin(&self, event: &LogEvent) -> Option<&'a Asked> {
        self.asked.get(&(&*event.sender, &*event.client_id)).copied()
    }

    /// Takes back what history made of an event.
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

    /// Whether a message is taken back in the end, so that nothing of it can be read any more.
    fn is_recalled(&self, conversation: &str, seq: u64) -> bool {
        let messages = self.messages.get(conversation);
        messages.is_some_and(|messages| messages.get(&seq).is_some_and(|message| message.recalled))
    }
}
