//! A message as hooks see it.

use courtyard_plugin_sdk::hook::PackedMessage;

/// A message as hooks see it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The tenant.
    pub app: &'a str,
    /// The conversation, as clients write it.
    pub conversation: &'a str,
    /// The kind of the conversation.
    pub conversation_kind: &'a str,
    /// The sender.
    pub sender: &'a str,
    /// The other member of a conversation of two, or empty.
    pub receiver: &'a str,
    /// The kind of the content.
    pub kind: &'a str,
    /// The sender's id for the message.
    pub client_id: &'a str,
    /// A JSON object.
    pub content: &'a [u8],
    /// The number in the conversation; 0 before the message is in the log.
    pub seq: u64,
    /// The number of the message whose content it replaces; 0 for a new message.
    pub edits: u64,
    /// Milliseconds since 1970.
    pub time_ms: u64,
}

impl Message<'_> {
    /// Returns the texts in the order of the contract.
    #[must_use]
    pub fn texts(&self) -> [&[u8]; 8] {
        [
            self.app.as_bytes(),
            self.conversation.as_bytes(),
            self.conversation_kind.as_bytes(),
            self.sender.as_bytes(),
            self.receiver.as_bytes(),
            self.kind.as_bytes(),
            self.client_id.as_bytes(),
            self.content,
        ]
    }

    /// Concatenates the texts, in the order of the contract.
    #[must_use]
    pub fn packed(&self) -> PackedMessage {
        let texts = self.texts();
        let mut bytes = Vec::with_capacity(texts.iter().map(|text| text.len()).sum());
        let ends = texts.map(|text| {
            bytes.extend_from_slice(text);
            // A frame is far smaller than 4 GiB.
            u32::try_from(bytes.len()).unwrap_or(u32::MAX)
        });
        PackedMessage {
            bytes,
            ends,
            seq: self.seq,
            edits: self.edits,
            time_ms: self.time_ms,
        }
    }
}
