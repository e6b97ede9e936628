//! Acts, changes of conversations, events of other plugins, and jobs.

use serde::{Deserialize, Serialize};

use crate::Error;

/// An act on a message in the log, or a signal about a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The acts `recall`, `react` and `unreact`; the signals `typing` and `receipt`. Later hosts may add names.
    pub name: String,
    /// The tenant.
    pub app: String,
    /// The conversation.
    pub conversation: String,
    /// The kind of the conversation.
    pub conversation_kind: String,
    /// The actor who does it.
    pub actor: String,
    /// The number of the message; 0 for a signal, which has no target.
    pub target: u64,
    /// The sender of the message.
    pub target_sender: String,
    /// The kind of its content.
    pub target_kind: String,
    /// The emoji of a reaction; empty otherwise.
    pub value: String,
    /// Milliseconds since 1970.
    pub time_ms: u64,
}

/// A new conversation, or a change of members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The tenant.
    pub app: String,
    /// The conversation.
    pub conversation: String,
    /// Its kind.
    pub kind: String,
    /// The plugin that owns the conversation and makes the change.
    pub owner: String,
    /// The actor on whose behalf; may be empty.
    pub actor: String,
    /// True if the change creates the conversation.
    pub created: bool,
    /// The new members.
    pub joined: Vec<String>,
    /// The removed members.
    pub left: Vec<String>,
}

/// An event of another plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The tenant.
    pub app: String,
    /// The plugin that published it.
    pub plugin: String,
    /// Its name, without the plugin.
    pub name: String,
    /// The actor on whose behalf; may be empty.
    pub actor: String,
    /// A JSON value.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// The time of publication, in milliseconds since 1970.
    pub time_ms: u64,
}

/// Work that the plugin added for the action lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The tenant.
    pub app: String,
    /// Unique; the same for all attempts.
    pub id: String,
    /// The name that the plugin gave it.
    pub name: String,
    /// The payload that the plugin gave it, JSON.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// 1 for the first attempt.
    pub attempt: u32,
}

impl Job {
    /// Parses the payload.
    ///
    /// # Errors
    /// If it is not a `T`.
    pub fn payload_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.payload).map_err(|error| Error::new("invalid_job", error.to_string()))
    }
}

impl Event {
    /// Parses the payload.
    ///
    /// # Errors
    /// If it is not a `T`.
    pub fn payload_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.payload).map_err(|error| Error::new("invalid_event", error.to_string()))
    }
}
