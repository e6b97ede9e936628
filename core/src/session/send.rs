//! A message's way from a session into the log and on to the others.

use std::sync::Arc;

use bytes::Bytes;

use crate::bus::Notice;
use crate::hooks::{Access, Call, Message};
use crate::log::{Body, Conversation, Draft};
use crate::router::{Item, Queue};
use crate::services::now_ms;
use crate::store::{Append, Appended, CommitError, Dedup, Done, LogId, Rerun, Store, StoredEvent, Transaction};
use crate::wire::{ActorId, AppId, Code, ConversationId, RequestError, SessionId, content, reply};

use super::{Host, Session};

/// A message on its way, with everything that a rerun needs.
struct Outgoing {
    host: Arc<Host>,
    app: AppId,
    sender: ActorId,
    session: SessionId,
    queue: Arc<Queue>,
    conversation: Arc<Conversation>,
    /// The request's and the message's.
    id: Box<str>,
    kind: Box<str>,
    content: Bytes,
    dedup: Dedup,
    /// Keeps its place among the requests of the session until it is answered.
    _in_flight: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Session {
    /// Sends a message. The answer comes when the message is durable.
    pub(super) async fn send(
        &mut self,
        app: &AppId,
        id: &str,
        conversation: ConversationId,
        kind: &str,
        content: &str,
        frame: &Bytes,
    ) {
        match self.outgoing(app, id, conversation, kind, frame.slice_ref(content.as_bytes())) {
            Err(error) => self.refuse(Some(id), &error),
            Ok((outgoing, false)) if self.host.hooks.before_send_is_slow(&outgoing.conversation.kind, kind) => {
                // Awaited, so that messages of a session keep their order.
                let sent = self.blocking(move || submit(outgoing)).await;
                if let Err(error) = sent {
                    self.refuse(Some(id), &error);
                }
            }
            Ok((outgoing, false)) => submit(outgoing),
            Ok((outgoing, true)) => resubmit(outgoing),
        }
    }

    /// Checks a message; also tells whether it was committed before.
    fn outgoing(
        &self,
        app: &AppId,
        id: &str,
        conversation: ConversationId,
        kind: &str,
        content: Bytes,
    ) -> Result<(Outgoing, bool), RequestError> {
        let actor = self.actor()?;
        let in_flight = self.take_place()?;
        let text = std::str::from_utf8(&content).unwrap_or_default();
        content::check(kind, text).map_err(|error| RequestError::new(Code::BadContent, error.to_string()))?;
        let conversation = self.conversation(app, conversation)?;
        let name = conversation.log.conversation.0.to_be_bytes();
        let dedup = self.host.log.dedup(app, actor, id, [&name, kind.as_bytes(), &content]);
        let known = self
            .host
            .log
            .find(dedup)
            .map_err(|error| super::requests::storage_failed(&error))?
            .is_some();
        let outgoing = Outgoing {
            host: self.host.clone(),
            app: app.clone(),
            sender: actor.clone(),
            session: self.id,
            queue: self.queue.clone(),
            conversation,
            id: id.into(),
            kind: kind.into(),
            content,
            dedup,
            _in_flight: Some(in_flight),
        };
        Ok((outgoing, known))
    }
}

/// Asks the plugins and hands the message to the store.
fn submit(outgoing: Outgoing) {
    let store = outgoing.host.log.store().clone();
    if let Some(transaction) = prepare(outgoing) {
        store.submit(transaction);
    }
}

/// Hands a message to the store that was committed before, so that the first answer comes again, once it is durable.
fn resubmit(outgoing: Outgoing) {
    let store = outgoing.host.log.store().clone();
    let draft = Draft::new(store.clone());
    store.submit(finish(outgoing, draft, None));
}

/// Asks the plugins; none if one of them rejected the message, which the sender has then been told.
fn prepare(outgoing: Outgoing) -> Option<Transaction> {
    let host = &outgoing.host;
    let mut draft = Draft::new(host.log.store().clone());
    // Whoever leaves the conversation meanwhile must not get this message in.
    draft.rely_on(outgoing.conversation.key.clone());
    let id = outgoing.conversation.log.conversation.to_string();
    let message = Message {
        app: outgoing.app.as_str(),
        conversation: &id,
        conversation_kind: &outgoing.conversation.kind,
        sender: outgoing.sender.as_str(),
        receiver: outgoing.receiver(),
        kind: &outgoing.kind,
        client_id: &outgoing.id,
        content: &outgoing.content,
        seq: 0,
        time_ms: now_ms(),
    };
    let call = Call::new(outgoing.app.clone(), Access::Write, draft);
    match host.hooks.before_send(call, &message) {
        (call, Ok(passed)) => {
            let Call { draft, ends, .. } = *call;
            for end in ends {
                host.router.end(&outgoing.app, &end.actor, end.credential.as_deref());
            }
            Some(finish(outgoing, draft, passed.content))
        }
        (_, Err(error)) => {
            outgoing.refuse(&error);
            None
        }
    }
}

/// Makes the transaction that appends the message.
fn finish(outgoing: Outgoing, mut draft: Draft, replaced: Option<Bytes>) -> Transaction {
    let body = Body {
        sender: outgoing.sender.as_str(),
        receiver: Some(outgoing.receiver()).filter(|receiver| !receiver.is_empty()),
        client_id: &outgoing.id,
        kind: &outgoing.kind,
        content: replaced.as_deref().unwrap_or(&outgoing.content),
    };
    let body = body.encode();
    let append = Append {
        log: outgoing.conversation.log.clone(),
        body: body.clone(),
        dedup: Some(outgoing.dedup),
    };
    let noted = outgoing
        .host
        .observers
        .note(&mut draft, &append, &outgoing.conversation.kind, &outgoing.kind);
    draft.append(append);
    let outgoing = Arc::new(outgoing);
    let again = outgoing.clone();
    let rerun: Rerun = Box::new(move |_: &dyn Store| rerun(&again));
    let done: Done = Box::new(move |outcome| match outcome {
        Ok(appended) => {
            if let [appended] = &appended[..] {
                outgoing.publish(appended, &body, replaced.as_deref());
            }
            if noted {
                outgoing.host.observers.wake();
            }
        }
        Err(error) => outgoing.answer_failure(error),
    });
    draft.into_transaction(Some(rerun), done)
}

/// Makes the transaction anew after a conflict, on what the conversation is now.
fn rerun(before: &Outgoing) -> Option<Transaction> {
    let log = &before.conversation.log;
    let conversation = match before.host.log.conversations().get(log) {
        Ok(Some(conversation)) if conversation.has_member(&before.sender) => conversation,
        Ok(_) => {
            before.refuse(&super::requests::unknown_conversation());
            return None;
        }
        Err(error) => {
            before.refuse(&super::requests::storage_failed(&error));
            return None;
        }
    };
    prepare(Outgoing {
        host: before.host.clone(),
        app: before.app.clone(),
        sender: before.sender.clone(),
        session: before.session,
        queue: before.queue.clone(),
        conversation,
        id: before.id.clone(),
        kind: before.kind.clone(),
        content: before.content.clone(),
        dedup: before.dedup,
        _in_flight: None,
    })
}

impl Outgoing {
    fn receiver(&self) -> &str {
        self.conversation.other_member(&self.sender).map_or("", ActorId::as_str)
    }

    fn refuse(&self, error: &RequestError) {
        self.queue.push(Item::Answer(reply::error(Some(&self.id), error)));
    }

    fn acknowledge(&self, appended: &Appended, content: Option<&[u8]>) {
        self.queue.push(Item::Answer(reply::ack(&reply::Ack {
            id: &self.id,
            conversation: appended.log.conversation,
            seq: appended.seq,
            event: appended.id,
            time_ms: appended.time_ms,
            content,
        })));
    }

    /// Answers the sender and shows the message to everybody else.
    fn publish(&self, appended: &Appended, body: &Bytes, replaced: Option<&[u8]>) {
        self.acknowledge(appended, replaced);
        // What was encoded a moment ago can be decoded.
        let Ok(message) = Body::decode(body) else { return };
        let event = StoredEvent {
            seq: appended.seq,
            id: appended.id,
            time_ms: appended.time_ms,
            body: Bytes::new(),
        };
        let frame = reply::event(&message.view(appended.log.conversation, &event));
        self.host.bus.publish(Notice {
            app: self.app.clone(),
            actors: self.conversation.members.clone(),
            except: Some(self.session),
            frame,
        });
    }

    fn answer_failure(&self, error: CommitError) {
        match error {
            CommitError::Duplicate(first) => {
                let content = self.changed_content(&first);
                self.acknowledge(&first, content.as_deref());
            }
            error => self.refuse(&super::requests::commit_failed(&error)),
        }
    }

    /// Returns the content of an earlier commit, if a plugin had replaced it.
    fn changed_content(&self, first: &Appended) -> Option<Vec<u8>> {
        let log = LogId {
            app: self.app.clone(),
            conversation: first.log.conversation,
        };
        let events = self
            .host
            .log
            .store()
            .events(&log, first.seq..=first.seq, 1, false)
            .ok()?;
        let body = Body::decode(&events.first()?.body).ok()?;
        (body.content != self.content).then(|| body.content.to_vec())
    }
}
