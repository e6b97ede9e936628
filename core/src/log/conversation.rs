//! Conversations: their records, members and addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::{LogError, Watched};
use crate::keys;
use crate::store::{Draft, LogId, Position, Store, encode};
use crate::wire::{ActorId, AppId, ConversationId};

/// The number of decoded conversations in the cache. Others are decoded again.
const CACHED: usize = 65_536;

/// The number of decoded memberships in the cache, over all actors; about 40 bytes each.
const CACHED_MEMBERSHIPS: usize = 1 << 20;

/// Upper bound on how many positions may pass while one transaction is in flight; a longer one has been retried.
const IN_FLIGHT_POSITIONS: u64 = 1_000_000;

/// A log with members.
#[derive(Debug)]
pub struct Conversation {
    /// The id as clients write it.
    pub id: Box<str>,
    /// The id that clients use, with the app.
    pub log: LogId,
    /// The kind, as its owner defines it.
    pub kind: Box<str>,
    /// The plugin that owns the conversation.
    pub owner: Box<str>,
    /// The members.
    pub members: Arc<[ActorId]>,
    /// The key of the record, for transactions that depend on it.
    pub key: Bytes,
    /// The record that this was decoded from.
    record: Bytes,
    /// The newest position at which the record is known to be unchanged.
    valid_at: AtomicU64,
    /// The cache of which plugins watch the conversation.
    pub watched: Watched,
}

impl Conversation {
    /// Returns whether an actor is a member.
    #[must_use]
    pub fn has_member(&self, actor: &ActorId) -> bool {
        self.members.contains(actor)
    }

    /// Returns the other member of a conversation of two.
    #[must_use]
    pub fn other_member(&self, actor: &ActorId) -> Option<&ActorId> {
        match &*self.members {
            [first, second] if first == actor => Some(second),
            [first, second] if second == actor => Some(first),
            _ => None,
        }
    }
}

/// A conversation in the store: postcard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationRecord {
    /// The kind, as its owner defines it.
    pub kind: String,
    /// The plugin that owns the conversation.
    pub owner: String,
    /// The members.
    pub members: Vec<String>,
}

/// The conversations of one actor.
#[derive(Debug)]
pub struct Memberships {
    /// The value of [`keys::log::memberships_version`] was then.
    version: Option<Bytes>,
    /// The conversations that the actor is a member of.
    pub current: Vec<LogId>,
    /// The conversations that the actor left, with a position shortly before that.
    left: Vec<(ConversationId, u64)>,
}

impl Memberships {
    /// Returns the conversations that the actor may have left since a position and not joined again.
    pub fn left_since(&self, since: Position) -> impl Iterator<Item = ConversationId> + '_ {
        let is_later = move |(_, before): &&(_, u64)| before.saturating_add(IN_FLIGHT_POSITIONS) >= since.0;
        self.left.iter().filter(is_later).map(|(id, _)| *id)
    }
}

/// The conversations of a store.
pub struct Conversations {
    store: Arc<dyn Store>,
    decoded: DashMap<LogId, Arc<Conversation>, RandomState>,
    memberships: DashMap<(AppId, ActorId), Arc<Memberships>, RandomState>,
    /// The number of memberships that were added to `memberships` since it was empty.
    cached_memberships: AtomicUsize,
}

impl Conversations {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            decoded: DashMap::default(),
            memberships: DashMap::default(),
            cached_memberships: AtomicUsize::new(0),
        }
    }

    /// Finds a conversation; the result is as new as the store.
    ///
    /// # Errors
    /// When the store fails, or the record is damaged.
    pub fn get(&self, log: &LogId) -> Result<Option<Arc<Conversation>>, LogError> {
        // A decoded conversation is valid only while the record in the store is unchanged.
        let written = self.store.newest_write().0;
        if let Some(known) = self.decoded.get(log).map(|entry| entry.value().clone()) {
            if known.valid_at.load(Ordering::Relaxed) >= written {
                return Ok(Some(known));
            }
            match self.store.get(&known.key)? {
                Some(record) if record == known.record => {
                    known.valid_at.fetch_max(written, Ordering::Relaxed);
                    return Ok(Some(known));
                }
                Some(record) => return self.decode(log, known.key.clone(), record).map(Some),
                None => return Ok(None),
            }
        }
        let key = keys::log::conversation(&log.app, log.conversation);
        match self.store.get(&key)? {
            Some(record) => self.decode(log, key, record).map(Some),
            None => Ok(None),
        }
    }

    fn decode(&self, log: &LogId, key: Bytes, bytes: Bytes) -> Result<Arc<Conversation>, LogError> {
        let damaged = || LogError::DamagedRecord(log.conversation);
        let record: ConversationRecord = postcard::from_bytes(&bytes).map_err(|_| damaged())?;
        let members: Result<Vec<ActorId>, _> = record.members.iter().map(|member| member.parse()).collect();
        let conversation = Arc::new(Conversation {
            id: log.conversation.to_string().into(),
            valid_at: AtomicU64::new(0),
            watched: Watched::default(),
            log: log.clone(),
            kind: record.kind.into(),
            owner: record.owner.into(),
            members: members.map_err(|_| damaged())?.into(),
            key,
            record: bytes,
        });
        if self.decoded.len() >= CACHED {
            self.decoded.clear();
        }
        self.decoded.insert(log.clone(), conversation.clone());
        Ok(conversation)
    }

    /// Returns the conversations of an actor.
    ///
    /// # Errors
    /// When the store fails.
    pub fn of_actor(&self, app: &AppId, actor: &ActorId) -> Result<Arc<Memberships>, LogError> {
        let whose = (app.clone(), actor.clone());
        // Before the scan: the next call then notices concurrent changes.
        let version = self.store.get(&keys::log::memberships_version(app, actor))?;
        if let Some(known) = self.memberships.get(&whose).filter(|known| known.version == version) {
            return Ok(known.clone());
        }
        let (start, end) = keys::log::memberships(app, actor);
        let (mut current, mut left) = (Vec::new(), Vec::new());
        for (membership, value) in self.store.scan(&start, &end, usize::MAX, false)? {
            let Some(conversation) = keys::log::conversation_of_membership(&membership) else {
                continue;
            };
            match <[u8; 8]>::try_from(&value[..]) {
                Ok(before) => left.push((conversation, u64::from_be_bytes(before))),
                Err(_) => current.push(LogId {
                    app: app.clone(),
                    conversation,
                }),
            }
        }
        let found = Arc::new(Memberships { version, current, left });
        // An entry without memberships takes memory as well.
        let count = 1 + found.current.len() + found.left.len();
        if self.cached_memberships.fetch_add(count, Ordering::Relaxed) + count > CACHED_MEMBERSHIPS {
            self.memberships.clear();
            self.cached_memberships.store(count, Ordering::Relaxed);
        }
        self.memberships.insert(whose, found.clone());
        Ok(found)
    }

    /// Finds the conversation at an address of a plugin, in a transaction.
    ///
    /// # Errors
    /// When the store fails, or the record is damaged.
    pub fn at_address(
        draft: &mut Draft,
        app: &AppId,
        plugin: &str,
        address: &str,
    ) -> Result<Option<(ConversationId, ConversationRecord)>, LogError> {
        let Some(id) = draft.get(keys::log::address(app, plugin, address))? else {
            return Ok(None);
        };
        let id = <[u8; 16]>::try_from(&id[..]).map_err(|_| LogError::DamagedRecord(ConversationId(0)))?;
        let id = ConversationId(u128::from_be_bytes(id));
        let record = draft
            .get(keys::log::conversation(app, id))?
            .ok_or(LogError::DamagedRecord(id))?;
        let record = postcard::from_bytes(&record).map_err(|_| LogError::DamagedRecord(id))?;
        Ok(Some((id, record)))
    }

    /// Finds the record of a conversation, in a transaction.
    ///
    /// # Errors
    /// When the store fails, or the record is damaged.
    pub fn record(draft: &mut Draft, app: &AppId, id: ConversationId) -> Result<Option<ConversationRecord>, LogError> {
        let record = draft.get(keys::log::conversation(app, id))?;
        let decoded = record.map(|record| postcard::from_bytes(&record)).transpose();
        decoded.map_err(|_| LogError::DamagedRecord(id))
    }

    /// Returns whether an actor is a member of a conversation. The transaction depends on this membership only.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_member(draft: &mut Draft, app: &AppId, id: ConversationId, actor: &ActorId) -> Result<bool, LogError> {
        // The value of an ended membership is not empty.
        let membership = draft.get(keys::log::membership(app, actor, id))?;
        Ok(membership.is_some_and(|mark| mark.is_empty()))
    }

    /// Replaces the record of a conversation in a transaction, and the memberships of the actors that join and leave.
    pub fn change_members(
        draft: &mut Draft,
        app: &AppId,
        id: ConversationId,
        record: &ConversationRecord,
        joined: &[ActorId],
        left: &[ActorId],
    ) {
        draft.set(keys::log::conversation(app, id), Some(encode(record)));
        for member in left {
            // The position lets devices that are offline learn of it later.
            let before = draft.begun().0.to_be_bytes().to_vec();
            draft.set(keys::log::membership(app, member, id), Some(before.into()));
            draft.set(keys::log::memberships_version(app, member), Some(new_version()));
        }
        for member in joined {
            join(draft, app, member, id);
        }
    }

    /// Creates a conversation at an address of the plugin that owns it, in a transaction.
    pub fn create(draft: &mut Draft, app: &AppId, id: ConversationId, address: &str, record: &ConversationRecord) {
        draft.set(
            keys::log::address(app, &record.owner, address),
            Some(id.0.to_be_bytes().to_vec().into()),
        );
        draft.set(keys::log::conversation(app, id), Some(encode(record)));
        for member in record.members.iter().filter_map(|member| member.parse().ok()) {
            join(draft, app, &member, id);
        }
        // A new conversation has no event.
        draft.touch(LogId {
            app: app.clone(),
            conversation: id,
        });
    }
}

fn join(draft: &mut Draft, app: &AppId, member: &ActorId, id: ConversationId) {
    draft.set(keys::log::membership(app, member, id), Some(Bytes::new()));
    draft.set(keys::log::memberships_version(app, member), Some(new_version()));
}

/// Returns a new version. Random instead of counted, so that joining two conversations concurrently doesn't conflict.
fn new_version() -> Bytes {
    rand::random::<u64>().to_be_bytes().to_vec().into()
}

impl std::fmt::Debug for Conversations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversations").finish_non_exhaustive()
    }
}
