//! What plugins want to see: conversations, and those of actors.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Conversation, Draft, LogError, key};
use crate::store::{LogId, Store};
use crate::wire::{ActorId, AppId, ConversationId};

/// Whether plugins watch a conversation, as far as somebody asked. One for each decoded conversation, so that it lasts until
/// the members change.
#[derive(Debug, Default)]
pub struct Watched(Mutex<Vec<Known>>);

#[derive(Debug)]
struct Known {
    plugin: Arc<str>,
    /// [`key::watches_version`] of the plugin.
    key: Bytes,
    /// What it was then.
    version: Option<Bytes>,
    /// Up to where the version is known to be the same.
    good_at: u64,
    watched: bool,
}

/// What plugins watch.
#[derive(Debug)]
pub struct Watches;

impl Watches {
    /// Lets a plugin watch a conversation or not, inside a transaction.
    pub fn set_conversation(draft: &mut Draft, app: &AppId, plugin: &str, id: ConversationId, on: bool) {
        set(draft, app, plugin, key::watched_conversation(app, plugin, id), on);
    }

    /// Lets a plugin watch all conversations of an actor or not, inside a transaction.
    pub fn set_actor(draft: &mut Draft, app: &AppId, plugin: &str, actor: &ActorId, on: bool) {
        set(draft, app, plugin, key::watched_actor(app, plugin, actor), on);
    }

    /// Whether a plugin watches a conversation or one of its members. Looks at each member only once for all messages, as
    /// long as neither the members nor what the plugin watches change.
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
        Ok(Self::known(store, plugin, log, members, watched)?.0)
    }

    /// Whether a plugin watches a conversation or one of its members; relies on that until the commit.
    ///
    /// # Errors
    /// When the store fails.
    pub fn relied_on(draft: &mut Draft, plugin: &Arc<str>, conversation: &Conversation) -> Result<bool, LogError> {
        let Conversation {
            log, members, watched, ..
        } = conversation;
        let (is_watched, version) = Self::known(&**draft.store(), plugin, log, members, watched)?;
        draft.rely_on(version);
        Ok(is_watched)
    }

    /// Returns whether it is watched, and the key that changes when that may change.
    fn known(
        store: &dyn Store,
        plugin: &Arc<str>,
        log: &LogId,
        members: &[ActorId],
        watched: &Watched,
    ) -> Result<(bool, Bytes), LogError> {
        let written = store.newest_write().0;
        let mut all = watched.0.lock();
        let known = all.iter_mut().find(|known| known.plugin == *plugin);
        if let Some(known) = &known
            && known.good_at >= written
        {
            return Ok((known.watched, known.key.clone()));
        }
        let key = match &known {
            Some(known) => known.key.clone(),
            None => key::watches_version(&log.app, plugin),
        };
        // Before the rest: what changes meanwhile is then found the next time.
        let version = store.get(&key)?;
        if let Some(known) = known {
            if known.version != version {
                known.watched = Self::look(store, plugin, log, members)?;
                known.version = version;
            }
            known.good_at = written;
            return Ok((known.watched, key));
        }
        // A plugin that watches nothing yet need not be asked about each member.
        let is_watched = version.is_some() && Self::look(store, plugin, log, members)?;
        all.push(Known {
            plugin: plugin.clone(),
            key: key.clone(),
            version,
            good_at: written,
            watched: is_watched,
        });
        Ok((is_watched, key))
    }

    fn look(store: &dyn Store, plugin: &str, log: &LogId, members: &[ActorId]) -> Result<bool, LogError> {
        let is_there = |key: Bytes| store.get(&key).map(|value| value.is_some());
        if is_there(key::watched_conversation(&log.app, plugin, log.conversation))? {
            return Ok(true);
        }
        for member in members {
            if is_there(key::watched_actor(&log.app, plugin, member))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn set(draft: &mut Draft, app: &AppId, plugin: &str, key: Bytes, on: bool) {
    draft.set(key, on.then(Bytes::new));
    // Drawn, not counted, so that watching two things at a time is no conflict.
    let version: [u8; 8] = rand::random();
    draft.set(key::watches_version(app, plugin), Some(version.to_vec().into()));
}
