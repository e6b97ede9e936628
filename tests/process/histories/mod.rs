//! Twenty people with three devices each, whose connections break and whose server is killed. In the end a checker
//! compares the view of every device with the log, and the log with the requests.
//!
//! `COURTYARD_SEED` repeats the decisions of a run, though not their timing: each run prints its seed. `cargo xtask histories
//! --minutes N` runs this with one seed after another.

mod checker;
mod fold;
mod library;
mod line;
mod plain;
mod record;
mod town;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use courtyard_client::LogEvent;
use courtyard_tests::accounts::{anonymous, call, connect, done, site};
use courtyard_tests::{Client, Server, Site, plugin};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use checker::{Complaint, check};
use library::Library;
use line::Line;
use plain::{Owner, Plain};
use record::{Log, Outcome, RunRecord};
use town::{Group, Phase, Town};

const PEOPLE: usize = 20;
const DEVICES: usize = 3;
const GROUPS: usize = 6;
/// Upper bound for all devices to settle; no run waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(300);

/// Amount of work of a run.
struct Plan {
    seed: u64,
    kills: usize,
    /// Answered requests between two kills.
    deeds: usize,
}

/// Both plugins, small segments so that some kills interrupt the indexing, and queues that overflow.
fn quarter() -> Site {
    let groups = plugin("groups");
    site(&format!(
        "[[plugins]]\nid = \"groups\"\npath = {groups:?}\n\
         grant = [\"annotations\", \"conversations\", \"kv\", \"methods\", \"sessions\", \"timers\"]\n\
         [plugins.limits]\n\
         [store]\nsegment_bytes = 65536\n[limits]\nqueue_bytes = 49152\nheartbeat_ms = 3000\n"
    ))
}

/// A person with a session for each device.
struct Person {
    actor: String,
    tokens: Vec<Value>,
}

async fn settle_in(server: &Server) -> (Vec<Person>, Vec<Group>) {
    let mut stranger = anonymous(server, "default").await;
    let (mut people, mut groups) = (Vec::new(), Vec::new());
    for number in 0..PEOPLE {
        let params = json!({"name": format!("p{number:02}"), "password": "correct horse"});
        let session = done(&mut stranger, "register", params.clone()).await;
        let mut tokens = vec![session["token"].clone()];
        for _ in 1..DEVICES {
            tokens.push(done(&mut stranger, "login", params.clone()).await["token"].clone());
        }
        let actor = session["actor"].as_str().unwrap().to_owned();
        if number < GROUPS {
            let (mut client, _) = connect(server, &tokens[0], "first").await;
            let params = json!({"name": format!("Group {number}"), "join": "open"});
            let created = call(&mut client, "groups.create", params).await;
            let id = created["value"]["group"].as_str().unwrap().to_owned();
            groups.push(Group {
                id,
                owner: actor.clone(),
            });
        }
        people.push(Person { actor, tokens });
    }
    (people, groups)
}

async fn run(plan: &Plan) -> (RunRecord, Value) {
    let begun = Instant::now();
    let mut random = StdRng::seed_from_u64(plan.seed);
    let site = quarter();
    let mut server = site.start().await;
    let (people, groups) = settle_in(&server).await;
    let town = Arc::new(Town::new(
        people.iter().map(|person| person.actor.clone()).collect(),
        groups,
    ));
    let down = Arc::new(AtomicBool::new(false));
    let (mut lines, mut devices) = (Vec::new(), JoinSet::new());
    for person in &people {
        for (number, token) in person.tokens.iter().enumerate() {
            let line = Arc::new(Line::open(site.port, down.clone()).await);
            lines.push(line.clone());
            let owner = Owner {
                actor: person.actor.clone(),
                device: format!("{}/{number}", person.actor),
                token: token.clone(),
                line,
                random: StdRng::seed_from_u64(random.random()),
            };
            let town = town.clone();
            // One of three devices uses the library.
            devices.spawn(async move {
                match number {
                    2 => Library::new(town, owner).live().await,
                    _ => Plain::new(town, owner).live().await,
                }
            });
        }
    }
    let mut disturbed = 0;
    for round in 1..=plan.kills {
        disturbed += disturb(&town, &lines, &mut random, round * plan.deeds).await;
        down.store(true, Ordering::Relaxed);
        server.kill().await;
        sleep(Duration::from_millis(random.random_range(0..300))).await;
        server = site.start().await;
        down.store(false, Ordering::Relaxed);
    }
    lines.iter().for_each(|line| line.hold(false));
    town.phase.send_replace(Phase::Settling);
    let mut waits = town.waits.subscribe();
    let settled = waits.wait_for(|waits| waits.len() == PEOPLE * DEVICES && waits.values().all(String::is_empty));
    if timeout(PATIENCE, settled).await.is_err() {
        let waits = town.waits.borrow();
        panic!(
            "{:?}",
            waits.iter().filter(|(_, what)| !what.is_empty()).collect::<Vec<_>>()
        );
    }

    town.read(read_logs(&server, &people, &town.groups).await);
    town.phase.send_replace(Phase::Closing);
    let seen = timeout(PATIENCE, devices.join_all())
        .await
        .expect("a device does not get everything");
    server.stop().await;
    let mut record = town.take_record();
    record.devices = seen;
    let summary = summary(plan, &record, &town, disturbed, begun);
    (record, summary)
}

/// Cuts and stalls lines until this many requests are answered. Returns the number of disturbances.
async fn disturb(town: &Town, lines: &[Arc<Line>], random: &mut StdRng, until: usize) -> u32 {
    let (mut disturbed, mut held) = (0, Vec::new());
    while town.done() < until {
        sleep(Duration::from_millis(random.random_range(20..120))).await;
        let line = &lines[random.random_range(0..lines.len())];
        disturbed += 1;
        if random.random_ratio(1, 3) {
            line.hold(true);
            held.push((
                Instant::now() + Duration::from_millis(random.random_range(100..4_000)),
                line,
            ));
        } else {
            line.cut();
        }
        held.retain(|(end, line)| {
            let is_over = *end <= Instant::now();
            if is_over {
                line.hold(false);
            }
            !is_over
        });
    }
    disturbed
}

/// Reads all conversations, each as one of its members.
async fn read_logs(server: &Server, people: &[Person], groups: &[Group]) -> BTreeMap<String, Log> {
    let mut logs = BTreeMap::new();
    for person in people {
        let (mut client, _) = connect(server, &person.tokens[0], "reader").await;
        let synced = client.request(json!({"type": "sync", "id": "s"})).await;
        for entry in synced["conversations"].as_array().unwrap() {
            let id = entry["id"].as_str().unwrap();
            if logs.contains_key(id) {
                continue;
            }
            let members: BTreeSet<String> = serde_json::from_value(entry["members"].clone()).unwrap();
            let founder = groups
                .iter()
                .find(|group| group.id == id)
                .map(|group| group.owner.clone());
            let founders = founder.map_or_else(|| members.clone(), |founder| [founder].into());
            let (head, events) = history(&mut client, id).await;
            logs.insert(
                id.to_owned(),
                Log {
                    founders,
                    members,
                    head,
                    events,
                },
            );
        }
    }
    logs
}

async fn history(client: &mut Client, conversation: &str) -> (u64, Vec<LogEvent>) {
    let mut events: Vec<LogEvent> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.seq);
        let asked = json!({"type": "history", "id": "h", "conversation": conversation, "after": after, "limit": 500});
        let page = client.request(asked).await;
        let new: Vec<LogEvent> = serde_json::from_value(page["events"].clone()).unwrap();
        if new.is_empty() {
            return (page["head"].as_u64().unwrap(), events);
        }
        events.extend(new);
    }
}

fn summary(plan: &Plan, record: &RunRecord, town: &Town, disturbed: u32, begun: Instant) -> Value {
    let asked = |wanted: fn(&Outcome) -> bool| record.asked.iter().filter(|asked| wanted(&asked.outcome)).count();
    json!({
        "seed": plan.seed, "accounts": PEOPLE, "devices": PEOPLE * DEVICES, "kills": plan.kills, "disturbed": disturbed,
        "conversations": record.logs.len(), "events": record.logs.values().map(|log| log.events.len()).sum::<usize>(),
        "acked": asked(|outcome| matches!(outcome, Outcome::Acked { .. })),
        "refused": asked(|outcome| matches!(outcome, Outcome::Refused { .. })),
        "unknown": asked(|outcome| *outcome == Outcome::Open),
        "stays": record.devices.iter().map(|device| device.stays.len()).sum::<usize>(),
        "overflows": town.gaps.load(Ordering::Relaxed), "seconds": begun.elapsed().as_secs(),
    })
}

/// Fails if there are faults, and prints them.
fn judge(complaints: &[Complaint], mut summary: Value) {
    let mut by_fault = BTreeMap::<_, Vec<&str>>::new();
    for complaint in complaints {
        by_fault.entry(complaint.fault).or_default().push(&complaint.text);
    }
    let counts = by_fault
        .iter()
        .map(|(fault, texts)| (format!("{fault:?}").to_lowercase(), texts.len()));
    summary["complaints"] = json!(counts.collect::<BTreeMap<_, _>>());
    println!("{summary}");
    for (fault, texts) in &by_fault {
        println!("{fault:?}:");
        for text in texts.iter().take(8) {
            // Long texts are shortened.
            println!("  {}", text.chars().take(400).collect::<String>());
        }
    }
    assert!(complaints.is_empty(), "{summary}");
}

#[tokio::test]
async fn histories_of_many_devices_agree_with_the_log_after_kills_and_broken_connections() {
    let given = std::env::var("COURTYARD_SEED")
        .ok()
        .map(|seed| seed.parse().expect("COURTYARD_SEED is a number"));
    let minutes: Option<u64> = std::env::var("COURTYARD_MINUTES")
        .ok()
        .map(|minutes| minutes.parse().unwrap())
        .or(courtyard_tests::long().then_some(5));
    let end = Instant::now() + Duration::from_secs(60 * minutes.unwrap_or(0));
    let mut seed = given.unwrap_or_else(rand::random);
    loop {
        println!("COURTYARD_SEED={seed}");
        let (kills, deeds) = if minutes.is_some() { (6, 600) } else { (3, 120) };
        let (record, summary) = run(&Plan { seed, kills, deeds }).await;
        judge(&check(&record), summary);
        if Instant::now() >= end {
            return;
        }
        seed = seed.wrapping_add(1);
    }
}
