//! Up to where members have received and read a conversation.

use serde::{Deserialize, Serialize};

use super::{Draft, Log, LogError, key};
use crate::store::LogId;
use crate::wire::ActorId;

/// Up to where a member has received and read a conversation. Both only grow; what was read was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// The number of the newest event that some device of the member has.
    pub delivered: u64,
    /// The number of the newest event that the member has read.
    pub read: u64,
}

impl Watermark {
    /// Returns the later of both in each respect.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let read = self.read.max(other.read);
        Self {
            delivered: self.delivered.max(other.delivered).max(read),
            read,
        }
    }

    fn decode(bytes: &[u8], log: &LogId) -> Result<Self, LogError> {
        postcard::from_bytes(bytes).map_err(|_| LogError::Record(log.conversation))
    }
}

impl Log {
    /// Returns the watermark of a member; zeros if there is none yet.
    ///
    /// # Errors
    /// When the store fails, or the record is damaged.
    pub fn watermark(&self, log: &LogId, actor: &ActorId) -> Result<Watermark, LogError> {
        match self.store().get(&key::watermark(log, actor))? {
            Some(bytes) => Watermark::decode(&bytes, log),
            None => Ok(Watermark::default()),
        }
    }

    /// Lists up to `limit` watermarks, in the order of the members' ids behind `after`.
    ///
    /// # Errors
    /// When the store fails, or a record is damaged.
    pub fn watermarks(
        &self,
        log: &LogId,
        after: Option<&ActorId>,
        limit: usize,
    ) -> Result<Vec<(ActorId, Watermark)>, LogError> {
        let (start, end) = key::watermarks(log, after);
        let found = self.store().scan(&start, &end, limit, false)?;
        let decoded = found.iter().map(|(key, value)| {
            let actor = key::actor_of_watermark(key, log).ok_or(LogError::Record(log.conversation))?;
            Ok((actor, Watermark::decode(value, log)?))
        });
        decoded.collect()
    }

    /// Moves the watermark of a member, inside a transaction. Returns it as it is then, and whether it moved.
    ///
    /// # Errors
    /// When the store fails, or the record is damaged.
    pub fn move_watermark(
        draft: &mut Draft,
        log: &LogId,
        actor: &ActorId,
        to: Watermark,
    ) -> Result<(Watermark, bool), LogError> {
        let key = key::watermark(log, actor);
        let before = match draft.get(key.clone())? {
            Some(bytes) => Watermark::decode(&bytes, log)?,
            None => Watermark::default(),
        };
        let merged = before.merged(to);
        if merged == before {
            return Ok((before, false));
        }
        // Writing into a vector has no way to fail.
        let bytes = postcard::to_stdvec(&merged).unwrap_or_default();
        draft.set(key, Some(bytes.into()));
        draft.touch(log.clone());
        Ok((merged, true))
    }
}

#[cfg(test)]
mod tests {
    use super::Watermark;

    #[test]
    fn watermarks_only_grow_and_what_was_read_was_received() {
        let mark = |delivered, read| Watermark { delivered, read };
        assert_eq!(mark(5, 3).merged(mark(4, 2)), mark(5, 3));
        assert_eq!(mark(5, 3).merged(mark(0, 7)), mark(7, 7));
        assert_eq!(mark(0, 0).merged(mark(9, 0)), mark(9, 0));
    }
}
