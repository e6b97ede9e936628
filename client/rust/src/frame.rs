//! Frames of the protocol.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Receipt;

/// An event of the log of a conversation: a message, or a change of a message or of the conversation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct LogEvent {
    /// Id of the event.
    pub id: String,
    /// Id of the conversation.
    pub conversation: String,
    /// Number of the event: 1, 2, 3 … in an epoch of the conversation.
    pub seq: u64,
    /// Type: `message`, `edit`, `recall`, `reaction`, `annotation`, `members`, or one that this client doesn't know.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Number of the message that it changes; `None` for messages and members.
    pub target: Option<u64>,
    /// Kind of the content; for an annotation, its name.
    #[serde(default)]
    pub kind: String,
    /// Sender; for an annotation, the plugin.
    #[serde(default)]
    pub sender: String,
    /// The other member, in a conversation of two.
    pub receiver: Option<String>,
    /// Id that the sender chose.
    #[serde(default)]
    pub client_id: String,
    /// A JSON object: for a message or an edit, as the kind defines it; for a reaction, `emoji` and `on`; for an annotation,
    /// `value`; for members, `joined` and `left`.
    #[serde(default)]
    pub content: Value,
    /// Time on the server, in milliseconds since 1970.
    pub time: u64,
    /// Time of the last edit, in milliseconds since 1970.
    pub edited: Option<u64>,
    /// `true` if the message was recalled; the content is empty then.
    #[serde(default)]
    pub recalled: bool,
    /// Reactions to the message.
    #[serde(default)]
    pub reactions: Vec<Reaction>,
    /// Annotations of plugins.
    #[serde(default)]
    pub annotations: Vec<Annotation>,
}

impl LogEvent {
    /// Returns `true` for a message. Show only those as messages.
    #[must_use]
    pub fn is_message(&self) -> bool {
        self.event_type == "message"
    }

    /// Returns `true` if an actor joins or leaves by this event.
    pub(crate) fn adds_or_removes(&self, actor: &str) -> bool {
        let names = |list: &Value| {
            list.as_array()
                .is_some_and(|list| list.iter().any(|name| name == actor))
        };
        self.event_type == "members" && (names(&self.content["joined"]) || names(&self.content["left"]))
    }

    /// Returns the number of the message to which this one replies: its `reply_to`, if that is the number of an earlier
    /// event.
    #[must_use]
    pub fn reply_to(&self) -> Option<u64> {
        let target = self.content["reply_to"].as_u64()?;
        (target > 0 && target < self.seq).then_some(target)
    }
}

/// The reactions to a message with one emoji.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Reaction {
    /// The emoji, or any short text.
    pub emoji: String,
    /// The actors, in the order of their reactions.
    pub actors: Vec<String>,
}

/// An annotation of a message by a plugin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Annotation {
    /// Id of the plugin.
    pub plugin: String,
    /// Name that the plugin chose.
    pub name: String,
    /// Value, defined by the plugin.
    pub value: Value,
}

/// An ephemeral frame of a plugin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Signal {
    /// Id of the plugin.
    pub plugin: String,
    /// Name that the plugin chose.
    pub name: String,
    /// Payload, defined by the plugin.
    pub payload: Value,
}

/// Acknowledges a message, or an act on a message: it is durable.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Ack {
    /// Id of the request.
    pub id: String,
    /// Id of the conversation.
    pub conversation: String,
    /// Number of the event.
    pub seq: u64,
    /// Id of the event.
    pub event: String,
    /// Time on the server, in milliseconds since 1970.
    pub time: u64,
    /// The stored content, if a plugin replaced it.
    pub content: Option<Value>,
}

/// A conversation of the actor.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Conversation {
    /// Id of the conversation.
    pub id: String,
    /// Kind of the conversation.
    pub kind: String,
    /// Actors that are members.
    pub members: Vec<String>,
    /// Changes when the numbers of the events start again at 1.
    pub epoch: u32,
    /// Number of the newest event.
    pub seq: u64,
    /// The newest event. Not always a message.
    pub last: Option<LogEvent>,
    /// Number up to which a device of the actor received it.
    #[serde(default)]
    pub delivered: u64,
    /// Number up to which the actor read it.
    #[serde(default)]
    pub read: u64,
    /// Messages of other members after `read`; 100 means 100 or more.
    #[serde(default)]
    pub unread: u64,
    /// Receipts of the other members, in conversations of up to 8 members.
    #[serde(default)]
    pub receipts: Vec<Receipt>,
}

/// A page of events of a conversation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct History {
    /// Id of the conversation.
    pub conversation: String,
    /// Epoch of the numbers.
    pub epoch: u32,
    /// Number of the newest event.
    pub head: u64,
    /// Events, in ascending order.
    pub events: Vec<LogEvent>,
}

/// Answers `hello`, and a successful sign-in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Welcome {
    /// Id of the session.
    pub session: String,
    /// The signed-in actor; `None` for an anonymous session.
    pub actor: Option<String>,
    /// Longest silence of either side, in milliseconds.
    pub heartbeat_ms: u64,
    /// Time on the server, in milliseconds since 1970.
    pub time: u64,
    /// Limits of this session.
    #[serde(default)]
    pub limits: Limits,
}

/// Limits of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Limits {
    /// Size of a frame, in bytes.
    pub frame_bytes: u64,
    /// Number of requests without an answer.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 65_536,
            in_flight: 256,
        }
    }
}

/// A message, or an act on a message, that the server has not acknowledged. Its JSON form is the frame of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unsent {
    /// Id of the request.
    pub id: String,
    /// Id of the conversation.
    pub conversation: String,
    /// What to do there.
    #[serde(flatten)]
    pub action: Action,
}

/// A message, or an act on a message. It is resent until the server acknowledges it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Action {
    /// Sends a message.
    Send {
        /// Kind of the content.
        kind: String,
        /// A JSON object.
        content: Value,
    },
    /// Replaces the content of an own message.
    Edit {
        /// Number of the message.
        target: u64,
        /// A JSON object, as the kind of the message defines it.
        content: Value,
    },
    /// Recalls an own message.
    Recall {
        /// Number of the message.
        target: u64,
    },
    /// Reacts to a message.
    React {
        /// Number of the message.
        target: u64,
        /// Any text of 1 to 64 bytes.
        emoji: String,
    },
    /// Removes a reaction.
    Unreact {
        /// Number of the message.
        target: u64,
        /// The emoji of the reaction.
        emoji: String,
    },
}

impl Action {
    /// Returns the number of the message that it changes; `None` for a new message.
    #[must_use]
    pub fn target(&self) -> Option<u64> {
        match self {
            Self::Send { .. } => None,
            Self::Edit { target, .. }
            | Self::Recall { target }
            | Self::React { target, .. }
            | Self::Unreact { target, .. } => Some(*target),
        }
    }
}

impl Unsent {
    /// Returns the event that the server stored. The server doesn't send it to the session of the request.
    pub(crate) fn event(self, ack: Ack, sender: String) -> LogEvent {
        let target = self.action.target();
        let reaction = |emoji: String, on: bool| ("reaction", String::new(), json!({"emoji": emoji, "on": on}));
        let (event_type, kind, content) = match self.action {
            Action::Send { kind, content } => ("message", kind, content),
            Action::Edit { content, .. } => ("edit", String::new(), content),
            Action::Recall { .. } => ("recall", String::new(), json!({})),
            Action::React { emoji, .. } => reaction(emoji, true),
            Action::Unreact { emoji, .. } => reaction(emoji, false),
        };
        LogEvent {
            id: ack.event,
            conversation: ack.conversation,
            seq: ack.seq,
            event_type: event_type.to_owned(),
            target,
            kind,
            sender,
            client_id: self.id,
            content: ack.content.unwrap_or(content),
            time: ack.time,
            ..LogEvent::default()
        }
    }

    /// Returns `true` if both change the same message.
    pub(crate) fn shares_target(&self, other: &Self) -> bool {
        let target = self.action.target();
        target.is_some() && target == other.action.target() && self.conversation == other.conversation
    }
}

/// An error of the server.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ErrorFrame {
    pub(crate) id: Option<String>,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) retry: bool,
}

/// Type of a frame, and the id of the request that it answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope {
    #[serde(rename = "type")]
    pub(crate) frame_type: String,
    pub(crate) id: Option<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_reply_names_the_number_of_an_earlier_event() {
        let message = |reply_to: Value| LogEvent {
            seq: 5,
            content: json!({"text": "yes", "reply_to": reply_to}),
            ..LogEvent::default()
        };
        assert_eq!(message(json!(3)).reply_to(), Some(3));
        for invalid in [
            json!(null),
            json!(0),
            json!(-1),
            json!(1.5),
            json!("3"),
            json!(5),
            json!(6),
        ] {
            assert_eq!(message(invalid.clone()).reply_to(), None, "{invalid}");
        }
        assert_eq!(LogEvent::default().reply_to(), None);
    }

    #[test]
    fn the_json_form_of_an_unsent_message_is_its_frame_and_can_be_read_back() {
        let unsent = |action| Unsent {
            id: "i".to_owned(),
            conversation: "c".to_owned(),
            action,
        };
        let (content, emoji) = (json!({"text": "x"}), "👍".to_owned());
        let send = Action::Send {
            kind: "text".to_owned(),
            content: content.clone(),
        };
        for (action, more) in [
            (send, json!({"type": "send", "kind": "text", "content": {"text": "x"}})),
            (
                Action::Edit { target: 1, content },
                json!({"type": "edit", "target": 1, "content": {"text": "x"}}),
            ),
            (Action::Recall { target: 2 }, json!({"type": "recall", "target": 2})),
            (
                Action::Unreact { target: 3, emoji },
                json!({"type": "unreact", "target": 3, "emoji": "👍"}),
            ),
        ] {
            let mut frame = json!({"id": "i", "conversation": "c"});
            frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let unsent = unsent(action);
            assert_eq!(serde_json::to_value(&unsent).unwrap(), frame);
            assert_eq!(serde_json::from_value::<Unsent>(frame).unwrap(), unsent);
        }
    }
}
