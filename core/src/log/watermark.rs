//! Watermarks: how far members have received and read a conversation.

use serde::{Deserialize, Serialize};

use super::{Log, LogError};
use crate::keys;
use crate::store::{Draft, LogId, encode};
use crate::wire::ActorId;

/// How far a member has received and read a conversation. Both numbers only grow, and `delivered` is at least `read`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// The number of the newest event that some device of the member received.
    pub delivered: u64,
    /// The number of the newest event that the member has read.
    pub read: u64,
}

impl Watermark {
    /// Returns the maximum of both, for each number.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let read = self.read.max(other.read);
        Self {
            delivered: self.delivered.max(other.delivered).max(read),
            read,
        }
    }

    fn decode(bytes: &[u8], log: &LogId) -> Result<Self, LogError> {
        postcard::from_bytes(bytes).map_err(|_| LogError::DamagedRecord(log.conversation))
    }
}

impl Log {
    /// Returns the watermark of a member; zeros if none is stored.
    ///
    /// # Errors
    /// When the store fails, or the record is damaged.
    pub fn watermark(&self, log: &LogId, actor: &ActorId) -> Result<Watermark, LogError> {
        match self.store().get(&keys::log::watermark(log, actor))? {
            Some(bytes) => Watermark::decode(&bytes, log),
            None => Ok(Watermark::default()),
        }
    }

    /// Lists up to `limit` watermarks, in the order of the members' ids, of those after `after`.
    ///
    /// # Errors
    /// When the store fails, or a record is damaged.
    pub fn watermarks(
        &self,
        log: &LogId,
        after: Option<&ActorId>,
        limit: usize,
    ) -> Result<Vec<(ActorId, Watermark)>, LogError> {
        let (start, end) = keys::log::watermarks(log, after);
        let found = self.store().scan(&start, &end, limit, false)?;
        let decoded = found.iter().map(|(key, value)| {
            let actor = keys::log::actor_of_watermark(key, log).ok_or(LogError::DamagedRecord(log.conversation))?;
            Ok((actor, Watermark::decode(value, log)?))
        });
        decoded.collect()
    }

    /// Advances the watermark of a member in a transaction. Returns the new watermark, and whether it advanced.
    ///
    /// # Errors
    /// When the store fails, or the record is damaged.
    pub fn move_watermark(
        draft: &mut Draft,
        log: &LogId,
        actor: &ActorId,
        to: Watermark,
    ) -> Result<(Watermark, bool), LogError> {
        let key = keys::log::watermark(log, actor);
        let before = match draft.get(key.clone())? {
            Some(bytes) => Watermark::decode(&bytes, log)?,
            None => Watermark::default(),
        };
        let merged = before.merged(to);
        if merged == before {
            return Ok((before, false));
        }
        draft.set(key, Some(encode(&merged)));
        draft.touch(log.clone());
        Ok((merged, true))
    }
}

#[cfg(test)]
mod tests {
    use super::Watermark;

    #[test]
    fn watermarks_only_grow_and_delivered_is_at_least_read() {
        let mark = |delivered, read| Watermark { delivered, read };
        assert_eq!(mark(5, 3).merged(mark(4, 2)), mark(5, 3));
        assert_eq!(mark(5, 3).merged(mark(0, 7)), mark(7, 7));
        assert_eq!(mark(0, 0).merged(mark(9, 0)), mark(9, 0));
    }
}
