//! A device that speaks the protocol frame by frame, and does what the protocol says that a client does.

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
use crate::histories::town::{BUSY, Phase, Town, View, Wish, method};
use room::Room;

/// How long what is missing may take to come when nobody says anything new; no run waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who uses a device, and over which line.
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
    /// Counts frames and texts.
    number: u64,
    connection: Connection,
    /// How many of the last two syncs were asked for.
    closing: u8,
    /// What the last one said: everything, once more.
    fresh: Option<BTreeMap<String, Count>>,
}

/// Something to be written, until there is an answer.
struct Letter {
    /// Where it is in the record.
    asked: usize,
    frame: Value,
    is_sent: bool,
    /// It waits until then.
    due: Instant,
}

/// What belongs to one connection.
#[derive(Default)]
struct Connection {
    sync: Option<Sync>,
    /// Whether it has to ask once more.
    sync_again: bool,
    /// Whether it was told what there is, and lost nothing since.
    is_told: bool,
    /// Requests for missing events: of which conversation.
    fills: HashMap<String, String>,
    /// Methods; those that the record knows, and others.
    calls: HashMap<String, Option<usize>>,
    marks: HashMap<String, usize>,
}

/// A `sync` without an answer.
struct Sync {
    id: String,
    /// Whether it asks for everything.
    is_full: bool,
    /// The conversations that were heard of since.
    heard: BTreeSet<String>,
}

/// The connection is over.
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

    /// Uses it until the town is closed, and returns what it saw.
    pub(crate) async fn live(mut self) -> Device {
        while self.fresh.is_none() {
            if let Some(mut client) = self.connect().await {
                // How a connection ends is all the same: the next one begins with what it needs.
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

    /// Is without a connection for a while; what is written meanwhile is sent later.
    async fn away(&mut self) {
        let phase = self.phase();
        let random = &mut self.owner.random;
        let (longest, letters) = match phase {
            Phase::Living if random.random_ratio(1, 4) => (2_000, random.random_range(0..4)),
            _ => (100, 0),
        };
        let pause = random.random_range(20..=longest);
        for _ in 0..letters {
            if let Some(Wish::Write { conversation, deed }) = self.wish() {
                self.write(&conversation, deed);
            }
        }
        if longest > 100 && self.owner.random.random_ratio(1, 8) {
            self.set_up_anew();
        }
        sleep(Duration::from_millis(pause)).await;
    }

    /// Forgets all conversations, as a device that is set up anew.
    fn set_up_anew(&mut self) {
        self.position = None;
        for (_, room) in std::mem::take(&mut self.rooms) {
            self.ended.push(room.end(End::Forgotten));
        }
    }

    fn wish(&mut self) -> Option<Wish> {
        let Connection { calls, marks, .. } = &self.connection;
        if self.letters.len() + calls.len() + marks.len() >= BUSY {
            return None;
        }
        self.number += 1;
        let views: Vec<(&String, &View)> = self.rooms.iter().map(|(id, room)| (id, &room.view)).collect();
        let Owner { actor, random, .. } = &mut self.owner;
        self.town.wish(random, actor, self.number, &views)
    }

    fn write(&mut self, conversation: &str, deed: crate::histories::record::Deed) {
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

    /// Does something, or breaks the connection.
    async fn act(&mut self, client: &mut Client) -> Result<(), Over> {
        if self.owner.random.random_ratio(1, 60) {
            return Err(Over);
        }
        match self.wish() {
            None => Ok(()),
            Some(Wish::Write { conversation, deed }) => {
                self.write(&conversation, deed);
                Ok(())
            }
            Some(Wish::Mark { conversation, to }) => {
                let id = self.next_id();
                let index = self.town.mark(&self.owner.actor, &conversation, to);
                self.connection.marks.insert(id.clone(), index);
                let (delivered, read) = (to.delivered, to.read);
                let frame = json!({"type": "receipt", "id": id, "conversation": conversation, "delivered": delivered, "read": read});
                self.send(client, &frame).await
            }
            Some(Wish::Typing { conversation }) => {
                self.send(client, &json!({"type": "typing", "conversation": conversation}))
                    .await
            }
            Some(Wish::Call { group, call }) => {
                let (name, params) = method(&group, &call);
                let index = self.town.call(&self.owner.actor, &group, call);
                self.call(client, name, params, Some(index)).await
            }
            Some(Wish::Open { whom }) => {
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

    /// Sends what waits, the oldest first.
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

    /// Says what has no answer yet.
    fn settle(&self) {
        let Connection { calls, marks, sync, .. } = &self.connection;
        let frames = self.letters.iter().map(|letter| letter.frame.to_string());
        let mut waits: Vec<String> = frames.chain(calls.keys().chain(marks.keys()).cloned()).collect();
        waits.extend(sync.iter().map(|sync| sync.id.clone()));
        self.town.wait(&self.owner.device, waits.join(", "));
    }

    /// Gets what is missing, first by itself, then by asking; returns whether that is done.
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
