//! What a connection catches up with: which conversations there are, and the events of each in order.

use serde_json::json;

use super::{Broken, Driver, FILL, FILLS, Over, Request, history_frame, parse};
use crate::link::Link;
use crate::timeline::Timeline;
use crate::{Conversation, Event, History, LogEvent, Page};

impl Driver {
    /// Asks what there is, if that was not told since the connection began or lost events.
    pub(super) async fn sync(&mut self, link: &mut Link) -> Result<(), Broken> {
        if self.is_behind && !self.is_syncing {
            (self.is_behind, self.is_syncing) = (false, true);
            let mut frame = json!({"type": "sync"});
            if let Some(position) = &self.position {
                frame["since"] = position.as_str().into();
            }
            self.request(link, frame, Request::Sync).await?;
        }
        Ok(())
    }

    pub(super) async fn synced(&mut self, link: &mut Link, text: &str) -> Result<(), Over> {
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
            let behind = match conversation.last {
                Some(_) => conversation.seq.saturating_sub(1),
                None => conversation.seq,
            };
            let anew = self
                .timelines
                .entry(conversation.id.clone())
                .or_insert_with(|| Timeline::behind(behind))
                .set_epoch(conversation.epoch);
            if anew {
                let (conversation, epoch) = (conversation.id.clone(), conversation.epoch);
                self.tell(Event::Reset { conversation, epoch }).await;
            }
            if let Some(last) = &conversation.last {
                self.arrive(link, last.clone()).await?;
            }
            self.mark(&conversation.id, |marks| marks.list(conversation)).await;
            let is_own = conversation.last.as_ref().map(|last| &last.sender) == self.actor.as_ref();
            if !is_own {
                self.is_delivered(&conversation.id, conversation.seq);
            }
        }
        self.tell(Event::Synced(conversations)).await;
        // Only now: had the connection broken before, it would have to be listed once more.
        self.position = position;
        // What an earlier connection could not ask for is not listed again.
        let missing = |(id, timeline): (&String, &Timeline)| timeline.missing_behind().map(|_| id.clone());
        let missing: Vec<_> = self.timelines.iter().filter_map(missing).collect();
        for conversation in missing {
            self.fill(link, conversation).await?;
        }
        self.sync(link).await.map_err(|Broken| Over::Broken)
    }

    /// Forgets a conversation that the actor has left.
    async fn leave(&mut self, conversation: String) {
        self.marks.remove(&conversation);
        self.unsaid.remove(&conversation);
        if self.timelines.remove(&conversation).is_some() {
            self.tell(Event::Left { conversation }).await;
        }
    }

    pub(super) async fn arrive(&mut self, link: &mut Link, event: LogEvent) -> Result<(), Over> {
        let conversation = event.conversation.clone();
        let timeline = self
            .timelines
            .entry(conversation.clone())
            .or_insert_with(|| Timeline::behind(event.seq.saturating_sub(1)));
        // One that was never listed has begun just now.
        self.is_behind |= !timeline.is_listed();
        let ready = timeline.arrive(event);
        for event in ready {
            self.show(event).await;
        }
        self.sync(link).await.map_err(|Broken| Over::Broken)?;
        self.fill(link, conversation).await
    }

    /// Asks for events that are missing, if nobody has yet.
    async fn fill(&mut self, link: &mut Link, conversation: String) -> Result<(), Over> {
        if let Some(timeline) = self.timelines.get_mut(&conversation)
            && !timeline.filling
            && timeline.missing_behind().is_some()
        {
            timeline.filling = true;
            self.fills.push_back(conversation);
        }
        self.ask_for_missing(link).await
    }

    /// Asks for some of what is missing; the rest has its turn when that is there.
    pub(super) async fn ask_for_missing(&mut self, link: &mut Link) -> Result<(), Over> {
        while self.filling < FILLS
            && let Some(conversation) = self.fills.pop_front()
        {
            let timeline = self.timelines.get(&conversation);
            let Some(behind) = timeline.and_then(Timeline::missing_behind) else {
                self.is_filled(&conversation);
                continue;
            };
            self.filling += 1;
            let frame = history_frame(&conversation, Page::After(behind), FILL);
            self.request(link, frame, Request::Fill { conversation })
                .await
                .map_err(|Broken| Over::Broken)?;
        }
        Ok(())
    }

    /// Takes note that nobody asks for missing events of a conversation any more.
    fn is_filled(&mut self, conversation: &str) {
        if let Some(timeline) = self.timelines.get_mut(conversation) {
            timeline.filling = false;
        }
    }

    pub(super) async fn filled(&mut self, link: &mut Link, conversation: &str, history: History) -> Result<(), Over> {
        self.filling = self.filling.saturating_sub(1);
        self.is_filled(conversation);
        let mut ready = Vec::new();
        let is_empty = history.events.is_empty();
        if let Some(timeline) = self.timelines.get_mut(conversation) {
            for event in history.events {
                ready.extend(timeline.arrive(event));
            }
        }
        for event in ready {
            self.show(event).await;
        }
        if is_empty {
            // What is missing is not readable yet, or never was; the next event asks again.
            return self.ask_for_missing(link).await;
        }
        self.fill(link, conversation.to_owned()).await
    }

    /// Takes note that the server did not tell missing events: never, or not now.
    pub(super) async fn not_filled(&mut self, link: &mut Link, conversation: String, retry: bool) -> Result<(), Over> {
        self.filling = self.filling.saturating_sub(1);
        if retry {
            self.fills.push_back(conversation);
            self.put_off();
            return Ok(());
        }
        self.is_filled(&conversation);
        self.ask_for_missing(link).await
    }

    async fn show(&mut self, event: LogEvent) {
        // What begins or ends for oneself only the server can tell: who else is in it, or whether one is back already.
        self.is_behind |= self.actor.as_ref().is_some_and(|actor| event.moves(actor));
        self.marked_by(&event).await;
        self.tell(if event.is_message() {
            Event::Message(event)
        } else {
            Event::Change(event)
        })
        .await;
    }
}
