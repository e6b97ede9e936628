//! Dead letters: observations and jobs that failed too often. Operators list, replay and discard them.

use bytes::Bytes;
use courtyard_plugin_sdk::manifest::HookName;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::job_queue;
use super::outbox::{BATCH, Observation, Outbox, Subject, no_conversation};
use crate::keys;
use crate::log::{Body, LogError};
use crate::store::{CommitError, Draft, encode};
use crate::wire::AppId;

/// A dead letter. In the store: postcard.
#[derive(Serialize, Deserialize)]
struct StoredDeadLetter {
    reason: String,
    /// The encoded [`Observation`].
    observation: Vec<u8>,
}

/// An observation or a job that failed too often.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadLetter {
    /// Unique among the dead letters of its plugin.
    pub id: String,
    /// The hook that failed.
    pub hook: &'static str,
    /// The last failure.
    pub reason: String,
    /// The event of the log that was to be observed; none for another subject, or when the log no longer has the event.
    pub message: Option<DeadMessage>,
    /// Any other subject.
    pub about: Option<serde_json::Value>,
}

/// The event that an observer failed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadMessage {
    /// The tenant.
    pub app: String,
    /// The conversation.
    pub conversation: String,
    /// The number in the conversation.
    pub seq: u64,
    /// The time of the event, in milliseconds since 1970.
    pub time_ms: u64,
    /// The sender.
    pub sender: String,
    /// The kind of the content.
    pub kind: String,
    /// The content.
    pub content: serde_json::Value,
}

impl Outbox {
    /// Moves an observation to the dead letters, with the reason.
    pub(super) fn dead_letter_observation(&self, plugin: &str, (key, value): &(Bytes, Bytes), reason: &str) {
        tracing::error!(
            plugin,
            reason,
            "an observation failed too often and became a dead letter"
        );
        let mut draft = Draft::new(self.log().store().clone());
        let letter = StoredDeadLetter {
            reason: reason.to_owned(),
            observation: value.to_vec(),
        };
        draft.set(keys::outbox::dead_letter(key), Some(encode(&letter)));
        draft.set(key.clone(), None);
        if let Err(error) = draft.commit_blocking() {
            tracing::error!(plugin, %error, "can't store a dead letter; the observation is attempted again");
        }
    }

    /// Adds the dead letter of a job to a draft.
    pub(super) fn dead_letter_job(
        &self,
        draft: &mut Draft,
        plugin: &str,
        (app, id): (&AppId, u128),
        (name, payload): (String, Vec<u8>),
        reason: String,
    ) {
        tracing::error!(plugin, reason, "a job failed too often and became a dead letter");
        let observation = Observation {
            hook: HookName::Action,
            subject: Subject::Job {
                app: app.as_str().to_owned(),
                id,
                name,
                payload,
            },
        };
        let letter = StoredDeadLetter {
            reason,
            observation: observation.encode().to_vec(),
        };
        let key = keys::outbox::observation(plugin, &no_conversation(app), id);
        draft.set(keys::outbox::dead_letter(&key), Some(encode(&letter)));
    }

    /// Lists the dead letters of a plugin, at most `limit`.
    ///
    /// # Errors
    /// When the store fails, or a message is damaged.
    pub fn dead_letters(&self, plugin: &str, limit: usize) -> Result<Vec<DeadLetter>, LogError> {
        let (start, end) = keys::outbox::dead_letters(plugin);
        let found = self.log().store().scan(&start, &end, limit, false)?;
        found.iter().map(|(key, value)| self.dead_letter(key, value)).collect()
    }

    fn dead_letter(&self, key: &[u8], value: &[u8]) -> Result<DeadLetter, LogError> {
        let stored = postcard::from_bytes(value).unwrap_or(StoredDeadLetter {
            reason: "the dead letter is damaged".to_owned(),
            observation: Vec::new(),
        });
        let observation = Observation::decode(&stored.observation);
        let mut letter = DeadLetter {
            id: HEXLOWER.encode(key),
            hook: observation.as_ref().map_or("", |observation| observation.hook.name()),
            reason: stored.reason,
            message: None,
            about: None,
        };
        match observation.map(|observation| observation.subject) {
            Some(Subject::Logged(dedup)) => letter.message = self.dead_message(dedup)?,
            Some(Subject::Change(change)) => letter.about = serde_json::to_value(change).ok(),
            Some(Subject::Event(event)) => {
                let payload: serde_json::Value = serde_json::from_slice(&event.payload).unwrap_or_default();
                letter.about = Some(serde_json::json!({
                    "app": event.app, "plugin": event.plugin, "name": event.name, "actor": event.actor,
                    "payload": payload, "time_ms": event.time_ms,
                }));
            }
            Some(Subject::Job { app, name, payload, .. }) => {
                let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap_or_default();
                letter.about = Some(serde_json::json!({ "app": app, "name": name, "payload": payload }));
            }
            None => {}
        }
        Ok(letter)
    }

    fn dead_message(&self, dedup: u128) -> Result<Option<DeadMessage>, LogError> {
        let Some((log, event)) = self.logged(dedup)? else {
            return Ok(None);
        };
        let body = Body::decode(&event.body).map_err(|_| LogError::Message {
            conversation: log.conversation,
            seq: event.seq,
        })?;
        Ok(Some(DeadMessage {
            app: log.app.as_str().to_owned(),
            conversation: log.conversation.to_string(),
            seq: event.seq,
            time_ms: event.time_ms,
            sender: body.sender.to_owned(),
            kind: body.kind.to_owned(),
            content: serde_json::from_slice(body.content).unwrap_or_default(),
        }))
    }

    /// Re-enqueues dead letters of a plugin: the one with this id, or all. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub fn replay(&self, plugin: &str, id: Option<&str>) -> Result<usize, CommitError> {
        let moved = self.edit_letters(plugin, id, |draft, letter, value| {
            let Ok(stored) = postcard::from_bytes::<StoredDeadLetter>(value) else {
                return;
            };
            match Observation::decode(&stored.observation).map(|observation| observation.subject) {
                Some(Subject::Job { app, id, name, payload }) => {
                    if let Ok(app) = app.parse() {
                        job_queue::enqueue(draft, plugin, &app, id, &name, 0, payload);
                    }
                }
                _ => draft.set(keys::outbox::observation_of(letter), Some(stored.observation.into())),
            }
        })?;
        self.wake();
        Ok(moved)
    }

    /// Deletes dead letters of a plugin: the one with this id, or all. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub fn discard(&self, plugin: &str, id: Option<&str>) -> Result<usize, CommitError> {
        self.edit_letters(plugin, id, |_, _, _| {})
    }

    /// Deletes the dead letter with this id, or all, and calls `edit` for each in the same transaction.
    fn edit_letters(
        &self,
        plugin: &str,
        id: Option<&str>,
        edit: impl Fn(&mut Draft, &[u8], &Bytes),
    ) -> Result<usize, CommitError> {
        let (mut start, end) = keys::outbox::dead_letters(plugin);
        let mut edited = 0;
        loop {
            let mut draft = Draft::new(self.log().store().clone());
            let scanned = self.log().store().scan(&start, &end, BATCH, false);
            let found = scanned.map_err(|error| CommitError::Failed(error.to_string()))?;
            let Some((last, _)) = found.last() else {
                return Ok(edited);
            };
            start = [last, &[0][..]].concat().into();
            for (letter, value) in &found {
                if id.is_none_or(|id| id == HEXLOWER.encode(letter)) {
                    edit(&mut draft, letter, value);
                    draft.set(letter.clone(), None);
                    edited += 1;
                }
            }
            if !draft.is_read_only() {
                draft.commit_blocking()?;
            }
        }
    }
}
