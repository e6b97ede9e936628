//! Receipts of the actor and of other members, and typing notifications.

use serde_json::json;
use tokio::time::Instant;

use super::{
    ConnectionLost, DELIVERY_DELAY, Disconnect, Driver, MAX_REPORTS, PendingRequest, Responder, TYPING_INTERVAL,
    TYPING_TIMEOUT, parse,
};
use crate::marks::{Mark, Watermarks};
use crate::socket::Socket;
use crate::{Event, LogEvent, Marks, Receipt};

impl Driver {
    /// Returns the marks of a conversation.
    pub(super) fn marks_of(&mut self, conversation: &str) -> Marks {
        match self.marks.get_mut(conversation) {
            Some(marks) => marks.snapshot(conversation),
            None => Watermarks::default().snapshot(conversation),
        }
    }

    /// Changes the marks of a conversation, and emits an event if they differ then.
    pub(super) async fn change_marks<T>(&mut self, conversation: &str, change: impl FnOnce(&mut Watermarks) -> T) -> T {
        let marks = self.marks.entry(conversation.to_owned()).or_default();
        let outcome = change(marks);
        if marks.take_change() {
            let snapshot = marks.snapshot(conversation);
            self.emit(Event::Marks(snapshot)).await;
        }
        outcome
    }

    /// Handles the end of a connection: reports without an answer will be sent again.
    pub(super) fn interrupt_reports(&mut self) {
        (self.reporting, self.report_at) = (0, None);
        for (conversation, marks) in &mut self.marks {
            marks.end_report();
            if marks.has_unreported() {
                self.unreported.insert(conversation.clone());
            }
        }
    }

    /// Applies a delivered event: ends the typing of its sender, and counts an event of another member.
    pub(super) async fn apply_event_to_marks(&mut self, event: &LogEvent) {
        if event.is_message() {
            self.end_typing_of(&event.conversation, &event.sender).await;
        }
        if Some(&event.sender) == self.actor.as_ref() {
            return;
        }
        self.change_marks(&event.conversation, |marks| marks.add_event(event))
            .await;
        self.mark_delivered(&event.conversation, event.seq);
    }

    /// Marks events up to a number as delivered. The server gets one receipt for many of them, after [`DELIVERY_DELAY`].
    pub(super) fn mark_delivered(&mut self, conversation: &str, seq: u64) {
        if !self.options.delivers {
            return;
        }
        let marks = self.marks.entry(conversation.to_owned()).or_default();
        marks.raise_local(Mark {
            delivered: seq,
            read: 0,
        });
        if marks.has_unreported() {
            self.unreported.insert(conversation.to_owned());
            self.report_at.get_or_insert(Instant::now() + DELIVERY_DELAY);
        }
    }

    /// Marks events up to a number as read.
    pub(super) fn mark_read(&mut self, conversation: String, seq: u64) {
        let marks = self.marks.entry(conversation.clone()).or_default();
        marks.raise_local(Mark {
            delivered: 0,
            read: seq,
        });
        if marks.has_unreported() {
            self.unreported.insert(conversation);
        }
    }

    /// Reports marks that the server doesn't have, of up to [`MAX_REPORTS`] conversations at a time.
    pub(super) async fn report_marks(&mut self, socket: &mut Socket) -> Result<(), ConnectionLost> {
        self.report_at = None;
        while self.actor.is_some()
            && self.reporting < MAX_REPORTS
            && let Some(conversation) = self.unreported.pop_first()
        {
            let Some(Mark { delivered, read }) = self.marks.get_mut(&conversation).and_then(Watermarks::begin_report)
            else {
                continue;
            };
            self.reporting += 1;
            let frame = json!({
                "type": "receipt", "conversation": conversation, "delivered": delivered, "read": read,
            });
            self.request(socket, frame, PendingRequest::Mark { conversation })
                .await?;
        }
        Ok(())
    }

    /// Handles the answer to a report: the actor's marks on the server.
    pub(super) async fn on_reported(
        &mut self,
        socket: &mut Socket,
        conversation: String,
        mark: Mark,
    ) -> Result<(), Disconnect> {
        self.reporting = self.reporting.saturating_sub(1);
        if let Some(marks) = self.marks.get_mut(&conversation) {
            marks.end_report();
        }
        self.apply_own_marks(socket, &conversation, mark).await?;
        if self.marks.get(&conversation).is_some_and(Watermarks::has_unreported) {
            self.unreported.insert(conversation);
        }
        Ok(self.report_marks(socket).await?)
    }

    /// Handles an error of a report: postpones it if `retry`, else discards the marks.
    pub(super) async fn on_report_error(
        &mut self,
        socket: &mut Socket,
        conversation: String,
        retry: bool,
    ) -> Result<(), Disconnect> {
        self.reporting = self.reporting.saturating_sub(1);
        if let Some(marks) = self.marks.get_mut(&conversation) {
            if retry {
                marks.end_report();
                self.unreported.insert(conversation);
                self.retry_later();
                return Ok(());
            }
            marks.discard_local();
        }
        Ok(self.report_marks(socket).await?)
    }

    /// Handles a receipt that the server sent by itself.
    pub(super) async fn on_receipt(&mut self, socket: &mut Socket, text: &str) -> Result<(), Disconnect> {
        #[derive(serde::Deserialize)]
        struct Frame {
            conversation: String,
            #[serde(flatten)]
            receipt: Receipt,
        }
        let Frame { conversation, receipt } = parse(text)?;
        if Some(&receipt.actor) == self.actor.as_ref() {
            let Receipt { delivered, read, .. } = receipt;
            return self
                .apply_own_marks(socket, &conversation, Mark { delivered, read })
                .await;
        }
        self.change_marks(&conversation, |marks| marks.apply_receipt(&receipt))
            .await;
        Ok(())
    }

    async fn apply_own_marks(&mut self, socket: &mut Socket, conversation: &str, mark: Mark) -> Result<(), Disconnect> {
        if self.change_marks(conversation, |marks| marks.apply_own(mark)).await {
            self.needs_sync = true;
        }
        Ok(self.sync(socket).await?)
    }

    /// Handles a page of receipts.
    pub(super) async fn on_receipts(
        &mut self,
        conversation: &str,
        receipts: Vec<Receipt>,
        answer: Responder<Vec<Receipt>>,
    ) {
        let actor = self.actor.clone();
        let others = receipts.iter().filter(|receipt| Some(&receipt.actor) != actor.as_ref());
        self.change_marks(conversation, |marks| {
            others.for_each(|receipt| marks.apply_receipt(receipt));
        })
        .await;
        // The caller may have stopped waiting.
        let _ = answer.send(Ok(receipts));
    }

    /// Sends a typing notification, unless one was sent within [`TYPING_INTERVAL`].
    pub(super) async fn send_typing(
        &mut self,
        socket: &mut Socket,
        conversation: String,
    ) -> Result<(), ConnectionLost> {
        let now = Instant::now();
        self.typing_sent
            .retain(|_, sent| now.duration_since(*sent) < TYPING_INTERVAL);
        if self.actor.is_none() || self.typing_sent.contains_key(&conversation) {
            return Ok(());
        }
        let frame = json!({"type": "typing", "conversation": conversation});
        self.typing_sent.insert(conversation, now);
        socket.send(&frame).await.map_err(|_| ConnectionLost)
    }

    /// Handles a typing notification of another member.
    pub(super) fn on_typing(&mut self, text: &str) -> Result<(), Disconnect> {
        #[derive(serde::Deserialize)]
        struct Frame {
            conversation: String,
            actor: String,
        }
        let Frame { conversation, actor } = parse(text)?;
        let until = Instant::now() + TYPING_TIMEOUT;
        let writer = (conversation, actor);
        if let Some(end) = self.typing_until.get_mut(&writer) {
            *end = until;
            return Ok(());
        }
        let (conversation, actor) = writer.clone();
        let on = Event::Typing {
            conversation,
            actor,
            on: true,
        };
        // Dropped like a signal if the application reads its events too slowly. Then its end isn't emitted either.
        if self.events.try_send(on).is_ok() {
            self.typing_until.insert(writer, until);
        }
        Ok(())
    }

    async fn end_typing_of(&mut self, conversation: &str, actor: &str) {
        // Avoids the allocation of a key in the common case.
        if !self.typing_until.is_empty() {
            let writer = (conversation.to_owned(), actor.to_owned());
            if self.typing_until.remove(&writer).is_some() {
                self.emit_typing_ended(writer).await;
            }
        }
    }

    /// Ends the typing of members whose time is up at `now`; of all members without a time.
    pub(super) async fn end_typing(&mut self, now: Option<Instant>) {
        let is_over = |until: &Instant| now.is_none_or(|now| *until <= now);
        let ended = self.typing_until.iter().filter(|(_, until)| is_over(until));
        let ended: Vec<_> = ended.map(|(writer, _)| writer.clone()).collect();
        for writer in ended {
            self.typing_until.remove(&writer);
            self.emit_typing_ended(writer).await;
        }
    }

    async fn emit_typing_ended(&self, (conversation, actor): (String, String)) {
        self.emit(Event::Typing {
            conversation,
            actor,
            on: false,
        })
        .await;
    }
}
