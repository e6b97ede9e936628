//! A device with the client library, and an app that stores its events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use courtyard_client::{
    Client, Conversation, Error, Event, Events, LogEvent, Marks, MessageList, Options, Page, Sending, Unsent,
};
use rand::Rng;
use tokio::time::{Instant, timeout, timeout_at};

use crate::histories::fold::Message;
use crate::histories::plain::Owner;
use crate::histories::record::{Answer, Count, Counts, Device, End, FEW, Mark, Outcome, Sight, Stay, WriteRequest};
use crate::histories::town::{Action, BUSY, Phase, Town, View, method};

/// Upper bound for missing events to arrive without a request; no run waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// A conversation in the app.
#[derive(Default)]
struct Room {
    view: View,
    stay: Stay,
    list: MessageList,
}

pub(crate) struct Library {
    town: Arc<Town>,
    owner: Owner,
    client: Client,
    events: Events,
    rooms: BTreeMap<String, Room>,
    ended: Vec<Stay>,
    number: u64,
    /// Requests without an answer.
    pending: Arc<AtomicUsize>,
    /// Read marks of current conversations.
    reads: BTreeMap<String, u64>,
    /// Number of syncs.
    synced: u64,
}

fn connect(owner: &Owner, unsent: Vec<Unsent>) -> (Client, Events) {
    let url = format!("ws://127.0.0.1:{}/v1/ws", owner.line.port);
    let options = Options::new(&url)
        .device(&owner.device)
        .token(owner.token.as_str().unwrap())
        .unsent(unsent)
        // Automatic delivery receipts have no request to compare with.
        .delivers(false)
        .back_off(Duration::from_millis(20), Duration::from_millis(300));
    Client::connect(options)
}

impl Library {
    pub(crate) fn new(town: Arc<Town>, owner: Owner) -> Self {
        let (client, events) = connect(&owner, Vec::new());
        Self {
            town,
            owner,
            client,
            events,
            rooms: BTreeMap::new(),
            ended: Vec::new(),
            number: 0,
            pending: Arc::default(),
            reads: BTreeMap::new(),
            synced: 0,
        }
    }

    /// Uses the device until the town is closed, and returns its view.
    pub(crate) async fn live(mut self) -> Device {
        let mut next = Instant::now();
        let mut closing = None;
        loop {
            let until = Instant::now() + Duration::from_millis(20);
            match timeout_at(until.min(next.max(Instant::now())), self.events.next()).await {
                Ok(Some(event)) => self.take(event).await,
                Ok(None) => break,
                Err(_) => {}
            }
            let phase = *self.town.phase.borrow();
            match phase {
                Phase::Living if Instant::now() >= next => {
                    next = Instant::now() + Duration::from_millis(self.owner.random.random_range(5..150));
                    self.act().await;
                }
                Phase::Living => {}
                Phase::Settling => {
                    next = until + PATIENCE;
                    self.settle().await;
                }
                Phase::Closing => {
                    let begun = *closing.get_or_insert_with(Instant::now);
                    let views = self.rooms.iter().map(|(id, room)| (id, &room.view));
                    if begun.elapsed() > PATIENCE || !self.town.is_behind(&self.owner.actor, views) {
                        break;
                    }
                }
            }
        }
        self.into_device().await
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Message(event) | Event::Change(event) => self.show(event),
            Event::Synced(conversations) => self.synced(&conversations),
            Event::Left { conversation } => self.end(&conversation, End::Away),
            Event::Reset { .. } | Event::Ended { .. } => {
                self.town.odd(format!("{} got {event:?}", self.owner.device));
            }
            _ => {}
        }
    }

    fn show(&mut self, event: LogEvent) {
        let conversation = event.conversation.clone();
        let room = self.rooms.entry(conversation.clone()).or_default();
        room.stay.conversation.clone_from(&conversation);
        room.view.see(&self.owner.actor, &event);
        room.list.add(event.clone());
        let left = event.content["left"]
            .as_array()
            .is_some_and(|left| left.iter().any(|left| *left == self.owner.actor));
        let is_leaving = event.event_type == "members" && left;
        // The library doesn't distinguish live events from fetched ones.
        room.stay.sights.push(Sight { event, live: false });
        if is_leaving {
            self.end(&conversation, End::Left);
        }
    }

    fn end(&mut self, conversation: &str, end: End) {
        self.reads.remove(conversation);
        if let Some(room) = self.rooms.remove(conversation) {
            self.ended.push(Stay { end, ..room.stay });
        }
    }

    fn synced(&mut self, conversations: &[Conversation]) {
        self.synced += 1;
        for conversation in conversations {
            let room = self.rooms.entry(conversation.id.clone()).or_default();
            room.stay.conversation.clone_from(&conversation.id);
            let others = conversation
                .members
                .iter()
                .filter(|member| **member != self.owner.actor);
            room.view.others = others.cloned().collect();
        }
    }

    async fn act(&mut self) {
        if self.owner.random.random_ratio(1, 200) {
            return self.restart().await;
        }
        if self.pending.load(Ordering::Relaxed) >= BUSY {
            return;
        }
        self.number += 1;
        let views: Vec<(&String, &View)> = self.rooms.iter().map(|(id, room)| (id, &room.view)).collect();
        let Owner { actor, random, .. } = &mut self.owner;
        match self.town.wish(random, actor, self.number, &views) {
            Some(Action::Write { conversation, deed }) => self.write(&conversation, deed),
            Some(Action::Call { group, call }) => {
                let (name, params) = method(&group, &call);
                let index = self.town.call(actor, &group, call);
                self.call(name, params, Some(index));
            }
            Some(Action::Open { whom }) => self.call("users.open_direct", serde_json::json!({"actor": whom}), None),
            Some(Action::Mark { conversation, to }) => self.read(conversation, to.read),
            Some(Action::Typing { conversation }) => self.client.typing(&conversation),
            None => {}
        }
    }

    fn read(&mut self, conversation: String, read: u64) {
        let delivered = read;
        self.town
            .mark(&self.owner.actor, &conversation, Mark { delivered, read });
        self.client.mark_read(&conversation, read);
        let known = self.reads.entry(conversation).or_default();
        *known = read.max(*known);
    }

    fn write(&mut self, conversation: &str, deed: WriteRequest) {
        let client = &self.client;
        let sending: Sending = match deed.clone() {
            WriteRequest::Send { kind, content } => client.send(conversation, &kind, content),
            WriteRequest::Edit { target, content } => client.edit(conversation, target, content),
            WriteRequest::Recall { target } => client.recall(conversation, target),
            WriteRequest::React {
                target,
                emoji,
                on: true,
            } => client.react(conversation, target, &emoji),
            WriteRequest::React {
                target,
                emoji,
                on: false,
            } => client.unreact(conversation, target, &emoji),
        };
        let index = self
            .town
            .ask(&self.owner.actor, &self.owner.device, sending.id(), conversation, deed);
        // It resends by itself, an unknown number of times.
        self.town.asked(index, |asked| asked.tries = u32::MAX);
        let (town, pending) = (self.town.clone(), self.pending.clone());
        pending.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            match sending.await {
                Ok(ack) => town.asked(index, |asked| {
                    let (seq, event) = (ack.seq, ack.event);
                    asked.outcome = Outcome::Acked { seq, event };
                }),
                Err(Error::Refused { code, .. }) => {
                    town.asked(index, |asked| asked.outcome = Outcome::Refused { code });
                }
                // It moved to the next client.
                Err(_) => {}
            }
            pending.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn call(&self, name: &'static str, params: serde_json::Value, index: Option<usize>) {
        let (client, town, pending) = (self.client.clone(), self.town.clone(), self.pending.clone());
        pending.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let answer = match client.call(name, params).await {
                Ok(_) => Answer::Done,
                Err(Error::Refused { .. }) => Answer::Refused,
                Err(_) => Answer::Open,
            };
            if let Some(index) = index {
                town.answered(index, answer);
            }
            pending.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Restarts the program with its unsent requests only.
    async fn restart(&mut self) {
        let unsent = self.client.unsent().await.unwrap_or_default();
        self.client.close();
        (self.client, self.events) = connect(&self.owner, unsent);
        // Unlike unsent requests, read marks aren't stored.
        self.reads.clear();
        for (_, room) in std::mem::take(&mut self.rooms) {
            self.ended.push(Stay {
                end: End::Forgotten,
                ..room.stay
            });
        }
    }

    async fn settle(&mut self) {
        let mut waits = match self.pending.load(Ordering::Relaxed) {
            0 => self
                .client
                .unsent()
                .await
                .unwrap_or_default()
                .into_iter()
                .map(|unsent| format!("{unsent:?}"))
                .collect(),
            pending => format!("{pending} answers"),
        };
        for (conversation, read) in &self.reads {
            if self.marks(conversation).await.read < *read {
                waits.push_str(&format!("{conversation} to be read up to {read}"));
            }
        }
        self.town.wait(&self.owner.device, waits);
    }

    async fn marks(&self, conversation: &str) -> Marks {
        self.client.marks(conversation).await.unwrap()
    }

    /// Requests missing changes. The first answer may be for an earlier request.
    async fn catch_up(&mut self) {
        for _ in 0..2 {
            let before = self.synced;
            self.client.sync();
            let until = Instant::now() + PATIENCE;
            while self.synced == before {
                match timeout_at(until, self.events.next()).await {
                    Ok(Some(event)) => self.take(event).await,
                    _ => {
                        return self.town.odd(format!("{} got no sync", self.owner.device));
                    }
                }
            }
        }
    }

    /// Requests everything from the server, as a new program.
    async fn ask_anew(&self) -> BTreeMap<String, Count> {
        let (_client, mut events) = connect(&self.owner, Vec::new());
        loop {
            match timeout(PATIENCE, events.next()).await {
                Ok(Some(Event::Synced(conversations))) => {
                    let count = |conversation: Conversation| Count {
                        mark: Mark {
                            delivered: conversation.delivered,
                            read: conversation.read,
                        },
                        unread: conversation.unread.try_into().unwrap(),
                    };
                    return conversations
                        .into_iter()
                        .map(|conversation| (conversation.id.clone(), count(conversation)))
                        .collect();
                }
                Ok(Some(_)) => {}
                _ => {
                    self.town.odd(format!("{} got no answer", self.owner.device));
                    return BTreeMap::new();
                }
            }
        }
    }

    fn counts(&self, room: &Room, marks: &Marks, fresh: Count) -> Counts {
        let Marks { delivered, read, .. } = *marks;
        let kept = Count {
            mark: Mark { delivered, read },
            unread: marks.unread.try_into().unwrap(),
        };
        let others = marks.receipts.iter().map(|receipt| {
            let (delivered, read) = (receipt.delivered, receipt.read);
            (receipt.actor.clone(), Mark { delivered, read })
        });
        Counts {
            kept,
            fresh,
            others: (room.view.others.len() < FEW).then(|| others.collect()),
        }
    }

    /// Fetches all earlier history as well.
    async fn into_device(mut self) -> Device {
        self.catch_up().await;
        let (fresh, mut counts) = (self.ask_anew().await, BTreeMap::new());
        for (id, mut room) in std::mem::take(&mut self.rooms) {
            let marks = self.marks(&id).await;
            let fresh = fresh.get(&id).copied().unwrap_or_default();
            counts.insert(id.clone(), self.counts(&room, &marks, fresh));
            let mut after = 0;
            loop {
                let limit = self.owner.random.random_range(1..200);
                let page = match self.client.history(&id, Page::After(after), limit).await {
                    Ok(page) => page,
                    Err(error) => {
                        self.town
                            .odd(format!("{} can't read {id}: {error:?}", self.owner.device));
                        break;
                    }
                };
                room.list.add_page(&page);
                after = page.events.last().map_or(page.head, |event| event.seq);
                if after >= page.head {
                    break;
                }
            }
            room.stay.messages = room
                .list
                .iter()
                .map(|message| (message.seq, Message::of(message)))
                .collect();
            self.ended.push(room.stay);
        }
        self.client.close();
        Device {
            name: self.owner.device,
            actor: self.owner.actor,
            from_the_first: false,
            stays: self.ended,
            counts,
        }
    }
}
