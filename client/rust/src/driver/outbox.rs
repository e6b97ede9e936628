//! What is written until the server has it.

use tokio::time::Instant;

use super::{Answer, Broken, Driver, Over, frame_of};
use crate::link::Link;
use crate::{Ack, Error, Unsent};

/// What waits for its ack.
pub(super) struct Waiting {
    pub(super) unsent: Unsent,
    answer: Option<Answer<Ack>>,
    /// Whether it was written on this connection.
    is_written: bool,
}

impl Waiting {
    pub(super) fn new(unsent: Unsent, answer: Option<Answer<Ack>>) -> Self {
        Self {
            unsent,
            answer,
            is_written: false,
        }
    }
}

impl Driver {
    /// Puts something into the outbox; refuses it if that is full.
    pub(super) fn keep(&mut self, unsent: Unsent, answer: Answer<Ack>) {
        if self.outbox.len() < self.options.outbox {
            self.outbox.push_back(Waiting::new(unsent, Some(answer)));
        } else {
            // Whoever does not wait for the answer does not want to know.
            let _ = answer.send(Err(Error::Full));
        }
    }

    /// Writes what stands in the outbox, the oldest first, as far as its turn has come: acts that are on their way together
    /// may overtake each other, so those on one message go one after the other.
    pub(super) async fn write(&mut self, link: &mut Link) -> Result<(), Broken> {
        if self.actor.is_none() {
            return Ok(());
        }
        let mut under_way = self.outbox.iter().filter(|waiting| waiting.is_written).count();
        let mut at = 0;
        while at < self.outbox.len() && under_way < self.window {
            if !self.outbox[at].is_written && self.is_first_about(at) {
                (self.outbox[at].is_written, under_way) = (true, under_way + 1);
                let frame = frame_of(&self.outbox[at].unsent);
                link.send(&frame).await.map_err(|_| Broken)?;
            }
            at += 1;
        }
        Ok(())
    }

    /// Whether nothing that stands before it is about the same message.
    fn is_first_about(&self, at: usize) -> bool {
        let unsent = &self.outbox[at].unsent;
        let before = self.outbox.iter().take(at);
        unsent.action.target().is_none() || !before.into_iter().any(|waiting| waiting.unsent.shares_target(unsent))
    }

    pub(super) fn list_unsent(&self, answer: Answer<Vec<Unsent>>) {
        let unsent = self.outbox.iter().map(|waiting| waiting.unsent.clone()).collect();
        // As above.
        let _ = answer.send(Ok(unsent));
    }

    /// Writes everything once more, so that it keeps its order; what the server has it answers again.
    pub(super) async fn write_again(&mut self, link: &mut Link) -> Result<(), Broken> {
        for waiting in &mut self.outbox {
            waiting.is_written = false;
        }
        self.write(link).await
    }

    pub(super) async fn acked(&mut self, link: &mut Link, ack: Ack) -> Result<(), Over> {
        let found = self.outbox.iter().position(|waiting| waiting.unsent.id == ack.id);
        let Some(Waiting { unsent, answer, .. }) = found.and_then(|at| self.outbox.remove(at)) else {
            return Ok(());
        };
        if let Some(answer) = answer {
            let _ = answer.send(Ok(ack.clone()));
        }
        self.write(link).await.map_err(|Broken| Over::Broken)?;
        let event = unsent.event(ack, self.actor.clone().unwrap_or_default());
        self.arrive(link, event).await
    }

    /// Takes note that the server did not do something: never, or not now.
    pub(super) async fn not_done(&mut self, link: &mut Link, id: &str, error: Error) -> Result<(), Over> {
        let Some(at) = self.outbox.iter().position(|waiting| waiting.unsent.id == id) else {
            return Ok(());
        };
        if matches!(error, Error::Refused { retry: true, .. }) {
            self.put_off();
            return Ok(());
        }
        if let Some(Waiting {
            answer: Some(answer), ..
        }) = self.outbox.remove(at)
        {
            let _ = answer.send(Err(error));
        }
        self.write(link).await.map_err(|Broken| Over::Broken)
    }

    /// Asks again after a while.
    pub(super) fn put_off(&mut self) {
        self.again_at.get_or_insert(Instant::now() + self.pause);
    }
}
