//! What the store keeps of an event.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::StoredEvent;
use crate::wire::reply::EventView;
use crate::wire::{ConversationId, EventId};

/// An event's bytes are not what this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no event")]
pub struct BodyError;

/// What an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventType {
    /// A message.
    #[default]
    Message,
    /// Another content for an earlier message.
    Edit,
    /// An earlier message is taken back.
    Recall,
    /// An emoji for an earlier message, or its end.
    Reaction,
    /// What a plugin says about an earlier message.
    Annotation,
    /// Who joined and who left.
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

    /// Returns the byte that bodies of this type begin with.
    fn byte(self) -> u8 {
        self as u8 + 1
    }

    fn of(byte: u8) -> Option<Self> {
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

/// What an event says, apart from what the store knows about it.
///
/// On the disk: one byte for the type, the target of an event that has one, then the rest; all postcard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Body<'a> {
    /// What it is.
    pub event: EventType,
    /// The number of the message that it is about; 0 if it is about none.
    pub target: u64,
    /// Whose it is.
    pub sender: &'a str,
    /// The other member, in a conversation of two.
    pub receiver: Option<&'a str>,
    /// The sender's id for it.
    pub client_id: &'a str,
    /// The kind of the content; of an annotation the name; may be empty.
    pub kind: &'a str,
    /// A JSON object.
    pub content: &'a [u8],
}

#[derive(Deserialize)]
struct Rest<'a> {
    sender: &'a str,
    receiver: Option<&'a str>,
    client_id: &'a str,
    kind: &'a str,
    #[serde(with = "serde_bytes")]
    content: &'a [u8],
}

/// [`Rest`] up to its content: postcard writes the length of bytes as it writes a number.
#[derive(Serialize)]
struct Head<'a> {
    sender: &'a str,
    receiver: Option<&'a str>,
    client_id: &'a str,
    kind: &'a str,
    content_bytes: usize,
}

impl<'a> Body<'a> {
    /// Encodes the event for the store, all but the content: that comes right behind these bytes.
    #[must_use]
    pub fn encode_head(&self) -> Bytes {
        let head = Head {
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
        // Just as much as it takes: bytes with room behind them are shared by way of one more allocation.
        let length = 1 + target + 1 + texts - absent + varint_bytes(self.content.len() as u64);
        let mut bytes = Vec::with_capacity(length);
        bytes.push(self.event.byte());
        if self.event != EventType::Message {
            // Writing into a vector has no way to fail; that goes for the rest as well.
            bytes = postcard::to_extend(&self.target, bytes).unwrap_or_default();
        }
        postcard::to_extend(&head, bytes).unwrap_or_default().into()
    }

    /// Encodes the event for the store.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        [&self.encode_head()[..], self.content].concat().into()
    }

    /// Decodes what [`Body::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, BodyError> {
        let (byte, mut rest) = bytes.split_first().ok_or(BodyError)?;
        let event = EventType::of(*byte).ok_or(BodyError)?;
        let mut target = 0;
        if event != EventType::Message {
            (target, rest) = postcard::take_from_bytes(rest).map_err(|_| BodyError)?;
        }
        let rest: Rest<'a> = postcard::from_bytes(rest).map_err(|_| BodyError)?;
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

    /// Joins the event with what the store knows about it.
    #[must_use]
    pub fn view(&self, conversation: ConversationId, event: &StoredEvent) -> EventView<'a> {
        self.view_at(conversation, event.seq, event.id, event.time_ms)
    }

    /// Joins the event with where it went.
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

/// Returns how many bytes postcard writes a number in.
fn varint_bytes(number: u64) -> usize {
    (64 - number.max(1).leading_zeros() as usize).div_ceil(7)
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
    fn a_number_takes_as_many_bytes_as_postcard_writes() {
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
