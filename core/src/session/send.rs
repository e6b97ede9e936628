//! Sending: from a session through the plugins into the log, and on to the other members.

use std::sync::Arc;

use bytes::Bytes;

use crate::bus::Notice;
use crate::clock::now_ms;
use crate::effects::PostCommit;
use crate::hooks::{Call, Message, StoreAccess};
use crate::host::Host;
use crate::log::{Body, Conversation, EventType};
use crate::router::{QueueItem, SessionQueue};
use crate::store::{
    Append, Appended, CommitError, CommitResult, Dedup, Draft, LogId, Position, Submitter, Transaction,
};
use crate::wire::{ActorId, AppId, ConversationId, ErrorCode, RequestError, SessionId, content, reply};

use super::{InFlightPermit, Session};

/// The id, kind and content of a `send` frame, as ranges of its bytes.
struct FrameSlices {
    frame: Bytes,
    id: ByteRange,
    kind: ByteRange,
    content: ByteRange,
}

/// A range of bytes in a frame.
type ByteRange = std::ops::Range<u32>;

impl FrameSlices {
    /// Locates texts that were parsed out of `frame`. Texts with escapes aren't part of it, so all three are copied
    /// then.
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
        // At least one text had escapes and was copied while parsing.
        let ends = [id.len(), id.len() + kind.len(), id.len() + kind.len() + content.len()].map(number);
        Self {
            frame: [id.as_bytes(), kind.as_bytes(), content.as_bytes()].concat().into(),
            id: 0..ends[0],
            kind: ends[0]..ends[1],
            content: ends[1]..ends[2],
        }
    }

    fn bytes(&self, part: &ByteRange) -> &[u8] {
        self.frame
            .get(part.start as usize..part.end as usize)
            .unwrap_or_default()
    }

    fn text(&self, part: &ByteRange) -> &str {
        // The range was made from a `&str`.
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

/// Frames are far smaller than 4 GiB, so every offset fits.
fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Whether a plugin call may block until other transactions have ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blocking {
    /// On a thread of the session.
    Allowed,
    /// On the committer's thread, for which all other transactions wait.
    Forbidden,
}

/// A message that isn't in the log yet, with everything that a rerun needs. Boxed, since it moves between threads.
pub(super) struct PendingSend {
    host: Arc<Host>,
    sender: ActorId,
    session: SessionId,
    queue: Arc<SessionQueue>,
    /// The conversation at the position `since`.
    conversation: Arc<Conversation>,
    since: Position,
    slices: FrameSlices,
    /// The content that a plugin replaced the sender's with.
    replaced: Option<Bytes>,
    dedup: Dedup,
    /// The effects of the plugin calls, which take place after the commit.
    sealed: Option<Box<PostCommit>>,
    /// The rejection of a plugin; the transaction appends nothing then.
    refusal: Option<Box<RequestError>>,
    /// Whether the outbox holds an entry for observers.
    has_observers: bool,
    /// Held until the message is answered.
    _permit: InFlightPermit,
}

impl Session {
    /// Submits messages in order. Each is answered when it is durable.
    #[expect(clippy::vec_box, reason = "a message moves between threads, and is large")]
    pub(super) async fn submit(&self, messages: &mut Vec<Box<PendingSend>>) {
        if messages.is_empty() {
            return;
        }
        let is_slow = |message: &PendingSend| {
            let hooks = &self.host.hooks;
            hooks.before_send_is_slow(&message.conversation.kind, message.slices.kind())
        };
        let store = self.host.log.store();
        if !messages.iter().any(|message| is_slow(message)) {
            let mut transactions: Vec<Transaction> = messages
                .drain(..)
                .filter_map(|message| prepare(message, Blocking::Allowed))
                .collect();
            store.submit_all(&mut transactions);
            return;
        }
        for message in messages.drain(..) {
            let (id, store) = (message.slices.id().to_owned(), store.clone());
            // Awaited, so that messages of a session keep their order.
            let sent = self.blocking(move || {
                if let Some(transaction) = prepare(message, Blocking::Allowed) {
                    store.submit(transaction);
                }
            });
            if let Err(error) = sent.await {
                self.refuse(Some(&id), &error);
            }
        }
    }

    /// Checks a `send` frame, and acquires its permit.
    pub(super) fn pending_send(
        &self,
        app: &AppId,
        id: &str,
        conversation: ConversationId,
        kind: &str,
        content: &str,
        frame: &Bytes,
    ) -> Result<Box<PendingSend>, RequestError> {
        let actor = self.actor()?;
        let permit = self.acquire_permit()?;
        content::check(kind, content)
            .map_err(|error| RequestError::new(ErrorCode::InvalidContent, error.to_string()))?;
        let since = self.host.log.store().position();
        let conversation = self.conversation(app, conversation)?;
        let name = conversation.log.conversation.0.to_be_bytes();
        let dedup = self
            .host
            .log
            .dedup(app, actor, id, [&name, kind.as_bytes(), content.as_bytes()]);
        Ok(Box::new(PendingSend {
            host: self.host.clone(),
            sender: actor.clone(),
            session: self.id,
            queue: self.queue.clone(),
            conversation,
            since,
            slices: FrameSlices::new(frame, id, kind, content),
            replaced: None,
            dedup,
            sealed: None,
            refusal: None,
            has_observers: false,
            _permit: permit,
        }))
    }
}

/// Calls the plugins and returns the transaction, or `None` after answering the sender with a failure to read. A
/// rejection is a transaction as well: it is sent only once everything it was based on is durable and unchanged.
fn prepare(mut pending: Box<PendingSend>, blocking: Blocking) -> Option<Transaction> {
    let (host, conversation) = (&pending.host, &pending.conversation);
    let mut draft = Draft::since(host.log.store().clone(), pending.since);
    // The transaction conflicts if the sender leaves the conversation meanwhile.
    draft.add_read(conversation.key.clone());
    let message = Message {
        app: conversation.log.app.as_str(),
        conversation: &conversation.id,
        conversation_kind: &conversation.kind,
        sender: pending.sender.as_str(),
        receiver: pending.receiver(),
        kind: pending.slices.kind(),
        client_id: pending.slices.id(),
        content: pending.slices.content(),
        seq: 0,
        edits: 0,
        time_ms: now_ms(),
    };
    let mut call = Call::new(conversation.log.app.clone(), StoreAccess::Write, draft);
    call.may_block = blocking == Blocking::Allowed;
    call.caller.actor = Some(pending.sender.clone());
    match host.hooks.before_send(call, conversation, &message) {
        (call, Ok(passed)) => {
            pending.replaced = passed.content;
            // Rare: boxed to keep every message small.
            let draft = if call.effects.is_empty() {
                call.draft
            } else {
                let (draft, sealed) = host.settlement.join_transaction(*call);
                pending.sealed = Some(Box::new(sealed));
                draft
            };
            Some(finish(pending, draft))
        }
        (call, Err(error)) => match host.log.find(pending.dedup) {
            // The message is stored already, and this resend repeats the first answer: plugins decide once.
            Ok(Some(_)) => {
                // If its key expires before the commit, this transaction conflicts, because the conversation was
                // written since position 0. The plugins are called again then.
                let mut draft = Draft::since(host.log.store().clone(), Position::default());
                draft.add_read(conversation.key.clone());
                Some(finish(pending, draft))
            }
            Ok(None) => {
                let mut draft = call.draft;
                draft.discard_writes();
                pending.refusal = Some(Box::new(error));
                Some(draft.into_transaction(pending))
            }
            Err(failure) => {
                pending.refuse(&super::refusal::storage_failed(&failure));
                None
            }
        },
    }
}

/// Builds the transaction that appends the message.
fn finish(mut pending: Box<PendingSend>, mut draft: Draft) -> Transaction {
    let body = Body {
        sender: pending.sender.as_str(),
        receiver: Some(pending.receiver()).filter(|receiver| !receiver.is_empty()),
        client_id: pending.slices.id(),
        kind: pending.slices.kind(),
        content: pending.content(),
        ..Body::default()
    };
    let append = Append {
        log: pending.conversation.log.clone(),
        body: body.encode_head(),
        tail: match &pending.replaced {
            Some(replaced) => replaced.clone(),
            None => pending.slices.frame.slice_ref(pending.slices.content()),
        },
        dedup: Some(pending.dedup),
    };
    let outbox = pending.host.settlement.outbox();
    let (conversation, kind) = (&*pending.conversation, pending.slices.kind());
    pending.has_observers = outbox.observe_event(&mut draft, &append, EventType::Message, &conversation.into(), kind);
    draft.append(append);
    draft.into_transaction(pending)
}

impl Submitter for PendingSend {
    fn reruns(&self) -> bool {
        true
    }

    /// Calls the plugins again, with the conversation as it is now.
    fn rerun(mut self: Box<Self>) -> Option<Transaction> {
        self.since = self.host.log.store().position();
        match self.host.log.conversations().get(&self.conversation.log) {
            Ok(Some(conversation)) if conversation.has_member(&self.sender) => {
                self.conversation = conversation;
                (self.replaced, self.sealed, self.refusal) = (None, None, None);
                prepare(self, Blocking::Forbidden)
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

    fn finish(mut self: Box<Self>, outcome: CommitResult<'_>) {
        match outcome {
            Ok(appended) => {
                if let Some(error) = self.refusal {
                    return self
                        .queue
                        .push(QueueItem::Answer(reply::error(Some(self.slices.id()), &error)));
                }
                // Events that plugins appended come before the message.
                if let Some((message, before)) = appended.split_last() {
                    if let Some(sealed) = self.sealed.take() {
                        self.host.settlement.after_commit(*sealed, before);
                    }
                    self.publish(message);
                }
                if self.has_observers {
                    self.host.settlement.outbox().wake();
                }
            }
            Err(error) => self.answer_failure(error),
        }
    }
}

impl PendingSend {
    fn receiver(&self) -> &str {
        self.conversation.other_member(&self.sender).map_or("", ActorId::as_str)
    }

    /// Returns the content that is stored.
    fn content(&self) -> &[u8] {
        self.replaced.as_deref().unwrap_or_else(|| self.slices.content())
    }

    fn refuse(&self, error: &RequestError) {
        self.queue
            .push(QueueItem::Answer(reply::error(Some(self.slices.id()), error)));
    }

    fn acknowledge(&self, appended: &Appended, content: Option<&[u8]>) {
        self.queue.push(QueueItem::Answer(reply::ack(&reply::Ack {
            id: self.slices.id(),
            conversation: appended.log.conversation,
            seq: appended.seq,
            event: appended.id,
            time_ms: appended.time_ms,
            content,
        })));
    }

    /// Acknowledges to the sender, and publishes the event to all other sessions of the members.
    fn publish(&self, appended: &Appended) {
        self.acknowledge(appended, self.replaced.as_deref());
        let body = Body {
            sender: self.sender.as_str(),
            receiver: Some(self.receiver()).filter(|receiver| !receiver.is_empty()),
            client_id: self.slices.id(),
            kind: self.slices.kind(),
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
        (body.content != self.slices.content()).then(|| body.content.to_vec())
    }
}
