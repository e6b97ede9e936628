//! Acts on messages that are in the log: edits, recalls and reactions.

use std::sync::Arc;

use bytes::Bytes;
use courtyard_plugin_sdk as sdk;
use tokio::sync::oneshot;

use super::Session;
use super::identity::SignedIn;
use super::refusal::{storage_failed, unknown_conversation};
use crate::bus::Notice;
use crate::clock::now_ms;
use crate::effects::ATTEMPTS;
use crate::hooks::{Call, Message, StoreAccess};
use crate::host::Host;
use crate::log::{Body, Conversation, EventType, Log, LogError, Revision};
use crate::router::{QueueItem, SessionQueue};
use crate::store::{Append, Appended, CommitError, CommitResult, Dedup, Draft, LogId};
use crate::wire::{Act, ActorId, AppId, ConversationId, ErrorCode, RequestError, SessionId, content, reply};

/// An act that isn't stored yet, with everything that another attempt needs.
struct PendingAct {
    host: Arc<Host>,
    app: AppId,
    signed: SignedIn,
    session: SessionId,
    queue: Arc<SessionQueue>,
    id: String,
    conversation: ConversationId,
    target: u64,
    act: Act<'static>,
}

/// The event that an act appends.
struct Event {
    event: EventType,
    kind: String,
    /// The kind of the message that the act is about.
    target_kind: String,
    content: Bytes,
    /// Whether a plugin replaced the sender's content.
    replaced: bool,
}

impl Session {
    /// Performs an act on a message. The answer is sent when the act is durable.
    pub(super) fn act(&mut self, app: &AppId, id: &str, conversation: ConversationId, target: u64, act: Act<'_>) {
        let (permit, signed) = match (self.acquire_permit(), self.signed.clone()) {
            (Ok(permit), Some(signed)) => (permit, signed),
            (Err(error), _) => return self.refuse(Some(id), &error),
            (_, None) => {
                let error = RequestError::new(ErrorCode::Unauthenticated, "Sign in first.");
                return self.refuse(Some(id), &error);
            }
        };
        let pending = PendingAct {
            host: self.host.clone(),
            app: app.clone(),
            signed,
            session: self.id,
            queue: self.queue.clone(),
            id: id.to_owned(),
            conversation,
            target,
            act: act.into_owned(),
        };
        let (last, next) = oneshot::channel();
        let before = self.last_act.replace(next);
        tokio::spawn(async move {
            if let Some(before) = before {
                // The sender is dropped without a value, so this is always an error.
                let _ = before.await;
            }
            let workers = pending.host.workers.clone();
            let turn = workers.turn().await;
            let done = workers.begin(move || {
                let pending = Arc::new(pending);
                if let Err(error) = pending.commit() {
                    pending
                        .queue
                        .push(QueueItem::Answer(reply::error(Some(&pending.id), &error)));
                }
            });
            if let Err(error) = done.await {
                tracing::error!(%error, "an act on a message failed");
            }
            drop((turn, permit, last));
        });
    }
}

fn unknown_message() -> RequestError {
    RequestError::new(
        ErrorCode::UnknownMessage,
        "The message does not exist, or was recalled.",
    )
}

fn not_yours() -> RequestError {
    RequestError::new(
        ErrorCode::Forbidden,
        "Only the sender of a message can edit or recall it.",
    )
}

impl PendingAct {
    fn actor(&self) -> &ActorId {
        &self.signed.actor
    }

    fn log(&self) -> LogId {
        LogId {
            app: self.app.clone(),
            conversation: self.conversation,
        }
    }

    /// Retries until the transaction commits.
    fn commit(self: &Arc<Self>) -> Result<(), RequestError> {
        for _ in 0..ATTEMPTS {
            match self.attempt()? {
                Ok(()) => return Ok(()),
                Err(CommitError::Conflict) => {}
                Err(CommitError::Duplicate(first)) => {
                    let content = self.replaced(&first)?;
                    self.acknowledge(&first, content.as_deref());
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// Returns the content that a plugin replaced that of an edit with.
    fn replaced(&self, first: &Appended) -> Result<Option<Vec<u8>>, RequestError> {
        let Act::Edit { content } = &self.act else {
            return Ok(None);
        };
        let event = self.host.log.event(&first.log, first.seq);
        let event = event.map_err(|error| storage_failed(&error))?;
        let body = event.as_ref().and_then(|event| Body::decode(&event.body).ok());
        let stored = body
            .map(|body| body.content)
            .filter(|stored| *stored != content.as_bytes());
        Ok(stored.map(<[u8]>::to_vec))
    }

    fn attempt(self: &Arc<Self>) -> Result<Result<(), CommitError>, RequestError> {
        let (host, log) = (&self.host, self.log());
        let failed = |error: LogError| storage_failed(&error);
        let mut draft = Draft::new(host.log.store().clone());
        let conversation = host.log.conversations().get(&log).map_err(failed)?;
        let conversation = conversation
            .filter(|conversation| conversation.has_member(self.actor()))
            .ok_or_else(unknown_conversation)?;
        // The transaction conflicts if the actor leaves the conversation meanwhile.
        draft.add_read(conversation.key.clone());
        let dedup = self.dedup();
        if let Some(found) = host.log.find(dedup).map_err(|error| storage_failed(&error))? {
            // Plugins decide once, and the act may have been undone since. The commit waits until the first event is
            // durable, since it may be on its way to the disk, unanswered.
            let first = if found.fingerprint == dedup.fingerprint {
                CommitError::Duplicate(found.appended)
            } else {
                CommitError::DedupConflict(found.appended)
            };
            return Ok(Err(draft.commit_blocking().err().unwrap_or(first)));
        }
        let target = host.log.event(&log, self.target).map_err(failed)?;
        let target = target.ok_or_else(unknown_message)?;
        let damaged = |_| {
            storage_failed(&LogError::Message {
                conversation: self.conversation,
                seq: self.target,
            })
        };
        let body = Body::decode(&target.body).map_err(damaged)?;
        let mut revision = Log::revision(&mut draft, &log, self.target).map_err(failed)?;
        if body.event != EventType::Message || revision.recalled {
            return Err(unknown_message());
        }
        let mut call = Call::new(self.app.clone(), StoreAccess::Write, draft);
        call.caller = self.signed.caller();
        let (mut call, outcome) = self.decide(call, &conversation, &body, &mut revision);
        match outcome {
            Ok(event) => {
                Log::revise(&mut call.draft, &log, self.target, &revision);
                Ok(self.append(*call, &conversation, event, dedup))
            }
            Err(error) => match host.settlement.commit_refusal(*call) {
                Ok(()) => Err(error),
                Err(failed) => Ok(Err(failed)),
            },
        }
    }

    /// Checks the act, asks the plugins, and changes the revision of the message.
    fn decide(
        &self,
        call: Box<Call>,
        conversation: &Conversation,
        target: &Body<'_>,
        revision: &mut Revision,
    ) -> (Box<Call>, Result<Event, RequestError>) {
        let own = target.sender == self.actor().as_str();
        match &self.act {
            Act::Edit { .. } | Act::Recall if !own => (call, Err(not_yours())),
            Act::Edit { content } => self.edit(call, conversation, target, revision, content),
            Act::Recall => {
                let (call, allowed) = self.allowed(call, conversation, target, ("recall", ""));
                let event = allowed.map(|()| {
                    revision.recall();
                    Event::new(EventType::Recall, target.kind, Bytes::from_static(b"{}"))
                });
                (call, event)
            }
            Act::React { emoji, on } => {
                let name = if *on { "react" } else { "unreact" };
                let (call, allowed) = self.allowed(call, conversation, target, (name, emoji));
                let event = allowed.and_then(|()| {
                    let full = |error: crate::log::RevisionFull| {
                        RequestError::new(ErrorCode::LimitReactions, format!("{error}."))
                    };
                    revision.react(self.actor().as_str(), emoji, *on).map_err(full)?;
                    let content = serde_json::json!({ "emoji": emoji, "on": on }).to_string();
                    Ok(Event::new(EventType::Reaction, target.kind, content.into()))
                });
                (call, event)
            }
        }
    }

    fn edit(
        &self,
        call: Box<Call>,
        conversation: &Conversation,
        target: &Body<'_>,
        revision: &mut Revision,
        content: &str,
    ) -> (Box<Call>, Result<Event, RequestError>) {
        if let Err(error) = content::check(target.kind, content) {
            return (
                call,
                Err(RequestError::new(ErrorCode::InvalidContent, error.to_string())),
            );
        }
        let message = Message {
            app: self.app.as_str(),
            conversation: &conversation.id,
            conversation_kind: &conversation.kind,
            sender: target.sender,
            receiver: target.receiver.unwrap_or_default(),
            kind: target.kind,
            client_id: &self.id,
            content: content.as_bytes(),
            seq: 0,
            edits: self.target,
            time_ms: now_ms(),
        };
        let (call, passed) = self.host.hooks.before_send(call, conversation, &message);
        let event = passed.map(|passed| {
            let replaced = passed.content.is_some();
            let content = passed
                .content
                .unwrap_or_else(|| Bytes::copy_from_slice(content.as_bytes()));
            revision.edit(message.time_ms, &content);
            Event {
                kind: target.kind.to_owned(),
                replaced,
                ..Event::new(EventType::Edit, target.kind, content)
            }
        });
        (call, event)
    }

    fn allowed(
        &self,
        call: Box<Call>,
        conversation: &Conversation,
        target: &Body<'_>,
        (name, value): (&str, &str),
    ) -> (Box<Call>, Result<(), RequestError>) {
        let act = sdk::Act {
            name: name.to_owned(),
            app: self.app.as_str().to_owned(),
            conversation: conversation.id.to_string(),
            conversation_kind: conversation.kind.to_string(),
            actor: self.actor().to_string(),
            target: self.target,
            target_sender: target.sender.to_owned(),
            target_kind: target.kind.to_owned(),
            value: value.to_owned(),
            time_ms: now_ms(),
        };
        self.host.hooks.before_act(call, conversation, &act)
    }

    /// Returns the key and fingerprint that make the act idempotent.
    fn dedup(&self) -> Dedup {
        let place = [
            &self.conversation.0.to_be_bytes()[..],
            &self.target.to_be_bytes(),
            self.act.name().as_bytes(),
        ];
        let value = match &self.act {
            Act::Edit { content } => content.as_bytes(),
            Act::Recall => &[],
            Act::React { emoji, .. } => emoji.as_bytes(),
        };
        let parts = [&place.concat()[..], &[], value];
        self.host.log.dedup(&self.app, self.actor(), &self.id, parts)
    }

    /// Appends the event, and waits until it is durable and published.
    fn append(
        self: &Arc<Self>,
        call: Call,
        conversation: &Arc<Conversation>,
        event: Event,
        dedup: Dedup,
    ) -> Result<(), CommitError> {
        let settlement = &self.host.settlement;
        let (mut draft, sealed) = settlement.join_transaction(call);
        let append = Append {
            log: self.log(),
            body: self.body(conversation, &event).encode_head(),
            tail: event.content.clone(),
            dedup: Some(dedup),
        };
        let has_observers = settlement.outbox().observe_event(
            &mut draft,
            &append,
            event.event,
            &(&**conversation).into(),
            &event.target_kind,
        );
        draft.append(append);
        let (sender, receiver) = std::sync::mpsc::channel();
        let (this, conversation) = (self.clone(), conversation.clone());
        draft.commit(Box::new(move |outcome: CommitResult<'_>| {
            let outcome = outcome.map(|appended| {
                // Events that plugins appended come before it.
                if let Some((own, before)) = appended.split_last() {
                    this.host.settlement.after_commit(sealed, before);
                    this.publish(&conversation, &event, own);
                }
                if has_observers {
                    this.host.settlement.outbox().wake();
                }
            });
            // The receiver waits below, so this doesn't fail.
            let _ = sender.send(outcome);
        }));
        receiver.recv().unwrap_or(Err(CommitError::Closed))
    }

    fn body<'a>(&'a self, conversation: &'a Conversation, event: &'a Event) -> Body<'a> {
        Body {
            event: event.event,
            target: self.target,
            sender: self.actor().as_str(),
            receiver: conversation.other_member(self.actor()).map(ActorId::as_str),
            client_id: &self.id,
            kind: &event.kind,
            content: &event.content,
        }
    }

    fn acknowledge(&self, appended: &Appended, content: Option<&[u8]>) {
        self.queue.push(QueueItem::Answer(reply::ack(&reply::Ack {
            id: &self.id,
            conversation: appended.log.conversation,
            seq: appended.seq,
            event: appended.id,
            time_ms: appended.time_ms,
            content,
        })));
    }

    /// Acknowledges to the actor's session, and publishes the event to all other sessions of the members.
    fn publish(&self, conversation: &Conversation, event: &Event, appended: &Appended) {
        self.acknowledge(appended, event.replaced.then_some(&event.content));
        let body = self.body(conversation, event);
        let view = body.view_at(self.conversation, appended.seq, appended.id, appended.time_ms);
        self.host.bus.publish(Notice {
            app: self.app.clone(),
            actors: conversation.members.clone(),
            except: Some(self.session),
            ephemeral: false,
            frame: reply::event(&view),
        });
    }
}

impl Event {
    fn new(event: EventType, target_kind: &str, content: Bytes) -> Self {
        Self {
            event,
            kind: String::new(),
            target_kind: target_kind.to_owned(),
            content,
            replaced: false,
        }
    }
}
