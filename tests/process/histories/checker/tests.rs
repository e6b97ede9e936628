//! The checker on correct histories, and on the same ones with one fault.

use super::*;
use crate::histories::record::{Answer, Called, Count, Counts, Device, End, Mark, Marked, Sight, Stay, WriteRequest};

const ROOM: &str = "room";

fn event(seq: u64, event_type: &str, sender: &str, members: Value) -> LogEvent {
    let mut event = json!({
        "id": format!("e{seq}"), "conversation": ROOM, "seq": seq, "type": event_type, "sender": sender,
        "client_id": format!("c{seq}"), "time": 1_000 + seq, "content": {},
    });
    event
        .as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    serde_json::from_value(event).unwrap()
}

fn asked(event: &LogEvent, deed: WriteRequest) -> RequestRecord {
    RequestRecord {
        actor: event.sender.clone(),
        device: format!("{}/0", event.sender),
        id: event.client_id.clone(),
        conversation: ROOM.to_owned(),
        deed,
        tries: 1,
        put_off: false,
        outcome: Outcome::Acked {
            seq: event.seq,
            event: event.id.clone(),
        },
    }
}

fn send(text: &str) -> WriteRequest {
    WriteRequest::Send {
        kind: "text".to_owned(),
        content: json!({"text": text}),
    }
}

/// Ann's conversation, which Bob joined; he sent a message and edited it, she reacted. Both have two devices.
fn right() -> RunRecord {
    let text = |text: &str| json!({"kind": "text", "content": {"text": text}});
    let raw = [
        event(1, "members", "bob", json!({"content": {"joined": ["bob"], "left": []}})),
        event(2, "message", "bob", text("Helo")),
        event(3, "message", "ann", text("Hi")),
        event(
            4,
            "edit",
            "bob",
            json!({"target": 2, "kind": "text", "content": {"text": "Hello"}}),
        ),
        event(
            5,
            "reaction",
            "ann",
            json!({"target": 2, "content": {"emoji": "+", "on": true}}),
        ),
        event(6, "message", "bob", text("Bye")),
    ];
    let deeds = [
        send("Helo"),
        send("Hi"),
        WriteRequest::Edit {
            target: 2,
            content: json!({"text": "Hello"}),
        },
        WriteRequest::React {
            target: 2,
            emoji: "+".to_owned(),
            on: true,
        },
        send("Bye"),
    ];
    let asked = raw[1..]
        .iter()
        .zip(deeds)
        .map(|(event, deed)| asked(event, deed))
        .collect();
    let mut events = raw.to_vec();
    events[1].content = json!({"text": "Hello"});
    events[1].edited = Some(1_004);
    events[1].reactions = serde_json::from_value(json!([{"emoji": "+", "actors": ["ann"]}])).unwrap();
    let messages = [1, 2, 5].map(|index: usize| (events[index].seq, Message::of(&events[index])));
    let mark = |delivered, read| Mark { delivered, read };
    let marked = |actor: &str, to| Marked {
        actor: actor.to_owned(),
        conversation: ROOM.to_owned(),
        to,
        answer: Some(to),
    };
    let device = |actor: &str, number: u32, own: Mark, unread, other: (&str, Mark)| {
        let count = Count { mark: own, unread };
        let others = Some([(other.0.to_owned(), other.1)].into());
        Device {
            name: format!("{actor}/{number}"),
            actor: actor.to_owned(),
            from_the_first: true,
            stays: vec![Stay {
                conversation: ROOM.to_owned(),
                sights: raw
                    .iter()
                    .map(|event| Sight {
                        event: event.clone(),
                        live: true,
                    })
                    .collect(),
                end: End::Open,
                messages: messages.clone().into(),
            }],
            counts: [(
                ROOM.to_owned(),
                Counts {
                    kept: count,
                    fresh: count,
                    others,
                },
            )]
            .into(),
        }
    };
    let (anns, bobs) = (mark(6, 2), mark(3, 3));
    let names = || ["ann".to_owned(), "bob".to_owned()];
    RunRecord {
        asked,
        called: vec![Called {
            actor: "bob".to_owned(),
            conversation: ROOM.to_owned(),
            call: Call::Join,
            answer: Answer::Done,
        }],
        marked: vec![marked("ann", anns), marked("bob", bobs)],
        logs: [(
            ROOM.to_owned(),
            Log {
                founders: ["ann".to_owned()].into(),
                members: names().into(),
                head: 6,
                events,
            },
        )]
        .into(),
        devices: vec![
            device("ann", 0, anns, 1, ("bob", bobs)),
            device("ann", 1, anns, 1, ("bob", bobs)),
            device("bob", 0, bobs, 0, ("ann", anns)),
        ],
        oddities: Vec::new(),
    }
}

/// Modifies the correct record, and returns the faults that the checker finds.
fn faults(break_it: impl FnOnce(&mut RunRecord)) -> BTreeSet<Fault> {
    let mut record = right();
    break_it(&mut record);
    check(&record).into_iter().map(|complaint| complaint.fault).collect()
}

fn log(record: &mut RunRecord) -> &mut Log {
    record.logs.get_mut(ROOM).unwrap()
}

fn stay(record: &mut RunRecord) -> &mut Stay {
    &mut record.devices[1].stays[0]
}

fn counts(record: &mut RunRecord) -> &mut Counts {
    record.devices[1].counts.get_mut(ROOM).unwrap()
}

/// Asserts that the checker finds exactly these faults.
macro_rules! assert_faults {
    ([$($fault:ident),*], $break_it:expr) => {
        assert_eq!(faults($break_it), BTreeSet::from([$(Fault::$fault),*]));
    };
}

#[test]
fn correct_histories_have_no_faults() {
    assert_eq!(check(&right()), []);
    // A page of history includes later changes, and unanswered requests may be committed.
    assert_faults!([], |record| {
        stay(record).sights[1].event.content = json!({"text": "Hello"});
        stay(record).sights[1].live = false;
        record.asked[4].outcome = Outcome::Open;
        record.marked[0].answer = None;
    });
}

#[test]
fn lost_events_are_found_in_the_log_and_on_devices() {
    assert_faults!([Lost, Gap, Invented], |record| drop(log(record).events.remove(2)));
    assert_faults!([Lost], |record| drop(stay(record).sights.remove(2)));
    assert_faults!([Lost], |record| drop(stay(record).sights.pop()));
    assert_faults!([Lost], |record| drop(stay(record).sights.remove(0)));
    assert_faults!([Lost], |record| drop(stay(record).messages.remove(&3)));
    assert_faults!([Lost], |record| record.devices[1].stays.clear());
    // Also at the end of the log, where the numbering has no gap.
    assert_faults!([Lost, Invented, Unread], |record| {
        log(record).events.pop();
        log(record).head = 5;
    });
}

#[test]
fn duplicated_events_are_found_in_the_log_and_on_devices() {
    assert_faults!([Doubled, Lost, Unread], |record| {
        let mut again = log(record).events[5].clone();
        (again.seq, again.id) = (7, "e7".to_owned());
        log(record).events.push(again);
        log(record).head = 7;
    });
    assert_faults!([Doubled], |record| {
        let again = stay(record).sights[3].clone();
        stay(record).sights.insert(3, again);
    });
    assert_faults!([Doubled], |record| {
        let again = stay(record).clone();
        record.devices[1].stays.push(again);
    });
}

#[test]
fn reordered_events_are_found_in_the_log_and_on_devices() {
    assert!(faults(|record| log(record).events.swap(2, 4)).contains(&Fault::Reordered));
    assert!(faults(|record| stay(record).sights.swap(2, 3)).contains(&Fault::Reordered));
    // Two messages of one device are swapped; the rest is correct.
    assert_faults!([Reordered, Altered, Folded], |record| {
        let events = &mut log(record).events;
        let (first, last) = (events[1].client_id.clone(), events[5].client_id.clone());
        (events[1].client_id, events[5].client_id) = (last, first);
        for asked in &mut record.asked {
            match &mut asked.outcome {
                Outcome::Acked { seq, event } if *seq == 2 => (*seq, *event) = (6, "e6".to_owned()),
                Outcome::Acked { seq, event } if *seq == 6 => (*seq, *event) = (2, "e2".to_owned()),
                _ => {}
            }
        }
    });
    assert!(
        !faults(|record| record.asked.iter_mut().for_each(|asked| asked.put_off = true)).contains(&Fault::Reordered)
    );
}

#[test]
fn invented_events_are_found_in_the_log_and_on_devices() {
    assert_faults!([Invented], |record| {
        // Neither requested nor acked.
        record.asked.remove(1);
    });
    assert_faults!([Invented], |record| record.asked[1].outcome = Outcome::Refused {
        code: "forbidden".to_owned()
    });
    assert_faults!([], |record| {
        // Rejected on the second attempt, it may be committed by the first.
        record.asked[1].outcome = Outcome::Refused {
            code: "unknown_conversation".to_owned(),
        };
        record.asked[1].tries = 2;
    });
    assert_faults!([Invented, Lost], |record| {
        let mut more = stay(record).sights[5].clone();
        more.event.seq = 7;
        stay(record).sights.push(more);
    });
    assert_faults!([Invented], |record| {
        let mut more = stay(record).messages[&6].clone();
        more.seq = 7;
        stay(record).messages.insert(7, more);
    });
    assert_faults!([Invented], |record| record.called.clear());
    assert_faults!([Lost], |record| record.called.push(record.called[0].clone()));
}

#[test]
fn modified_contents_are_found() {
    assert_faults!([Altered], |record| stay(record).sights[2].event.content =
        json!({"text": "Ho"}));
    assert_faults!([Altered], |record| stay(record).sights[2].event.sender =
        "bob".to_owned());
    assert_faults!([Altered], |record| stay(record).sights[1].event.content =
        json!({"text": "Hello"}));
    assert_faults!([Altered], |record| log(record).events[4].content =
        json!({"emoji": "-", "on": true}));
    assert_faults!([Folded], |record| log(record).events[2].content = json!({"text": "Ho"}));
    assert_faults!([Folded], |record| log(record).events[1].reactions.clear());
    assert_faults!([Folded], |record| stay(record).messages.get_mut(&2).unwrap().edited =
        None);
    assert_faults!([Folded], |record| stay(record).messages.get_mut(&2).unwrap().recalled =
        true);
}

#[test]
fn wrong_unread_counts_and_watermarks_are_found() {
    assert_faults!([Unread], |record| counts(record).kept.unread = 2);
    assert_faults!([Unread], |record| counts(record).fresh.unread = 0);
    assert_faults!([Watermark], |record| counts(record).kept.mark.delivered = 5);
    assert_faults!([Watermark], |record| {
        // Lower than acknowledged.
        for device in &mut record.devices[..2] {
            let counts = device.counts.get_mut(ROOM).unwrap();
            (counts.kept.mark.delivered, counts.fresh.mark.delivered) = (5, 5);
        }
        record.devices[2]
            .counts
            .get_mut(ROOM)
            .unwrap()
            .others
            .as_mut()
            .unwrap()
            .get_mut("ann")
            .unwrap()
            .delivered = 5;
    });
    assert_faults!([Watermark], |record| record.marked.clear());
    assert_faults!([Watermark], |record| counts(record).others.as_mut().unwrap().clear());
}

#[test]
fn wrong_memberships_are_found() {
    assert_faults!([Membership], |record| assert!(log(record).members.remove("bob")));
    assert_faults!([Membership], |record| assert!(
        log(record).founders.insert("bob".to_owned())
    ));
    assert_faults!([Membership], |record| {
        // The conversation was Bob's, so Ann was never a member.
        log(record).founders = ["cleo".to_owned()].into();
        log(record).members = ["bob".to_owned(), "cleo".to_owned()].into();
        record.devices.truncate(0);
    });
    assert_faults!([Lost], |record| stay(record).end = End::Left);
    assert_faults!([Odd], |record| record.oddities.push("Something.".to_owned()));
}

#[test]
fn messages_of_muted_members_are_found() {
    let muted = |until_ms: u64| json!({"kind": "custom:group", "content": {"event": "muted", "actor": "bob", "until_ms": until_ms}});
    for (until_ms, faults) in [(0, BTreeSet::new()), (9, BTreeSet::from([Fault::Membership]))] {
        let mut record = right();
        record.devices.clear();
        let log = log(&mut record);
        log.events[2] = event(3, "message", "ann", muted(until_ms));
        log.events[2].client_id = "of the plugin".to_owned();
        record.asked.remove(1);
        let found: BTreeSet<Fault> = check(&record).into_iter().map(|complaint| complaint.fault).collect();
        assert_eq!(found, faults);
    }
}
