//! Fires the timers that plugins set, once their time has come: at least once, also after a restart.
//!
//! What the plugin writes then and the end of the timer are one transaction, so that a timer that succeeded never fires
//! again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courtyard_plugin_sdk::hook::Request;
use serde::{Deserialize, Serialize};

use super::{Access, Call, Failure, Hooks, Settlement, guest, origin};
use crate::log::{Draft, Log, LogError, key};
use crate::store::CommitError;
use crate::wire::AppId;

/// Timers that are looked at in one go.
const BATCH: usize = 64;
/// How often a timer that conflicts with other transactions is fired again at once.
const ATTEMPTS: u32 = 8;
/// How long the next timer is slept for at most: the clock of the machine may be set.
const NAP: Duration = Duration::from_secs(30);
/// The pause after the first failure of a timer; it doubles.
const FIRST_PAUSE_MS: u64 = 1_000;
/// The longest pause of a timer that fails again and again.
const LONGEST_PAUSE_MS: u64 = 3_600_000;
/// The pause of a timer whose plugin can't be asked.
const CONFLICT_PAUSE_MS: u64 = 1_000;

/// A timer in the store.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// How often it has failed.
    failures: u32,
    payload: Vec<u8>,
}

/// A timer as a plugin sets it.
#[derive(Clone, Copy, Debug)]
pub struct Timer<'a> {
    /// Names it among those of the plugin in the app.
    pub name: &'a str,
    /// When it fires, in milliseconds since 1970.
    pub at_ms: u64,
    /// What the plugin gets then.
    pub payload: &'a [u8],
}

/// Sets a timer of a plugin with a call's transaction, in the place of one of the same name.
///
/// # Errors
/// When the store fails.
pub fn set_timer(call: &mut Call, plugin: &str, timer: Timer<'_>) -> Result<(), LogError> {
    cancel_timer(call, plugin, timer.name)?;
    let record = Record {
        failures: 0,
        payload: timer.payload.to_vec(),
    };
    put(&mut call.draft, &call.app, plugin, timer.name, timer.at_ms, &record);
    call.effects.timers = true;
    Ok(())
}

/// Cancels a timer of a plugin with a call's transaction. Returns whether there was one.
///
/// # Errors
/// When the store fails.
pub fn cancel_timer(call: &mut Call, plugin: &str, name: &str) -> Result<bool, LogError> {
    let index = key::timer_index(&call.app, plugin, name);
    let Some(at) = call.draft.get(index.clone())? else {
        return Ok(false);
    };
    call.draft.set(index, None);
    call.draft.set(key::timer(at_ms(&at), plugin, &call.app, name), None);
    Ok(true)
}

fn put(draft: &mut Draft, app: &AppId, plugin: &str, name: &str, at_ms: u64, record: &Record) {
    let at = Bytes::copy_from_slice(&at_ms.to_be_bytes());
    // Writing into a vector has no way to fail.
    let record = postcard::to_stdvec(record).unwrap_or_default();
    draft.set(key::timer_index(app, plugin, name), Some(at));
    draft.set(key::timer(at_ms, plugin, app, name), Some(record.into()));
}

fn at_ms(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// How firing one timer ended.
enum Fired {
    Done,
    /// Somebody else changed what it is about meanwhile.
    Again,
    /// Its plugin can't be asked.
    Absent,
    /// It failed, and comes again after so many milliseconds.
    Later(u64),
}

/// The task that fires timers.
#[derive(Debug)]
pub struct Timers {
    hooks: Arc<Hooks>,
    log: Arc<Log>,
    settlement: Arc<Settlement>,
}

impl Timers {
    /// Makes the timers of a host. They fire once [`Timers::run`] is polled.
    #[must_use]
    pub fn new(hooks: Arc<Hooks>, log: Arc<Log>, settlement: Arc<Settlement>) -> Self {
        Self { hooks, log, settlement }
    }

    /// Fires timers until the future is dropped.
    pub async fn run(self) {
        let this = Arc::new(self);
        loop {
            let worker = this.clone();
            let nap = match this.settlement.workers().begin(move || worker.fire_due()).await {
                Ok(nap) => nap,
                // A panic has been told; whatever led to it must not burn the processor.
                Err(_) => NAP,
            };
            // A timer that was set meanwhile has left its notice.
            let _ = tokio::time::timeout(nap, this.settlement.timers().notified()).await;
        }
    }

    /// Fires what is due. Returns how long there is nothing to do.
    fn fire_due(&self) -> Duration {
        let (mut start, end) = key::timers();
        loop {
            let found = match self.log.store().scan(&start, &end, BATCH, false) {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!(%error, "the timers can't be read");
                    return NAP;
                }
            };
            let now = crate::clock::now_ms();
            for (key, value) in &found {
                let Some(at) = key::timer_time(key) else { continue };
                if at > now {
                    return Duration::from_millis(at - now).min(NAP);
                }
                if let Err(error) = self.fire(key, value) {
                    tracing::error!(%error, "a timer can't be fired");
                    return NAP;
                }
            }
            // On from there: one that could not be fired or put off must not be looked at for ever.
            match found.last() {
                Some((last, _)) => start = [last, &[0][..]].concat().into(),
                None => return NAP,
            }
        }
    }

    fn fire(&self, timer: &Bytes, value: &Bytes) -> Result<(), LogError> {
        let Some((at, plugin, app, name)) = key::timer_parts(timer) else {
            return Ok(());
        };
        let record: Record = postcard::from_bytes(value).unwrap_or(Record {
            failures: 0,
            payload: Vec::new(),
        });
        let mut later = None;
        for _ in 0..ATTEMPTS {
            match self.try_fire(timer, at, plugin, &app, name, &record)? {
                Fired::Done => return Ok(()),
                // Those that win again and again may give it room later.
                Fired::Again => {}
                // It stays where it is, and is found again.
                Fired::Absent => return Ok(()),
                Fired::Later(pause_ms) => {
                    later = Some(pause_ms);
                    break;
                }
            }
        }
        let (pause_ms, failed) = (later.unwrap_or(CONFLICT_PAUSE_MS), later.is_some());
        let mut draft = Draft::new(self.log.store().clone());
        if draft.get(timer.clone())?.is_some() {
            draft.set(timer.clone(), None);
            let again = Record {
                failures: record.failures + u32::from(failed),
                ..record
            };
            put(
                &mut draft,
                &app,
                plugin,
                name,
                crate::clock::now_ms() + pause_ms,
                &again,
            );
        }
        match draft.commit_blocking() {
            // After a conflict somebody else has set or cancelled it.
            Ok(_) | Err(CommitError::Conflict) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "a timer can't be put off");
                Ok(())
            }
        }
    }

    fn try_fire(
        &self,
        timer: &Bytes,
        at: u64,
        plugin: &str,
        app: &AppId,
        name: &str,
        record: &Record,
    ) -> Result<Fired, LogError> {
        let mut draft = Draft::new(self.log.store().clone());
        if draft.get(timer.clone())?.is_none() {
            return Ok(Fired::Done);
        }
        // Before the plugin is entered, so that it can set the same timer again.
        draft.set(timer.clone(), None);
        let index = key::timer_index(app, plugin, name);
        if draft.get(index.clone())?.as_deref() == Some(&at.to_be_bytes()) {
            draft.set(index, None);
        }
        let mut call = Call::new(app.clone(), Access::Write, draft);
        call.origin = Some(origin(app, name));
        let (call, outcome) = self.hooks.timer(call, plugin, name, &record.payload);
        let failed = |reason: &dyn std::fmt::Display| {
            let pause_ms = FIRST_PAUSE_MS
                .saturating_mul(1 << record.failures.min(20))
                .min(LONGEST_PAUSE_MS);
            tracing::warn!(plugin, timer = name, %reason, pause_ms, "a timer failed and comes again");
            Fired::Later(pause_ms)
        };
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ok(failed(&format!("{}: {}", error.code, error.message))),
            Err(Failure::NotRunning | Failure::Quarantined | Failure::Busy) => {
                return Ok(Fired::Absent);
            }
            Err(failure) => return Ok(failed(&failure)),
        }
        Ok(match self.settlement.commit(*call, |_| {}) {
            Ok(()) => Fired::Done,
            Err(CommitError::Conflict) => Fired::Again,
            Err(error) => failed(&error),
        })
    }
}

impl Hooks {
    /// Fires a timer of a plugin.
    pub(super) fn timer(
        &self,
        call: Box<Call>,
        plugin: &str,
        name: &str,
        payload: &[u8],
    ) -> super::Answer<Result<(), super::PluginError>> {
        let registry = self.registry();
        match registry.plugin(plugin) {
            Some(plugin) => {
                let request = Request::Timer {
                    name: name.to_owned(),
                    payload: payload.to_vec(),
                };
                plugin.enter(call, request, guest::done)
            }
            None => (call, Err(Failure::NotRunning)),
        }
    }
}
