//! Catches up after connecting: the conversations of the actor, and the events of each in order.

use serde_json::json;

use super::{ConnectionLost, Disconnect, Driver, FILL_EVENTS, MAX_FILLS, PendingRequest, history_frame, parse};
use crate::socket::Socket;
use crate::timeline::Timeline;
use crate::{Conversation, Event, History, LogEvent, Page};

impl Driver {
    /// Requests the changed conversations, if a sync is needed and none is in progress.
    pub(super) async fn sync(&mut self, socket: &mut Socket) -> Result<(), ConnectionLost> {
        if self.needs_sync && !self.is_syncing {
            (self.needs_sync, self.is_syncing) = (false, true);
            let mut frame = json!({"type": "sync"});
            if let Some(position) = &self.position {
                frame["since"] = position.as_str().into();
            }
            self.request(socket, frame, PendingRequest::Sync).await?;
        }
        Ok(())
    }

    pub(super) async fn on_sync(&mut self, socket: &mut Socket, text: &str) -> Result<(), Disconnect> {
        #[derive(serde::Deserialize)]
        struct Frame {
            conversations: Vec<Conversation>,
            #[serde(default)]
            left: Vec<String>,
            position: Option<String>,
        }
        let Frame {
            conversations,
            left,
            position,
        } = parse(text)?;
        self.is_syncing = false;
        for conversation in left {
            self.leave(conversation).await;
        }
        for conversation in &conversations {
            let after = match conversation.last {
                Some(_) => conversation.seq.saturating_sub(1),
                None => conversation.seq,
            };
            let reset = self
                .timelines
                .entry(conversation.id.clone())
                .or_insert_with(|| Timeline::after(after))
                .set_epoch(conversation.epoch);
            if reset {
                let (conversation, epoch) = (conversation.id.clone(), conversation.epoch);
                self.emit(Event::Reset { conversation, epoch }).await;
            }
            if let Some(last) = &conversation.last {
                self.on_event(socket, last.clone()).await?;
            }
            self.change_marks(&conversation.id, |marks| marks.apply_listed(conversation))
                .await;
            let is_own = conversation.last.as_ref().map(|last| &last.sender) == self.actor.as_ref();
            if !is_own {
                self.mark_delivered(&conversation.id, conversation.seq);
            }
        }
        self.emit(Event::Synced(conversations)).await;
        // Only now: if the connection had been lost before, the conversations would have to be listed again.
        self.position = position;
        // The server doesn't list again what an earlier connection failed to request.
        let missing = |(id, timeline): (&String, &Timeline)| timeline.missing_after().map(|_| id.clone());
        let missing: Vec<_> = self.timelines.iter().filter_map(missing).collect();
        for conversation in missing {
            self.fill(socket, conversation).await?;
        }
        Ok(self.sync(socket).await?)
    }

    /// Discards a conversation that the actor has left.
    async fn leave(&mut self, conversation: String) {
        self.marks.remove(&conversation);
        self.unreported.remove(&conversation);
        if self.timelines.remove(&conversation).is_some() {
            self.emit(Event::Left { conversation }).await;
        }
    }

    pub(super) async fn on_event(&mut self, socket: &mut Socket, event: LogEvent) -> Result<(), Disconnect> {
        let conversation = event.conversation.clone();
        let timeline = self
            .timelines
            .entry(conversation.clone())
            .or_insert_with(|| Timeline::after(event.seq.saturating_sub(1)));
        // A conversation that was never listed is new.
        self.needs_sync |= !timeline.is_listed();
        let ready = timeline.add(event);
        for event in ready {
            self.deliver(event).await;
        }
        self.sync(socket).await?;
        self.fill(socket, conversation).await
    }

    /// Requests missing events of a conversation, unless they are requested already.
    async fn fill(&mut self, socket: &mut Socket, conversation: String) -> Result<(), Disconnect> {
        if let Some(timeline) = self.timelines.get_mut(&conversation)
            && !timeline.filling
            && timeline.missing_after().is_some()
        {
            timeline.filling = true;
            self.fills.push_back(conversation);
        }
        self.request_missing(socket).await
    }

    /// Requests missing events, of up to [`MAX_FILLS`] conversations at a time. The others follow after the answers.
    pub(super) async fn request_missing(&mut self, socket: &mut Socket) -> Result<(), Disconnect> {
        while self.filling < MAX_FILLS
            && let Some(conversation) = self.fills.pop_front()
        {
            let timeline = self.timelines.get(&conversation);
            let Some(after) = timeline.and_then(Timeline::missing_after) else {
                self.end_fill(&conversation);
                continue;
            };
            self.filling += 1;
            let frame = history_frame(&conversation, Page::After(after), FILL_EVENTS);
            self.request(socket, frame, PendingRequest::Fill { conversation })
                .await?;
        }
        Ok(())
    }

    /// Ends the request for missing events of a conversation.
    fn end_fill(&mut self, conversation: &str) {
        if let Some(timeline) = self.timelines.get_mut(conversation) {
            timeline.filling = false;
        }
    }

    pub(super) async fn on_filled(
        &mut self,
        socket: &mut Socket,
        conversation: &str,
        history: History,
    ) -> Result<(), Disconnect> {
        self.filling = self.filling.saturating_sub(1);
        self.end_fill(conversation);
        let mut ready = Vec::new();
        let is_empty = history.events.is_empty();
        if let Some(timeline) = self.timelines.get_mut(conversation) {
            for event in history.events {
                ready.extend(timeline.add(event));
            }
        }
        for event in ready {
            self.deliver(event).await;
        }
        if is_empty {
            // The missing events can't be read yet, or never. The next event requests them again.
            return self.request_missing(socket).await;
        }
        self.fill(socket, conversation.to_owned()).await
    }

    /// Handles an error of a request for missing events: postpones it if `retry`, else gives up.
    pub(super) async fn on_fill_error(
        &mut self,
        socket: &mut Socket,
        conversation: String,
        retry: bool,
    ) -> Result<(), Disconnect> {
        self.filling = self.filling.saturating_sub(1);
        if retry {
            self.fills.push_back(conversation);
            self.retry_later();
            return Ok(());
        }
        self.end_fill(&conversation);
        self.request_missing(socket).await
    }

    /// Passes an event on to the application, in its turn.
    async fn deliver(&mut self, event: LogEvent) {
        // After joining or leaving, only the server knows the members, or whether the actor is back already.
        self.needs_sync |= self.actor.as_ref().is_some_and(|actor| event.adds_or_removes(actor));
        self.apply_event_to_marks(&event).await;
        self.emit(if event.is_message() {
            Event::Message(event)
        } else {
            Event::Change(event)
        })
        .await;
    }
}
