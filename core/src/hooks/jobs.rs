//! Does the jobs that plugins add: at least once, also after a restart, several at a time.
//!
//! A job holds no transaction while it runs. What it is to keep it hands back to its plugin, in transactions of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courtyard_plugin_sdk as sdk;
use courtyard_plugin_sdk::hook::Request;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::outbox::{About, Note};
use super::{Access, Call, Failure, Plugin, PluginError, Settlement, Transact, guest};
use crate::clock::now_ms;
use crate::log::{Draft, LogError, key};
use crate::wire::AppId;

/// How long the next job is slept for at most: the clock of the machine may be set.
const NAP: Duration = Duration::from_secs(1);
/// The pause after the first failure of a job; it doubles.
const FIRST_PAUSE_MS: u64 = 1_000;
/// The longest pause of a job that fails again and again.
const LONGEST_PAUSE_MS: u64 = 3_600_000;
/// The pause of a job whose plugin can't be asked.
const ABSENT_PAUSE_MS: u64 = 1_000;

/// A job in the store: postcard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// How often it has failed.
    failures: u32,
    name: String,
    payload: Vec<u8>,
}

impl Record {
    fn encode(&self) -> Bytes {
        // Writing into a vector has no way to fail.
        postcard::to_stdvec(self).unwrap_or_default().into()
    }
}

/// Adds a job of a plugin with a call's transaction.
pub fn add_job(call: &mut Call, plugin: &str, name: &str, at_ms: u64, payload: Vec<u8>) {
    let id = ulid::Ulid::from_parts(now_ms(), rand::random()).0;
    put(&mut call.draft, plugin, &call.app, id, name, at_ms, payload);
    call.effects.jobs = true;
}

/// Puts a job that was given up in its place again.
pub(super) fn put(draft: &mut Draft, plugin: &str, app: &AppId, id: u128, name: &str, at_ms: u64, payload: Vec<u8>) {
    let record = Record {
        failures: 0,
        name: name.to_owned(),
        payload,
    };
    draft.set(key::job(plugin, at_ms.max(now_ms()), app, id), Some(record.encode()));
}

/// A job that is to be done now.
struct Due {
    at: Bytes,
    value: Bytes,
    plugin: Arc<Plugin>,
}

/// How a job ended.
enum Done {
    Succeeded,
    /// It comes again after so many milliseconds; and whether that is a failure of its own.
    Later(u64, bool),
    GaveUp(String),
}

/// The task that does jobs.
#[derive(Debug)]
pub struct Jobs {
    settlement: Arc<Settlement>,
}

impl Jobs {
    /// Makes the jobs of a host. They are done while [`Jobs::run`] is polled.
    #[must_use]
    pub fn new(settlement: Arc<Settlement>) -> Arc<Self> {
        Arc::new(Self { settlement })
    }

    /// Does jobs until the future is dropped, which ends those that run; they are done again after the next start.
    pub async fn run(self: Arc<Self>) {
        let mut tasks: JoinSet<Bytes> = JoinSet::new();
        let mut running: HashMap<Bytes, Arc<str>> = HashMap::new();
        loop {
            let (this, taken) = (self.clone(), running.clone());
            let due = self.settlement.workers().begin(move || this.due(&taken)).await;
            let due = match due {
                Ok(Ok(due)) => due,
                Ok(Err(error)) => {
                    tracing::error!(%error, "the jobs can't be read");
                    Vec::new()
                }
                // A panic has been told; whatever led to it must not burn the processor.
                Err(_) => Vec::new(),
            };
            for job in due {
                running.insert(job.at.clone(), job.plugin.id.clone());
                let (this, at) = (self.clone(), job.at.clone());
                tasks.spawn(async move {
                    this.carry_out(job).await;
                    at
                });
            }
            let wake = async {
                // A job that was added meanwhile has left its notice.
                let _ = tokio::time::timeout(NAP, self.settlement.jobs().notified()).await;
            };
            tokio::select! {
                Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => match ended {
                    Ok((_, at)) => drop(running.remove(&at)),
                    // Nobody knows which one it was; it is read again when all are done.
                    Err(_) if tasks.is_empty() => running.clear(),
                    Err(_) => {}
                },
                () = wake => {}
            }
        }
    }

    /// Finds what is due, as many of each plugin as may run at a time.
    fn due(&self, running: &HashMap<Bytes, Arc<str>>) -> Result<Vec<Due>, LogError> {
        let registry = self.settlement.outbox().hooks().registry();
        let store = self.settlement.outbox().log().store();
        let mut due = Vec::new();
        for plugin in registry.acting() {
            let taken = running.values().filter(|id| **id == plugin.id).count();
            let most = plugin.actions();
            if taken >= most {
                continue;
            }
            let (start, end) = key::jobs(&plugin.id, now_ms() + 1);
            let found = store.scan(&start, &end, most, false)?;
            let waiting = found.into_iter().filter(|(at, _)| !running.contains_key(at));
            due.extend(waiting.take(most - taken).map(|(at, value)| Due {
                at,
                value,
                plugin: plugin.clone(),
            }));
        }
        Ok(due)
    }

    async fn carry_out(self: Arc<Self>, job: Due) {
        // A job can be seen a moment before it is durable, and must not be done before.
        let store = self.settlement.outbox().log().store().clone();
        let (at, value) = (job.at.clone(), job.value.clone());
        let durable = self.settlement.workers().begin(move || {
            let found = store.get(&at).ok().flatten();
            found.is_some_and(|found| found == value) && Draft::new(store).commit_blocking().is_ok()
        });
        if !matches!(durable.await, Ok(true)) {
            return;
        }
        let Some((plugin, app, id)) = key::job_parts(&job.at) else {
            return;
        };
        let Ok(record) = postcard::from_bytes::<Record>(&job.value) else {
            tracing::error!(plugin, "a job can't be read");
            return;
        };
        let done = self.attempt(&job.plugin, &app, id, &record).await;
        let this = self.clone();
        // A panic in there has been told; the job is done again then.
        let _ = self
            .settlement
            .workers()
            .begin(move || this.conclude(&job, (&app, id), record, done))
            .await;
    }

    async fn attempt(self: &Arc<Self>, plugin: &Arc<Plugin>, app: &AppId, id: u128, record: &Record) -> Done {
        let request = Request::Action(sdk::Job {
            app: app.as_str().to_owned(),
            id: ulid::Ulid(id).to_string(),
            name: record.name.clone(),
            payload: record.payload.clone(),
            attempt: record.failures + 1,
        });
        let transactions = Arc::new(Transactions {
            settlement: self.settlement.clone(),
            plugin: plugin.id.clone(),
            app: app.clone(),
        });
        let outcome = plugin.act(app, &record.name, request, transactions).await;
        let again = || {
            let pause_ms = FIRST_PAUSE_MS.saturating_mul(1 << record.failures.min(20));
            Done::Later(pause_ms.min(LONGEST_PAUSE_MS), true)
        };
        let last = record.failures + 1 >= plugin.job_attempts();
        let (reason, retry) = match outcome {
            Ok(Ok(())) => return Done::Succeeded,
            Ok(Err(error)) => (format!("{}: {}", error.code, error.message), error.retry),
            Err(Failure::NotRunning | Failure::Quarantined | Failure::Busy) => {
                return Done::Later(ABSENT_PAUSE_MS, false);
            }
            Err(failure) => (failure.to_string(), true),
        };
        tracing::warn!(plugin = %plugin.id, job = record.name, reason, attempt = record.failures + 1, "a job failed");
        if retry && !last { again() } else { Done::GaveUp(reason) }
    }

    /// Takes the job out of the store, or puts it off.
    fn conclude(&self, job: &Due, (app, id): (&AppId, u128), record: Record, done: Done) {
        let outbox = self.settlement.outbox();
        let mut draft = Draft::new(outbox.log().store().clone());
        match draft.get(job.at.clone()) {
            // An operator removed it meanwhile.
            Ok(None) | Err(_) => return,
            Ok(Some(_)) => draft.set(job.at.clone(), None),
        }
        match done {
            Done::Succeeded => {}
            Done::Later(pause_ms, counts) => {
                let record = Record {
                    failures: record.failures + u32::from(counts),
                    ..record
                };
                let at = key::job(&job.plugin.id, now_ms() + pause_ms, app, id);
                draft.set(at, Some(record.encode()));
            }
            Done::GaveUp(reason) => {
                let about = About::Job {
                    app: app.as_str().to_owned(),
                    id,
                    name: record.name,
                    payload: record.payload,
                };
                let hook = sdk::manifest::HookName::Action;
                outbox.bury_job(&mut draft, &job.plugin.id, app, id, &Note { hook, about }, reason);
            }
        }
        if let Err(error) = draft.commit_blocking() {
            tracing::error!(plugin = %job.plugin.id, %error, "a job can't be taken out; it is done again");
        }
    }
}

/// The transactions of one job.
struct Transactions {
    settlement: Arc<Settlement>,
    plugin: Arc<str>,
    app: AppId,
}

impl Transact for Transactions {
    fn app(&self) -> &AppId {
        &self.app
    }

    fn transact(&self, name: &str, payload: &[u8]) -> Result<Vec<u8>, PluginError> {
        let outbox = self.settlement.outbox();
        let registry = outbox.hooks().registry();
        // As it is now: another generation may have taken over while the job ran.
        let Some(plugin) = registry.plugin(&self.plugin) else {
            return Err(PluginError::new("unavailable", "The plugin is gone.").retryable());
        };
        self.settlement.run(|| {
            let draft = Draft::new(outbox.log().store().clone());
            let mut call = Call::new(self.app.clone(), Access::Write, draft);
            call.origin = Some(super::origin(&self.app, name));
            let request = Request::Transaction {
                name: name.to_owned(),
                payload: payload.to_vec(),
            };
            let (call, outcome) = plugin.enter(call, request, guest::bytes);
            let failed = |failure: Failure| Err(PluginError::new("failed", failure.to_string()).retryable());
            Ok((call, outcome.unwrap_or_else(failed)))
        })
    }
}
