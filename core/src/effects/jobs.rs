//! Runs the jobs of plugins: at least once, also after a restart, several at a time.
//!
//! A running job holds no transaction. To write, it calls back into its plugin, in transactions of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courtyard_plugin_sdk as sdk;
use courtyard_plugin_sdk::hook::Request;
use tokio::task::JoinSet;

use super::Settlement;
use super::backoff::{UNAVAILABLE_PAUSE_MS, pause_ms};
use super::job_queue::JobRecord;
use crate::clock::now_ms;
use crate::error_chain::with_causes;
use crate::hooks::{Call, Failure, JobTransactions, Plugin, PluginError, StoreAccess, origin, reply};
use crate::keys;
use crate::log::LogError;
use crate::store::Draft;
use crate::wire::AppId;

/// The longest sleep between two looks at the queue: the clock of the machine may be set.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// A job that is due.
struct DueJob {
    key: Bytes,
    value: Bytes,
    plugin: Arc<Plugin>,
}

/// The result of one attempt of a job.
enum JobOutcome {
    Succeeded,
    /// The job is due again after a pause.
    Postponed {
        pause_ms: u64,
        /// Whether the attempt counts as a failure.
        failed: bool,
    },
    /// The job becomes a dead letter, with a reason.
    GaveUp(String),
}

/// The task that runs jobs.
#[derive(Debug)]
pub struct Jobs {
    settlement: Arc<Settlement>,
}

impl Jobs {
    /// Creates the task. Jobs run while [`Jobs::run`] is polled.
    #[must_use]
    pub fn new(settlement: Arc<Settlement>) -> Arc<Self> {
        Arc::new(Self { settlement })
    }

    /// Runs jobs until the future is dropped. That cancels the running jobs; they run again after the next start.
    pub async fn run(self: Arc<Self>) {
        let mut tasks: JoinSet<Bytes> = JoinSet::new();
        let mut running: HashMap<Bytes, Arc<str>> = HashMap::new();
        loop {
            let (this, excluded) = (self.clone(), running.clone());
            let due = self.settlement.workers().begin(move || this.due(&excluded)).await;
            let due = match due {
                Ok(Ok(due)) => due,
                Ok(Err(error)) => {
                    tracing::error!(error = with_causes(&error), "can't read the jobs");
                    Vec::new()
                }
                // The panic hook already logged it. The sleep below keeps a repeated panic from using the processor up.
                Err(_) => Vec::new(),
            };
            for job in due {
                running.insert(job.key.clone(), job.plugin.id.clone());
                let (this, key) = (self.clone(), job.key.clone());
                tasks.spawn(async move {
                    this.run_one(job).await;
                    key
                });
            }
            let wake = async {
                // A job that was added before this point has left a permit.
                let _ = tokio::time::timeout(MAX_SLEEP, self.settlement.jobs().notified()).await;
            };
            tokio::select! {
                Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => match ended {
                    Ok((_, key)) => drop(running.remove(&key)),
                    // The job of a panicked task is unknown; all are read again once no task is left.
                    Err(_) if tasks.is_empty() => running.clear(),
                    Err(_) => {}
                },
                () = wake => {}
            }
        }
    }

    /// Returns the due jobs that may start: of each plugin as many as its limit leaves.
    fn due(&self, running: &HashMap<Bytes, Arc<str>>) -> Result<Vec<DueJob>, LogError> {
        let registry = self.settlement.outbox().hooks().registry();
        let store = self.settlement.outbox().log().store();
        let mut due = Vec::new();
        for plugin in registry.job_runners() {
            let busy = running.values().filter(|id| **id == plugin.id).count();
            let limit = plugin.max_jobs();
            if busy >= limit {
                continue;
            }
            let (start, end) = keys::jobs::due_before(&plugin.id, now_ms() + 1);
            let found = store.scan(&start, &end, limit, false)?;
            let waiting = found.into_iter().filter(|(key, _)| !running.contains_key(key));
            due.extend(waiting.take(limit - busy).map(|(key, value)| DueJob {
                key,
                value,
                plugin: plugin.clone(),
            }));
        }
        Ok(due)
    }

    async fn run_one(self: Arc<Self>, job: DueJob) {
        // A job is visible shortly before it is durable, and must not run before that.
        let store = self.settlement.outbox().log().store().clone();
        let (key, value) = (job.key.clone(), job.value.clone());
        let durable = self.settlement.workers().begin(move || {
            let found = store.get(&key).ok().flatten();
            found.is_some_and(|found| found == value) && Draft::new(store).commit_blocking().is_ok()
        });
        if !matches!(durable.await, Ok(true)) {
            return;
        }
        let Some((plugin, app, id)) = keys::jobs::parse(&job.key) else {
            return;
        };
        let Ok(record) = postcard::from_bytes::<JobRecord>(&job.value) else {
            tracing::error!(plugin, "a stored job is damaged");
            return;
        };
        let outcome = self.attempt(&job.plugin, &app, id, &record).await;
        let this = self.clone();
        // The panic hook already logged a panic; the job then runs again.
        let _ = self
            .settlement
            .workers()
            .begin(move || this.conclude(&job, (&app, id), record, outcome))
            .await;
    }

    async fn attempt(self: &Arc<Self>, plugin: &Arc<Plugin>, app: &AppId, id: u128, record: &JobRecord) -> JobOutcome {
        let request = Request::Action(sdk::Job {
            app: app.as_str().to_owned(),
            id: ulid::Ulid(id).to_string(),
            name: record.name.clone(),
            payload: record.payload.clone(),
            attempt: record.failures + 1,
        });
        let transactions = Arc::new(PluginTransactions {
            settlement: self.settlement.clone(),
            plugin: plugin.id.clone(),
            app: app.clone(),
        });
        let outcome = plugin.run_job(app, &record.name, request, transactions).await;
        let is_last = record.failures + 1 >= plugin.job_attempts();
        let (reason, retry) = match outcome {
            Ok(Ok(())) => return JobOutcome::Succeeded,
            Ok(Err(error)) => (format!("{}: {}", error.code, error.message), error.retry),
            Err(Failure::NotRunning | Failure::Quarantined | Failure::Busy) => {
                return JobOutcome::Postponed {
                    pause_ms: UNAVAILABLE_PAUSE_MS,
                    failed: false,
                };
            }
            Err(failure) => (failure.to_string(), true),
        };
        tracing::warn!(plugin = %plugin.id, job = record.name, reason, attempt = record.failures + 1, "a job failed");
        if retry && !is_last {
            JobOutcome::Postponed {
                pause_ms: pause_ms(record.failures),
                failed: true,
            }
        } else {
            JobOutcome::GaveUp(reason)
        }
    }

    /// Deletes the job from the queue, postpones it, or moves it to the dead letters.
    fn conclude(&self, job: &DueJob, (app, id): (&AppId, u128), record: JobRecord, outcome: JobOutcome) {
        let outbox = self.settlement.outbox();
        let mut draft = Draft::new(outbox.log().store().clone());
        match draft.get(job.key.clone()) {
            // An operator removed it meanwhile.
            Ok(None) | Err(_) => return,
            Ok(Some(_)) => draft.set(job.key.clone(), None),
        }
        match outcome {
            JobOutcome::Succeeded => {}
            JobOutcome::Postponed { pause_ms, failed } => {
                let record = JobRecord {
                    failures: record.failures + u32::from(failed),
                    ..record
                };
                let key = keys::jobs::job(&job.plugin.id, now_ms() + pause_ms, app, id);
                draft.set(key, Some(record.encode()));
            }
            JobOutcome::GaveUp(reason) => {
                outbox.dead_letter_job(
                    &mut draft,
                    &job.plugin.id,
                    (app, id),
                    (record.name, record.payload),
                    reason,
                );
            }
        }
        if let Err(error) = draft.commit_blocking() {
            tracing::error!(plugin = %job.plugin.id, %error, "can't store the result of a job; the job runs again");
        }
    }
}

/// The transactions of one job.
struct PluginTransactions {
    settlement: Arc<Settlement>,
    plugin: Arc<str>,
    app: AppId,
}

impl JobTransactions for PluginTransactions {
    fn app(&self) -> &AppId {
        &self.app
    }

    fn transact(&self, name: &str, payload: &[u8]) -> Result<Vec<u8>, PluginError> {
        let outbox = self.settlement.outbox();
        let registry = outbox.hooks().registry();
        // The present generation: another may have replaced the one that runs the job.
        let Some(plugin) = registry.plugin(&self.plugin) else {
            return Err(PluginError::new("unavailable", "The plugin was removed.").retryable());
        };
        self.settlement.run(|| {
            let draft = Draft::new(outbox.log().store().clone());
            let mut call = Call::new(self.app.clone(), StoreAccess::Write, draft);
            call.origin = Some(origin(&self.app, name));
            let request = Request::Transaction {
                name: name.to_owned(),
                payload: payload.to_vec(),
            };
            let (call, outcome) = plugin.enter(call, request, reply::bytes);
            let failed = |failure: Failure| Err(PluginError::new("failed", failure.to_string()).retryable());
            Ok((call, outcome.unwrap_or_else(failed)))
        })
    }
}
