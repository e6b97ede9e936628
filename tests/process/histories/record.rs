//! The record of a run for the checker: requests and answers, the log, and the view of every device.

use std::collections::{BTreeMap, BTreeSet};

use courtyard_client::LogEvent;
use serde_json::Value;

use crate::histories::fold::Message;

/// The record of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunRecord {
    pub(crate) asked: Vec<RequestRecord>,
    pub(crate) called: Vec<Called>,
    pub(crate) marked: Vec<Marked>,
    /// Logs by conversation.
    pub(crate) logs: BTreeMap<String, Log>,
    pub(crate) devices: Vec<Device>,
    /// Faults that devices detected themselves.
    pub(crate) oddities: Vec<String>,
}

/// A request to write into a conversation, with its client id.
#[derive(Clone, Debug)]
pub(crate) struct RequestRecord {
    pub(crate) actor: String,
    pub(crate) device: String,
    pub(crate) id: String,
    pub(crate) conversation: String,
    pub(crate) deed: WriteRequest,
    /// Number of attempts; a rejection of a later attempt may hide that the first one was committed.
    pub(crate) tries: u32,
    /// True if it was rejected with a retry, so that later ones may have overtaken it.
    pub(crate) put_off: bool,
    pub(crate) outcome: Outcome,
}

/// The kind of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WriteRequest {
    Send { kind: String, content: Value },
    Edit { target: u64, content: Value },
    Recall { target: u64 },
    React { target: u64, emoji: String, on: bool },
}

impl WriteRequest {
    /// Returns the type of its event.
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

/// The final answer of the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// No answer: it may be committed or not.
    Open,
    /// Committed, with this number and id.
    Acked { seq: u64, event: String },
    /// Rejected for good.
    Refused { code: String },
}

/// A method call that changes members, or recalls another actor's message.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    pub(crate) actor: String,
    pub(crate) conversation: String,
    pub(crate) call: Call,
    pub(crate) answer: Answer,
}

/// The method.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    Join,
    Leave,
    Remove { whom: String },
    Mute { whom: String },
    Unmute { whom: String },
    TakeBack { target: u64 },
}

/// Result of a method call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Open,
    Done,
    Refused,
}

/// A request to advance a watermark, and its result.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    pub(crate) actor: String,
    pub(crate) conversation: String,
    pub(crate) to: Mark,
    pub(crate) answer: Option<Mark>,
}

/// Watermarks of a member in a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) delivered: u64,
    pub(crate) read: u64,
}

impl Mark {
    /// Returns the maximum of both; read implies delivered.
    pub(crate) fn merged(self, other: Self) -> Self {
        let read = self.read.max(other.read);
        let delivered = self.delivered.max(other.delivered).max(read);
        Self { delivered, read }
    }
}

/// The final log of a conversation on the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// Members before its first event.
    pub(crate) founders: BTreeSet<String>,
    pub(crate) members: BTreeSet<String>,
    pub(crate) head: u64,
    /// Events as in history: messages with their later changes.
    pub(crate) events: Vec<LogEvent>,
}

/// The complete view of a device.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) actor: String,
    /// True if it starts with the first event of a conversation, false if with the newest at its first sync.
    pub(crate) from_the_first: bool,
    pub(crate) stays: Vec<Stay>,
    /// Final counts of each conversation, if it counts.
    pub(crate) counts: BTreeMap<String, Counts>,
}

/// Most members for which `sync` includes all receipts.
pub(crate) const FEW: usize = 8;

/// Counts that a device shows for a conversation, derived from live events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) kept: Count,
    /// Counts from a full sync.
    pub(crate) fresh: Count,
    /// Watermarks of the other members, in small conversations.
    pub(crate) others: Option<BTreeMap<String, Mark>>,
}

/// An unread count, and the watermarks of the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) mark: Mark,
    pub(crate) unread: usize,
}

/// The view of a conversation during one stay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stay {
    pub(crate) conversation: String,
    /// Events in the order of display.
    pub(crate) sights: Vec<Sight>,
    pub(crate) end: End,
    /// Final messages on the device, of the part that it has.
    pub(crate) messages: BTreeMap<u64, Message>,
}

/// How a stay ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// The stay continues.
    #[default]
    Open,
    /// The device received its own leave event.
    Left,
    /// A sync, or an error while filling a gap, reported that the actor isn't a member any more.
    Away,
    /// The device was set up anew.
    Forgotten,
}

/// An event as displayed by a device.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) event: LogEvent,
    /// True for a live event; events of history include later changes.
    pub(crate) live: bool,
}
