//! Conversations and their messages: what the core keeps in the store, and under which keys.

mod body;
mod conversation;
mod draft;
pub mod key;
mod revision;
mod watches;
mod watermark;

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13x128};

use crate::store::{CommitError, Dedup, Found, Head, LogId, Store, StoreError, StoredEvent};
use crate::wire::{ActorId, AppId, ConversationId, Page};

pub use body::{Body, BodyError, EventType};
pub use conversation::{Conversation, Conversations, Memberships, Record};
pub use draft::{Draft, Mark};
pub use revision::{Edit, Full, Revision};
pub use watches::{Watched, Watches};
pub use watermark::Watermark;

/// The conversations of a store and their messages.
pub struct Log {
    store: Arc<dyn Store>,
    conversations: Conversations,
    /// Secret, so that nobody can choose ids that collide with another's.
    hash_key: [u8; 16],
}

/// Why the log can't answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A record is not what this version writes.
    #[error("the record of {0} can't be read")]
    Record(ConversationId),
    /// A message is not what this version writes.
    #[error("message {seq} of {conversation} can't be read")]
    Message {
        /// Where.
        conversation: ConversationId,
        /// Which.
        seq: u64,
    },
}

impl Log {
    /// Opens the log of a store. The first time, it draws the secret that client ids are hashed with.
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

    /// Returns the store below.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns the conversations.
    #[must_use]
    pub fn conversations(&self) -> &Conversations {
        &self.conversations
    }

    /// Returns what makes a message idempotent: the sender's id for it and what it says.
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
    pub fn find(&self, dedup: Dedup) -> Result<Option<Found>, StoreError> {
        self.store.find(dedup.key)
    }

    /// Reads messages in ascending order, with the head of the log.
    ///
    /// # Errors
    /// When the store fails.
    pub fn read(&self, log: &LogId, page: Page, limit: usize) -> Result<(Head, Vec<StoredEvent>), LogError> {
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
}

impl Log {
    /// Returns what became of the messages of a range of numbers, those without any change left out.
    ///
    /// # Errors
    /// When the store fails.
    pub fn revisions(
        store: &dyn Store,
        log: &LogId,
        first: u64,
        last: u64,
    ) -> Result<HashMap<u64, Revision>, LogError> {
        let (start, end) = (key::revision(log, first), key::revision(log, last.saturating_add(1)));
        let found = store.scan(&start, &end, usize::MAX, false)?;
        let decoded = found.iter().map(|(key, value)| {
            let seq = key::seq_of_revision(key).unwrap_or_default();
            let damaged = LogError::Message {
                conversation: log.conversation,
                seq,
            };
            Revision::decode(value).map(|revision| (seq, revision)).ok_or(damaged)
        });
        decoded.collect()
    }

    /// Returns what became of one message, inside a transaction.
    ///
    /// # Errors
    /// When the store fails.
    pub fn revision(draft: &mut Draft, log: &LogId, seq: u64) -> Result<Revision, LogError> {
        let damaged = LogError::Message {
            conversation: log.conversation,
            seq,
        };
        match draft.get(key::revision(log, seq))? {
            Some(bytes) => Revision::decode(&bytes).ok_or(damaged),
            None => Ok(Revision::default()),
        }
    }

    /// Keeps what became of one message, inside a transaction.
    pub fn revise(draft: &mut Draft, log: &LogId, seq: u64, revision: &Revision) {
        draft.set(key::revision(log, seq), Some(revision.encode().into()));
    }

    /// Reads one event; none if there is no such number.
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

fn load_hash_key(store: &Arc<dyn Store>) -> Result<[u8; 16], LogError> {
    if let Some(found) = store.get(key::HASH_KEY)?
        && let Ok(secret) = <[u8; 16]>::try_from(&found[..])
    {
        return Ok(secret);
    }
    let secret: [u8; 16] = rand::random();
    let mut draft = Draft::new(store.clone());
    // Two nodes that start at once must agree on one secret: the second one's transaction conflicts.
    draft.get(key::HASH_KEY)?;
    draft.set(key::HASH_KEY.into(), Some(secret.to_vec().into()));
    match draft.commit_blocking() {
        Ok(_) => Ok(secret),
        Err(CommitError::Conflict) => load_hash_key(store),
        Err(error) => Err(StoreError::Index(error.to_string()).into()),
    }
}
