//! A device that implements the client side of the protocol frame by frame.

mod frames;
mod room;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use courtyard_tests::{Client, Heard};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::histories::line::Line;
use crate::histories::record::{Count, Counts, Device, End, Stay};
use crate::histories::town::{Action, BUSY, Phase, Town, View, method};
use room::Room;

/// Upper bound for missing events to arrive after the last request; no run waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// The owner of a device, and its line.
pub(crate) struct Owner {
    pub(crate) actor: String,
    pub(crate) device: String,
    pub(crate) token: Value,
    pub(crate) line: Arc<Line>,
    pub(crate) random: StdRng,
}

pub(crate) struct Plain {
    town: Arc<Town>,
    owner: Owner,
    rooms: BTreeMap<String, Room>,
    ended: Vec<Stay>,
    position: Option<Value>,
    letters: VecDeque<Letter>,
    /// Counter of frames and texts.
    number: u64,
    connection: Connection,
    /// Number of requested final syncs, up to two.
    closing: u8,
    /// Result of the last one, a full sync.
    fresh: Option<BTreeMap<String, Count>>,
}

/// An unanswered request.
struct Letter {
    /// Index in the record.
    asked: usize,
    frame: Value,
    is_sent: bool,
    /// Time of the next attempt.
    due: Instant,
}

/// State of one connection.
#[derive(Default)]
struct Connection {
    sync: Option<Sync>,
    /// True if another sync is needed.
    sync_again: bool,
    /// True if it has synced, and lost nothing since.
    is_told: bool,
    /// Requests for missing events, with their conversation.
    fills: HashMap<String, String>,
    /// Method calls; recorded ones with their index.
    calls: HashMap<String, Option<usize>>,
    marks: HashMap<String, usize>,
}

/// An unanswered `sync`.
struct Sync {
    id: String,
    /// True for a full sync.
    is_full: bool,
    /// Conversations with events since the request.
    heard: BTreeSet<String>,
}

/// The connection has ended.
struct Over;

impl Plain {
    pub(crate) fn new(town: Arc<Town>, owner: Owner) -> Self {
        Self {
            town,
            owner,
            rooms: BTreeMap::new(),
            ended: Vec::new(),
            position: None,
            letters: VecDeque::new(),
            number: 0,
            connection: Connection::default(),
            closing: 0,
            fresh: None,
        }
    }

    /// Uses the device until the town is closed, and returns its view.
    pub(crate) async fn live(mut self) -> Device {
        while self.fresh.is_none() {
            if let Some(mut client) = self.connect().await {
                // The reason of the end doesn't matter: the next connection restores the state.
                let _ = self.stay(&mut client).await;
            }
            self.disconnected();
            if self.fresh.is_none() {
                self.away().await;
            }
        }
        self.into_device()
    }

    fn phase(&self) -> Phase {
        *self.town.phase.borrow()
    }

    fn next_id(&mut self) -> String {
        self.number += 1;
        format!("{}-{}", self.owner.device, self.number)
    }

    async fn connect(&mut self) -> Option<Client> {
        let mut client = Client::try_connect(self.owner.line.port).await?;
        let Owner { device, token, .. } = &self.owner;
        let hello = json!({"type": "hello", "protocol": 1, "device": device, "token": token});
        client.try_send(&hello).await.then_some(())?;
        match client.next_until(Instant::now() + PATIENCE).await {
            Heard::Frame(frame) if frame["type"] == "welcome" => Some(client),
            Heard::Frame(frame) if frame["retry"] != true => {
                self.town.odd(format!("{device} is not let in: {frame}"));
                None
            }
            _ => None,
        }
    }

    async fn stay(&mut self, client: &mut Client) -> Result<(), Over> {
        self.sync(client, false).await?;
        let mut next = Instant::now();
        let mut closing = None;
        loop {
            self.write_letters(client).await?;
            if self.connection.sync_again && self.connection.sync.is_none() {
                self.connection.sync_again = false;
                self.sync(client, false).await?;
            }
            let now = Instant::now();
            let waits = self.letters.iter().filter(|letter| !letter.is_sent);
            let due = waits.map(|letter| letter.due.max(now + Duration::from_millis(2))).min();
            let until = due.into_iter().fold(now + Duration::from_millis(20), Instant::min);
            let until = if self.phase() == Phase::Living {
                until.min(next)
            } else {
                until
            };
            match client.next_until(until).await {
                Heard::Frame(frame) => self.receive(client, &frame).await?,
                Heard::Nothing => {}
                Heard::End => return Err(Over),
            }
            match self.phase() {
                Phase::Living if Instant::now() >= next => {
                    next = Instant::now() + Duration::from_millis(self.owner.random.random_range(5..150));
                    self.act(client).await?;
                }
                Phase::Living => {}
                Phase::Settling => self.settle(),
                Phase::Closing => {
                    let begun = *closing.get_or_insert_with(Instant::now);
                    if self.close(client, begun).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn disconnected(&mut self) {
        (self.connection, self.closing) = (Connection::default(), 0);
        for letter in &mut self.letters {
            letter.is_sent = false;
        }
        for room in self.rooms.values_mut() {
            room.lose_track();
        }
    }

    /// Stays offline for a while; requests made meanwhile are sent later.
    async fn away(&mut self) {
        let phase = self.phase();
        let random = &mut self.owner.random;
        let (longest, letters) = match phase {
            Phase::Living if random.random_ratio(1, 4) => (2_000, random.random_range(0..4)),
            _ => (100, 0),
        };
        let pause = random.random_range(20..=longest);
        for _ in 0..letters {
            if let Some(Action::Write { conversation, deed }) = self.wish() {
                self.write(&conversation, deed);
            }
        }
        if longest > 100 && self.owner.random.random_ratio(1, 8) {
            self.set_up_anew();
        }
        sleep(Duration::from_millis(pause)).await;
    }

    /// Removes all conversations, like a newly set up device.
    fn set_up_anew(&mut self) {
        self.position = None;
        for (_, room) in std::mem::take(&mut self.rooms) {
            self.ended.push(room.end(End::Forgotten));
        }
    }

    fn wish(&mut self) -> Option<Action> {
        let Connection { calls, marks, .. } = &self.connection;
        if self.letters.len() + calls.len() + marks.len() >= BUSY {
            return None;
        }
        self.number += 1;
        let views: Vec<(&String, &View)> = self.rooms.iter().map(|(id, room)| (id, &room.view)).collect();
        let Owner { actor, random, .. } = &mut self.owner;
        self.town.wish(random, actor, self.number, &views)
    }

    fn write(&mut self, conversation: &str, deed: crate::histories::record::WriteRequest) {
        let id = self.next_id();
        let frame = frames::of_deed(&id, conversation, &deed);
        let asked = self
            .town
            .ask(&self.owner.actor, &self.owner.device, &id, conversation, deed);
        self.letters.push_back(Letter {
            asked,
            frame,
            is_sent: false,
            due: Instant::now(),
        });
    }

    /// Performs an action, or breaks the connection.
    async fn act(&mut self, client: &mut Client) -> Result<(), Over> {
        if self.owner.random.random_ratio(1, 60) {
            return Err(Over);
        }
        match self.wish() {
            None => Ok(()),
            Some(Action::Write { conversation, deed }) => {
                self.write(&conversation, deed);
                Ok(())
            }
            Some(Action::Mark { conversation, to }) => {
                let id = self.next_id();
                let index = self.town.mark(&self.owner.actor, &conversation, to);
                self.connection.marks.insert(id.clone(), index);
                let (delivered, read) = (to.delivered, to.read);
                let frame = json!({"type": "receipt", "id": id, "conversation": conversation, "delivered": delivered, "read": read});
                self.send(client, &frame).await
            }
            Some(Action::Typing { conversation }) => {
                self.send(client, &json!({"type": "typing", "conversation": conversation}))
                    .await
            }
            Some(Action::Call { group, call }) => {
                let (name, params) = method(&group, &call);
                let index = self.town.call(&self.owner.actor, &group, call);
                self.call(client, name, params, Some(index)).await
            }
            Some(Action::Open { whom }) => {
                self.call(client, "users.open_direct", json!({"actor": whom}), None)
                    .await
            }
        }
    }

    async fn call(&mut self, client: &mut Client, name: &str, params: Value, index: Option<usize>) -> Result<(), Over> {
        let id = self.next_id();
        self.connection.calls.insert(id.clone(), index);
        self.send(
            client,
            &json!({"type": "call", "id": id, "method": name, "params": params}),
        )
        .await
    }

    async fn send(&self, client: &mut Client, frame: &Value) -> Result<(), Over> {
        client.try_send(frame).await.then_some(()).ok_or(Over)
    }

    /// Sends pending requests, oldest first.
    async fn write_letters(&mut self, client: &mut Client) -> Result<(), Over> {
        for index in 0..self.letters.len() {
            let letter = &mut self.letters[index];
            if letter.is_sent || letter.due > Instant::now() {
                continue;
            }
            letter.is_sent = true;
            let (frame, asked) = (letter.frame.clone(), letter.asked);
            self.town.asked(asked, |asked| asked.tries += 1);
            self.send(client, &frame).await?;
        }
        Ok(())
    }

    async fn sync(&mut self, client: &mut Client, is_full: bool) -> Result<(), Over> {
        let id = self.next_id();
        let mut frame = json!({"type": "sync", "id": id});
        if let (Some(position), false) = (&self.position, is_full) {
            frame["since"] = position.clone();
        }
        let heard = BTreeSet::new();
        self.connection.sync = Some(Sync { id, is_full, heard });
        self.send(client, &frame).await
    }

    /// Reports unanswered requests.
    fn settle(&self) {
        let Connection { calls, marks, sync, .. } = &self.connection;
        let frames = self.letters.iter().map(|letter| letter.frame.to_string());
        let mut waits: Vec<String> = frames.chain(calls.keys().chain(marks.keys()).cloned()).collect();
        waits.extend(sync.iter().map(|sync| sync.id.clone()));
        self.town.wait(&self.owner.device, waits.join(", "));
    }

    /// Waits for missing events, then requests them. Returns true when it has all.
    async fn close(&mut self, client: &mut Client, begun: Instant) -> Result<bool, Over> {
        let late = begun.elapsed() > PATIENCE;
        let views = self.rooms.iter().map(|(id, room)| (id, &room.view));
        let is_behind = self.town.is_behind(&self.owner.actor, views);
        if self.connection.sync.is_some() || self.connection.sync_again || (is_behind && !late) {
            return Ok(false);
        }
        match self.closing {
            0 => self.sync(client, false).await?,
            1 => self.sync(client, true).await?,
            _ => return Ok(self.fresh.is_some()),
        }
        self.closing += 1;
        Ok(false)
    }

    fn into_device(mut self) -> Device {
        let fresh = self.fresh.unwrap_or_default();
        let mut counts = BTreeMap::new();
        for (id, room) in self.rooms {
            let kept = room.count(&self.owner.actor);
            let fresh = fresh.get(&id).copied().unwrap_or_default();
            let others = room.others_if_few();
            counts.insert(id, Counts { kept, fresh, others });
            self.ended.push(room.end(End::Open));
        }
        Device {
            name: self.owner.device,
            actor: self.owner.actor,
            from_the_first: true,
            stays: self.ended,
            counts,
        }
    }
}
