//! State shared by all devices: people, groups, planned actions, and the record.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::histories::record::{
    Answer, Call, Called, Log, Mark, Marked, Outcome, RequestRecord, RunRecord, WriteRequest,
};

/// Most unanswered requests of a device: more would only slow down a slow server.
pub(crate) const BUSY: usize = 8;

/// Phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Devices are used, and lose their connections.
    Living,
    /// No new requests; pending ones are completed.
    Settling,
    /// Devices fetch missing events, then finish.
    Closing,
}

/// A group that anybody may join.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) owner: String,
}

/// State shared by all devices.
pub(crate) struct Town {
    pub(crate) actors: Vec<String>,
    pub(crate) groups: Vec<Group>,
    pub(crate) phase: watch::Sender<Phase>,
    record: Mutex<RunRecord>,
    /// What devices are waiting for; no entry for a settled device.
    pub(crate) waits: watch::Sender<BTreeMap<String, String>>,
    /// Number of gaps reported to slow devices.
    pub(crate) gaps: AtomicU64,
}

/// The next action of a device.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Write {
        conversation: String,
        deed: WriteRequest,
    },
    Mark {
        conversation: String,
        to: Mark,
    },
    Typing {
        conversation: String,
    },
    Call {
        group: String,
        call: Call,
    },
    /// Creates a conversation of two.
    Open {
        whom: String,
    },
}

/// A device's view of a conversation.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) upto: u64,
    pub(crate) messages: Vec<u64>,
    /// Own messages.
    pub(crate) own: Vec<u64>,
    pub(crate) others: Vec<String>,
}

impl Town {
    pub(crate) fn new(actors: Vec<String>, groups: Vec<Group>) -> Self {
        Self {
            actors,
            groups,
            phase: watch::Sender::new(Phase::Living),
            record: Mutex::default(),
            waits: watch::Sender::default(),
            gaps: AtomicU64::new(0),
        }
    }

    /// Stores the final logs.
    pub(crate) fn read(&self, logs: BTreeMap<String, Log>) {
        self.record.lock().unwrap().logs = logs;
    }

    /// Returns true if a device with these views lacks events, or has a conversation too many.
    pub(crate) fn is_behind<'a>(&self, me: &str, views: impl Iterator<Item = (&'a String, &'a View)>) -> bool {
        let logs = &self.record.lock().unwrap().logs;
        let wanted = logs
            .iter()
            .filter(|(_, log)| log.members.contains(me))
            .map(|(id, log)| (id, log.head));
        // A new conversation is announced with its first event.
        let is_begun = |(_, upto): &(&String, u64)| *upto > 0;
        !views
            .map(|(id, view)| (id, view.upto))
            .filter(is_begun)
            .eq(wanted.filter(is_begun))
    }

    pub(crate) fn take_record(&self) -> RunRecord {
        std::mem::take(&mut self.record.lock().unwrap())
    }

    /// Records what a device is waiting for.
    pub(crate) fn wait(&self, device: &str, what: String) {
        self.waits
            .send_if_modified(|waits| waits.insert(device.to_owned(), what.clone()) != Some(what));
    }

    pub(crate) fn odd(&self, text: String) {
        self.record.lock().unwrap().oddities.push(text);
    }

    /// Records a request. Returns its index.
    pub(crate) fn ask(&self, actor: &str, device: &str, id: &str, conversation: &str, deed: WriteRequest) -> usize {
        let asked = &mut self.record.lock().unwrap().asked;
        asked.push(RequestRecord {
            actor: actor.to_owned(),
            device: device.to_owned(),
            id: id.to_owned(),
            conversation: conversation.to_owned(),
            deed,
            tries: 0,
            put_off: false,
            outcome: Outcome::Open,
        });
        asked.len() - 1
    }

    /// Returns the number of answered requests.
    pub(crate) fn done(&self) -> usize {
        let asked = &self.record.lock().unwrap().asked;
        asked.iter().filter(|asked| asked.outcome != Outcome::Open).count()
    }

    pub(crate) fn asked<T>(&self, index: usize, change: impl FnOnce(&mut RequestRecord) -> T) -> T {
        change(&mut self.record.lock().unwrap().asked[index])
    }

    /// Records a method call. Returns its index.
    pub(crate) fn call(&self, actor: &str, conversation: &str, call: Call) -> usize {
        let called = &mut self.record.lock().unwrap().called;
        called.push(Called {
            actor: actor.to_owned(),
            conversation: conversation.to_owned(),
            call,
            answer: Answer::Open,
        });
        called.len() - 1
    }

    pub(crate) fn answered(&self, index: usize, answer: Answer) {
        self.record.lock().unwrap().called[index].answer = answer;
    }

    /// Records a request to advance a watermark. Returns its index.
    pub(crate) fn mark(&self, actor: &str, conversation: &str, to: Mark) -> usize {
        let marked = &mut self.record.lock().unwrap().marked;
        marked.push(Marked {
            actor: actor.to_owned(),
            conversation: conversation.to_owned(),
            to,
            answer: None,
        });
        marked.len() - 1
    }

    pub(crate) fn marked(&self, index: usize, answer: Mark) {
        self.record.lock().unwrap().marked[index].answer = Some(answer);
    }

    /// Chooses the next action.
    pub(crate) fn wish(
        &self,
        random: &mut StdRng,
        me: &str,
        number: u64,
        views: &[(&String, &View)],
    ) -> Option<Action> {
        let dice = random.random_range(0..100);
        if dice >= 92 || views.is_empty() {
            return self.wish_elsewhere(random, me, views);
        }
        let (conversation, view) = views.choose(random)?;
        let conversation = (*conversation).clone();
        let write = |deed| {
            Some(Action::Write {
                conversation: conversation.clone(),
                deed,
            })
        };
        let text = |random: &mut StdRng| {
            // Some are long, so that segments of the log and queues fill at different positions.
            let length = if random.random_ratio(1, 12) {
                random.random_range(500..3_000)
            } else {
                0
            };
            json!({"text": format!("{me}-{number}{}", "x".repeat(length))})
        };
        match dice {
            0..50 => {
                let content = text(random);
                write(WriteRequest::Send {
                    kind: "text".to_owned(),
                    content,
                })
            }
            50..60 => {
                let (target, content) = (*view.own.choose(random)?, text(random));
                write(WriteRequest::Edit { target, content })
            }
            60..63 => write(WriteRequest::Recall {
                target: *view.own.choose(random)?,
            }),
            63..76 => {
                let emoji = (*["👍", "🎉", "🐢"].choose(random)?).to_owned();
                // A recent message, so that several actors react to the same one.
                let recent = &view.messages[view.messages.len().saturating_sub(5)..];
                let target = *recent.choose(random)?;
                write(WriteRequest::React {
                    target,
                    emoji,
                    on: random.random_ratio(2, 3),
                })
            }
            76..89 => {
                let delivered = view.upto;
                let read = random.random_range(0..=delivered);
                Some(Action::Mark {
                    conversation,
                    to: Mark { delivered, read },
                })
            }
            _ => Some(Action::Typing { conversation }),
        }
    }

    /// Chooses an action about people and groups.
    fn wish_elsewhere(&self, random: &mut StdRng, me: &str, views: &[(&String, &View)]) -> Option<Action> {
        let group = self.groups.choose(random)?;
        let view = views.iter().find(|(id, _)| **id == group.id).map(|(_, view)| *view);
        let call = match view {
            _ if random.random_ratio(1, 6) => {
                let whom = self.actors.choose(random).filter(|whom| *whom != me)?.clone();
                return Some(Action::Open { whom });
            }
            None => Call::Join,
            Some(view) if group.owner == me => {
                let whom = view.others.choose(random)?.clone();
                match random.random_range(0..6) {
                    0 | 1 => Call::Remove { whom },
                    2 => Call::Mute { whom },
                    3 | 4 => Call::Unmute { whom },
                    _ => Call::TakeBack {
                        target: *view.messages.choose(random)?,
                    },
                }
            }
            Some(_) if random.random_ratio(1, 3) => Call::Leave,
            Some(_) => return None,
        };
        let group = group.id.clone();
        Some(Action::Call { group, call })
    }
}

impl View {
    /// Applies an event.
    pub(crate) fn see(&mut self, me: &str, event: &courtyard_client::LogEvent) {
        self.upto = self.upto.max(event.seq);
        if event.is_message() {
            self.messages.push(event.seq);
            if event.sender == me && event.kind == "text" {
                self.own.push(event.seq);
            }
        }
        if event.event_type == "members" {
            let list = |name: &str| event.content[name].as_array().cloned().unwrap_or_default();
            let (joined, left) = (list("joined"), list("left"));
            // Joined members may be known already.
            self.others
                .retain(|other| !left.iter().chain(&joined).any(|actor| actor == other));
            self.others.extend(
                joined
                    .iter()
                    .filter_map(Value::as_str)
                    .filter(|actor| *actor != me)
                    .map(str::to_owned),
            );
        }
    }
}

/// Returns the method and its parameters.
pub(crate) fn method(group: &str, call: &Call) -> (&'static str, Value) {
    match call {
        Call::Join => ("groups.join", json!({"group": group})),
        Call::Leave => ("groups.leave", json!({"group": group})),
        Call::Remove { whom } => ("groups.remove", json!({"group": group, "actors": [whom]})),
        Call::Mute { whom } => ("groups.mute", json!({"group": group, "actor": whom})),
        Call::Unmute { whom } => ("groups.unmute", json!({"group": group, "actor": whom})),
        Call::TakeBack { target } => ("groups.recall", json!({"group": group, "seq": target})),
    }
}
