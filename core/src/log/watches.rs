//! Watches of plugins: on conversations, and on all conversations of an actor.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Conversation, LogError};
use crate::keys;
use crate::store::{Draft, LogId, Store};
use crate::wire::{ActorId, AppId, ConversationId};

/// A cache of which plugins watch a conversation. One for each decoded conversation, so that it lasts until the members
/// change.
#[derive(Debug, Default)]
pub struct Watched(Mutex<Vec<CachedWatch>>);

/// Whether one plugin watches the conversation.
#[derive(Debug)]
struct CachedWatch {
    plugin: Arc<str>,
    /// The key of [`keys::plugins::watches_version`] of the plugin.
    key: Bytes,
    /// The version when `watched` was determined.
    version: Option<Bytes>,
    /// The newest position at which the version is known to be unchanged.
    valid_at: u64,
    watched: bool,
}

/// The watches of plugins.
#[derive(Debug)]
pub struct Watches;

impl Watches {
    /// Begins or ends the watch of a plugin on a conversation, in a transaction.
    pub fn set_conversation(draft: &mut Draft, app: &AppId, plugin: &str, id: ConversationId, on: bool) {
        set(
            draft,
            app,
            plugin,
            keys::plugins::watched_conversation(app, plugin, id),
            on,
        );
    }

    /// Begins or ends the watch of a plugin on all conversations of an actor, in a transaction.
    pub fn set_actor(draft: &mut Draft, app: &AppId, plugin: &str, actor: &ActorId, on: bool) {
        set(draft, app, plugin, keys::plugins::watched_actor(app, plugin, actor), on);
    }

    /// Returns whether a plugin watches a conversation or one of its members. Looks each member up only once for all messages,
    /// until the members or the plugin's watches change.
    ///
    /// # Errors
    /// When the store fails.
    pub fn includes(
        store: &dyn Store,
        plugin: &Arc<str>,
        log: &LogId,
        members: &[ActorId],
        watched: &Watched,
    ) -> Result<bool, LogError> {
        Ok(Self::lookup(store, plugin, log, members, watched)?.0)
    }

    /// Returns whether a plugin watches a conversation or one of its members. The transaction depends on the result.
    ///
    /// # Errors
    /// When the store fails.
    pub fn includes_and_depend(
        draft: &mut Draft,
        plugin: &Arc<str>,
        conversation: &Conversation,
    ) -> Result<bool, LogError> {
        let Conversation {
            log, members, watched, ..
        } = conversation;
        let (is_watched, version) = Self::lookup(&**draft.store(), plugin, log, members, watched)?;
        draft.add_read(version);
        Ok(is_watched)
    }

    /// Returns whether it is watched, and the key whose version changes when that may change.
    fn lookup(
        store: &dyn Store,
        plugin: &Arc<str>,
        log: &LogId,
        members: &[ActorId],
        watched: &Watched,
    ) -> Result<(bool, Bytes), LogError> {
        let written = store.newest_write().0;
        let mut all = watched.0.lock();
        let cached = all.iter_mut().find(|cached| cached.plugin == *plugin);
        if let Some(cached) = &cached
            && cached.valid_at >= written
        {
            return Ok((cached.watched, cached.key.clone()));
        }
        let key = match &cached {
            Some(cached) => cached.key.clone(),
            None => keys::plugins::watches_version(&log.app, plugin),
        };
        // Before the lookups: the next call then notices concurrent changes.
        let version = store.get(&key)?;
        if let Some(cached) = cached {
            if cached.version != version {
                cached.watched = Self::search(store, plugin, log, members)?;
                cached.version = version;
            }
            cached.valid_at = written;
            return Ok((cached.watched, key));
        }
        // Without a version, the plugin watches nothing, and the members needn't be looked up.
        let is_watched = version.is_some() && Self::search(store, plugin, log, members)?;
        all.push(CachedWatch {
            plugin: plugin.clone(),
            key: key.clone(),
            version,
            valid_at: written,
            watched: is_watched,
        });
        Ok((is_watched, key))
    }

    fn search(store: &dyn Store, plugin: &str, log: &LogId, members: &[ActorId]) -> Result<bool, LogError> {
        let exists = |key: Bytes| store.get(&key).map(|value| value.is_some());
        if exists(keys::plugins::watched_conversation(&log.app, plugin, log.conversation))? {
            return Ok(true);
        }
        for member in members {
            if exists(keys::plugins::watched_actor(&log.app, plugin, member))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn set(draft: &mut Draft, app: &AppId, plugin: &str, key: Bytes, on: bool) {
    draft.set(key, on.then(Bytes::new));
    // Random instead of counted, so that two concurrent watches don't conflict.
    let version: [u8; 8] = rand::random();
    draft.set(
        keys::plugins::watches_version(app, plugin),
        Some(version.to_vec().into()),
    );
}
