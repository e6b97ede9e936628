//! Up to where members have a conversation, and who is writing in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use courtyard_plugin_sdk as sdk;

use super::requests::{commit_failed, storage_failed, unknown_conversation};
use super::{Host, Place, Session};
use crate::bus::Notice;
use crate::clock::now_ms;
use crate::hooks::{Access, Call};
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
    /// As it is with the transaction, and whether that moves it.
    moved: (Watermark, bool),
    /// Among the requests of the session, until it is answered.
    _place: Place,
}

impl Session {
    /// Notes up to where the actor has a conversation.
    pub(super) fn receipt(&self, app: &AppId, id: &str, conversation: ConversationId, to: Watermark) {
        if let Err(error) = self.move_watermark(app, id, conversation, to) {
            self.refuse(Some(id), &error);
        }
    }

    fn move_watermark(
        &self,
        app: &AppId,
        id: &str,
        conversation: ConversationId,
        to: Watermark,
    ) -> Result<(), RequestError> {
        let (place, conversation) = (self.take_place()?, self.conversation(app, conversation)?);
        let store = self.host.log.store();
        let head = store.head(&conversation.log).map_err(|error| storage_failed(&error))?;
        if to.delivered.max(to.read) > head.seq {
            let message = "The conversation has no event of this number yet.";
            return Err(RequestError::new(Code::UnknownMessage, message));
        }
        let moving = Box::new(Moving {
            host: self.host.clone(),
            queue: self.queue.clone(),
            session: self.id,
            actor: self.actor()?.clone(),
            conversation,
            id: id.to_owned(),
            to,
            moved: Default::default(),
            _place: place,
        });
        if let Some(transaction) = moving.prepare() {
            store.submit(transaction);
        }
        Ok(())
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
        let answer = match (self.conversation(app, conversation), place) {
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(conversation), Ok(_place)) => {
                let (host, id) = (self.host.clone(), id.to_owned());
                let read = move || {
                    let found = host.log.watermarks(&conversation.log, after.as_ref(), limit);
                    let found = found.map_err(|error| storage_failed(&error))?;
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
            let act = sdk::Act {
                name: "typing".to_owned(),
                app: conversation.log.app.as_str().to_owned(),
                conversation: conversation.id.to_string(),
                conversation_kind: conversation.kind.to_string(),
                actor: actor.to_string(),
                target: 0,
                target_sender: String::new(),
                target_kind: String::new(),
                value: String::new(),
                time_ms: now_ms(),
            };
            let draft = Draft::new(host.log.store().clone());
            let mut call = Call::new(conversation.log.app.clone(), Access::Read, draft);
            call.caller = signed.caller();
            if host.hooks.before_act(call, &act).1.is_ok() {
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

impl Moving {
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
        let all = self.conversation.members.len() <= self.host.limits.signal_members;
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
            Err(error) => self.refuse(&commit_failed(&error)),
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
