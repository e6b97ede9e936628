//! What a run leaves for the checker: what was asked for and answered, the log, and what every device saw.

use std::collections::{BTreeMap, BTreeSet};

use courtyard_client::LogEvent;
use serde_json::Value;

use crate::histories::fold::Message;

/// All that is known of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) asked: Vec<Asked>,
    pub(crate) called: Vec<Called>,
    pub(crate) marked: Vec<Marked>,
    /// By conversation.
    pub(crate) logs: BTreeMap<String, Log>,
    pub(crate) devices: Vec<Device>,
    /// What a device saw at once to be wrong.
    pub(crate) oddities: Vec<String>,
}

/// Something to be written into a conversation, under an id of the client.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) actor: String,
    pub(crate) device: String,
    pub(crate) id: String,
    pub(crate) conversation: String,
    pub(crate) deed: Deed,
    /// How many times it was sent; a refusal of the second time may hide that the first one was carried out.
    pub(crate) tries: u32,
    /// Whether the server said to come again, so that later ones may have overtaken it.
    pub(crate) put_off: bool,
    pub(crate) outcome: Outcome,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Deed {
    Send { kind: String, content: Value },
    Edit { target: u64, content: Value },
    Recall { target: u64 },
    React { target: u64, emoji: String, on: bool },
}

impl Deed {
    /// Returns the type that the event of it has.
    pub(crate) fn event_type(&self) -> &'static str {
        match self {
            Self::Send { .. } => "message",
            Self::Edit { .. } => "edit",
            Self::Recall { .. } => "recall",
            Self::React { .. } => "reaction",
        }
    }

    pub(crate) fn target(&self) -> Option<u64> {
        match self {
            Self::Send { .. } => None,
            Self::Edit { target, .. } | Self::Recall { target } | Self::React { target, .. } => Some(*target),
        }
    }

    /// Returns the content of its event.
    pub(crate) fn content(&self) -> Value {
        match self {
            Self::Send { content, .. } | Self::Edit { content, .. } => content.clone(),
            Self::Recall { .. } => serde_json::json!({}),
            Self::React { emoji, on, .. } => serde_json::json!({"emoji": emoji, "on": on}),
        }
    }
}

/// What the server said in the end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Nothing: it may have been carried out or not.
    Open,
    /// It is in the log, with this number and id.
    Acked { seq: u64, event: String },
    /// It is not done, and will not be.
    Refused { code: String },
}

/// A method that changes who is in a conversation, or takes a message of somebody else back.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    pub(crate) actor: String,
    pub(crate) conversation: String,
    pub(crate) call: Call,
    pub(crate) answer: Answer,
}

/// Which method.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    Join,
    Leave,
    Remove { whom: String },
    Mute { whom: String },
    Unmute { whom: String },
    TakeBack { target: u64 },
}

/// What came of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Open,
    Done,
    Refused,
}

/// A watermark that was to be moved, and where it was then.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    pub(crate) actor: String,
    pub(crate) conversation: String,
    pub(crate) to: Mark,
    pub(crate) answer: Option<Mark>,
}

/// Up to where a member has a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) delivered: u64,
    pub(crate) read: u64,
}

impl Mark {
    /// Returns the later of both in each respect; what was read was delivered.
    pub(crate) fn merged(self, other: Self) -> Self {
        let read = self.read.max(other.read);
        let delivered = self.delivered.max(other.delivered).max(read);
        Self { delivered, read }
    }
}

/// A conversation as the server has it in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// Who was in it before its first event.
    pub(crate) founders: BTreeSet<String>,
    pub(crate) members: BTreeSet<String>,
    pub(crate) head: u64,
    /// As history tells them: messages with what became of them.
    pub(crate) events: Vec<LogEvent>,
}

/// What a device saw from its first day on.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) actor: String,
    /// Whether it begins with the first event of a conversation, or with the newest when it came.
    pub(crate) from_the_first: bool,
    pub(crate) stays: Vec<Stay>,
    /// What it makes of each conversation in the end, if it counts.
    pub(crate) counts: BTreeMap<String, Counts>,
}

/// Members up to which `sync` tells all receipts.
pub(crate) const FEW: usize = 8;

/// What a device shows beside a conversation, from what it was told by and by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) kept: Count,
    /// As the server says it, asked without a position.
    pub(crate) fresh: Count,
    /// The watermarks of the other members, if they are few.
    pub(crate) others: Option<BTreeMap<String, Mark>>,
}

/// An unread count, and the watermarks of the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) mark: Mark,
    pub(crate) unread: usize,
}

/// What a device saw of a conversation while it had it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stay {
    pub(crate) conversation: String,
    /// In the order in which they were shown.
    pub(crate) sights: Vec<Sight>,
    pub(crate) end: End,
    /// The messages as they are on the device in the end, of the part that it has.
    pub(crate) messages: BTreeMap<u64, Message>,
}

/// How a stay ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// It goes on.
    #[default]
    Open,
    /// The device saw its own leaving.
    Left,
    /// It was away, and told that it is no member any more; or on the way to what it had missed.
    Away,
    /// It was set up anew.
    Forgotten,
}

/// An event as a device showed it.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) event: LogEvent,
    /// Whether it came as it happened; history has later changes in it.
    pub(crate) live: bool,
}
