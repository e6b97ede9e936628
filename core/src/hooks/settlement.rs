//! What plugins leave to be done: events that join the transaction, then frames, signals and sessions that end.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::outbox::{Audience, Outbox};
use super::{Call, Effects, Hooks, PluginError};
use crate::bus::{Bus, Notice};
use crate::log::{Draft, Log};
use crate::router::Router;
use crate::store::{Append, Appended, CommitError, Outcome};
use crate::wire::{ActorId, AppId, ErrorCode, RequestError, reply};
use crate::workers::Workers;

/// How often work that conflicts with others is done.
pub(crate) const ATTEMPTS: u32 = 8;

/// What is left to be done after a commit.
#[derive(Debug)]
pub struct Sealed {
    app: AppId,
    effects: Effects,
    /// The sender's id of each event, in order.
    client_ids: Vec<String>,
    noted: bool,
}

impl Sealed {
    /// Returns how many events it appends to the transaction.
    #[must_use]
    pub fn appends(&self) -> usize {
        self.effects.appends.len()
    }
}

/// Puts what calls leave into their transactions, and does the rest when these are durable.
pub struct Settlement {
    outbox: Outbox,
    router: Arc<Router>,
    bus: Arc<dyn Bus>,
    /// Says that timers were set.
    timers: Notify,
    /// Says that jobs were added.
    jobs: Notify,
    workers: Arc<Workers>,
}

impl std::fmt::Debug for Settlement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settlement").finish_non_exhaustive()
    }
}

impl Settlement {
    /// Makes the settlement of a host.
    #[must_use]
    pub fn new(
        hooks: Arc<Hooks>,
        log: Arc<Log>,
        router: Arc<Router>,
        bus: Arc<dyn Bus>,
        workers: Arc<Workers>,
    ) -> Arc<Self> {
        Arc::new(Self {
            outbox: Outbox::new(hooks, log),
            router,
            bus,
            timers: Notify::new(),
            jobs: Notify::new(),
            workers,
        })
    }

    /// Returns what observers have not seen yet.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Returns the threads for what may take long.
    #[must_use]
    pub fn workers(&self) -> &Arc<Workers> {
        &self.workers
    }

    pub(super) fn timers(&self) -> &Notify {
        &self.timers
    }

    pub(super) fn jobs(&self) -> &Notify {
        &self.jobs
    }

    pub(super) fn router(&self) -> &Router {
        &self.router
    }

    /// Puts what plugins append and tell each other into the transaction of their call.
    #[must_use]
    pub fn seal(&self, call: Call) -> (Draft, Sealed) {
        let Call {
            app,
            mut draft,
            effects,
            ..
        } = call;
        let (mut client_ids, mut noted) = (Vec::new(), false);
        for event in &effects.appends {
            let client_id = ulid::Ulid::from_parts(crate::clock::now_ms(), rand::random()).to_string();
            let parts = [event.kind.as_bytes(), &event.content, &[]];
            let append = Append {
                log: event.log.clone(),
                body: event.body(&client_id).encode_head(),
                tail: event.content.clone(),
                dedup: Some(self.outbox.log().dedup(&app, &event.sender, &client_id, parts)),
            };
            noted |= self.outbox.note(
                &mut draft,
                &append,
                event.event,
                &Audience {
                    kind: &event.conversation_kind,
                    members: &event.members,
                    watched: None,
                },
                &event.filtered_kind,
            );
            draft.append(append);
            client_ids.push(client_id);
        }
        for (log, change) in &effects.changes {
            noted |= self.outbox.note_change(&mut draft, log, change);
        }
        for event in &effects.published {
            noted |= self.outbox.note_event(&mut draft, &app, event);
        }
        let sealed = Sealed {
            app,
            effects,
            client_ids,
            noted,
        };
        (draft, sealed)
    }

    /// Does what is left after the commit. `appended` is where the events went that the call's plugins appended. Never
    /// blocks.
    pub fn settle(&self, sealed: Sealed, appended: &[Appended]) {
        let Sealed {
            app,
            effects,
            client_ids,
            noted,
        } = sealed;
        for ((event, client_id), appended) in effects.appends.into_iter().zip(client_ids).zip(appended) {
            let body = event.body(&client_id);
            let conversation = appended.log.conversation;
            let view = body.view_at(conversation, appended.seq, appended.id, appended.time_ms);
            let frame = reply::event(&view);
            self.publish(&app, event.members.clone(), false, frame);
        }
        for signal in effects.signals {
            self.publish(&app, signal.actors, true, signal.frame);
        }
        for end in effects.ends {
            self.router.end(&app, &end.actor, end.credential.as_deref());
        }
        if noted {
            self.outbox.wake();
        }
        if effects.timers {
            self.timers.notify_one();
        }
        if effects.jobs {
            self.jobs.notify_one();
        }
    }

    /// Commits a call and waits. Once it is durable, `then` is told where its events went, and what is left is done: before
    /// that of any later commit, so that nobody sees events out of order. For threads that may wait.
    ///
    /// # Errors
    /// When the commit fails; `then` is not told.
    pub fn commit(
        self: &Arc<Self>,
        call: Call,
        then: impl FnOnce(&[Appended]) + Send + 'static,
    ) -> Result<(), CommitError> {
        let (draft, sealed) = self.seal(call);
        let (sender, receiver) = std::sync::mpsc::channel();
        let this = self.clone();
        draft.commit(Box::new(move |outcome: Outcome<'_>| {
            let outcome = outcome.map(|appended| {
                then(appended);
                this.settle(sealed, appended);
            });
            // The receiver waits below, so it is there.
            let _ = sender.send(outcome);
        }));
        receiver.recv().unwrap_or(Err(CommitError::Closed))
    }

    /// Takes back what a call that is refused has led to, and waits until what it has read is durable: a refusal is an answer
    /// too. For threads that may wait.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] when what it has read is no longer true, or never was at one time: the refusal counts for
    /// nothing then.
    pub fn refuse(&self, call: Call) -> Result<(), CommitError> {
        let mut draft = call.draft;
        draft.forget_writes();
        if !draft.relies_on_reads() {
            return Ok(());
        }
        draft.commit_blocking().map(drop)
    }

    /// Does work in calls of their own, eight at most, until one holds: what it did is committed as by
    /// [`Settlement::commit`], a refusal is held against what it was made of. `work` may also give up without a call. For
    /// threads that may wait.
    ///
    /// # Errors
    /// The refusal; or what stands for the error of the commit.
    pub fn run<T, E: From<CommitError>>(
        self: &Arc<Self>,
        mut work: impl FnMut() -> Result<(Box<Call>, Result<T, E>), E>,
    ) -> Result<T, E> {
        self.run_then(|| {
            let (call, outcome) = work()?;
            Ok((call, outcome.map(|value| (value, |_: &[Appended]| {}))))
        })
    }

    /// As [`Settlement::run`], with what is to be done with the commit.
    ///
    /// # Errors
    /// As [`Settlement::run`].
    pub fn run_then<T, E: From<CommitError>, A: FnOnce(&[Appended]) + Send + 'static>(
        self: &Arc<Self>,
        mut work: impl FnMut() -> Result<(Box<Call>, Result<(T, A), E>), E>,
    ) -> Result<T, E> {
        for _ in 0..ATTEMPTS {
            let (call, outcome) = work()?;
            let (held, outcome) = match outcome {
                Ok((value, then)) => (self.commit(*call, then), Ok(value)),
                Err(error) => (self.refuse(*call), Err(error)),
            };
            match held {
                Ok(()) => return outcome,
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommitError::Conflict.into())
    }

    fn publish(&self, app: &AppId, actors: Arc<[ActorId]>, ephemeral: bool, frame: Bytes) {
        self.bus.publish(Notice {
            app: app.clone(),
            actors,
            except: None,
            ephemeral,
            frame,
        });
    }
}

impl From<CommitError> for RequestError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::DedupConflict(_) => Self::new(ErrorCode::InvalidId, "This id was used for another message."),
            CommitError::Conflict => Self::new(ErrorCode::Conflict, "Too many others changed the same things."),
            CommitError::Closed => Self::new(ErrorCode::Unavailable, "The server is stopping."),
            error => {
                tracing::error!(%error, "a transaction can't be committed");
                Self::new(ErrorCode::Unavailable, "The server can't write.")
            }
        }
    }
}

impl From<CommitError> for PluginError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict => Self::new("conflict", "Too many others changed the same things."),
            error => Self::new("unavailable", error.to_string()),
        }
        .retryable()
    }
}
