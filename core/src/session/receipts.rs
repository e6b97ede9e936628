//! Up to where members have a conversation, and who is writing in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use courtyard_plugin_sdk as sdk;

use super::refusal::{storage_failed, unknown_conversation};
use super::requests::until_durable;
use super::{Place, Session};
use crate::bus::Notice;
use crate::clock::now_ms;
use crate::hooks::{Access, Call, origin};
use crate::host::Host;
use crate::log::{Conversation, Draft, Log, LogError, Watermark};
use crate::router::{Item, Queue};
use crate::store::{Outcome, Submitter, Transaction};
use crate::wire::reply::ReceiptView;
use crate::wire::{ActorId, AppId, Code, ConversationId, RequestError, SessionId, reply};

/// How long nobody is told again that a session writes in the same conversation.
const TYPING_AGAIN: Duration = Duration::from_secs(1);

/// A watermark on its way, with everything that a rerun needs.
struct Moving {
    host: Arc<Host>,
    queue: Arc<Queue>,
    session: SessionId,
    actor: ActorId,
    conversation: Arc<Conversation>,
    id: String,
    to: Watermark,
    /// Whether the other members may hear of it.
    is_told: bool,
    /// As it is with the transaction, and whether that moves it.
    moved: (Watermark, bool),
    /// Among the requests of the session, until it is answered.
    _place: Place,
}

impl Session {
    /// Notes up to where the actor has a conversation. What a plugin has to say about it is waited for beside the session.
    pub(super) fn receipt(&self, app: &AppId, id: &str, conversation: ConversationId, to: Watermark) {
        let mut moving = match self.moving(app, id, conversation, to) {
            Ok(moving) => moving,
            Err(error) => return self.refuse(Some(id), &error),
        };
        if !is_asked_about(&self.host, &moving.conversation) {
            return moving.submit();
        }
        tokio::spawn(async move {
            let workers = moving.host.workers.clone();
            let turn = workers.turn().await;
            let submitted = workers.begin(move || {
                moving.is_told = may_be_told(&moving.host, &moving.conversation, &moving.actor);
                moving.submit();
            });
            if let Err(error) = submitted.await {
                tracing::error!(%error, "moving a watermark failed");
            }
            drop(turn);
        });
    }

    fn moving(
        &self,
        app: &AppId,
        id: &str,
        conversation: ConversationId,
        to: Watermark,
    ) -> Result<Box<Moving>, RequestError> {
        let (place, conversation) = (self.take_place()?, self.conversation(app, conversation)?);
        let store = self.host.log.store();
        let head = store.head(&conversation.log).map_err(|error| storage_failed(&error))?;
        if to.delivered.max(to.read) > head.seq {
            let message = "The conversation has no event of this number yet.";
            return Err(RequestError::new(Code::UnknownMessage, message));
        }
        Ok(Box::new(Moving {
            host: self.host.clone(),
            queue: self.queue.clone(),
            session: self.id,
            actor: self.actor()?.clone(),
            conversation,
            id: id.to_owned(),
            to,
            is_told: true,
            moved: Default::default(),
            _place: place,
        }))
    }

    /// Lists up to where the members have a conversation.
    pub(super) async fn receipts(
        &self,
        app: &AppId,
        id: &str,
        conversation: ConversationId,
        after: Option<ActorId>,
        limit: usize,
    ) {
        let place = self.take_place();
        let answer = match (self.conversation(app, conversation), self.actor().cloned(), place) {
            (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => Err(error),
            (Ok(conversation), Ok(viewer), Ok(_place)) => {
                let (host, id) = (self.host.clone(), id.to_owned());
                let read = move || {
                    let found = host.log.watermarks(&conversation.log, after.as_ref(), limit);
                    let mut found = found.map_err(|error| storage_failed(&error))?;
                    until_durable(&host.log)?;
                    keep_told(&host, &conversation, &viewer, &mut found);
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

    /// Tells the others that the actor is writing, if no plugin is against it. There is no answer.
    pub(super) async fn typing(&mut self, app: &AppId, conversation: ConversationId) {
        let now = Instant::now();
        if let Some((last, until)) = self.typed
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
        self.typed = Some((conversation.log.conversation, now + TYPING_AGAIN));
        let Some(signed) = self.signed.clone() else { return };
        let (host, frame) = (
            self.host.clone(),
            reply::typing(conversation.log.conversation, actor.as_str()),
        );
        let tell = move || {
            let act = act("typing", &conversation, &actor);
            let draft = Draft::new(host.log.store().clone());
            let mut call = Call::new(conversation.log.app.clone(), Access::Read, draft);
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
        // Whoever could not be told is told by the next one.
        let _ = self.blocking(tell).await;
    }
}

/// Returns what plugins are asked about that is about no message.
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

/// Whether plugins are asked about who may hear of receipts: only two can have something between them.
fn is_asked_about(host: &Host, conversation: &Conversation) -> bool {
    conversation.members.len() == 2 && host.hooks.decides_about_acts(&conversation.kind)
}

/// Whether the other member may hear of the receipts of one, for all that the plugins have against it.
fn may_be_told(host: &Host, conversation: &Conversation, actor: &ActorId) -> bool {
    let app = conversation.log.app.clone();
    let draft = Draft::new(host.log.store().clone());
    let mut call = Call::new(app.clone(), Access::Read, draft);
    call.origin = Some(origin(&app, actor.as_str()));
    let act = act("receipt", conversation, actor);
    host.hooks.before_act(call, conversation, &act).1.is_ok()
}

/// Leaves out the receipts of others that a viewer may not hear of. May wait.
pub(super) fn keep_told(
    host: &Host,
    conversation: &Conversation,
    viewer: &ActorId,
    receipts: &mut Vec<(ActorId, Watermark)>,
) {
    if is_asked_about(host, conversation) {
        receipts.retain(|(actor, _)| actor == viewer || may_be_told(host, conversation, actor));
    }
}

impl Moving {
    fn submit(self: Box<Self>) {
        let store = self.host.log.store().clone();
        if let Some(transaction) = self.prepare() {
            store.submit(transaction);
        }
    }

    /// Makes the transaction; none if there is an answer already.
    fn prepare(mut self: Box<Self>) -> Option<Transaction> {
        match self.draft() {
            Ok(draft) => Some(draft.into_transaction(self)),
            Err(error) => {
                self.refuse(&error);
                None
            }
        }
    }

    /// Begins anew, on what the conversation is now.
    fn draft(&mut self) -> Result<Draft, RequestError> {
        let failed = |error: LogError| storage_failed(&error);
        let log = &self.conversation.log;
        let mut draft = Draft::new(self.host.log.store().clone());
        let conversation = self.host.log.conversations().get(log).map_err(failed)?;
        let is_member = |conversation: &Arc<Conversation>| conversation.has_member(&self.actor);
        let conversation = conversation.filter(is_member).ok_or_else(unknown_conversation)?;
        // Whoever leaves it meanwhile leaves no trace in it.
        draft.rely_on(conversation.key.clone());
        self.moved = Log::move_watermark(&mut draft, log, &self.actor, self.to).map_err(failed)?;
        self.conversation = conversation;
        Ok(draft)
    }

    fn refuse(&self, error: &RequestError) {
        self.queue.push(Item::Answer(reply::error(Some(&self.id), error)));
    }

    /// Answers, and tells the others, if they are few enough to care, and the actor's other devices.
    fn publish(&self) {
        let (mark, moved) = self.moved;
        let (log, view) = (&self.conversation.log, view(&self.actor, mark));
        self.queue
            .push(Item::Answer(reply::marked(&self.id, log.conversation, &view)));
        if !moved {
            return;
        }
        let all = self.is_told && self.conversation.members.len() <= self.host.limits.signal_members;
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

impl Submitter for Moving {
    fn reruns(&self) -> bool {
        true
    }

    fn rerun(self: Box<Self>) -> Option<Transaction> {
        self.prepare()
    }

    fn settled(self: Box<Self>, outcome: Outcome<'_>) {
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
