//! Commits the effects of calls: events and observations join the transaction; frames, signals and ended sessions follow
//! it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::backoff::ATTEMPTS;
use super::outbox::{Audience, Outbox};
use crate::bus::{Bus, Notice};
use crate::clock::new_ulid;
use crate::hooks::{Call, Effects, Hooks, PluginError};
use crate::log::Log;
use crate::router::Router;
use crate::store::{Append, Appended, CommitError, CommitResult, Draft};
use crate::wire::{ActorId, AppId, ErrorCode, RequestError, reply};
use crate::workers::Workers;

/// The effects that follow a commit.
#[derive(Debug)]
pub struct PostCommit {
    app: AppId,
    effects: Effects,
    /// The client id of each appended event, in order.
    client_ids: Vec<String>,
    /// Whether the transaction adds observations.
    observed: bool,
}

impl PostCommit {
    /// Returns how many events it appends to the transaction.
    #[must_use]
    pub fn appends(&self) -> usize {
        self.effects.appends.len()
    }
}

/// Adds the effects of calls to their transactions, and runs the remaining effects once these are durable.
pub struct Settlement {
    outbox: Outbox,
    router: Arc<Router>,
    bus: Arc<dyn Bus>,
    /// Notified when timers were set.
    timers: Notify,
    /// Notified when jobs were added.
    jobs: Notify,
    workers: Arc<Workers>,
}

impl std::fmt::Debug for Settlement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settlement").finish_non_exhaustive()
    }
}

impl Settlement {
    /// Creates the settlement of a host.
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

    /// Returns the pending observations.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Returns the threads for slow and blocking work.
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

    /// Adds appended events and all observations to the transaction of a call. Returns the effects that must follow the
    /// commit.
    #[must_use]
    pub fn join_transaction(&self, call: Call) -> (Draft, PostCommit) {
        let Call {
            app,
            mut draft,
            effects,
            ..
        } = call;
        let (mut client_ids, mut observed) = (Vec::new(), false);
        for event in &effects.appends {
            let client_id = new_ulid().to_string();
            let parts = [event.kind.as_bytes(), &event.content, &[]];
            let append = Append {
                log: event.log.clone(),
                body: event.body(&client_id).encode_head(),
                tail: event.content.clone(),
                dedup: Some(self.outbox.log().dedup(&app, &event.sender, &client_id, parts)),
            };
            observed |= self.outbox.observe_event(
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
            observed |= self.outbox.observe_change(&mut draft, log, change);
        }
        for event in &effects.published {
            observed |= self.outbox.observe_plugin_event(&mut draft, &app, event);
        }
        let post_commit = PostCommit {
            app,
            effects,
            client_ids,
            observed,
        };
        (draft, post_commit)
    }

    /// Runs the effects that follow a commit: publishes events and signals, ends sessions, wakes observers, timers and jobs.
    /// `appended` are the events that the plugins of the call appended, in order. Never blocks.
    pub fn after_commit(&self, post_commit: PostCommit, appended: &[Appended]) {
        let PostCommit {
            app,
            effects,
            client_ids,
            observed,
        } = post_commit;
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
        if observed {
            self.outbox.wake();
        }
        if effects.timers {
            self.timers.notify_one();
        }
        if effects.jobs {
            self.jobs.notify_one();
        }
    }

    /// Commits a call and waits. Once it is durable, calls `then` with the appended events, then runs the effects that follow.
    /// Both happen before those of any later commit, so that nobody sees events out of order. For threads that may wait.
    ///
    /// # Errors
    /// When the commit fails; `then` is not called.
    pub fn commit(
        self: &Arc<Self>,
        call: Call,
        then: impl FnOnce(&[Appended]) + Send + 'static,
    ) -> Result<(), CommitError> {
        let (draft, post_commit) = self.join_transaction(call);
        let (sender, receiver) = std::sync::mpsc::channel();
        let this = self.clone();
        draft.commit(Box::new(move |outcome: CommitResult<'_>| {
            let outcome = outcome.map(|appended| {
                then(appended);
                this.after_commit(post_commit, appended);
            });
            // The receiver exists: it waits below.
            let _ = sender.send(outcome);
        }));
        receiver.recv().unwrap_or(Err(CommitError::Closed))
    }

    /// Discards the writes and effects of a refused call, and waits until its reads are durable, since a refusal is an answer
    /// that depends on them. For threads that may wait.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] when the reads no longer hold, or never held at one time; the refusal is then void.
    pub fn commit_refusal(&self, call: Call) -> Result<(), CommitError> {
        let mut draft = call.draft;
        draft.discard_writes();
        if !draft.has_reads() {
            return Ok(());
        }
        draft.commit_blocking().map(drop)
    }

    /// Runs `work` until its call commits without a conflict, at most eight times, each time in a new call. A success is
    /// committed as by [`Settlement::commit`], a refusal as by [`Settlement::commit_refusal`]. `work` may also fail without a
    /// call. For threads that may wait.
    ///
    /// # Errors
    /// The refusal; or the converted error of the commit.
    pub fn run<T, E: From<CommitError>>(
        self: &Arc<Self>,
        mut work: impl FnMut() -> Result<(Box<Call>, Result<T, E>), E>,
    ) -> Result<T, E> {
        self.run_then(|| {
            let (call, outcome) = work()?;
            Ok((call, outcome.map(|value| (value, |_: &[Appended]| {}))))
        })
    }

    /// As [`Settlement::run`], with a function that is called with the appended events, as by [`Settlement::commit`].
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
                Err(error) => (self.commit_refusal(*call), Err(error)),
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
            CommitError::DedupConflict(_) => {
                Self::new(ErrorCode::InvalidId, "The id was already used for another message.")
            }
            CommitError::Conflict => Self::new(ErrorCode::Conflict, "Too many concurrent changes. Try again."),
            CommitError::Closed => Self::new(ErrorCode::Unavailable, "The server is stopping."),
            error => {
                tracing::error!(%error, "can't commit a transaction");
                Self::new(ErrorCode::Unavailable, "The server can't write.")
            }
        }
    }
}

impl From<CommitError> for PluginError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict => Self::new("conflict", "Too many concurrent changes. Try again."),
            error => Self::new("unavailable", error.to_string()),
        }
        .retryable()
    }
}
