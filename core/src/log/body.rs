//! The bodies of events in the store.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::StoredEvent;
use crate::wire::reply::EventView;
use crate::wire::{ConversationId, EventId};

/// The body of an event is damaged, or was written by another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body of the event is damaged")]
pub struct BodyError;

/// The type of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventType {
    /// A message.
    #[default]
    Message,
    /// A new content of an earlier message.
    Edit,
    /// The recall of an earlier message.
    Recall,
    /// An emoji that is added to an earlier message or removed.
    Reaction,
    /// An annotation of an earlier message by a plugin.
    Annotation,
    /// A change of the members.
    Members,
}

impl EventType {
    const ALL: [Self; 6] = [
        Self::Message,
        Self::Edit,
        Self::Recall,
        Self::Reaction,
        Self::Annotation,
        Self::Members,
    ];

    /// Returns the first byte of bodies of this type.
    fn byte(self) -> u8 {
        self as u8 + 1
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.byte() == byte)
    }

    /// Returns the name that clients see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Edit => "edit",
            Self::Recall => "recall",
            Self::Reaction => "reaction",
            Self::Annotation => "annotation",
            Self::Members => "members",
        }
    }
}

/// The body of an event: everything but number, id and time, which the store assigns.
///
/// In the store: one byte for the type, the target unless the type is message, then the other fields; all postcard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Body<'a> {
    /// The type of the event.
    pub event: EventType,
    /// The number of the target message; 0 for none.
    pub target: u64,
    /// The sender.
    pub sender: &'a str,
    /// The other member, in a conversation of two.
    pub receiver: Option<&'a str>,
    /// The sender's id for the event.
    pub client_id: &'a str,
    /// The kind of the content; the name of an annotation; may be empty.
    pub kind: &'a str,
    /// A JSON object.
    pub content: &'a [u8],
}

#[derive(Deserialize)]
struct BodyFields<'a> {
    sender: &'a str,
    receiver: Option<&'a str>,
    client_id: &'a str,
    kind: &'a str,
    #[serde(with = "serde_bytes")]
    content: &'a [u8],
}

/// [`BodyFields`] up to the content: postcard encodes the length of bytes like a number.
#[derive(Serialize)]
struct BodyHeader<'a> {
    sender: &'a str,
    receiver: Option<&'a str>,
    client_id: &'a str,
    kind: &'a str,
    content_bytes: usize,
}

impl<'a> Body<'a> {
    /// Encodes the body without the content, which must follow these bytes directly.
    #[must_use]
    pub fn encode_head(&self) -> Bytes {
        let head = BodyHeader {
            sender: self.sender,
            receiver: self.receiver,
            client_id: self.client_id,
            kind: self.kind,
            content_bytes: self.content.len(),
        };
        let texts = [
            self.sender,
            self.receiver.unwrap_or_default(),
            self.client_id,
            self.kind,
        ];
        let texts: usize = texts
            .iter()
            .map(|text| varint_bytes(text.len() as u64) + text.len())
            .sum();
        let absent = if self.receiver.is_some() { 0 } else { varint_bytes(0) };
        let target = match self.event {
            EventType::Message => 0,
            _ => varint_bytes(self.target),
        };
        // The exact length: sharing bytes with spare capacity would cost one more allocation.
        let length = 1 + target + 1 + texts - absent + varint_bytes(self.content.len() as u64);
        let mut bytes = Vec::with_capacity(length);
        bytes.push(self.event.byte());
        if self.event != EventType::Message {
            // Writing into a vector can't fail, here and below.
            bytes = postcard::to_extend(&self.target, bytes).unwrap_or_default();
        }
        postcard::to_extend(&head, bytes).unwrap_or_default().into()
    }

    /// Encodes the body.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        [&self.encode_head()[..], self.content].concat().into()
    }

    /// Decodes a body that [`Body::encode`] wrote.
    ///
    /// # Errors
    /// For any other bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, BodyError> {
        let (byte, mut rest) = bytes.split_first().ok_or(BodyError)?;
        let event = EventType::from_byte(*byte).ok_or(BodyError)?;
        let mut target = 0;
        if event != EventType::Message {
            (target, rest) = postcard::take_from_bytes(rest).map_err(|_| BodyError)?;
        }
        let rest: BodyFields<'a> = postcard::from_bytes(rest).map_err(|_| BodyError)?;
        Ok(Self {
            event,
            target,
            sender: rest.sender,
            receiver: rest.receiver,
            client_id: rest.client_id,
            kind: rest.kind,
            content: rest.content,
        })
    }

    /// Combines the body with the stored event.
    #[must_use]
    pub fn view(&self, conversation: ConversationId, event: &StoredEvent) -> EventView<'a> {
        self.view_at(conversation, event.seq, event.id, event.time_ms)
    }

    /// Combines the body with the number, id and time of the event.
    #[must_use]
    pub fn view_at(&self, conversation: ConversationId, seq: u64, id: EventId, time_ms: u64) -> EventView<'a> {
        EventView {
            event_type: self.event.name(),
            target: self.target,
            id,
            conversation,
            seq,
            time_ms,
            sender: self.sender,
            receiver: self.receiver,
            client_id: self.client_id,
            kind: self.kind,
            content: self.content,
            revised: None,
        }
    }
}

/// Returns the length of a number in postcard, in bytes.
fn varint_bytes(number: u64) -> usize {
    (64 - number.max(1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_decodes_to_what_was_encoded() {
        let body = Body {
            sender: "ann",
            receiver: Some("bob"),
            client_id: "m1",
            kind: "text",
            content: b"{}",
            ..Body::default()
        };
        assert_eq!(Body::decode(&body.encode()), Ok(body));
        let alone = Body { receiver: None, ..body };
        assert_eq!(Body::decode(&alone.encode()), Ok(alone));
        let edit = Body {
            event: EventType::Edit,
            target: 300,
            ..body
        };
        assert_eq!(Body::decode(&edit.encode()), Ok(edit));
        let long = "x".repeat(300);
        let body = Body {
            content: long.as_bytes(),
            ..body
        };
        assert_eq!(Body::decode(&body.encode()), Ok(body));
    }

    #[test]
    fn the_length_of_a_number_is_that_of_postcard() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(
                varint_bytes(number),
                postcard::to_stdvec(&number).unwrap().len(),
                "{number}"
            );
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        assert_eq!(Body::decode(b""), Err(BodyError));
        assert_eq!(Body::decode(b"\x07abc"), Err(BodyError));
        assert_eq!(Body::decode(b"\x01\xff\xff"), Err(BodyError));
    }
}
