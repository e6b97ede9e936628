//! Frames as the protocol has them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// Of the event.
    pub id: String,
    /// Where it is.
    pub conversation: String,
    /// Its number: 1, 2, 3 … in an epoch of the conversation.
    pub seq: u64,
    /// What kind of event it is: `message`, or one that this client does not know.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The kind of the content.
    #[serde(default)]
    pub kind: String,
    /// Who sent it.
    #[serde(default)]
    pub sender: String,
    /// The other member, in a conversation of two.
    pub receiver: Option<String>,
    /// The sender's id for it.
    #[serde(default)]
    pub client_id: String,
    /// A JSON object.
    #[serde(default)]
    pub content: Value,
    /// Milliseconds since 1970.
    pub time: u64,
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

/// Says that the server has a message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Ack {
    /// Of the message.
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
    /// The newest event.
    pub last: Option<Message>,
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
    pub events: Vec<Message>,
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
}

/// A message that the server has not acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unsent {
    /// Its id.
    pub id: String,
    /// Where to.
    pub conversation: String,
    /// The kind of the content.
    pub kind: String,
    /// A JSON object.
    pub content: Value,
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
