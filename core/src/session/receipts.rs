//! Receipts: how far members have a conversation; and typing signals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use courtyard_plugin_sdk as sdk;

use super::refusal::{storage_failed, unknown_conversation};
use super::requests::until_durable;
use super::{InFlightPermit, Session};
use crate::bus::Notice;
use crate::clock::now_ms;
use crate::hooks::{Call, StoreAccess, origin};
use crate::host::Host;
use crate::log::{Conversation, Log, LogError, Watermark};
use crate::router::{QueueItem, SessionQueue};
use crate::store::{CommitResult, Draft, Submitter, Transaction};
use crate::wire::reply::ReceiptView;
use crate::wire::{ActorId, AppId, ConversationId, ErrorCode, RequestError, SessionId, reply};

/// Minimum time between two typing signals of a session in the same conversation.
const TYPING_AGAIN: Duration = Duration::from_secs(1);

/// A watermark that isn't stored yet, with everything that a rerun needs.
struct PendingReceipt {
    host: Arc<Host>,
    queue: Arc<SessionQueue>,
    session: SessionId,
    actor: ActorId,
    conversation: Arc<Conversation>,
    id: String,
    to: Watermark,
    /// Whether the other members may see it.
    is_visible: bool,
    /// The watermark after the transaction, and whether the transaction changes it.
    moved: (Watermark, bool),
    /// Held until the receipt is answered.
    _permit: InFlightPermit,
}

impl Session {
    /// Stores how far the actor has a conversation. If plugins decide who sees it, they are called beside the session.
    pub(super) fn receipt(&self, app: &AppId, id: &str, conversation: ConversationId, to: Watermark) {
        let mut pending = match self.pending_receipt(app, id, conversation, to) {
            Ok(pending) => pending,
            Err(error) => return self.refuse(Some(id), &error),
        };
        if !plugins_decide_receipts(&self.host, &pending.conversation) {
            return pending.submit();
        }
        tokio::spawn(async move {
            let workers = pending.host.workers.clone();
            let turn = workers.turn().await;
            let submitted = workers.begin(move || {
                pending.is_visible = may_see_receipts(&pending.host, &pending.conversation, &pending.actor);
                pending.submit();
            });
            if let Err(error) = submitted.await {
                tracing::error!(%error, "moving a watermark failed");
            }
            drop(turn);
        });
    }

    fn pending_receipt(
        &self,
        app: &AppId,
        id: &str,
        conversation: ConversationId,
        to: Watermark,
    ) -> Result<Box<PendingReceipt>, RequestError> {
        let (permit, conversation) = (self.acquire_permit()?, self.conversation(app, conversation)?);
        let store = self.host.log.store();
        let head = store.head(&conversation.log).map_err(|error| storage_failed(&error))?;
        if to.delivered.max(to.read) > head.seq {
            let message = "The conversation has no event of this number yet.";
            return Err(RequestError::new(ErrorCode::UnknownMessage, message));
        }
        Ok(Box::new(PendingReceipt {
            host: self.host.clone(),
            queue: self.queue.clone(),
            session: self.id,
            actor: self.actor()?.clone(),
            conversation,
            id: id.to_owned(),
            to,
            is_visible: true,
            moved: Default::default(),
            _permit: permit,
        }))
    }

    /// Lists the watermarks of the members.
    pub(super) async fn receipts(
        &self,
        app: &AppId,
        id: &str,
        conversation: ConversationId,
        after: Option<ActorId>,
        limit: usize,
    ) {
        let permit = self.acquire_permit();
        let answer = match (self.conversation(app, conversation), self.actor().cloned(), permit) {
            (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => Err(error),
            (Ok(conversation), Ok(viewer), Ok(_permit)) => {
                let (host, id) = (self.host.clone(), id.to_owned());
                let read = move || {
                    let found = host.log.watermarks(&conversation.log, after.as_ref(), limit);
                    let mut found = found.map_err(|error| storage_failed(&error))?;
                    until_durable(&host.log)?;
                    retain_visible(&host, &conversation, &viewer, &mut found);
                    let views: Vec<_> = found.iter().map(|(actor, mark)| view(actor, *mark)).collect();
                    Ok(reply::receipts(&id, conversation.log.conversation, &views))
                };
                self.blocking(read).await.and_then(|frame| frame)
            }
        };
        match answer {
            Ok(frame) => self.answer(frame),
            Err(error) => self.refuse(Some(id), &error),
        }
    }

    /// Signals to the other members that the actor is writing, unless a plugin rejects that. There is no answer.
    pub(super) async fn typing(&mut self, app: &AppId, conversation: ConversationId) {
        let now = Instant::now();
        if let Some((last, until)) = self.last_typing
            && last == conversation
            && now < until
        {
            return;
        }
        let (Ok(conversation), Ok(actor)) = (self.conversation(app, conversation), self.actor().cloned()) else {
            return;
        };
        if conversation.members.len() > self.host.limits.signal_members {
            return;
        }
        self.last_typing = Some((conversation.log.conversation, now + TYPING_AGAIN));
        let Some(signed) = self.signed.clone() else { return };
        let (host, frame) = (
            self.host.clone(),
            reply::typing(conversation.log.conversation, actor.as_str()),
        );
        let tell = move || {
            let act = act("typing", &conversation, &actor);
            let draft = Draft::new(host.log.store().clone());
            let mut call = Call::new(conversation.log.app.clone(), StoreAccess::Read, draft);
            call.caller = signed.caller();
            if host.hooks.before_act(call, &conversation, &act).1.is_ok() {
                let others = conversation.members.iter().filter(|member| **member != actor);
                host.bus.publish(Notice {
                    app: conversation.log.app.clone(),
                    actors: others.cloned().collect(),
                    except: None,
                    ephemeral: true,
                    frame,
                });
            }
        };
        // A signal that fails is dropped; the client sends another one while the actor writes.
        let _ = self.blocking(tell).await;
    }
}

/// Returns an act without a target, which plugins are asked about.
fn act(name: &str, conversation: &Conversation, actor: &ActorId) -> sdk::Act {
    sdk::Act {
        name: name.to_owned(),
        app: conversation.log.app.as_str().to_owned(),
        conversation: conversation.id.to_string(),
        conversation_kind: conversation.kind.to_string(),
        actor: actor.to_string(),
        target: 0,
        target_sender: String::new(),
        target_kind: String::new(),
        value: String::new(),
        time_ms: now_ms(),
    }
}

/// Whether plugins decide who sees receipts: only in conversations of two.
fn plugins_decide_receipts(host: &Host, conversation: &Conversation) -> bool {
    conversation.members.len() == 2 && host.hooks.decides_about_acts(&conversation.kind)
}

/// Whether the plugins let the other member see an actor's receipts.
fn may_see_receipts(host: &Host, conversation: &Conversation, actor: &ActorId) -> bool {
    let app = conversation.log.app.clone();
    let draft = Draft::new(host.log.store().clone());
    let mut call = Call::new(app.clone(), StoreAccess::Read, draft);
    call.origin = Some(origin(&app, actor.as_str()));
    let act = act("receipt", conversation, actor);
    host.hooks.before_act(call, conversation, &act).1.is_ok()
}

/// Removes the receipts of others that the viewer may not see. May block.
pub(super) fn retain_visible(
    host: &Host,
    conversation: &Conversation,
    viewer: &ActorId,
    receipts: &mut Vec<(ActorId, Watermark)>,
) {
    if plugins_decide_receipts(host, conversation) {
        receipts.retain(|(actor, _)| actor == viewer || may_see_receipts(host, conversation, actor));
    }
}

impl PendingReceipt {
    fn submit(self: Box<Self>) {
        let store = self.host.log.store().clone();
        if let Some(transaction) = self.prepare() {
            store.submit(transaction);
        }
    }

    /// Builds the transaction, or returns `None` after answering with an error.
    fn prepare(mut self: Box<Self>) -> Option<Transaction> {
        match self.draft() {
            Ok(draft) => Some(draft.into_transaction(self)),
            Err(error) => {
                self.refuse(&error);
                None
            }
        }
    }

    /// Reads the conversation again, and writes the watermark into a new draft.
    fn draft(&mut self) -> Result<Draft, RequestError> {
        let failed = |error: LogError| storage_failed(&error);
        let log = &self.conversation.log;
        let mut draft = Draft::new(self.host.log.store().clone());
        let conversation = self.host.log.conversations().get(log).map_err(failed)?;
        let is_member = |conversation: &Arc<Conversation>| conversation.has_member(&self.actor);
        let conversation = conversation.filter(is_member).ok_or_else(unknown_conversation)?;
        // The transaction conflicts if the actor leaves the conversation meanwhile.
        draft.add_read(conversation.key.clone());
        self.moved = Log::move_watermark(&mut draft, log, &self.actor, self.to).map_err(failed)?;
        self.conversation = conversation;
        Ok(draft)
    }

    fn refuse(&self, error: &RequestError) {
        self.queue.push(QueueItem::Answer(reply::error(Some(&self.id), error)));
    }

    /// Answers, and sends the receipt to the actor's other devices; to the other members too, if they may see it and
    /// are at most `signal_members`.
    fn publish(&self) {
        let (mark, moved) = self.moved;
        let (log, view) = (&self.conversation.log, view(&self.actor, mark));
        self.queue
            .push(QueueItem::Answer(reply::marked(&self.id, log.conversation, &view)));
        if !moved {
            return;
        }
        let all = self.is_visible && self.conversation.members.len() <= self.host.limits.signal_members;
        self.host.bus.publish(Notice {
            app: log.app.clone(),
            actors: if all {
                self.conversation.members.clone()
            } else {
                [self.actor.clone()].into()
            },
            except: Some(self.session),
            ephemeral: true,
            frame: reply::receipt(log.conversation, &view),
        });
    }
}

impl Submitter for PendingReceipt {
    fn reruns(&self) -> bool {
        true
    }

    fn rerun(self: Box<Self>) -> Option<Transaction> {
        self.prepare()
    }

    fn finish(self: Box<Self>, outcome: CommitResult<'_>) {
        match outcome {
            Ok(_) => self.publish(),
            Err(error) => self.refuse(&error.into()),
        }
    }
}

pub(super) fn view(actor: &ActorId, mark: Watermark) -> ReceiptView<'_> {
    ReceiptView {
        actor: actor.as_str(),
        delivered: mark.delivered,
        read: mark.read,
    }
}
