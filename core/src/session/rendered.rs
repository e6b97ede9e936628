//! Events of a conversation as one viewer sees them.

use std::collections::HashMap;

use bytes::Bytes;

use super::refusal::storage_failed;
use crate::hooks::{Call, Hooks, Message, StoreAccess, origin};
use crate::log::{Body, EventType, Log, LogError, Revision};
use crate::store::{Draft, LogId, StoredEvent};
use crate::wire::RequestError;
use crate::wire::reply::EventView;

/// The content of a recalled message.
const RECALLED_CONTENT: &[u8] = b"{}";

/// Events of one conversation with their revisions and with the contents that plugins rendered for one viewer.
pub(super) struct Rendered {
    log: LogId,
    events: Vec<StoredEvent>,
    revisions: HashMap<u64, Revision>,
    /// The content that a plugin rendered, by index of the event; `None` leaves it unchanged.
    contents: Vec<Option<Bytes>>,
}

impl Rendered {
    pub(super) fn new(
        log: &Log,
        hooks: &Hooks,
        viewer: &str,
        id: LogId,
        conversation_kind: &str,
        events: Vec<StoredEvent>,
    ) -> Result<Self, RequestError> {
        let revisions = revisions(log, &id, &events)?;
        let mut rendered = Self {
            contents: vec![None; events.len()],
            log: id,
            events,
            revisions,
        };
        if hooks.renders() {
            rendered.contents = rendered.render(log, hooks, viewer, conversation_kind)?;
        }
        Ok(rendered)
    }

    fn render(
        &self,
        log: &Log,
        hooks: &Hooks,
        viewer: &str,
        conversation_kind: &str,
    ) -> Result<Vec<Option<Bytes>>, RequestError> {
        let id = self.log.conversation.to_string();
        let bodies = decode_all(&self.log, &self.events)?;
        let (mut places, mut messages) = (Vec::new(), Vec::new());
        for (index, (body, event)) in bodies.iter().zip(&self.events).enumerate() {
            let has_content = matches!(body.event, EventType::Message | EventType::Edit);
            if !has_content || self.is_recalled(body, event) {
                continue;
            }
            places.push(index);
            messages.push(Message {
                app: self.log.app.as_str(),
                conversation: &id,
                conversation_kind,
                sender: body.sender,
                receiver: body.receiver.unwrap_or_default(),
                kind: body.kind,
                client_id: body.client_id,
                content: self.content(body, event),
                seq: event.seq,
                edits: body.target,
                time_ms: event.time_ms,
            });
        }
        let mut contents = vec![None; self.events.len()];
        if messages.is_empty() {
            return Ok(contents);
        }
        let draft = Draft::new(log.store().clone());
        let mut call = Call::new(self.log.app.clone(), StoreAccess::Read, draft);
        call.origin = Some(origin(&self.log.app, viewer));
        let rendered = hooks.render(call, viewer, &messages).1;
        for (index, content) in places.into_iter().zip(rendered) {
            contents[index] = content;
        }
        Ok(contents)
    }

    /// Whether the message that the event shows or is about was recalled, so that its content is gone.
    fn is_recalled(&self, body: &Body<'_>, event: &StoredEvent) -> bool {
        let message = match body.event {
            EventType::Message => event.seq,
            EventType::Edit | EventType::Annotation => body.target,
            EventType::Recall | EventType::Reaction | EventType::Members => return false,
        };
        self.revisions.get(&message).is_some_and(|revision| revision.recalled)
    }

    /// Returns the current content: edited, or recalled.
    fn content<'a>(&'a self, body: &Body<'a>, event: &StoredEvent) -> &'a [u8] {
        if self.is_recalled(body, event) {
            return RECALLED_CONTENT;
        }
        let revision = self
            .revisions
            .get(&event.seq)
            .filter(|_| body.event == EventType::Message);
        match revision.and_then(|revision| revision.edit.as_ref()) {
            Some(edit) => &edit.content,
            None => body.content,
        }
    }

    /// Returns the events as the viewer sees them.
    pub(super) fn views(&self) -> Result<Vec<EventView<'_>>, RequestError> {
        let bodies = decode_all(&self.log, &self.events)?;
        let views = bodies
            .iter()
            .zip(&self.events)
            .zip(&self.contents)
            .map(|((body, event), rendered)| EventView {
                content: match rendered {
                    Some(content) => content,
                    None => self.content(body, event),
                },
                revised: self.revisions.get(&event.seq).map(Revision::view),
                ..body.view(self.log.conversation, event)
            });
        Ok(views.collect())
    }
}

/// Reads the revisions of the events, and of earlier messages that they are about.
fn revisions(log: &Log, id: &LogId, events: &[StoredEvent]) -> Result<HashMap<u64, Revision>, RequestError> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Ok(HashMap::new());
    };
    let failed = |error: LogError| storage_failed(&error);
    let store = &**log.store();
    let mut revisions = Log::revisions(store, id, first.seq, last.seq).map_err(failed)?;
    for body in decode_all(id, events)? {
        if (1..first.seq).contains(&body.target) && !revisions.contains_key(&body.target) {
            revisions.extend(Log::revisions(store, id, body.target, body.target).map_err(failed)?);
        }
    }
    Ok(revisions)
}

fn decode_all<'a>(log: &LogId, events: &'a [StoredEvent]) -> Result<Vec<Body<'a>>, RequestError> {
    let decode = |event: &'a StoredEvent| {
        Body::decode(&event.body).map_err(|_| {
            storage_failed(&LogError::Message {
                conversation: log.conversation,
                seq: event.seq,
            })
        })
    };
    events.iter().map(decode).collect()
}
