//! What the store keeps of a message.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::StoredEvent;
use crate::wire::ConversationId;
use crate::wire::reply::MessageView;

/// A message's bytes are not what this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no message")]
pub struct BodyError;

/// What a message says, apart from what the store knows about its event.
///
/// On the disk: postcard, after one byte for the type of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body<'a> {
    /// Who sent it.
    pub sender: &'a str,
    /// The other member, in a conversation of two.
    pub receiver: Option<&'a str>,
    /// The sender's id for it.
    pub client_id: &'a str,
    /// The kind of the content.
    pub kind: &'a str,
    /// A JSON object.
    #[serde(with = "serde_bytes")]
    pub content: &'a [u8],
}

/// A [`Body`] up to its content: postcard writes the length of bytes as it writes a number.
#[derive(Serialize)]
struct Head<'a> {
    sender: &'a str,
    receiver: Option<&'a str>,
    client_id: &'a str,
    kind: &'a str,
    content_bytes: usize,
}

/// The type byte of messages. Edits, receipts and the like will have their own.
const MESSAGE: u8 = 1;

impl<'a> Body<'a> {
    /// Encodes the message for the store, all but the content: that comes right behind these bytes.
    #[must_use]
    pub fn encode_head(&self) -> Bytes {
        let head = Head {
            sender: self.sender,
            receiver: self.receiver,
            client_id: self.client_id,
            kind: self.kind,
            content_bytes: self.content.len(),
        };
        let texts = self.sender.len() + self.receiver.map_or(0, str::len) + self.client_id.len() + self.kind.len();
        let mut bytes = Vec::with_capacity(1 + 24 + texts);
        bytes.push(MESSAGE);
        // Writing into a vector has no way to fail.
        postcard::to_extend(&head, bytes).unwrap_or_default().into()
    }

    /// Encodes the message for the store.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        [&self.encode_head()[..], self.content].concat().into()
    }

    /// Decodes what [`Body::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, BodyError> {
        match bytes.split_first() {
            Some((&MESSAGE, rest)) => postcard::from_bytes(rest).map_err(|_| BodyError),
            _ => Err(BodyError),
        }
    }

    /// Joins the message with what the store knows about its event.
    #[must_use]
    pub fn view(&self, conversation: ConversationId, event: &StoredEvent) -> MessageView<'a> {
        MessageView {
            id: event.id,
            conversation,
            seq: event.seq,
            time_ms: event.time_ms,
            sender: self.sender,
            receiver: self.receiver,
            client_id: self.client_id,
            kind: self.kind,
            content: self.content,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was() {
        let body = Body {
            sender: "ann",
            receiver: Some("bob"),
            client_id: "m1",
            kind: "text",
            content: b"{}",
        };
        assert_eq!(Body::decode(&body.encode()), Ok(body));
        let long = "x".repeat(300);
        let body = Body {
            content: long.as_bytes(),
            ..body
        };
        assert_eq!(Body::decode(&body.encode()), Ok(body));
    }

    #[test]
    fn other_bytes_are_refused() {
        assert_eq!(Body::decode(b""), Err(BodyError));
        assert_eq!(Body::decode(b"\x02abc"), Err(BodyError));
        assert_eq!(Body::decode(b"\x01\xff\xff"), Err(BodyError));
    }
}
