//! Delivers committed events and changes to observers: at least once, each conversation in its order.
//!
//! An observer's writes and the removal of its pending observations are one transaction, of as many observations as wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use courtyard_plugin_sdk::Act;
use courtyard_plugin_sdk::hook::Request;
use courtyard_plugin_sdk::manifest::HookName;
use tokio::task::JoinSet;

use super::Settlement;
use super::backoff::{OBSERVATION_ATTEMPTS, OBSERVER_PAUSE, observation_pause};
use super::outbox::{BATCH, Observation, Outbox, Subject};
use crate::error_chain::with_causes;
use crate::hooks::{Call, Failure, Message, OriginId, Plugin, StoreAccess, origin, reply};
use crate::keys;
use crate::log::{Body, Conversation, EventType, Log, LogError};
use crate::store::{CommitError, Draft, LogId, StoredEvent};
use crate::wire::AppId;

/// How long one transaction may collect observations.
const MAX_COLLECT: Duration = Duration::from_millis(20);

/// The tasks that deliver pending observations, one for each plugin.
#[derive(Debug)]
pub struct Observers {
    settlement: Arc<Settlement>,
}

/// The result of delivering observations.
enum DeliveryOutcome {
    Done,
    /// Another transaction changed what the observer read; the delivery must be repeated.
    Conflict,
    /// The plugin is unavailable, or the commit failed. The attempt doesn't count.
    Unavailable,
    Failed(String),
}

/// The call that delivers an observation.
struct ObservationCall {
    app: AppId,
    origin: OriginId,
    request: Request,
}

impl Observers {
    /// Creates the observers of a host. They work while [`Observers::run`] is polled.
    #[must_use]
    pub fn new(settlement: Arc<Settlement>) -> Arc<Self> {
        Arc::new(Self { settlement })
    }

    fn outbox(&self) -> &Outbox {
        self.settlement.outbox()
    }

    fn log(&self) -> &Log {
        self.outbox().log()
    }

    /// Delivers pending observations until the future is dropped. No plugin waits for another.
    pub async fn run(self: Arc<Self>) {
        let mut tasks: JoinSet<()> = JoinSet::new();
        // The plugin of each task, and whether observations were added that the task may have missed.
        let mut running: HashMap<tokio::task::Id, (Arc<str>, bool)> = HashMap::new();
        loop {
            let registry = self.outbox().hooks().registry();
            for plugin in registry.observing() {
                match running.values_mut().find(|(id, _)| *id == plugin.id) {
                    Some((_, more)) => *more = true,
                    None => self.begin(&mut tasks, &mut running, plugin.id.clone()),
                }
            }
            loop {
                tokio::select! {
                    Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                        let task = ended.map_or_else(|panicked| panicked.id(), |(task, ())| task);
                        if let Some((plugin, true)) = running.remove(&task) {
                            self.begin(&mut tasks, &mut running, plugin);
                        }
                    }
                    () = self.outbox().work.notified() => break,
                }
            }
        }
    }

    fn begin(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        running: &mut HashMap<tokio::task::Id, (Arc<str>, bool)>,
        plugin: Arc<str>,
    ) {
        let (this, id) = (self.clone(), plugin.clone());
        let task = tasks.spawn(async move {
            // The present generation: a new one may succeed where this one failed.
            while let Some(plugin) = this.outbox().hooks().registry().plugin(&id).cloned() {
                if this.clone().drain(plugin).await {
                    return;
                }
                tokio::time::sleep(OBSERVER_PAUSE).await;
            }
        });
        running.insert(task.id(), (plugin, false));
    }

    /// Delivers all pending observations of one plugin. Returns whether none is left.
    async fn drain(self: Arc<Self>, plugin: Arc<Plugin>) -> bool {
        let (mut attempts, mut batch) = (0, BATCH);
        loop {
            let (start, end) = keys::outbox::observations(&plugin.id);
            let Ok(observations) = self.log().store().scan(&start, &end, batch, false) else {
                return false;
            };
            if observations.is_empty() {
                return true;
            }
            // An observation is visible shortly before its event is durable and can be read.
            let store = self.log().store().clone();
            let durable = self
                .settlement
                .workers()
                .begin(move || Draft::new(store).commit_blocking())
                .await;
            if !matches!(durable, Ok(Ok(_))) {
                return false;
            }
            let (this, observer) = (self.clone(), plugin.clone());
            let deliver = move || {
                let (done, outcome) = this.deliver(&observer, &observations);
                (done, outcome, observations)
            };
            let Ok((done, outcome, observations)) = self.settlement.workers().begin(deliver).await else {
                return false;
            };
            if done > 0 {
                (attempts, batch) = (0, BATCH);
            }
            match outcome {
                DeliveryOutcome::Done => {}
                DeliveryOutcome::Unavailable => return false,
                // A transaction of one observation conflicts less often.
                DeliveryOutcome::Conflict if batch == 1 => return false,
                DeliveryOutcome::Conflict => batch = 1,
                DeliveryOutcome::Failed(reason) => {
                    attempts += 1;
                    if attempts < OBSERVATION_ATTEMPTS {
                        // Later observations wait: an observer sees a conversation in its order.
                        tokio::time::sleep(observation_pause(attempts)).await;
                        continue;
                    }
                    let (this, observer) = (self.clone(), plugin.clone());
                    let dead_letter = move || {
                        this.outbox()
                            .dead_letter_observation(&observer.id, &observations[done], &reason);
                    };
                    if self.settlement.workers().begin(dead_letter).await.is_err() {
                        return false;
                    }
                    attempts = 0;
                }
            }
        }
    }

    /// Delivers observations in one transaction. Returns how many are done, and the outcome of the next one.
    fn deliver(&self, plugin: &Plugin, observations: &[(Bytes, Bytes)]) -> (usize, DeliveryOutcome) {
        let begun = Instant::now();
        let draft = Draft::new(self.log().store().clone());
        let mut call = Call::new(AppId::default_app(), StoreAccess::Write, draft);
        let (mut done, mut next) = (0, DeliveryOutcome::Done);
        for observation in observations {
            let mark = call.mark();
            let outcome;
            (call, outcome) = self.deliver_one(plugin, call, observation, done == 0);
            match outcome {
                Ok(true) => done += 1,
                Ok(false) => {
                    call.roll_back(mark);
                    break;
                }
                Err(outcome) => {
                    call.roll_back(mark);
                    next = outcome;
                    break;
                }
            }
            // The next call must be able to read an appended event, and a long transaction conflicts more often.
            if !call.effects.appends.is_empty() || begun.elapsed() > MAX_COLLECT {
                break;
            }
        }
        if done == 0 {
            return (0, next);
        }
        match self.settlement.commit(*call, |_| {}) {
            Ok(()) => (done, next),
            Err(CommitError::Conflict) => (0, DeliveryOutcome::Conflict),
            Err(error) => {
                tracing::warn!(plugin = %plugin.id, %error, "can't commit the writes of an observer");
                (0, DeliveryOutcome::Unavailable)
            }
        }
    }

    /// Delivers an observation in a call that may have delivered others. Returns whether it is done. If not, it is of another
    /// app and needs a call of its own, since the `first` observation decides the app of the call.
    fn deliver_one(
        &self,
        plugin: &Plugin,
        mut call: Box<Call>,
        (key, value): &(Bytes, Bytes),
        first: bool,
    ) -> (Box<Call>, Result<bool, DeliveryOutcome>) {
        match call.draft.get(key.clone()) {
            Ok(Some(_)) => call.draft.set(key.clone(), None),
            Ok(None) => return (call, Ok(true)),
            Err(error) => return (call, Err(DeliveryOutcome::Failed(with_causes(&error)))),
        }
        let delivery = match self.delivery(value) {
            Ok(Some(delivery)) => delivery,
            // No call is needed; only the observation is removed.
            Ok(None) => return (call, Ok(true)),
            Err(outcome) => return (call, Err(outcome)),
        };
        if first {
            call.app = delivery.app;
        } else if call.app != delivery.app {
            return (call, Ok(false));
        }
        call.origin = Some(delivery.origin);
        let (call, outcome) = plugin.enter(call, delivery.request, reply::done);
        let outcome = match outcome {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => Err(DeliveryOutcome::Failed(format!("{}: {}", error.code, error.message))),
            Err(Failure::Quarantined | Failure::NotRunning | Failure::Busy) => Err(DeliveryOutcome::Unavailable),
            Err(failure) => Err(DeliveryOutcome::Failed(failure.to_string())),
        };
        (call, outcome)
    }

    /// Returns the call that delivers an observation; none if no call is needed.
    fn delivery(&self, value: &[u8]) -> Result<Option<ObservationCall>, DeliveryOutcome> {
        let failed = |error: LogError| DeliveryOutcome::Failed(with_causes(&error));
        let Some(observation) = Observation::decode(value) else {
            return Err(DeliveryOutcome::Failed("the observation is damaged".to_owned()));
        };
        Ok(match (observation.hook, observation.subject) {
            (hook, Subject::Logged(dedup)) => match self.outbox().logged(dedup).map_err(failed)? {
                Some((log, event)) => self.logged(hook, &log, &event).map_err(failed)?,
                None => return Err(DeliveryOutcome::Failed("its event is not in the log".to_owned())),
            },
            (_, Subject::Change(change)) => change.app.parse().ok().map(|app| ObservationCall {
                origin: origin(&app, &change.actor),
                request: Request::AfterChange(change),
                app,
            }),
            // Only dead letters have jobs as a subject; a replayed job goes to the queue of jobs.
            (_, Subject::Job { .. }) => None,
            (_, Subject::Event(event)) => event.app.parse().ok().map(|app| ObservationCall {
                origin: origin(&app, &event.plugin),
                request: Request::Event(event),
                app,
            }),
        })
    }

    /// Returns the call that delivers an event of the log to a hook; none if no call is needed.
    fn logged(&self, hook: HookName, log: &LogId, event: &StoredEvent) -> Result<Option<ObservationCall>, LogError> {
        let damaged = |seq: u64| LogError::Message {
            conversation: log.conversation,
            seq,
        };
        let body = Body::decode(&event.body).map_err(|_| damaged(event.seq))?;
        let conversation = self.log().conversations().get(log)?.ok_or_else(|| damaged(event.seq))?;
        let message = Message {
            app: log.app.as_str(),
            conversation: &conversation.id,
            conversation_kind: &conversation.kind,
            sender: body.sender,
            receiver: body.receiver.unwrap_or_default(),
            kind: body.kind,
            client_id: body.client_id,
            content: body.content,
            seq: event.seq,
            edits: body.target,
            time_ms: event.time_ms,
        };
        let request = match hook {
            HookName::AfterSend => Request::AfterSend(message.packed()),
            HookName::Push => {
                let recipients = self.offline(&conversation, body.sender);
                let revision = Log::revision(&mut Draft::new(self.log().store().clone()), log, event.seq)?;
                if recipients.is_empty() || revision.recalled {
                    return Ok(None);
                }
                Request::Push {
                    message: message.packed(),
                    recipients,
                }
            }
            _ => {
                let target = self.log().event(log, body.target)?.ok_or_else(|| damaged(event.seq))?;
                let target_body = Body::decode(&target.body).map_err(|_| damaged(target.seq))?;
                let (name, value) = act_of(&body);
                Request::AfterAct(Act {
                    name: name.to_owned(),
                    app: log.app.as_str().to_owned(),
                    conversation: conversation.id.to_string(),
                    conversation_kind: conversation.kind.to_string(),
                    actor: body.sender.to_owned(),
                    target: target.seq,
                    target_sender: target_body.sender.to_owned(),
                    target_kind: target_body.kind.to_owned(),
                    value,
                    time_ms: event.time_ms,
                })
            }
        };
        Ok(Some(ObservationCall {
            app: log.app.clone(),
            origin: origin(&log.app, body.sender),
            request,
        }))
    }

    /// Returns the members without a live session, except the sender.
    fn offline(&self, conversation: &Conversation, sender: &str) -> Vec<String> {
        let router = self.settlement.router();
        let members = conversation.members.iter();
        members
            .filter(|member| member.as_str() != sender && !router.is_online(&conversation.log.app, member))
            .map(ToString::to_string)
            .collect()
    }
}

/// Returns the name and the value of an act, as plugins see them.
fn act_of(body: &Body<'_>) -> (&'static str, String) {
    match body.event {
        EventType::Reaction => {
            let content: serde_json::Value = serde_json::from_slice(body.content).unwrap_or_default();
            let on = content["on"].as_bool() == Some(true);
            let emoji = content["emoji"].as_str().unwrap_or_default();
            (if on { "react" } else { "unreact" }, emoji.to_owned())
        }
        _ => ("recall", String::new()),
    }
}
