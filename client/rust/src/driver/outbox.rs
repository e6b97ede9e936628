//! Messages and acts that are sent until the server acknowledges them.

use tokio::time::Instant;

use super::{ConnectionLost, Disconnect, Driver, Responder, frame_of};
use crate::socket::Socket;
use crate::{Ack, Error, Unsent};

/// A message or an act without an acknowledgement.
pub(super) struct QueuedRequest {
    pub(super) unsent: Unsent,
    answer: Option<Responder<Ack>>,
    /// `true` if it was written on this connection.
    is_written: bool,
}

impl QueuedRequest {
    pub(super) fn new(unsent: Unsent, answer: Option<Responder<Ack>>) -> Self {
        Self {
            unsent,
            answer,
            is_written: false,
        }
    }
}

impl Driver {
    /// Adds a request to the outbox. Fails with [`Error::Full`] if the outbox is full.
    pub(super) fn enqueue(&mut self, unsent: Unsent, answer: Responder<Ack>) {
        if self.outbox.len() < self.options.outbox {
            self.outbox.push_back(QueuedRequest::new(unsent, Some(answer)));
        } else {
            // The caller may have stopped waiting. The same holds below.
            let _ = answer.send(Err(Error::Full));
        }
    }

    /// Sends requests of the outbox, oldest first, up to `window` in flight. Acts in flight may overtake each other, so those
    /// on one message are sent one after another.
    pub(super) async fn write_outbox(&mut self, socket: &mut Socket) -> Result<(), ConnectionLost> {
        if self.actor.is_none() {
            return Ok(());
        }
        let mut in_flight = self.outbox.iter().filter(|queued| queued.is_written).count();
        let mut index = 0;
        while index < self.outbox.len() && in_flight < self.window {
            if !self.outbox[index].is_written && self.is_first_of_target(index) {
                (self.outbox[index].is_written, in_flight) = (true, in_flight + 1);
                let frame = frame_of(&self.outbox[index].unsent);
                socket.send(&frame).await.map_err(|_| ConnectionLost)?;
            }
            index += 1;
        }
        Ok(())
    }

    /// Returns `true` if no earlier request changes the same message.
    fn is_first_of_target(&self, index: usize) -> bool {
        let unsent = &self.outbox[index].unsent;
        let before = self.outbox.iter().take(index);
        unsent.action.target().is_none() || !before.into_iter().any(|queued| queued.unsent.shares_target(unsent))
    }

    pub(super) fn list_unsent(&self, answer: Responder<Vec<Unsent>>) {
        let unsent = self.outbox.iter().map(|queued| queued.unsent.clone()).collect();
        let _ = answer.send(Ok(unsent));
    }

    /// Sends the whole outbox again, to keep its order. The server acknowledges again what it has.
    pub(super) async fn rewrite_outbox(&mut self, socket: &mut Socket) -> Result<(), ConnectionLost> {
        for queued in &mut self.outbox {
            queued.is_written = false;
        }
        self.write_outbox(socket).await
    }

    pub(super) async fn on_ack(&mut self, socket: &mut Socket, ack: Ack) -> Result<(), Disconnect> {
        let found = self.outbox.iter().position(|queued| queued.unsent.id == ack.id);
        let Some(QueuedRequest { unsent, answer, .. }) = found.and_then(|index| self.outbox.remove(index)) else {
            return Ok(());
        };
        if let Some(answer) = answer {
            let _ = answer.send(Ok(ack.clone()));
        }
        self.write_outbox(socket).await?;
        let event = unsent.event(ack, self.actor.clone().unwrap_or_default());
        self.on_event(socket, event).await
    }

    /// Handles an error of a request of the outbox: postpones a temporary one, and reports another to the caller.
    pub(super) async fn on_rejected(&mut self, socket: &mut Socket, id: &str, error: Error) -> Result<(), Disconnect> {
        let Some(index) = self.outbox.iter().position(|queued| queued.unsent.id == id) else {
            return Ok(());
        };
        if matches!(error, Error::Refused { retry: true, .. }) {
            self.retry_later();
            return Ok(());
        }
        if let Some(QueuedRequest {
            answer: Some(answer), ..
        }) = self.outbox.remove(index)
        {
            let _ = answer.send(Err(error));
        }
        Ok(self.write_outbox(socket).await?)
    }

    /// Sends everything that was postponed again after a pause.
    pub(super) fn retry_later(&mut self) {
        self.retry_at.get_or_insert(Instant::now() + self.pause);
    }
}
