//! Frames of the server.

use courtyard_client::LogEvent;

use super::*;
use crate::histories::record::{Answer, Mark, Outcome, Sight, WriteRequest};

/// Codes that leave it unknown whether a request was committed.
const UNKNOWN: [&str; 1] = ["unavailable"];

/// Returns the frame of a request.
pub(super) fn of_deed(id: &str, conversation: &str, deed: &WriteRequest) -> Value {
    let more = match deed {
        WriteRequest::Send { kind, content } => json!({"type": "send", "kind": kind, "content": content}),
        WriteRequest::Edit { target, content } => json!({"type": "edit", "target": target, "content": content}),
        WriteRequest::Recall { target } => json!({"type": "recall", "target": target}),
        WriteRequest::React { target, emoji, on } => {
            json!({"type": if *on { "react" } else { "unreact" }, "target": target, "emoji": emoji})
        }
    };
    let mut frame = json!({"id": id, "conversation": conversation});
    frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    frame
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn mark_of(value: &Value) -> Mark {
    let number = |name: &str| value[name].as_u64().unwrap_or_default();
    Mark {
        delivered: number("delivered"),
        read: number("read"),
    }
}

impl Plain {
    pub(super) async fn receive(&mut self, client: &mut Client, frame: &Value) -> Result<(), Over> {
        let id = text(&frame["id"]);
        match text(&frame["type"]) {
            "event" => self.hear(client, event_of(&frame["event"])).await,
            "ack" => self.acked(client, frame).await,
            "error" => self.refused(client, id, frame).await,
            "events" => self.filled(client, id, frame).await,
            "synced" => self.synced(client, frame).await,
            "result" => {
                if let Some(Some(index)) = self.connection.calls.remove(id) {
                    self.town.answered(index, Answer::Done);
                }
                Ok(())
            }
            "marked" => {
                let mark = mark_of(frame);
                if let Some(index) = self.connection.marks.remove(id) {
                    self.town.marked(index, mark);
                }
                let me = self.owner.actor.clone();
                self.told(text(&frame["conversation"]), &me, mark);
                Ok(())
            }
            "receipt" => {
                self.told(text(&frame["conversation"]), text(&frame["actor"]), mark_of(frame));
                Ok(())
            }
            "gap" => {
                self.town.gaps.fetch_add(1, Ordering::Relaxed);
                self.rooms.values_mut().for_each(Room::lose_track);
                (self.connection.is_told, self.connection.sync_again) = (false, true);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn told(&mut self, conversation: &str, actor: &str, mark: Mark) {
        if let Some(room) = self.rooms.get_mut(conversation) {
            room.mark(&self.owner.actor, actor, mark);
        }
    }

    async fn hear(&mut self, client: &mut Client, event: LogEvent) -> Result<(), Over> {
        let (conversation, seq) = (event.conversation.clone(), event.seq);
        if let Some(sync) = &mut self.connection.sync {
            sync.heard.insert(conversation.clone());
        }
        if !self.rooms.contains_key(&conversation) {
            // The sync entry has more than the events.
            self.connection.sync_again = true;
        }
        let room = self.rooms.entry(conversation.clone());
        let room = room.or_insert_with(|| Room::new(&conversation));
        if room.is_skipped_by(seq) {
            let (device, upto) = (&self.owner.device, room.view.upto);
            self.town.odd(format!(
                "{device} got {seq} behind {upto} of {conversation} without a gap"
            ));
        }
        let sight = Sight { event, live: true };
        if seq <= room.view.upto && sight.ends_stay_of(&self.owner.actor) {
            // A page of history arrived first.
            self.leave(&conversation, End::Away, seq);
        } else {
            room.take(sight, seq);
        }
        self.show(client, &conversation).await
    }

    /// Displays the next events, and requests missing ones.
    async fn show(&mut self, client: &mut Client, conversation: &str) -> Result<(), Over> {
        let me = self.owner.actor.clone();
        while let Some(sight) = self.rooms.get_mut(conversation).and_then(|room| room.show(&me)) {
            if sight.ends_stay_of(&me) {
                let seq = sight.event.seq;
                self.leave(conversation, End::Left, seq);
            }
        }
        self.fill(client, conversation).await
    }

    /// Ends a stay at a number; later events begin the next stay.
    fn leave(&mut self, conversation: &str, end: End, seq: u64) {
        let Some(mut room) = self.rooms.remove(conversation) else {
            return;
        };
        if let Some(next) = room.split_off(seq) {
            self.rooms.insert(conversation.to_owned(), next);
            // Events between two stays aren't pushed.
            self.connection.sync_again = true;
        }
        self.ended.push(room.end(end));
    }

    async fn fill(&mut self, client: &mut Client, conversation: &str) -> Result<(), Over> {
        let id = self.next_id();
        let limit = self.owner.random.random_range(1..200);
        let Some(room) = self.rooms.get_mut(conversation) else {
            return Ok(());
        };
        let Some(after) = room.missing_behind(self.connection.is_told) else {
            return Ok(());
        };
        room.is_filling = true;
        self.connection.fills.insert(id.clone(), conversation.to_owned());
        let frame = json!({"type": "history", "id": id, "conversation": conversation, "after": after, "limit": limit});
        self.send(client, &frame).await
    }

    async fn filled(&mut self, client: &mut Client, id: &str, frame: &Value) -> Result<(), Over> {
        let Some(conversation) = self.connection.fills.remove(id) else {
            return Ok(());
        };
        let head = frame["head"].as_u64().unwrap_or_default();
        if let Some(room) = self.rooms.get_mut(&conversation) {
            room.is_filling = false;
            for event in frame["events"].as_array().into_iter().flatten() {
                room.take(
                    Sight {
                        event: event_of(event),
                        live: false,
                    },
                    head,
                );
            }
        }
        self.show(client, &conversation).await
    }

    async fn acked(&mut self, client: &mut Client, frame: &Value) -> Result<(), Over> {
        let Some(at) = self.letters.iter().position(|letter| letter.frame["id"] == frame["id"]) else {
            self.town.odd(format!(
                "{} got an ack that it does not wait for: {frame}",
                self.owner.device
            ));
            return Ok(());
        };
        let letter = self.letters.remove(at).unwrap();
        let (seq, event) = (
            frame["seq"].as_u64().unwrap_or_default(),
            text(&frame["event"]).to_owned(),
        );
        let deed = self.town.asked(letter.asked, |asked| {
            asked.outcome = Outcome::Acked { seq, event };
            asked.deed.clone()
        });
        let kind = match &deed {
            WriteRequest::Send { kind, .. } => &**kind,
            _ => "",
        };
        let event = json!({
            "id": frame["event"], "conversation": frame["conversation"], "seq": seq, "type": deed.event_type(),
            "target": deed.target(), "kind": kind, "sender": self.owner.actor, "client_id": frame["id"],
            "content": frame.get("content").cloned().unwrap_or_else(|| deed.content()), "time": frame["time"],
        });
        // The ack of a repetition may be older than the membership. Acks stay queued when events are dropped, so the gap
        // follows them.
        let Some(room) = self.rooms.get_mut(text(&frame["conversation"])) else {
            return Ok(());
        };
        room.take(
            Sight {
                event: event_of(&event),
                live: true,
            },
            seq,
        );
        self.show(client, text(&frame["conversation"])).await
    }

    async fn refused(&mut self, client: &mut Client, id: &str, frame: &Value) -> Result<(), Over> {
        let code = text(&frame["code"]).to_owned();
        let retry = frame["retry"] == true;
        if let Some(at) = self.letters.iter().position(|letter| letter.frame["id"] == id) {
            let letter = &mut self.letters[at];
            if retry {
                (letter.is_sent, letter.due) = (false, Instant::now() + Duration::from_millis(100));
                self.town.asked(letter.asked, |asked| asked.put_off = true);
            } else {
                self.town
                    .asked(letter.asked, |asked| asked.outcome = Outcome::Refused { code });
                self.letters.remove(at);
            }
        } else if let Some(conversation) = self.connection.fills.remove(id) {
            let me = self.owner.actor.clone();
            if let Some(room) = self.rooms.get_mut(&conversation) {
                room.is_filling = false;
                // Events before the leave can't be fetched any more.
                if let Some(seq) = room.waits_with_leaving(&me) {
                    self.leave(&conversation, End::Away, seq);
                    self.show(client, &conversation).await?;
                } else if retry {
                    self.fill(client, &conversation).await?;
                }
            }
        } else if let Some(index) = self.connection.calls.remove(id) {
            if let (Some(index), false) = (index, UNKNOWN.contains(&&*code)) {
                self.town.answered(index, Answer::Refused);
            }
        } else if self.connection.marks.remove(id).is_none() {
            if self.connection.sync.as_ref().is_some_and(|sync| sync.id == id) {
                self.connection.sync_again = true;
                self.connection.sync = None;
            } else {
                self.town
                    .odd(format!("{} got an error for nothing: {frame}", self.owner.device));
            }
        }
        Ok(())
    }

    async fn synced(&mut self, client: &mut Client, frame: &Value) -> Result<(), Over> {
        let Some(Sync { heard, is_full, .. }) = self.connection.sync.take() else {
            return Ok(());
        };
        let listed = frame["conversations"].as_array().cloned().unwrap_or_default();
        if is_full {
            let count = |entry: &Value| Count {
                mark: mark_of(entry),
                unread: usize::try_from(entry["unread"].as_u64().unwrap_or_default()).unwrap(),
            };
            let counts = listed.iter().map(|entry| (text(&entry["id"]).to_owned(), count(entry)));
            self.fresh = Some(counts.collect());
            return Ok(());
        }
        self.position = Some(frame["position"].clone());
        // An answer to a request from before a gap is incomplete.
        self.connection.is_told = !self.connection.sync_again;
        for id in frame["left"].as_array().into_iter().flatten().map(text) {
            if heard.contains(id) {
                // The actor may have rejoined since the answer.
                self.connection.sync_again = true;
            } else {
                self.leave(id, End::Away, u64::MAX - 1);
            }
        }
        listed.iter().for_each(|entry| self.listed(entry));
        // Also for conversations announced on an earlier connection that broke meanwhile.
        for id in self.rooms.keys().cloned().collect::<Vec<_>>() {
            self.fill(client, &id).await?;
        }
        Ok(())
    }

    fn listed(&mut self, entry: &Value) {
        let (id, me) = (text(&entry["id"]), self.owner.actor.clone());
        if entry["epoch"] != 0 {
            self.town.odd(format!("{id} has another epoch: {}", entry["epoch"]));
        }
        let room = self.rooms.entry(id.to_owned()).or_insert_with(|| Room::new(id));
        room.head = room.head.max(entry["seq"].as_u64().unwrap_or_default());
        let members = entry["members"].as_array().into_iter().flatten().map(text);
        room.view.others = members.filter(|member| *member != me).map(str::to_owned).collect();
        room.mark(&me, &me, mark_of(entry));
        for receipt in entry["receipts"].as_array().into_iter().flatten() {
            room.mark(&me, text(&receipt["actor"]), mark_of(receipt));
        }
    }
}

fn event_of(value: &Value) -> LogEvent {
    serde_json::from_value(value.clone()).unwrap()
}
