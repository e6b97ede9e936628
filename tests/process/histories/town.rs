//! What all devices share: who there is, which groups there are, what is to be done, and the record.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::histories::record::{Answer, Asked, Call, Called, Deed, Log, Mark, Marked, Outcome, Record};

/// How much a device begins that has no answer yet: more would only make a slow server slower.
pub(crate) const BUSY: usize = 8;

/// What devices do at this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// People use them, and lose their connections.
    Living,
    /// Nobody begins anything; what is begun is brought to an end.
    Settling,
    /// Everybody gets what is missing, and is done then.
    Closing,
}

/// A group that anybody may join.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) owner: String,
}

/// What all devices share.
pub(crate) struct Town {
    pub(crate) actors: Vec<String>,
    pub(crate) groups: Vec<Group>,
    pub(crate) phase: watch::Sender<Phase>,
    record: Mutex<Record>,
    /// What devices wait for; nothing for one that has brought everything to an end.
    pub(crate) waits: watch::Sender<BTreeMap<String, String>>,
    /// How often a device was told that it was too slow.
    pub(crate) gaps: AtomicU64,
}

/// What somebody does next.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Write {
        conversation: String,
        deed: Deed,
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
    /// Opens a conversation of two.
    Open {
        whom: String,
    },
}

/// What somebody sees of a conversation.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) upto: u64,
    pub(crate) messages: Vec<u64>,
    /// Those that are one's own.
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

    /// Takes note of what the logs have, once nothing more comes.
    pub(crate) fn read(&self, logs: BTreeMap<String, Log>) {
        self.record.lock().unwrap().logs = logs;
    }

    /// Whether something is missing, or too much, on a device that has these conversations up to these numbers.
    pub(crate) fn is_behind<'a>(&self, me: &str, views: impl Iterator<Item = (&'a String, &'a View)>) -> bool {
        let logs = &self.record.lock().unwrap().logs;
        let wanted = logs
            .iter()
            .filter(|(_, log)| log.members.contains(me))
            .map(|(id, log)| (id, log.head));
        // That a conversation begins is told with its first event.
        let is_begun = |(_, upto): &(&String, u64)| *upto > 0;
        !views
            .map(|(id, view)| (id, view.upto))
            .filter(is_begun)
            .eq(wanted.filter(is_begun))
    }

    pub(crate) fn take_record(&self) -> Record {
        std::mem::take(&mut self.record.lock().unwrap())
    }

    /// Says what a device waits for.
    pub(crate) fn wait(&self, device: &str, what: String) {
        self.waits
            .send_if_modified(|waits| waits.insert(device.to_owned(), what.clone()) != Some(what));
    }

    pub(crate) fn odd(&self, text: String) {
        self.record.lock().unwrap().oddities.push(text);
    }

    /// Notes that something is to be written; returns where that is noted.
    pub(crate) fn ask(&self, actor: &str, device: &str, id: &str, conversation: &str, deed: Deed) -> usize {
        let asked = &mut self.record.lock().unwrap().asked;
        asked.push(Asked {
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

    /// Returns how much of what was to be written has its answer.
    pub(crate) fn done(&self) -> usize {
        let asked = &self.record.lock().unwrap().asked;
        asked.iter().filter(|asked| asked.outcome != Outcome::Open).count()
    }

    pub(crate) fn asked<T>(&self, index: usize, change: impl FnOnce(&mut Asked) -> T) -> T {
        change(&mut self.record.lock().unwrap().asked[index])
    }

    /// Notes that a method is called.
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

    /// Notes that a watermark is to be moved.
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

    /// Thinks of something to do.
    pub(crate) fn wish(&self, random: &mut StdRng, me: &str, number: u64, views: &[(&String, &View)]) -> Option<Wish> {
        let dice = random.random_range(0..100);
        if dice >= 92 || views.is_empty() {
            return self.wish_elsewhere(random, me, views);
        }
        let (conversation, view) = views.choose(random)?;
        let conversation = (*conversation).clone();
        let write = |deed| {
            Some(Wish::Write {
                conversation: conversation.clone(),
                deed,
            })
        };
        let text = |random: &mut StdRng| {
            // Some are long, so that segments of the log and queues fill at different places.
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
                write(Deed::Send {
                    kind: "text".to_owned(),
                    content,
                })
            }
            50..60 => {
                let (target, content) = (*view.own.choose(random)?, text(random));
                write(Deed::Edit { target, content })
            }
            60..63 => write(Deed::Recall {
                target: *view.own.choose(random)?,
            }),
            63..76 => {
                let emoji = (*["👍", "🎉", "🐢"].choose(random)?).to_owned();
                // Of late, so that several react to the same message.
                let recent = &view.messages[view.messages.len().saturating_sub(5)..];
                let target = *recent.choose(random)?;
                write(Deed::React {
                    target,
                    emoji,
                    on: random.random_ratio(2, 3),
                })
            }
            76..89 => {
                let delivered = view.upto;
                let read = random.random_range(0..=delivered);
                Some(Wish::Mark {
                    conversation,
                    to: Mark { delivered, read },
                })
            }
            _ => Some(Wish::Typing { conversation }),
        }
    }

    /// Thinks of something that is about people and groups.
    fn wish_elsewhere(&self, random: &mut StdRng, me: &str, views: &[(&String, &View)]) -> Option<Wish> {
        let group = self.groups.choose(random)?;
        let view = views.iter().find(|(id, _)| **id == group.id).map(|(_, view)| *view);
        let call = match view {
            _ if random.random_ratio(1, 6) => {
                let whom = self.actors.choose(random).filter(|whom| *whom != me)?.clone();
                return Some(Wish::Open { whom });
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
        Some(Wish::Call { group, call })
    }
}

impl View {
    /// Takes note of an event.
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
            // Those who joined may be known from elsewhere.
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
