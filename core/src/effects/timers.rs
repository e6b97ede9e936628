//! Fires due timers of plugins: at least once, also after a restart.
//!
//! The plugin's writes and the removal of the timer are one transaction, so that a timer that succeeded never fires again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courtyard_plugin_sdk::hook::Request;
use serde::{Deserialize, Serialize};

use super::Settlement;
use super::backoff::{ATTEMPTS, UNAVAILABLE_PAUSE_MS, pause_ms};
use crate::clock::now_ms;
use crate::error_chain::with_causes;
use crate::hooks::{Call, Failure, Hooks, StoreAccess, origin, reply};
use crate::keys;
use crate::log::{Log, LogError};
use crate::store::{CommitError, Draft, encode};
use crate::wire::AppId;

/// How many timers are read at a time.
const BATCH: usize = 64;
/// The longest sleep between two looks at the timers: the clock of the machine may be set.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// A timer in the store: postcard.
#[derive(Debug, Serialize, Deserialize)]
struct TimerRecord {
    /// The number of failed attempts.
    failures: u32,
    payload: Vec<u8>,
}

/// A timer as a plugin sets it.
#[derive(Clone, Copy, Debug)]
pub struct Timer<'a> {
    /// Unique among the timers of the plugin in the app.
    pub name: &'a str,
    /// The due time, in milliseconds since 1970.
    pub at_ms: u64,
    /// Passed to the plugin when the timer fires.
    pub payload: &'a [u8],
}

/// Sets a timer of a plugin in a call's transaction. Replaces a timer of the same name.
///
/// # Errors
/// When the store fails.
pub fn set_timer(call: &mut Call, plugin: &str, timer: Timer<'_>) -> Result<(), LogError> {
    cancel_timer(call, plugin, timer.name)?;
    let record = TimerRecord {
        failures: 0,
        payload: timer.payload.to_vec(),
    };
    insert(&mut call.draft, &call.app, plugin, timer.name, timer.at_ms, &record);
    call.effects.timers = true;
    Ok(())
}

/// Cancels a timer of a plugin in a call's transaction. Returns whether the timer existed.
///
/// # Errors
/// When the store fails.
pub fn cancel_timer(call: &mut Call, plugin: &str, name: &str) -> Result<bool, LogError> {
    let due_time = keys::timers::due_time(&call.app, plugin, name);
    let Some(at) = call.draft.get(due_time.clone())? else {
        return Ok(false);
    };
    call.draft.set(due_time, None);
    let at_ms = <[u8; 8]>::try_from(&at[..]).map_or(0, u64::from_be_bytes);
    call.draft
        .set(keys::timers::timer(at_ms, plugin, &call.app, name), None);
    Ok(true)
}

fn insert(draft: &mut Draft, app: &AppId, plugin: &str, name: &str, at_ms: u64, record: &TimerRecord) {
    let at = Bytes::copy_from_slice(&at_ms.to_be_bytes());
    draft.set(keys::timers::due_time(app, plugin, name), Some(at));
    draft.set(keys::timers::timer(at_ms, plugin, app, name), Some(encode(record)));
}

/// The result of one attempt to fire a timer.
enum FiringOutcome {
    Done,
    /// Another transaction changed what the call read; the attempt can be repeated at once.
    Conflict,
    /// The plugin is unavailable. The timer stays as it is.
    Unavailable,
    /// The call failed. The timer is due again after this pause, in milliseconds.
    Failed(u64),
}

/// The task that fires timers.
#[derive(Debug)]
pub struct Timers {
    hooks: Arc<Hooks>,
    log: Arc<Log>,
    settlement: Arc<Settlement>,
}

impl Timers {
    /// Creates the task. Timers fire while [`Timers::run`] is polled.
    #[must_use]
    pub fn new(hooks: Arc<Hooks>, log: Arc<Log>, settlement: Arc<Settlement>) -> Self {
        Self { hooks, log, settlement }
    }

    /// Fires timers until the future is dropped.
    pub async fn run(self) {
        let this = Arc::new(self);
        loop {
            let worker = this.clone();
            let sleep = match this.settlement.workers().begin(move || worker.fire_due()).await {
                Ok(sleep) => sleep,
                // The panic hook already logged it. The sleep keeps a repeated panic from using the processor up.
                Err(_) => MAX_SLEEP,
            };
            // A timer that was set before this point has left a permit.
            let _ = tokio::time::timeout(sleep, this.settlement.timers().notified()).await;
        }
    }

    /// Fires the due timers. Returns how long to sleep until the next is due.
    fn fire_due(&self) -> Duration {
        let (mut start, end) = keys::timers::timers();
        loop {
            let found = match self.log.store().scan(&start, &end, BATCH, false) {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!(error = with_causes(&error), "can't read the timers");
                    return MAX_SLEEP;
                }
            };
            let now = now_ms();
            for (key, value) in &found {
                let Some(at) = keys::timers::time_of(key) else { continue };
                if at > now {
                    return Duration::from_millis(at - now).min(MAX_SLEEP);
                }
                if let Err(error) = self.fire(key, value) {
                    tracing::error!(error = with_causes(&error), "can't fire a timer");
                    return MAX_SLEEP;
                }
            }
            // Continue after the last one, so that a timer that could be neither fired nor postponed isn't read for ever.
            match found.last() {
                Some((last, _)) => start = [last, &[0][..]].concat().into(),
                None => return MAX_SLEEP,
            }
        }
    }

    fn fire(&self, timer: &Bytes, value: &Bytes) -> Result<(), LogError> {
        let Some((at, plugin, app, name)) = keys::timers::parse(timer) else {
            return Ok(());
        };
        let record: TimerRecord = postcard::from_bytes(value).unwrap_or(TimerRecord {
            failures: 0,
            payload: Vec::new(),
        });
        let mut failed = None;
        for _ in 0..ATTEMPTS {
            match self.try_fire(timer, at, plugin, &app, name, &record)? {
                FiringOutcome::Done => return Ok(()),
                FiringOutcome::Conflict => {}
                // The timer is read again in the next round.
                FiringOutcome::Unavailable => return Ok(()),
                FiringOutcome::Failed(pause_ms) => {
                    failed = Some(pause_ms);
                    break;
                }
            }
        }
        // Without a failure, conflicting transactions won every time. They may be fewer after a pause.
        let pause_ms = failed.unwrap_or(UNAVAILABLE_PAUSE_MS);
        let mut draft = Draft::new(self.log.store().clone());
        if draft.get(timer.clone())?.is_some() {
            draft.set(timer.clone(), None);
            let postponed = TimerRecord {
                failures: record.failures + u32::from(failed.is_some()),
                ..record
            };
            insert(&mut draft, &app, plugin, name, now_ms() + pause_ms, &postponed);
        }
        match draft.commit_blocking() {
            // After a conflict, another transaction has set or cancelled the timer.
            Ok(_) | Err(CommitError::Conflict) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "can't postpone a timer");
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
        record: &TimerRecord,
    ) -> Result<FiringOutcome, LogError> {
        let mut draft = Draft::new(self.log.store().clone());
        if draft.get(timer.clone())?.is_none() {
            return Ok(FiringOutcome::Done);
        }
        // Before the plugin is called, so that it can set the same timer again.
        draft.set(timer.clone(), None);
        let due_time = keys::timers::due_time(app, plugin, name);
        if draft.get(due_time.clone())?.as_deref() == Some(&at.to_be_bytes()) {
            draft.set(due_time, None);
        }
        let mut call = Call::new(app.clone(), StoreAccess::Write, draft);
        call.origin = Some(origin(app, name));
        let registry = self.hooks.registry();
        let Some(running) = registry.plugin(plugin) else {
            return Ok(FiringOutcome::Unavailable);
        };
        let request = Request::Timer {
            name: name.to_owned(),
            payload: record.payload.clone(),
        };
        let (call, outcome) = running.enter(call, request, reply::done);
        let failed = |reason: &dyn std::fmt::Display| {
            let pause_ms = pause_ms(record.failures);
            tracing::warn!(plugin, timer = name, %reason, pause_ms, "a timer failed; it fires again after a pause");
            FiringOutcome::Failed(pause_ms)
        };
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ok(failed(&format!("{}: {}", error.code, error.message))),
            Err(Failure::NotRunning | Failure::Quarantined | Failure::Busy) => {
                return Ok(FiringOutcome::Unavailable);
            }
            Err(failure) => return Ok(failed(&failure)),
        }
        Ok(match self.settlement.commit(*call, |_| {}) {
            Ok(()) => FiringOutcome::Done,
            Err(CommitError::Conflict) => FiringOutcome::Conflict,
            Err(error) => failed(&error),
        })
    }
}
