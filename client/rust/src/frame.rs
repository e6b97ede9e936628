//! Frames as the protocol has them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Receipt;

/// An event of the log of a conversation: a message, or something that became of one or of the conversation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct LogEvent {
    /// Of the event.
    pub id: String,
    /// Where it is.
    pub conversation: String,
    /// Its number: 1, 2, 3 … in an epoch of the conversation.
    pub seq: u64,
    /// What it is: `message`, `edit`, `recall`, `reaction`, `annotation`, `members`, or one that this client does not
    /// know.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The number of the message that it is about; none for messages and members.
    pub target: Option<u64>,
    /// The kind of the content; of an annotation, its name.
    #[serde(default)]
    pub kind: String,
    /// Who sent it; of an annotation, the plugin.
    #[serde(default)]
    pub sender: String,
    /// The other member, in a conversation of two.
    pub receiver: Option<String>,
    /// The sender's id for it.
    #[serde(default)]
    pub client_id: String,
    /// A JSON object: of a message and an edit, as the kind demands; of a reaction, `emoji` and whether it is `on`; of an
    /// annotation, `value`; of members, who `joined` and who `left`.
    #[serde(default)]
    pub content: Value,
    /// Milliseconds since 1970.
    pub time: u64,
    /// When the message was edited last, in milliseconds since 1970.
    pub edited: Option<u64>,
    /// Whether its sender took the message back; the content is empty then.
    #[serde(default)]
    pub recalled: bool,
    /// Who reacted to the message.
    #[serde(default)]
    pub reactions: Vec<Reaction>,
    /// What plugins say about the message.
    #[serde(default)]
    pub annotations: Vec<Annotation>,
}

impl LogEvent {
    /// Whether it is a message: only those are to be shown as one.
    #[must_use]
    pub fn is_message(&self) -> bool {
        self.event_type == "message"
    }

    /// Whether an actor joins or leaves by it.
    pub(crate) fn moves(&self, actor: &str) -> bool {
        let names = |list: &Value| {
            list.as_array()
                .is_some_and(|list| list.iter().any(|name| name == actor))
        };
        self.event_type == "members" && (names(&self.content["joined"]) || names(&self.content["left"]))
    }

    /// Returns the number of the message that this one is a reply to: its `reply_to`, if that can be one.
    #[must_use]
    pub fn reply_to(&self) -> Option<u64> {
        let target = self.content["reply_to"].as_u64()?;
        (target > 0 && target < self.seq).then_some(target)
    }
}

/// Who reacted to a message with an emoji.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Reaction {
    /// Which, or any short text.
    pub emoji: String,
    /// In the order in which they did.
    pub actors: Vec<String>,
}

/// What a plugin says about a message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Annotation {
    /// Which plugin.
    pub plugin: String,
    /// What it calls it.
    pub name: String,
    /// What it says.
    pub value: Value,
}

/// An ephemeral frame of a plugin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Signal {
    /// Of which plugin.
    pub plugin: String,
    /// What it is about.
    pub name: String,
    /// What the plugin says.
    pub payload: Value,
}

/// Says that the server has a message, or what was done about one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Ack {
    /// Of the request.
    pub id: String,
    /// Where it is.
    pub conversation: String,
    /// Its number.
    pub seq: u64,
    /// Of the event.
    pub event: String,
    /// Milliseconds since 1970.
    pub time: u64,
    /// The content, if a plugin replaced it.
    pub content: Option<Value>,
}

/// A conversation of the actor.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Who takes part.
    pub members: Vec<String>,
    /// Changes when its numbers begin anew.
    pub epoch: u32,
    /// The number of the newest event.
    pub seq: u64,
    /// The newest event, not always a message.
    pub last: Option<LogEvent>,
    /// Up to where some device of the actor has it.
    #[serde(default)]
    pub delivered: u64,
    /// Up to where the actor has read it.
    #[serde(default)]
    pub read: u64,
    /// Messages of others behind that; 100 stands for 100 or more.
    #[serde(default)]
    pub unread: u64,
    /// Up to where the others have it, in conversations of up to 8 members.
    #[serde(default)]
    pub receipts: Vec<Receipt>,
}

/// Some events of a conversation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct History {
    /// Which.
    pub conversation: String,
    /// Of the numbers.
    pub epoch: u32,
    /// The number of the newest event.
    pub head: u64,
    /// In ascending order.
    pub events: Vec<LogEvent>,
}

/// Opens a session, or says that someone is signed in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Welcome {
    /// Of the session.
    pub session: String,
    /// Who is signed in; none for an anonymous session.
    pub actor: Option<String>,
    /// How long either side may be silent.
    pub heartbeat_ms: u64,
    /// Milliseconds since 1970, on the server.
    pub time: u64,
    /// What the server takes of this session.
    #[serde(default)]
    pub limits: Limits,
}

/// What a server takes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Limits {
    /// Bytes of a frame.
    pub frame_bytes: u64,
    /// Requests without an answer.
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

/// Something that the server has not acknowledged.
///
/// As JSON, it is the frame that asks for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unsent {
    /// Its id.
    pub id: String,
    /// Where to.
    pub conversation: String,
    /// What is to be done.
    #[serde(flatten)]
    pub action: Action,
}

/// What is done in a conversation, resent until the server has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Action {
    /// Sends a message.
    Send {
        /// The kind of the content.
        kind: String,
        /// A JSON object.
        content: Value,
    },
    /// Puts another content in the place of that of an own message.
    Edit {
        /// The number of the message.
        target: u64,
        /// A JSON object, as the kind of the message demands.
        content: Value,
    },
    /// Takes an own message back.
    Recall {
        /// The number of the message.
        target: u64,
    },
    /// Reacts to a message.
    React {
        /// The number of the message.
        target: u64,
        /// With what: any text of 1 to 64 bytes.
        emoji: String,
    },
    /// Takes a reaction back.
    Unreact {
        /// The number of the message.
        target: u64,
        /// Which.
        emoji: String,
    },
}

impl Action {
    /// Returns the number of the message that it is about; none for one that sends a message.
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
    /// Returns the event that the server made of it, which the session that asked is not sent.
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

    /// Whether it is about the same message as another one.
    pub(crate) fn shares_target(&self, other: &Self) -> bool {
        let target = self.action.target();
        target.is_some() && target == other.action.target() && self.conversation == other.conversation
    }
}

/// An error as the server tells it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) id: Option<String>,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) retry: bool,
}

/// What the server says about a request by the id of the client.
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
    fn a_reply_names_an_earlier_message_and_nothing_else_is_one() {
        let message = |reply_to: Value| LogEvent {
            seq: 5,
            content: json!({"text": "yes", "reply_to": reply_to}),
            ..LogEvent::default()
        };
        assert_eq!(message(json!(3)).reply_to(), Some(3));
        for wrong in [
            json!(null),
            json!(0),
            json!(-1),
            json!(1.5),
            json!("3"),
            json!(5),
            json!(6),
        ] {
            assert_eq!(message(wrong.clone()).reply_to(), None, "{wrong}");
        }
        assert_eq!(LogEvent::default().reply_to(), None);
    }

    #[test]
    fn what_is_unsent_is_the_frame_that_asks_for_it_and_survives_a_restart() {
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
