//! The bytes of the log on the disk. All numbers are little-endian; `docs/internals/store-format.md` has the layouts.
//!
//! A segment is a header of [`SEGMENT_HEADER`] bytes (magic, format, number, first position, CRC-32 of these), then
//! batches. A batch is a header of [`BATCH_HEADER`] bytes (magic, payload length, position, CRC-32 of the payload, CRC-32 of
//! the header) and a payload of operations: `1` sets a key, `2` deletes one, `3` is an event with its own CRC-32, so that
//! reads of history can check it alone, and `4` touches a log. A batch is written and synced before the next one is
//! written.

use bytes::Bytes;

use crate::store::{Append, Appended, Dedup, LogId, StoredEvent};
use crate::wire::{AppId, ConversationId, EventId};

pub(super) const FORMAT: u32 = 1;
pub(super) const SEGMENT_HEADER: usize = 32;
pub(super) const BATCH_HEADER: usize = 24;
/// The bytes of an event before the App ID and the body.
pub(super) const EVENT_HEADER: usize = 84;
const SEGMENT_MAGIC: [u8; 8] = *b"CYARDLOG";
const BATCH_MAGIC: u32 = 0x3142_5943;

const SET: u8 = 1;
const DELETE: u8 = 2;
const EVENT: u8 = 3;
const TOUCH: u8 = 4;

/// Reads little-endian numbers from the front of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    // Batches end far below 4 GiB.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    pub(super) first: u64,
}

/// Why a file doesn't begin with a readable header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Short,
    Damaged,
    Format(u32),
}

impl SegmentHeader {
    pub(super) fn encode(self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.first.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header = bytes.get(..SEGMENT_HEADER).ok_or(HeaderError::Short)?;
        let mut input = Reader(header);
        let (Some(magic), Some(format), Some(number), Some(first), Some(crc)) =
            (input.array::<8>(), input.u32(), input.u64(), input.u64(), input.u32())
        else {
            return Err(HeaderError::Short);
        };
        if magic != SEGMENT_MAGIC || crc32fast::hash(&header[..28]) != crc {
            return Err(HeaderError::Damaged);
        }
        if format != FORMAT {
            return Err(HeaderError::Format(format));
        }
        Ok(Self { number, first })
    }
}

/// A batch in preparation; the header is filled in at the end.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; BATCH_HEADER],
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.truncate(BATCH_HEADER);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == BATCH_HEADER
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.bytes.push(if value.is_some() { SET } else { DELETE });
        self.bytes.extend_from_slice(&length(key));
        if let Some(value) = value {
            self.bytes.extend_from_slice(&length(value));
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    /// Adds a touch: the log changed without an event.
    pub(super) fn touch(&mut self, log: &LogId) {
        let app = log.app.as_str();
        // An App ID has at most 32 bytes.
        self.bytes
            .extend_from_slice(&[TOUCH, u8::try_from(app.len()).unwrap_or(0)]);
        self.bytes.extend_from_slice(app.as_bytes());
        self.bytes.extend_from_slice(&log.conversation.0.to_le_bytes());
    }

    /// Adds an event; returns its offset in the batch.
    pub(super) fn append(&mut self, append: &Append, appended: &Appended) -> usize {
        let at = self.bytes.len();
        let (app, body, tail) = (append.log.app.as_str(), &append.body, &append.tail);
        let dedup = append.dedup.unwrap_or(Dedup { key: 0, fingerprint: 0 });
        self.bytes.push(EVENT);
        // Batches end far below 4 GiB.
        let both = u32::try_from(body.len() + tail.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&both.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&append.log.conversation.0.to_le_bytes());
        self.bytes.extend_from_slice(&appended.seq.to_le_bytes());
        self.bytes.extend_from_slice(&appended.id.0.to_le_bytes());
        self.bytes.extend_from_slice(&appended.time_ms.to_le_bytes());
        self.bytes.extend_from_slice(&dedup.key.to_le_bytes());
        self.bytes.extend_from_slice(&dedup.fingerprint.to_le_bytes());
        // An App ID has at most 32 bytes.
        self.bytes.extend_from_slice(&[
            u8::from(append.dedup.is_some()),
            0,
            u8::try_from(app.len()).unwrap_or(0),
        ]);
        self.bytes.extend_from_slice(app.as_bytes());
        self.bytes.extend_from_slice(body);
        self.bytes.extend_from_slice(tail);
        let crc = crc32fast::hash(&self.bytes[at + 9..]);
        self.bytes[at + 5..at + 9].copy_from_slice(&crc.to_le_bytes());
        at
    }

    /// Fills in the header and returns all bytes.
    pub(super) fn finish(&mut self, position: u64) -> &[u8] {
        let payload_crc = crc32fast::hash(&self.bytes[BATCH_HEADER..]);
        let payload_length = length(&self.bytes[BATCH_HEADER..]);
        self.bytes[..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&payload_length);
        self.bytes[8..16].copy_from_slice(&position.to_le_bytes());
        self.bytes[16..20].copy_from_slice(&payload_crc.to_le_bytes());
        let crc = crc32fast::hash(&self.bytes[..20]);
        self.bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }
}

/// The header of a batch in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) length: usize,
    pub(super) position: u64,
    pub(super) crc: u32,
}

impl BatchHeader {
    /// Decodes a header; none if it is incomplete or damaged.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..BATCH_HEADER)?;
        let mut input = Reader(header);
        if input.u32()? != BATCH_MAGIC {
            return None;
        }
        let (length, position, crc) = (input.u32()? as usize, input.u64()?, input.u32()?);
        (input.u32()? == crc32fast::hash(&header[..20])).then_some(Self { length, position, crc })
    }
}

/// Returns whether a whole, undamaged batch begins anywhere in the bytes.
pub(super) fn has_batch(bytes: &[u8]) -> bool {
    let magic = BATCH_MAGIC.to_le_bytes();
    bytes
        .windows(4)
        .enumerate()
        .filter(|(_, window)| *window == magic)
        .any(|(at, _)| {
            BatchHeader::decode(&bytes[at..]).is_some_and(|header| {
                let payload = bytes.get(at + BATCH_HEADER..at + BATCH_HEADER + header.length);
                payload.is_some_and(|payload| crc32fast::hash(payload) == header.crc)
            })
        })
}

/// An event in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventRecord {
    pub(super) log: LogId,
    pub(super) event: StoredEvent,
    pub(super) dedup: Option<Dedup>,
}

/// Returns the length of the event with this header, in bytes.
pub(super) fn event_length(header: &[u8; EVENT_HEADER]) -> usize {
    let body = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
    EVENT_HEADER + usize::from(header[EVENT_HEADER - 1]) + body
}

/// Decodes an event, from its tag on; none if it is damaged.
pub(super) fn decode_event(bytes: &[u8]) -> Option<EventRecord> {
    let mut input = Reader(bytes);
    if input.u8()? != EVENT {
        return None;
    }
    let body_length = input.u32()? as usize;
    if input.u32()? != crc32fast::hash(input.0) {
        return None;
    }
    let (conversation, seq, id, time_ms) = (input.u128()?, input.u64()?, input.u128()?, input.u64()?);
    let dedup = Dedup {
        key: input.u128()?,
        fingerprint: input.u64()?,
    };
    let [has_dedup, _, app_length] = input.array::<3>()?;
    let app: AppId = std::str::from_utf8(input.bytes(app_length.into())?)
        .ok()?
        .parse()
        .ok()?;
    let body = Bytes::copy_from_slice(input.bytes(body_length)?);
    Some(EventRecord {
        log: LogId {
            app,
            conversation: ConversationId(conversation),
        },
        event: StoredEvent {
            seq,
            id: EventId(id),
            time_ms,
            body,
        },
        dedup: (has_dedup == 1).then_some(dedup),
    })
}

/// One operation of a batch.
#[derive(Debug)]
pub(super) enum Operation {
    Write(Bytes, Option<Bytes>),
    Event { at: usize, record: EventRecord },
    Touch(LogId),
}

/// Decodes the payload of a batch; none if [`Batch`] can't have written it. `at` is the offset in the payload.
pub(super) fn decode_payload(payload: &[u8]) -> Option<Vec<Operation>> {
    let mut operations = Vec::new();
    let mut input = Reader(payload);
    while let Some(tag) = input.0.first().copied() {
        let at = payload.len() - input.0.len();
        match tag {
            EVENT => {
                let header: [u8; EVENT_HEADER] = input.0.get(..EVENT_HEADER)?.try_into().ok()?;
                let bytes = input.bytes(event_length(&header))?;
                operations.push(Operation::Event {
                    at,
                    record: decode_event(bytes)?,
                });
            }
            SET | DELETE => {
                input.u8()?;
                let key = input.u32()? as usize;
                let value = if tag == SET { Some(input.u32()? as usize) } else { None };
                let key = Bytes::copy_from_slice(input.bytes(key)?);
                let value = match value {
                    Some(length) => Some(Bytes::copy_from_slice(input.bytes(length)?)),
                    None => None,
                };
                operations.push(Operation::Write(key, value));
            }
            TOUCH => {
                input.u8()?;
                let length = input.u8()?.into();
                let app = std::str::from_utf8(input.bytes(length)?).ok()?.parse().ok()?;
                let conversation = ConversationId(input.u128()?);
                operations.push(Operation::Touch(LogId { app, conversation }));
            }
            _ => return None,
        }
    }
    Some(operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_decodes_to_its_operations_and_any_flipped_bit_is_noticed() {
        let log = LogId {
            app: AppId::default_app(),
            conversation: ConversationId(9),
        };
        let append = Append {
            log: log.clone(),
            body: Bytes::from_static(b"bo"),
            tail: Bytes::from_static(b"dy"),
            dedup: Some(Dedup { key: 7, fingerprint: 8 }),
        };
        let appended = Appended {
            log,
            seq: 3,
            id: EventId(4),
            time_ms: 5,
        };
        let mut batch = Batch::new();
        batch.write(b"key", Some(b"value"));
        batch.write(b"gone", None);
        let at = batch.append(&append, &appended);
        let bytes = batch.finish(42).to_vec();

        let header = BatchHeader::decode(&bytes).unwrap();
        assert_eq!((header.position, header.length), (42, bytes.len() - BATCH_HEADER));
        assert!(has_batch(&bytes));
        let operations = decode_payload(&bytes[BATCH_HEADER..]).unwrap();
        let Operation::Event { at: found, record } = &operations[2] else {
            panic!("{operations:?}")
        };
        assert_eq!(
            (*found + BATCH_HEADER, record.event.seq, &record.event.body[..]),
            (at, 3, &b"body"[..])
        );
        assert_eq!(record.dedup, append.dedup);
        for flipped in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[flipped] ^= 1;
            assert!(!has_batch(&damaged), "a flipped bit at {flipped} is not noticed");
        }
    }
}
