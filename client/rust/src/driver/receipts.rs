//! What is said to the server of what was read and has arrived, what others say of themselves, and who is writing.

use serde_json::json;
use tokio::time::Instant;

use super::{Answer, Broken, DELIVERED, Driver, MARKS, Over, Request, TYPING_AGAIN, TYPING_SHOWN, parse};
use crate::link::Link;
use crate::marks::{Mark, Watermarks};
use crate::{Event, LogEvent, Marks, Receipt};

impl Driver {
    /// Returns the marks of a conversation.
    pub(super) fn marks_of(&mut self, conversation: &str) -> Marks {
        match self.marks.get_mut(conversation) {
            Some(marks) => marks.shown(conversation),
            None => Watermarks::default().shown(conversation),
        }
    }

    /// Changes the marks of a conversation, and tells them if they are others then.
    pub(super) async fn mark<T>(&mut self, conversation: &str, change: impl FnOnce(&mut Watermarks) -> T) -> T {
        let marks = self.marks.entry(conversation.to_owned()).or_default();
        let outcome = change(marks);
        if marks.take_change() {
            let shown = marks.shown(conversation);
            self.tell(Event::Marks(shown)).await;
        }
        outcome
    }

    /// Takes note that the answers to what was said will not come.
    pub(super) fn interrupt_marks(&mut self) {
        (self.saying, self.say_at) = (0, None);
        for (conversation, marks) in &mut self.marks {
            marks.answered();
            if marks.wants() {
                self.unsaid.insert(conversation.clone());
            }
        }
    }

    /// Takes an event of somebody else in its turn.
    pub(super) async fn marked_by(&mut self, event: &LogEvent) {
        if event.is_message() {
            self.stop_typing(&event.conversation, &event.sender).await;
        }
        if Some(&event.sender) == self.actor.as_ref() {
            return;
        }
        self.mark(&event.conversation, |marks| marks.arrive(event)).await;
        self.is_delivered(&event.conversation, event.seq);
    }

    /// Takes note that events up to a number are here, which the server is told in a moment: once for many.
    pub(super) fn is_delivered(&mut self, conversation: &str, seq: u64) {
        if !self.options.delivers {
            return;
        }
        let marks = self.marks.entry(conversation.to_owned()).or_default();
        marks.want(Mark {
            delivered: seq,
            read: 0,
        });
        if marks.wants() {
            self.unsaid.insert(conversation.to_owned());
            self.say_at.get_or_insert(Instant::now() + DELIVERED);
        }
    }

    /// Takes note that events up to a number were read.
    pub(super) fn is_read(&mut self, conversation: String, seq: u64) {
        let marks = self.marks.entry(conversation.clone()).or_default();
        marks.want(Mark {
            delivered: 0,
            read: seq,
        });
        if marks.wants() {
            self.unsaid.insert(conversation);
        }
    }

    /// Says the marks that the server does not have yet, some at a time.
    pub(super) async fn say_marks(&mut self, link: &mut Link) -> Result<(), Broken> {
        self.say_at = None;
        while self.actor.is_some()
            && self.saying < MARKS
            && let Some(conversation) = self.unsaid.pop_first()
        {
            let Some(Mark { delivered, read }) = self.marks.get_mut(&conversation).and_then(Watermarks::ask) else {
                continue;
            };
            self.saying += 1;
            let frame = json!({
                "type": "receipt", "conversation": conversation, "delivered": delivered, "read": read,
            });
            self.request(link, frame, Request::Mark { conversation }).await?;
        }
        Ok(())
    }

    /// Takes where the server has the own marks now.
    pub(super) async fn said(&mut self, link: &mut Link, conversation: String, mark: Mark) -> Result<(), Over> {
        self.saying = self.saying.saturating_sub(1);
        if let Some(marks) = self.marks.get_mut(&conversation) {
            marks.answered();
        }
        self.stand(link, &conversation, mark).await?;
        if self.marks.get(&conversation).is_some_and(Watermarks::wants) {
            self.unsaid.insert(conversation);
        }
        self.say_marks(link).await.map_err(|Broken| Over::Broken)
    }

    /// Takes note that the server did not take the marks of a conversation: never, or not now.
    pub(super) async fn not_said(&mut self, link: &mut Link, conversation: String, retry: bool) -> Result<(), Over> {
        self.saying = self.saying.saturating_sub(1);
        if let Some(marks) = self.marks.get_mut(&conversation) {
            if retry {
                marks.answered();
                self.unsaid.insert(conversation);
                self.put_off();
                return Ok(());
            }
            marks.give_up();
        }
        self.say_marks(link).await.map_err(|Broken| Over::Broken)
    }

    /// Takes where somebody is, as the server tells it by itself.
    pub(super) async fn receipt(&mut self, link: &mut Link, text: &str) -> Result<(), Over> {
        #[derive(serde::Deserialize)]
        struct Frame {
            conversation: String,
            #[serde(flatten)]
            receipt: Receipt,
        }
        let Frame { conversation, receipt } = parse(text)?;
        if Some(&receipt.actor) == self.actor.as_ref() {
            let Receipt { delivered, read, .. } = receipt;
            return self.stand(link, &conversation, Mark { delivered, read }).await;
        }
        self.mark(&conversation, |marks| marks.other(&receipt)).await;
        Ok(())
    }

    async fn stand(&mut self, link: &mut Link, conversation: &str, mark: Mark) -> Result<(), Over> {
        if self.mark(conversation, |marks| marks.stand(mark)).await {
            self.is_behind = true;
        }
        self.sync(link).await.map_err(|Broken| Over::Broken)
    }

    /// Takes a page of where the members of a conversation are.
    pub(super) async fn take_receipts(
        &mut self,
        conversation: &str,
        receipts: Vec<Receipt>,
        answer: Answer<Vec<Receipt>>,
    ) {
        let actor = self.actor.clone();
        let others = receipts.iter().filter(|receipt| Some(&receipt.actor) != actor.as_ref());
        self.mark(conversation, |marks| others.for_each(|receipt| marks.other(receipt)))
            .await;
        // Whoever waits no longer needs no answer.
        let _ = answer.send(Ok(receipts));
    }

    /// Tells the others that one is writing, unless that was just told.
    pub(super) async fn write_typing(&mut self, link: &mut Link, conversation: String) -> Result<(), Broken> {
        let now = Instant::now();
        self.typed.retain(|_, told| now.duration_since(*told) < TYPING_AGAIN);
        if self.actor.is_none() || self.typed.contains_key(&conversation) {
            return Ok(());
        }
        let frame = json!({"type": "typing", "conversation": conversation});
        self.typed.insert(conversation, now);
        link.send(&frame).await.map_err(|_| Broken)
    }

    /// Takes that somebody is writing.
    pub(super) fn typing(&mut self, text: &str) -> Result<(), Over> {
        #[derive(serde::Deserialize)]
        struct Frame {
            conversation: String,
            actor: String,
        }
        let Frame { conversation, actor } = parse(text)?;
        let until = Instant::now() + TYPING_SHOWN;
        let writer = (conversation, actor);
        if let Some(shown) = self.writers.get_mut(&writer) {
            *shown = until;
            return Ok(());
        }
        let (conversation, actor) = writer.clone();
        let on = Event::Typing {
            conversation,
            actor,
            on: true,
        };
        // As with signals: whoever reads too slowly misses it, and is not told its end either.
        if self.events.try_send(on).is_ok() {
            self.writers.insert(writer, until);
        }
        Ok(())
    }

    async fn stop_typing(&mut self, conversation: &str, actor: &str) {
        // Most conversations have nobody writing, so that no key need be made.
        if !self.writers.is_empty() {
            let writer = (conversation.to_owned(), actor.to_owned());
            if self.writers.remove(&writer).is_some() {
                self.tell_idle(writer).await;
            }
        }
    }

    /// Ends what is shown of those who have not written for a while; of everybody without a time.
    pub(super) async fn stop_writers(&mut self, now: Option<Instant>) {
        let over = |until: &Instant| now.is_none_or(|now| *until <= now);
        let ended = self.writers.iter().filter(|(_, until)| over(until));
        let ended: Vec<_> = ended.map(|(writer, _)| writer.clone()).collect();
        for writer in ended {
            self.writers.remove(&writer);
            self.tell_idle(writer).await;
        }
    }

    async fn tell_idle(&self, (conversation, actor): (String, String)) {
        self.tell(Event::Typing {
            conversation,
            actor,
            on: false,
        })
        .await;
    }
}
