//! Conversations: their records, members and addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::{Draft, LogError, Watched, key};
use crate::store::{LogId, Position, Store};
use crate::wire::{ActorId, AppId, ConversationId};

/// How many decoded conversations are kept. They are decoded anew when they are needed again.
const CACHED: usize = 65_536;

/// How many memberships are kept decoded, over all actors; about 40 bytes each.
const CACHED_MEMBERSHIPS: usize = 1 << 20;

/// A transaction is through so many positions after it began, or has been begun anew.
const UNDERWAY: u64 = 1_000_000;

/// A log with members.
#[derive(Debug)]
pub struct Conversation {
    /// The id as clients write it.
    pub id: Box<str>,
    /// The id that clients use, with the app.
    pub log: LogId,
    /// The kind, as the plugin that owns it says.
    pub kind: Box<str>,
    /// The plugin that owns it.
    pub owner: Box<str>,
    /// Who takes part.
    pub members: Arc<[ActorId]>,
    /// Where the record is, to be relied on by transactions.
    pub key: Bytes,
    /// The record that this was decoded from.
    record: Bytes,
    /// Up to where the record is known to be the same.
    good_at: AtomicU64,
    /// Which plugins watch it.
    pub watched: Watched,
}

impl Conversation {
    /// Whether an actor takes part.
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

/// A conversation on the disk: postcard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The kind, as the plugin that owns it says.
    pub kind: String,
    /// The plugin that owns it.
    pub owner: String,
    /// Who takes part.
    pub members: Vec<String>,
}

/// The conversations of one actor.
#[derive(Debug)]
pub struct Memberships {
    /// What [`key::memberships_version`] was then.
    version: Option<Bytes>,
    /// Where the actor takes part.
    pub current: Vec<LogId>,
    /// What the actor left, and a position shortly before.
    left: Vec<(ConversationId, u64)>,
}

impl Memberships {
    /// Lists what the actor may have left since a position, and not joined again.
    pub fn left_since(&self, since: Position) -> impl Iterator<Item = ConversationId> + '_ {
        let is_later = move |(_, before): &&(_, u64)| before.saturating_add(UNDERWAY) >= since.0;
        self.left.iter().filter(is_later).map(|(id, _)| *id)
    }
}

/// The conversations of a store.
pub struct Conversations {
    store: Arc<dyn Store>,
    decoded: DashMap<LogId, Arc<Conversation>, RandomState>,
    memberships: DashMap<(AppId, ActorId), Arc<Memberships>, RandomState>,
    /// How many `memberships` has had since it was empty.
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

    /// Finds a conversation as the store has it now.
    ///
    /// # Errors
    /// When the store fails, or the record is damaged.
    pub fn get(&self, log: &LogId) -> Result<Option<Arc<Conversation>>, LogError> {
        // What was decoded before is good only while the record is the same: the store stays the truth.
        let written = self.store.newest_write().0;
        if let Some(known) = self.decoded.get(log).map(|entry| entry.value().clone()) {
            if known.good_at.load(Ordering::Relaxed) >= written {
                return Ok(Some(known));
            }
            match self.store.get(&known.key)? {
                Some(record) if record == known.record => {
                    known.good_at.fetch_max(written, Ordering::Relaxed);
                    return Ok(Some(known));
                }
                Some(record) => return self.decode(log, known.key.clone(), record).map(Some),
                None => return Ok(None),
            }
        }
        let key = key::conversation(&log.app, log.conversation);
        match self.store.get(&key)? {
            Some(record) => self.decode(log, key, record).map(Some),
            None => Ok(None),
        }
    }

    fn decode(&self, log: &LogId, key: Bytes, bytes: Bytes) -> Result<Arc<Conversation>, LogError> {
        let damaged = || LogError::Record(log.conversation);
        let record: Record = postcard::from_bytes(&bytes).map_err(|_| damaged())?;
        let members: Result<Vec<ActorId>, _> = record.members.iter().map(|member| member.parse()).collect();
        let conversation = Arc::new(Conversation {
            id: log.conversation.to_string().into(),
            good_at: AtomicU64::new(0),
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
        // Before the rest: what changes meanwhile is then found the next time.
        let version = self.store.get(&key::memberships_version(app, actor))?;
        if let Some(known) = self.memberships.get(&whose).filter(|known| known.version == version) {
            return Ok(known.clone());
        }
        let (start, end) = key::memberships(app, actor);
        let (mut current, mut left) = (Vec::new(), Vec::new());
        for (membership, value) in self.store.scan(&start, &end, usize::MAX, false)? {
            let Some(conversation) = key::conversation_of_membership(&membership) else {
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
        // An actor without any takes room as well.
        let count = 1 + found.current.len() + found.left.len();
        if self.cached_memberships.fetch_add(count, Ordering::Relaxed) + count > CACHED_MEMBERSHIPS {
            self.memberships.clear();
            self.cached_memberships.store(count, Ordering::Relaxed);
        }
        self.memberships.insert(whose, found.clone());
        Ok(found)
    }

    /// Finds the conversation at an address of a plugin, inside a transaction.
    ///
    /// # Errors
    /// When the store fails, or the record is damaged.
    pub fn at_address(
        draft: &mut Draft,
        app: &AppId,
        plugin: &str,
        address: &str,
    ) -> Result<Option<(ConversationId, Record)>, LogError> {
        let Some(id) = draft.get(key::address(app, plugin, address))? else {
            return Ok(None);
        };
        let id = <[u8; 16]>::try_from(&id[..]).map_err(|_| LogError::Record(ConversationId(0)))?;
        let id = ConversationId(u128::from_be_bytes(id));
        let record = draft.get(key::conversation(app, id))?.ok_or(LogError::Record(id))?;
        let record = postcard::from_bytes(&record).map_err(|_| LogError::Record(id))?;
        Ok(Some((id, record)))
    }

    /// Finds the record of a conversation, inside a transaction.
    ///
    /// # Errors
    /// When the store fails, or the record is damaged.
    pub fn record(draft: &mut Draft, app: &AppId, id: ConversationId) -> Result<Option<Record>, LogError> {
        let record = draft.get(key::conversation(app, id))?;
        let decoded = record.map(|record| postcard::from_bytes(&record)).transpose();
        decoded.map_err(|_| LogError::Record(id))
    }

    /// Tells whether an actor takes part in a conversation, inside a transaction, which relies on that alone.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_member(draft: &mut Draft, app: &AppId, id: ConversationId, actor: &ActorId) -> Result<bool, LogError> {
        // What stays of a membership that ended is not empty.
        let membership = draft.get(key::membership(app, actor, id))?;
        Ok(membership.is_some_and(|mark| mark.is_empty()))
    }

    /// Puts another record in the place of a conversation's, inside a transaction; these joined and left with it.
    pub fn change_members(
        draft: &mut Draft,
        app: &AppId,
        id: ConversationId,
        record: &Record,
        joined: &[ActorId],
        left: &[ActorId],
    ) {
        // Writing into a vector has no way to fail.
        let bytes = postcard::to_stdvec(record).unwrap_or_default();
        draft.set(key::conversation(app, id), Some(bytes.into()));
        for member in left {
            // Devices that are away have yet to hear of it.
            let before = draft.begun().0.to_be_bytes().to_vec();
            draft.set(key::membership(app, member, id), Some(before.into()));
            draft.set(key::memberships_version(app, member), Some(new_version()));
        }
        for member in joined {
            join(draft, app, member, id);
        }
    }

    /// Creates a conversation at an address of the plugin that owns it, inside a transaction.
    pub fn create(draft: &mut Draft, app: &AppId, id: ConversationId, address: &str, record: &Record) {
        // Writing into a vector has no way to fail.
        let bytes = postcard::to_stdvec(record).unwrap_or_default();
        draft.set(
            key::address(app, &record.owner, address),
            Some(id.0.to_be_bytes().to_vec().into()),
        );
        draft.set(key::conversation(app, id), Some(bytes.into()));
        for member in record.members.iter().filter_map(|member| member.parse().ok()) {
            join(draft, app, &member, id);
        }
        // It begins without an event.
        draft.touch(LogId {
            app: app.clone(),
            conversation: id,
        });
    }
}

fn join(draft: &mut Draft, app: &AppId, member: &ActorId, id: ConversationId) {
    draft.set(key::membership(app, member, id), Some(Bytes::new()));
    draft.set(key::memberships_version(app, member), Some(new_version()));
}

/// Returns what no earlier version was. Drawn, not counted, so that joining two conversations at a time is no conflict.
fn new_version() -> Bytes {
    rand::random::<u64>().to_be_bytes().to_vec().into()
}

impl std::fmt::Debug for Conversations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversations").finish_non_exhaustive()
    }
}
