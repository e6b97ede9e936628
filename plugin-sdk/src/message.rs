//! Messages and verdicts.

use crate::Error;

/// A message, as hooks see it. Every text is a slice of the host's bytes: nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Where each text ends, in the order of the contract.
    ends: [u32; 8],
    seq: u64,
    edits: u64,
    time_ms: u64,
}

impl<'a> Message<'a> {
    /// Creates a message from the bytes of the contract; `ends` are the offsets at which the texts end.
    #[must_use]
    pub fn new(bytes: &'a [u8], ends: [u32; 8], seq: u64, edits: u64, time_ms: u64) -> Self {
        Self {
            bytes,
            ends,
            seq,
            edits,
            time_ms,
        }
    }

    fn part(&self, index: usize) -> &'a [u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        self.bytes.get(start..self.ends[index] as usize).unwrap_or_default()
    }

    fn text(&self, index: usize) -> &'a str {
        // The host guarantees UTF-8. An empty text is better than a trap if it is ever wrong.
        std::str::from_utf8(self.part(index)).unwrap_or_default()
    }

    /// Returns the tenant.
    #[must_use]
    pub fn app(&self) -> &'a str {
        self.text(0)
    }

    /// Returns the conversation.
    #[must_use]
    pub fn conversation(&self) -> &'a str {
        self.text(1)
    }

    /// Returns the kind of the conversation.
    #[must_use]
    pub fn conversation_kind(&self) -> &'a str {
        self.text(2)
    }

    /// Returns the sender.
    #[must_use]
    pub fn sender(&self) -> &'a str {
        self.text(3)
    }

    /// Returns the other member of a conversation of two, or an empty text.
    #[must_use]
    pub fn receiver(&self) -> &'a str {
        self.text(4)
    }

    /// Returns the kind of the content.
    #[must_use]
    pub fn kind(&self) -> &'a str {
        self.text(5)
    }

    /// Returns the sender's id for the message.
    #[must_use]
    pub fn client_id(&self) -> &'a str {
        self.text(6)
    }

    /// Returns the content, a JSON object.
    #[must_use]
    pub fn content(&self) -> &'a [u8] {
        self.part(7)
    }

    /// Parses the content.
    ///
    /// # Errors
    /// If it is not a `T`.
    pub fn content_as<T: serde::Deserialize<'a>>(&self) -> Result<T, Error> {
        serde_json::from_slice(self.content()).map_err(|error| Error::new("invalid_content", error.to_string()))
    }

    /// Returns the number in the conversation; 0 before the message is in the log.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Returns the number of the message that this one edits; 0 for a new message.
    #[must_use]
    pub fn edits(&self) -> u64 {
        self.edits
    }

    /// Returns the time of the message in milliseconds since 1970; before the commit the time of arrival.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }
}

/// The decision of a plugin about a message.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Verdict {
    /// Accepts the message unchanged.
    Accept,
    /// Accepts the message with this content, a JSON object, in place of its own.
    Replace(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Rejects the message; the sender gets the error.
    Reject(Error),
}

impl Verdict {
    /// Replaces the content by a value that serializes to a JSON object. Rejects with `invalid_content` if it can't be serialized.
    #[must_use]
    pub fn replace(content: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(content) {
            Ok(json) => Self::Replace(json),
            Err(error) => Self::Reject(Error::new("invalid_content", error.to_string())),
        }
    }

    /// Rejects the message with a code and a sentence.
    #[must_use]
    pub fn reject(code: &str, message: impl Into<String>) -> Self {
        Self::Reject(Error::new(code, message))
    }
}
