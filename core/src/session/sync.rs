//! Sync: the conversations of an actor that changed since a position.

use std::sync::Arc;

use bytes::Bytes;

use super::Session;
use super::receipts::{retain_visible, view};
use super::refusal::storage_failed;
use super::rendered::Rendered;
use super::requests::until_durable;
use crate::host::Host;
use crate::log::{Body, Conversation, EventType, Log, LogError, Watermark};
use crate::store::{LogHead, LogId, Position};
use crate::wire::reply::{ConversationView, ReceiptView};
use crate::wire::{ActorId, AppId, Page, RequestError, reply};

/// Upper bound of the unread messages that are counted.
const UNREAD: usize = 100;
/// Largest conversation whose receipts are part of the answer.
const FEW: usize = 8;

/// One conversation of the answer.
struct ConversationSummary {
    conversation: Arc<Conversation>,
    head: LogHead,
    rendered: Rendered,
    newest_ms: u64,
    own: Watermark,
    unread: usize,
    receipts: Vec<(ActorId, Watermark)>,
}

impl Session {
    /// Lists the actor's conversations that changed since a position.
    pub(super) async fn sync(&self, app: &AppId, id: &str, since: Option<u64>) {
        let answer = match (self.actor(), self.acquire_permit()) {
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(actor), Ok(_permit)) => {
                let (host, app, actor, id) = (self.host.clone(), app.clone(), actor.clone(), id.to_owned());
                self.blocking(move || sync_reply(&host, &app, &actor, &id, since.map(Position)))
                    .await
                    .and_then(|all| all)
            }
        };
        match answer {
            Ok(frame) => self.answer(frame),
            Err(error) => self.refuse(Some(id), &error),
        }
    }
}

fn sync_reply(
    host: &Host,
    app: &AppId,
    actor: &ActorId,
    id: &str,
    since: Option<Position>,
) -> Result<Bytes, RequestError> {
    let (log, failed) = (&host.log, |error: LogError| storage_failed(&error));
    // Read before everything else: changes made meanwhile are repeated in the next answer.
    let position = log.store().position();
    // A later position is from before the store was restored, and has no meaning any more.
    let since = since.filter(|since| *since <= position);
    let memberships = log.conversations().of_actor(app, actor).map_err(failed)?;
    let heads = log.store().heads(&memberships.current);
    let heads = heads.map_err(|error| storage_failed(&error))?;
    let mut summaries = Vec::new();
    for (log_id, head) in memberships.current.iter().zip(heads) {
        let is_known = since.is_some_and(|since| head.changed <= since);
        if !is_known && let Some(conversation) = log.conversations().get(log_id).map_err(failed)? {
            summaries.push(ConversationSummary::read(host, actor, conversation)?);
        }
    }
    // After a crash, the same position must not exist again with other changes behind it. A store that accepts no
    // writes can't guarantee that, so the next sync starts from 0.
    let position = if until_durable(log)? {
        position
    } else {
        Position::default()
    };
    summaries.sort_by_key(|summary| std::cmp::Reverse(summary.newest_ms));
    let receipts: Vec<Vec<ReceiptView<'_>>> = summaries.iter().map(ConversationSummary::receipts).collect();
    let mut views = Vec::with_capacity(summaries.len());
    for (summary, receipts) in summaries.iter().zip(&receipts) {
        views.push(ConversationView {
            id: summary.conversation.log.conversation,
            kind: &summary.conversation.kind,
            members: &summary.conversation.members,
            epoch: summary.head.epoch,
            seq: summary.head.seq,
            delivered: summary.own.delivered,
            read: summary.own.read,
            unread: summary.unread,
            receipts,
            last: summary.rendered.views()?.pop(),
        });
    }
    let left: Vec<_> = since
        .map(|since| memberships.left_since(since).collect())
        .unwrap_or_default();
    Ok(reply::synced(id, &views, &left, position.0))
}

impl ConversationSummary {
    fn read(host: &Host, actor: &ActorId, conversation: Arc<Conversation>) -> Result<Self, RequestError> {
        let (log, failed) = (&host.log, |error: LogError| storage_failed(&error));
        let (head, mut newest) = log.read(&conversation.log, Page::Newest, 1).map_err(failed)?;
        if newest.is_empty() && head.seq > 0 {
            // The newest event has a number, but can be read and counted only once it is durable.
            until_durable(log)?;
            newest.extend(log.event(&conversation.log, head.seq).map_err(failed)?);
        }
        let newest_ms = newest.first().map_or_else(crate::clock::now_ms, |event| event.time_ms);
        let mut receipts = Vec::new();
        let own = if conversation.members.len() <= FEW {
            let own = |(member, mark): &(ActorId, Watermark)| (member == actor).then_some(*mark);
            receipts = log.watermarks(&conversation.log, None, 2 * FEW).map_err(failed)?;
            let found = receipts.iter().find_map(own).unwrap_or_default();
            receipts.retain(|(member, _)| member != actor && conversation.has_member(member));
            retain_visible(host, &conversation, actor, &mut receipts);
            found
        } else {
            log.watermark(&conversation.log, actor).map_err(failed)?
        };
        let unread = unread(log, &conversation.log, actor, own.read, head.seq)?;
        let kind = &conversation.kind;
        let rendered = Rendered::new(log, &host.hooks, actor.as_str(), conversation.log.clone(), kind, newest)?;
        Ok(Self {
            conversation,
            head,
            rendered,
            newest_ms,
            own,
            unread,
            receipts,
        })
    }

    fn receipts(&self) -> Vec<ReceiptView<'_>> {
        let views = self.receipts.iter();
        views.map(|(actor, mark)| view(actor, *mark)).collect()
    }
}

/// Counts the messages of others that the actor hasn't read, up to [`UNREAD`].
fn unread(log: &Log, id: &LogId, actor: &ActorId, read: u64, head: u64) -> Result<usize, RequestError> {
    if read >= head {
        return Ok(0);
    }
    // Twice the limit, since edits and reactions lie between messages.
    let events = log.store().events(id, read + 1..=head, 2 * UNREAD, true);
    let events = events.map_err(|error| storage_failed(&error))?;
    let counts = |body: &Body<'_>| body.event == EventType::Message && body.sender != actor.as_str();
    let unread = events
        .iter()
        .filter(|event| Body::decode(&event.body).is_ok_and(|body| counts(&body)))
        .count();
    Ok(unread.min(UNREAD))
}
