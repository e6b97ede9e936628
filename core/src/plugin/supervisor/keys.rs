//! The keys of plugins in the store: migrated to another version, and deleted.

use std::sync::Arc;

use bytes::Bytes;

use super::status::ManageError;
use crate::effects::{PostCommit, Settlement};
use crate::hooks::{Call, Plugin, StoreAccess};
use crate::keys;
use crate::log::Log;
use crate::store::{CommitError, Draft};
use crate::wire::AppId;

/// Attempts of a migration that conflicts with other commits.
const ATTEMPTS: u32 = 8;
/// Keys that are deleted in one transaction.
const BATCH: usize = 1_000;

/// StoreAccess to the keys of all plugins.
#[derive(Debug)]
pub(super) struct PluginKeys {
    pub(super) settlement: Arc<Settlement>,
    pub(super) log: Arc<Log>,
    pub(super) apps: Vec<AppId>,
}

impl PluginKeys {
    /// Returns `true` if another version wrote the keys of an app.
    pub(super) fn need_migration(&self, plugin: &Plugin) -> Result<bool, ManageError> {
        let Some(manifest) = plugin.manifest() else {
            return Ok(false);
        };
        for app in &self.apps {
            let stored = self.log.store().get(&keys::plugins::version(app, &plugin.id))?;
            if stored.is_some_and(|stored| stored != manifest.version.as_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Calls `migrate` of a generation for each app whose keys another version wrote, all in one transaction. Retries up to
    /// [`ATTEMPTS`] times on conflicts.
    pub(super) fn migrate(&self, plugin: &Plugin) -> Result<(), ManageError> {
        let Some(manifest) = plugin.manifest() else {
            return Ok(());
        };
        for _ in 0..ATTEMPTS {
            let mut draft = Draft::new(self.log.store().clone());
            let mut effects: Vec<PostCommit> = Vec::new();
            for app in &self.apps {
                let version = keys::plugins::version(app, &plugin.id);
                let stored = draft.get(version.clone())?;
                if stored.as_deref() == Some(manifest.version.as_bytes()) {
                    continue;
                }
                if let Some(stored) = stored {
                    let from = String::from_utf8_lossy(&stored).into_owned();
                    let call = Call::new(app.clone(), StoreAccess::Write, draft);
                    let (call, outcome) = plugin.migrate(call, &from);
                    let reason = match outcome {
                        Ok(Ok(())) => None,
                        Ok(Err(error)) => Some(format!("{}: {}", error.code, error.message)),
                        Err(failure) => Some(failure.to_string()),
                    };
                    if let Some(reason) = reason {
                        return Err(ManageError::Migration { from, reason });
                    }
                    let sealed;
                    (draft, sealed) = self.settlement.join_transaction(*call);
                    effects.push(sealed);
                }
                draft.set(version, Some(manifest.version.clone().into()));
            }
            if draft.is_read_only() {
                return Ok(());
            }
            match draft.commit_blocking() {
                Ok(appended) => {
                    let mut appended = &appended[..];
                    for sealed in effects {
                        let own;
                        (own, appended) = appended.split_at(sealed.appends().min(appended.len()));
                        self.settlement.after_commit(sealed, own);
                    }
                    return Ok(());
                }
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommitError::Conflict.into())
    }

    pub(super) fn write(&self, key: Bytes, value: Option<Vec<u8>>) -> Result<(), ManageError> {
        let mut draft = Draft::new(self.log.store().clone());
        draft.set(key, value.map(Bytes::from));
        draft.commit_blocking()?;
        Ok(())
    }

    fn delete_timers(&self, id: &str) -> Result<(), ManageError> {
        let (mut start, end) = keys::timers::timers();
        loop {
            let found = self.log.store().scan(&start, &end, BATCH, false)?;
            let Some((last, _)) = found.last() else {
                return Ok(());
            };
            start = [last, &[0][..]].concat().into();
            let mut draft = Draft::new(self.log.store().clone());
            for (timer, _) in &found {
                if let Some((_, plugin, app, name)) = keys::timers::parse(timer)
                    && plugin == id
                {
                    draft.set(keys::timers::due_time(&app, plugin, name), None);
                    draft.set(timer.clone(), None);
                }
            }
            if !draft.is_read_only() {
                draft.commit_blocking()?;
            }
        }
    }

    fn delete_range(&self, (start, end): (Bytes, Bytes)) -> Result<(), ManageError> {
        loop {
            let found = self.log.store().scan(&start, &end, BATCH, false)?;
            if found.is_empty() {
                return Ok(());
            }
            let mut draft = Draft::new(self.log.store().clone());
            for (key, _) in found {
                draft.set(key, None);
            }
            draft.commit_blocking()?;
        }
    }

    /// Deletes all data of a plugin: timers, pending observations and jobs, dead letters, keys and watches.
    pub(super) fn delete_all(&self, id: &str) -> Result<(), ManageError> {
        self.delete_timers(id)?;
        self.delete_range(keys::outbox::observations(id))?;
        self.delete_range(keys::outbox::dead_letters(id))?;
        self.delete_range(keys::jobs::due_before(id, u64::MAX))?;
        for app in &self.apps {
            let start = keys::plugins::value(app, id, &[]);
            let end = keys::successor(&start);
            self.delete_range((start, end))?;
            let watches = keys::plugins::watches_version(app, id);
            // Last the key that changes with each watch: it invalidates what readers have cached.
            self.delete_range(([&watches[..], b"\0"].concat().into(), keys::successor(&watches)))?;
            self.write(watches, None)?;
            self.write(keys::plugins::version(app, id), None)?;
        }
        Ok(())
    }
}
