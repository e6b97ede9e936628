//! A message's way from a session into the log and on to the others.

use std::sync::Arc;

use bytes::Bytes;

use crate::bus::Notice;
use crate::clock::now_ms;
use crate::hooks::{Access, Call, Message, Sealed};
use crate::host::Host;
use crate::log::{Body, Conversation, Draft, EventType};
use crate::router::{Item, Queue};
use crate::store::{Append, Appended, CommitError, Dedup, LogId, Outcome, Position, Submitter, Transaction};
use crate::wire::{ActorId, AppId, Code, ConversationId, RequestError, SessionId, content, reply};

use super::{Place, Session};

/// The parts of a frame that a message is made of.
struct Parts {
    frame: Bytes,
    id: Part,
    kind: Part,
    content: Part,
}

/// Where something is in a frame.
type Part = std::ops::Range<u32>;

impl Parts {
    /// Finds the parts in the frame that they were read from.
    fn new(frame: &Bytes, id: &str, kind: &str, content: &str) -> Self {
        let find = |part: &str| {
            let start = (part.as_ptr() as usize).wrapping_sub(frame.as_ptr() as usize);
            let inside = start <= frame.len() && part.len() <= frame.len() - start;
            inside.then(|| number(start)..number(start + part.len()))
        };
        if let (Some(id), Some(kind), Some(content)) = (find(id), find(kind), find(content)) {
            return Self {
                frame: frame.clone(),
                id,
                kind,
                content,
            };
        }
        // There were escapes, so a frame without any stands in.
        let ends = [id.len(), id.len() + kind.len(), id.len() + kind.len() + content.len()].map(number);
        Self {
            frame: [id.as_bytes(), kind.as_bytes(), content.as_bytes()].concat().into(),
            id: 0..ends[0],
            kind: ends[0]..ends[1],
            content: ends[1]..ends[2],
        }
    }

    fn bytes(&self, part: &Part) -> &[u8] {
        self.frame
            .get(part.start as usize..part.end as usize)
            .unwrap_or_default()
    }

    fn text(&self, part: &Part) -> &str {
        // It was found by a text.
        std::str::from_utf8(self.bytes(part)).unwrap_or_default()
    }

    fn id(&self) -> &str {
        self.text(&self.id)
    }

    fn kind(&self) -> &str {
        self.text(&self.kind)
    }

    fn content(&self) -> &[u8] {
        self.bytes(&self.content)
    }
}

/// A frame is far smaller than 4 GiB.
fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A message on its way, as it goes from hand to hand.
pub(super) type Underway = Box<Outgoing>;

/// A message on its way, with everything that a rerun needs.
pub(super) struct Outgoing {
    host: Arc<Host>,
    sender: ActorId,
    session: SessionId,
    queue: Arc<Queue>,
    /// As it was at `since`.
    conversation: Arc<Conversation>,
    since: Position,
    parts: Parts,
    /// What a plugin put in the place of the content.
    replaced: Option<Bytes>,
    dedup: Dedup,
    /// What plugins left to be done with it.
    sealed: Option<Box<Sealed>>,
    /// Why a plugin rejects it.
    refusal: Option<Box<RequestError>>,
    /// Whether an observer is to see it.
    noted: bool,
    /// Among the requests of the session, until it is answered.
    _place: Place,
}

impl Session {
    /// Sends messages, in order. Their answers come when they are durable.
    pub(super) async fn submit(&self, messages: &mut Vec<Underway>) {
        if messages.is_empty() {
            return;
        }
        let slow = |message: &Outgoing| {
            let hooks = &self.host.hooks;
            hooks.before_send_is_slow(&message.conversation.kind, message.parts.kind())
        };
        let store = self.host.log.store();
        if !messages.iter().any(|message| slow(message)) {
            let mut transactions: Vec<Transaction> = messages
                .drain(..)
                .filter_map(|message| prepare(message, true))
                .collect();
            store.submit_all(&mut transactions);
            return;
        }
        for message in messages.drain(..) {
            let (id, store) = (message.parts.id().to_owned(), store.clone());
            // Awaited, so that messages of a session keep their order.
            let sent = self.blocking(move || {
                if let Some(transaction) = prepare(message, true) {
                    store.submit(transaction);
                }
            });
            if let Err(error) = sent.await {
                self.refuse(Some(&id), &error);
            }
        }
    }

    /// Checks a message.
    pub(super) fn outgoing(
        &self,
        app: &AppId,
        id: &str,
        conversation: ConversationId,
        kind: &str,
        content: &str,
        frame: &Bytes,
    ) -> Result<Underway, RequestError> {
        let actor = self.actor()?;
        let place = self.take_place()?;
        content::check(kind, content).map_err(|error| RequestError::new(Code::BadContent, error.to_string()))?;
        let since = self.host.log.store().position();
        let conversation = self.conversation(app, conversation)?;
        let name = conversation.log.conversation.0.to_be_bytes();
        let dedup = self
            .host
            .log
            .dedup(app, actor, id, [&name, kind.as_bytes(), content.as_bytes()]);
        Ok(Box::new(Outgoing {
            host: self.host.clone(),
            sender: actor.clone(),
            session: self.id,
            queue: self.queue.clone(),
            conversation,
            since,
            parts: Parts::new(frame, id, kind, content),
            replaced: None,
            dedup,
            sealed: None,
            refusal: None,
            noted: false,
            _place: place,
        }))
    }
}

/// Asks the plugins, which may wait for other transactions if `patient`; none if that failed, which the sender has then been
/// told. Also a rejection is a transaction: it counts once what it was made of is durable and still true.
fn prepare(mut outgoing: Underway, patient: bool) -> Option<Transaction> {
    let (host, conversation) = (&outgoing.host, &outgoing.conversation);
    let mut draft = Draft::since(host.log.store().clone(), outgoing.since);
    // Whoever leaves the conversation meanwhile must not get this message in.
    draft.rely_on(conversation.key.clone());
    let message = Message {
        app: conversation.log.app.as_str(),
        conversation: &conversation.id,
        conversation_kind: &conversation.kind,
        sender: outgoing.sender.as_str(),
        receiver: outgoing.receiver(),
        kind: outgoing.parts.kind(),
        client_id: outgoing.parts.id(),
        content: outgoing.parts.content(),
        seq: 0,
        edits: 0,
        time_ms: now_ms(),
    };
    let mut call = Call::new(conversation.log.app.clone(), Access::Write, draft);
    call.patient = patient;
    call.caller.actor = Some(outgoing.sender.clone());
    match host.hooks.before_send(call, conversation, &message) {
        (call, Ok(passed)) => {
            outgoing.replaced = passed.content;
            // Seldom, so that a message has no room for it otherwise.
            let draft = if call.effects.is_empty() {
                call.draft
            } else {
                let (draft, sealed) = host.settlement.seal(*call);
                outgoing.sealed = Some(Box::new(sealed));
                draft
            };
            Some(finish(outgoing, draft))
        }
        (call, Err(error)) => match host.log.find(outgoing.dedup) {
            // It was committed before, and gets the same answer again: a plugin decides once.
            Ok(Some(_)) => {
                // Should it be forgotten by the time of the commit: the conversation has been written since the beginning,
                // so this is then a conflict, and the plugins are asked anew.
                let mut draft = Draft::since(host.log.store().clone(), Position::default());
                draft.rely_on(conversation.key.clone());
                Some(finish(outgoing, draft))
            }
            Ok(None) => {
                let mut draft = call.draft;
                draft.forget_writes();
                outgoing.refusal = Some(Box::new(error));
                Some(draft.into_transaction(outgoing))
            }
            Err(failure) => {
                outgoing.refuse(&super::refusal::storage_failed(&failure));
                None
            }
        },
    }
}

/// Makes the transaction that appends the message.
fn finish(mut outgoing: Underway, mut draft: Draft) -> Transaction {
    let body = Body {
        sender: outgoing.sender.as_str(),
        receiver: Some(outgoing.receiver()).filter(|receiver| !receiver.is_empty()),
        client_id: outgoing.parts.id(),
        kind: outgoing.parts.kind(),
        content: outgoing.content(),
        ..Body::default()
    };
    let append = Append {
        log: outgoing.conversation.log.clone(),
        body: body.encode_head(),
        tail: match &outgoing.replaced {
            Some(replaced) => replaced.clone(),
            None => outgoing.parts.frame.slice_ref(outgoing.parts.content()),
        },
        dedup: Some(outgoing.dedup),
    };
    let outbox = outgoing.host.settlement.outbox();
    let (conversation, kind) = (&*outgoing.conversation, outgoing.parts.kind());
    outgoing.noted = outbox.note(&mut draft, &append, EventType::Message, &conversation.into(), kind);
    draft.append(append);
    draft.into_transaction(outgoing)
}

impl Submitter for Outgoing {
    fn reruns(&self) -> bool {
        true
    }

    /// Asks the plugins again, about what the conversation is now.
    fn rerun(mut self: Box<Self>) -> Option<Transaction> {
        self.since = self.host.log.store().position();
        match self.host.log.conversations().get(&self.conversation.log) {
            Ok(Some(conversation)) if conversation.has_member(&self.sender) => {
                self.conversation = conversation;
                (self.replaced, self.sealed, self.refusal) = (None, None, None);
                prepare(self, false)
            }
            Ok(_) => {
                self.refuse(&super::refusal::unknown_conversation());
                None
            }
            Err(error) => {
                self.refuse(&super::refusal::storage_failed(&error));
                None
            }
        }
    }

    fn settled(mut self: Box<Self>, outcome: Outcome<'_>) {
        match outcome {
            Ok(appended) => {
                if let Some(error) = self.refusal {
                    return self
                        .queue
                        .push(Item::Answer(reply::error(Some(self.parts.id()), &error)));
                }
                // What plugins appended stands before the message.
                if let Some((message, before)) = appended.split_last() {
                    if let Some(sealed) = self.sealed.take() {
                        self.host.settlement.settle(*sealed, before);
                    }
                    self.publish(message);
                }
                if self.noted {
                    self.host.settlement.outbox().wake();
                }
            }
            Err(error) => self.answer_failure(error),
        }
    }
}

impl Outgoing {
    fn receiver(&self) -> &str {
        self.conversation.other_member(&self.sender).map_or("", ActorId::as_str)
    }

    /// Returns what is kept of the content.
    fn content(&self) -> &[u8] {
        self.replaced.as_deref().unwrap_or_else(|| self.parts.content())
    }

    fn refuse(&self, error: &RequestError) {
        self.queue
            .push(Item::Answer(reply::error(Some(self.parts.id()), error)));
    }

    fn acknowledge(&self, appended: &Appended, content: Option<&[u8]>) {
        self.queue.push(Item::Answer(reply::ack(&reply::Ack {
            id: self.parts.id(),
            conversation: appended.log.conversation,
            seq: appended.seq,
            event: appended.id,
            time_ms: appended.time_ms,
            content,
        })));
    }

    /// Answers the sender and shows the message to everybody else.
    fn publish(&self, appended: &Appended) {
        self.acknowledge(appended, self.replaced.as_deref());
        let body = Body {
            sender: self.sender.as_str(),
            receiver: Some(self.receiver()).filter(|receiver| !receiver.is_empty()),
            client_id: self.parts.id(),
            kind: self.parts.kind(),
            content: self.content(),
            ..Body::default()
        };
        let conversation = appended.log.conversation;
        let frame = reply::event(&body.view_at(conversation, appended.seq, appended.id, appended.time_ms));
        self.host.bus.publish(Notice {
            app: self.conversation.log.app.clone(),
            actors: self.conversation.members.clone(),
            except: Some(self.session),
            ephemeral: false,
            frame,
        });
    }

    fn answer_failure(&self, error: CommitError) {
        match error {
            CommitError::Duplicate(first) => {
                let content = self.changed_content(&first);
                self.acknowledge(&first, content.as_deref());
            }
            error => self.refuse(&error.into()),
        }
    }

    /// Returns the content of an earlier commit, if a plugin had replaced it.
    fn changed_content(&self, first: &Appended) -> Option<Vec<u8>> {
        let log = LogId {
            app: self.conversation.log.app.clone(),
            conversation: first.log.conversation,
        };
        let events = self
            .host
            .log
            .store()
            .events(&log, first.seq..=first.seq, 1, false)
            .ok()?;
        let body = Body::decode(&events.first()?.body).ok()?;
        (body.content != self.parts.content()).then(|| body.content.to_vec())
    }
}
