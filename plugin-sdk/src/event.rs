//! What plugins are told of besides messages: acts, changes of conversations, events of other
//! plugins, jobs.

use serde::{Deserialize, Serialize};

use crate::Error;

/// Something that is done about a message in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// `recall`, `react` or `unreact`; others may come.
    pub name: String,
    /// The tenant.
    pub app: String,
    /// Where.
    pub conversation: String,
    /// The kind of the conversation.
    pub conversation_kind: String,
    /// Who does it.
    pub actor: String,
    /// The number of the message.
    pub target: u64,
    /// Who sent the message.
    pub target_sender: String,
    /// The kind of its content.
    pub target_kind: String,
    /// The emoji of a reaction; empty otherwise.
    pub value: String,
    /// Milliseconds since 1970.
    pub time_ms: u64,
}

/// A conversation begins, or its members change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The tenant.
    pub app: String,
    /// Which conversation.
    pub conversation: String,
    /// Its kind.
    pub kind: String,
    /// The plugin that owns it, and makes the change.
    pub owner: String,
    /// On whose behalf; may be empty.
    pub actor: String,
    /// Whether the conversation begins with it.
    pub created: bool,
    /// Who becomes a member.
    pub joined: Vec<String>,
    /// Who is none any more.
    pub left: Vec<String>,
}

/// Something that another plugin says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The tenant.
    pub app: String,
    /// The plugin that published it.
    pub plugin: String,
    /// Its name, without the plugin.
    pub name: String,
    /// On whose behalf; may be empty.
    pub actor: String,
    /// A JSON value.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

/// Work that the plugin left for the action lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The tenant.
    pub app: String,
    /// Unique; the same for all attempts.
    pub id: String,
    /// What the plugin calls it.
    pub name: String,
    /// What the plugin left with it.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// 1 for the first attempt.
    pub attempt: u32,
}

impl Job {
    /// Reads the payload.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn payload_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.payload).map_err(|error| Error::new("bad_job", error.to_string()))
    }
}

impl Event {
    /// Reads the payload.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn payload_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.payload).map_err(|error| Error::new("bad_event", error.to_string()))
    }
}
