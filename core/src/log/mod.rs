//! Conversations and their messages, as the core stores them.

mod body;
mod conversation;
mod revision;
mod watches;
mod watermark;

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13x128};

use crate::keys;
use crate::store::{CommitError, Dedup, DedupEntry, Draft, LogHead, LogId, Store, StoreError, StoredEvent};
use crate::wire::{ActorId, AppId, ConversationId, Page};

pub use body::{Body, BodyError, EventType};
pub use conversation::{Conversation, ConversationRecord, Conversations, Memberships};
pub use revision::{Edit, Revision, RevisionFull};
pub use watches::{Watched, Watches};
pub use watermark::Watermark;

/// The conversations of a store and their messages.
pub struct Log {
    store: Arc<dyn Store>,
    conversations: Conversations,
    /// Secret, so that nobody can choose a client id whose hash collides with another's.
    hash_key: [u8; 16],
}

/// Why an operation of the log failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A record of a conversation is damaged, or was written by another version.
    #[error("a record of the conversation {0} is damaged")]
    DamagedRecord(ConversationId),
    /// A message is damaged, or was written by another version.
    #[error("message {seq} of the conversation {conversation} is damaged")]
    Message {
        /// The conversation.
        conversation: ConversationId,
        /// The number of the message.
        seq: u64,
    },
}

impl Log {
    /// Opens the log of a store. The first time, creates the secret that client ids are hashed with.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open(store: Arc<dyn Store>) -> Result<Self, LogError> {
        let hash_key = load_hash_key(&store)?;
        Ok(Self {
            conversations: Conversations::new(store.clone()),
            store,
            hash_key,
        })
    }

    /// Returns the store of the log.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns the conversations.
    #[must_use]
    pub fn conversations(&self) -> &Conversations {
        &self.conversations
    }

    /// Returns the idempotency key of a message, from the sender's id for it, and the fingerprint of its parts.
    #[must_use]
    pub fn dedup(&self, app: &AppId, sender: &ActorId, client_id: &str, message: [&[u8]; 3]) -> Dedup {
        let mut key = SipHasher13x128::new_with_key(&self.hash_key);
        for part in [app.as_str(), sender.as_str(), client_id] {
            key.write(part.as_bytes());
            key.write_u8(0);
        }
        let mut fingerprint = SipHasher13::new_with_key(&self.hash_key);
        for part in message {
            fingerprint.write(part);
            fingerprint.write_u8(0);
        }
        Dedup {
            key: key.finish128().as_u128(),
            fingerprint: fingerprint.finish(),
        }
    }

    /// Finds an earlier message under the same client id.
    ///
    /// # Errors
    /// When the store fails.
    pub fn find(&self, dedup: Dedup) -> Result<Option<DedupEntry>, StoreError> {
        self.store.find(dedup.key)
    }

    /// Reads a page of at most `limit` events in ascending order, with the head of the log.
    ///
    /// # Errors
    /// When the store fails.
    pub fn read(&self, log: &LogId, page: Page, limit: usize) -> Result<(LogHead, Vec<StoredEvent>), LogError> {
        let head = self.store.head(log)?;
        let (range, newest_first) = match page {
            Page::After(after) => (after.saturating_add(1)..=head.seq, false),
            Page::Before(before) => (1..=before.saturating_sub(1).min(head.seq), true),
            Page::Newest => (1..=head.seq, true),
        };
        if range.is_empty() {
            return Ok((head, Vec::new()));
        }
        Ok((head, self.store.events(log, range, limit, newest_first)?))
    }

    /// Returns the revisions of the messages from `first` to `last`. Messages without a revision are left out.
    ///
    /// # Errors
    /// When the store fails.
    pub fn revisions(
        store: &dyn Store,
        log: &LogId,
        first: u64,
        last: u64,
    ) -> Result<HashMap<u64, Revision>, LogError> {
        let (start, end) = (
            keys::log::revision(log, first),
            keys::log::revision(log, last.saturating_add(1)),
        );
        let found = store.scan(&start, &end, usize::MAX, false)?;
        let decoded = found.iter().map(|(key, value)| {
            let seq = keys::log::seq_of_revision(key).unwrap_or_default();
            let damaged = LogError::Message {
                conversation: log.conversation,
                seq,
            };
            Revision::decode(value).map(|revision| (seq, revision)).ok_or(damaged)
        });
        decoded.collect()
    }

    /// Returns the revision of one message in a transaction; an empty one if the message was never revised.
    ///
    /// # Errors
    /// When the store fails.
    pub fn revision(draft: &mut Draft, log: &LogId, seq: u64) -> Result<Revision, LogError> {
        let damaged = LogError::Message {
            conversation: log.conversation,
            seq,
        };
        match draft.get(keys::log::revision(log, seq))? {
            Some(bytes) => Revision::decode(&bytes).ok_or(damaged),
            None => Ok(Revision::default()),
        }
    }

    /// Writes the revision of one message in a transaction.
    pub fn revise(draft: &mut Draft, log: &LogId, seq: u64, revision: &Revision) {
        draft.set(keys::log::revision(log, seq), Some(revision.encode()));
    }

    /// Reads one event; none if the number doesn't exist.
    ///
    /// # Errors
    /// When the store fails.
    pub fn event(&self, log: &LogId, seq: u64) -> Result<Option<StoredEvent>, LogError> {
        if seq == 0 {
            return Ok(None);
        }
        Ok(self.store.events(log, seq..=seq, 1, false)?.pop())
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// Decodes arbitrary bytes as the body of an event and as a revision. Must never panic; for fuzzing.
#[doc(hidden)]
pub fn fuzz_records(bytes: &[u8]) {
    let _ = Body::decode(bytes);
    let _ = Revision::decode(bytes);
}

fn load_hash_key(store: &Arc<dyn Store>) -> Result<[u8; 16], LogError> {
    if let Some(found) = store.get(keys::log::HASH_KEY)?
        && let Ok(secret) = <[u8; 16]>::try_from(&found[..])
    {
        return Ok(secret);
    }
    let secret: [u8; 16] = rand::random();
    let mut draft = Draft::new(store.clone());
    // Two nodes that start together must use one secret: the second transaction conflicts.
    draft.get(keys::log::HASH_KEY)?;
    draft.set(keys::log::HASH_KEY.into(), Some(secret.to_vec().into()));
    match draft.commit_blocking() {
        Ok(_) => Ok(secret),
        Err(CommitError::Conflict) => load_hash_key(store),
        Err(error) => Err(StoreError::Index(error.to_string()).into()),
    }
}
