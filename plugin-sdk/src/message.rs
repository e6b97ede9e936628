//! Messages and verdicts.

use crate::Error;

/// A message, as hooks see it. Every text is a slice of what the host handed over: nothing is copied.
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
    /// Makes a message of the bytes of the contract.
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
        // The host vouches for UTF-8; an empty text is better than a trap should it ever be wrong.
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

    /// Returns who sends.
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

    /// Reads the content.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn content_as<T: serde::Deserialize<'a>>(&self) -> Result<T, Error> {
        serde_json::from_slice(self.content()).map_err(|error| Error::new("bad_content", error.to_string()))
    }

    /// Returns the number in the conversation; 0 before the message is in the log.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Returns the number of the message that this one gives another content; 0 for a new message.
    #[must_use]
    pub fn edits(&self) -> u64 {
        self.edits
    }

    /// Returns when the message came, in milliseconds since 1970.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }
}

/// What a plugin decides about a message.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Verdict {
    /// It may go on.
    Accept,
    /// It goes on with this content, a JSON object.
    Replace(#[serde(with = "serde_bytes")] Vec<u8>),
    /// It ends here.
    Reject(Error),
}

impl Verdict {
    /// Replaces the content by a value that becomes a JSON object.
    #[must_use]
    pub fn replace(content: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(content) {
            Ok(json) => Self::Replace(json),
            Err(error) => Self::Reject(Error::new("bad_content", error.to_string())),
        }
    }

    /// Rejects with a code and a sentence.
    #[must_use]
    pub fn reject(code: &str, message: impl Into<String>) -> Self {
        Self::Reject(Error::new(code, message))
    }
}
