//! Requests besides sending: methods and history.

use std::sync::Arc;

use bytes::Bytes;

use crate::hooks::{Call, Hooks, StoreAccess, origin};
use crate::host::Host;
use crate::log::{Conversation, Log};
use crate::router::QueueItem;
use crate::store::{Appended, CommitError, Draft, LogId};
use crate::wire::{ActorId, AppId, ConversationId, ErrorCode, Page, RequestError, SessionId, reply};

use super::identity::SignedIn;
use super::refusal::{storage_failed, unknown_conversation};
use super::rendered::Rendered;
use super::{InFlightPermit, Session};

/// Waits until everything that was read is durable, so that a client never sees what a crash would undo. Returns
/// `false` if the store accepts no writes any more; it can still be read.
pub(super) fn until_durable(log: &Log) -> Result<bool, RequestError> {
    match Draft::new(log.store().clone()).commit_blocking() {
        Ok(_) => Ok(true),
        Err(CommitError::Failed(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Session {
    pub(super) fn actor(&self) -> Result<&ActorId, RequestError> {
        let signed = self
            .signed
            .as_ref()
            .ok_or_else(|| RequestError::new(ErrorCode::Unauthenticated, "Sign in first."))?;
        Ok(&signed.actor)
    }

    pub(super) fn acquire_permit(&self) -> Result<InFlightPermit, RequestError> {
        self.in_flight
            .acquire()
            .ok_or_else(|| RequestError::new(ErrorCode::Busy, "Too many requests of this session are in flight."))
    }

    /// Returns a conversation that the actor is a member of.
    pub(super) fn conversation(&self, app: &AppId, id: ConversationId) -> Result<Arc<Conversation>, RequestError> {
        let log = LogId {
            app: app.clone(),
            conversation: id,
        };
        let conversation = self
            .host
            .log
            .conversations()
            .get(&log)
            .map_err(|error| storage_failed(&error))?;
        let actor = self.actor()?;
        conversation
            .filter(|conversation| conversation.has_member(actor))
            .ok_or_else(unknown_conversation)
    }

    /// Runs blocking work on a worker thread, when a turn is free.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        let fault = |_| RequestError::new(ErrorCode::Internal, "The server has a fault.");
        let stopping = |_| RequestError::new(ErrorCode::Unavailable, "The server is stopping.");
        self.host.workers.in_turn(work).await.map_err(stopping)?.map_err(fault)
    }

    /// Calls a method. The answer is sent when everything the method wrote is durable.
    pub(super) fn call(&self, app: &AppId, id: &str, method: &str, params: &str) {
        let permit = match self.acquire_permit() {
            Ok(permit) => permit,
            Err(error) => return self.refuse(Some(id), &error),
        };
        let (host, queue, app, signed) = (self.host.clone(), self.queue.clone(), app.clone(), self.signed.clone());
        let (id, method, params, session) = (id.to_owned(), method.to_owned(), params.to_owned(), self.id);
        tokio::spawn(async move {
            let workers = host.workers.clone();
            let turn = workers.turn().await;
            let task = workers.begin(move || {
                let answer = |value: &Bytes| {
                    let frame = reply::result(&id, value);
                    let queue = queue.clone();
                    // Sent before other effects of the call, since one of them may end this session.
                    move || queue.push(QueueItem::Answer(frame))
                };
                if let Err(error) = call_committed(&host, &app, session, signed.as_ref(), (&method, &params), answer) {
                    queue.push(QueueItem::Answer(reply::error(Some(&id), &error)));
                }
            });
            if let Err(error) = task.await {
                tracing::error!(%error, "calling a method failed");
            }
            drop((turn, permit));
        });
    }

    /// Reads a page of events.
    pub(super) async fn history(&self, app: &AppId, id: &str, conversation: ConversationId, page: Page, limit: usize) {
        let permit = self.acquire_permit();
        let answer = match (self.conversation(app, conversation), permit) {
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(conversation), Ok(_permit)) => {
                let (host, id, viewer) = (self.host.clone(), id.to_owned(), self.viewer());
                let read = move || read_page(&host, &viewer, &conversation, page, limit, &id);
                self.blocking(read).await.and_then(|page| page)
            }
        };
        match answer {
            Ok(frame) => self.answer(frame),
            Err(error) => self.refuse(Some(id), &error),
        }
    }

    fn viewer(&self) -> String {
        self.signed
            .as_ref()
            .map(|signed| signed.actor.to_string())
            .unwrap_or_default()
    }

    /// Renders an event frame for this viewer; an error leaves it as it is.
    pub(super) async fn render(&self, frame: Bytes) -> Bytes {
        let (Some(app), viewer, host) = (self.app.clone(), self.viewer(), self.host.clone()) else {
            return frame;
        };
        let original = frame.clone();
        let rendered = self
            .blocking(move || rendered_event(&host.log, &host.hooks, &app, &viewer, &frame))
            .await;
        rendered.ok().flatten().unwrap_or(original)
    }
}

/// Calls a method, and retries until its transaction commits. Runs what `answer` returned for its value after the
/// commit.
fn call_committed<A: FnOnce() + Send + 'static>(
    host: &Host,
    app: &AppId,
    session: SessionId,
    signed: Option<&SignedIn>,
    (method, params): (&str, &str),
    answer: impl Fn(&Bytes) -> A,
) -> Result<(), RequestError> {
    host.settlement.run_then(|| {
        let draft = Draft::new(host.log.store().clone());
        let mut call = Call::new(app.clone(), StoreAccess::Write, draft);
        if signed.is_none() {
            // Without an actor, failures are counted per session: one stranger must not block all others.
            call.origin = Some(origin(app, &session.0.to_string()));
        }
        call.caller = signed.map(SignedIn::caller).unwrap_or_default();
        let (call, outcome) = host.hooks.call(call, method, params);
        let answer = outcome.map(|value| {
            let answer = answer(&value);
            ((), move |_: &[Appended]| answer())
        });
        Ok((call, answer))
    })
}

/// Reads a page that fits into half of the session's queue: halves the number of events until it does, down to one.
fn read_page(
    host: &Host,
    viewer: &str,
    conversation: &Conversation,
    page: Page,
    mut limit: usize,
    id: &str,
) -> Result<Bytes, RequestError> {
    let (log, hooks) = (&host.log, &host.hooks);
    loop {
        let (head, events) = log
            .read(&conversation.log, page, limit)
            .map_err(|error| storage_failed(&error))?;
        let rendered = Rendered::new(log, hooks, viewer, conversation.log.clone(), &conversation.kind, events)?;
        let views = rendered.views()?;
        let frame = reply::events(id, conversation.log.conversation, head.epoch, head.seq, &views);
        if views.len() <= 1 || frame.len() <= host.limits.queue_bytes / 2 {
            until_durable(log)?;
            return Ok(frame);
        }
        limit = views.len() / 2;
    }
}

/// Renders the one event of an event frame.
fn rendered_event(log: &Log, hooks: &Hooks, app: &AppId, viewer: &str, frame: &Bytes) -> Option<Bytes> {
    let frame: serde_json::Value = serde_json::from_slice(frame).ok()?;
    let conversation = frame["event"]["conversation"].as_str()?.parse().ok()?;
    let seq = frame["event"]["seq"].as_u64()?;
    let conversation = log
        .conversations()
        .get(&LogId {
            app: app.clone(),
            conversation,
        })
        .ok()??;
    let (_, events) = log.read(&conversation.log, Page::After(seq - 1), 1).ok()?;
    let rendered = Rendered::new(log, hooks, viewer, conversation.log.clone(), &conversation.kind, events).ok()?;
    let views = rendered.views().ok()?;
    views.first().map(reply::event)
}
