//! Time for a device to catch up: with many conversations of which few changed, compared with few that all changed.

use std::time::Instant;

use serde_json::{Value, json};

use super::chat::{round3, runtime, settle};
use super::full_product::hello;
use super::load::Connection;
use super::process::Process;
use super::{Built, median};

/// Conversations of the first account.
const MANY: usize = 1_000;
/// Changed conversations of each account.
const CHANGED: usize = 10;
/// Syncs of each account in one round.
const SYNCS: usize = 300;

pub(crate) fn run(built: &Built, rounds: usize) {
    println!(
        "One account has {MANY} conversations, of which {CHANGED} changed since its last sync; another has {CHANGED}, which \
         all changed. Both sync in turns, {SYNCS} times in each of {rounds} rounds; the result is the median of the medians. \
         An answer has everything that a device needs: numbers, read marks, unread counts and the newest event."
    );
    let runtime = runtime();
    let (mut ratios, mut many_us, mut few_us) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        settle();
        let folder = tempfile::tempdir_in(&built.data).unwrap();
        let lists = [listed("many", 0..MANY), listed("few", MANY..MANY + CHANGED)].concat();
        let configuration = format!(
            "data = \"data\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"error\"\n\
             [development]\ntrust_tokens = true\nconversations = [{}]\n",
            lists.join(",\n")
        );
        let server = Process::courtyard(built, folder.path(), &configuration);
        let [many, few] = runtime.block_on(async {
            let mut peer = connect(&server, "peer").await;
            for number in 0..MANY + CHANGED {
                write(&mut peer, number, "before").await;
            }
            let mut accounts = [connect(&server, "many").await, connect(&server, "few").await];
            let mut positions = Vec::new();
            for account in &mut accounts {
                positions.push(sync(account, None).await["position"].clone());
            }
            // Changes conversations that are spread evenly.
            for number in (0..MANY).step_by(MANY / CHANGED).chain(MANY..MANY + CHANGED) {
                write(&mut peer, number, "since").await;
            }
            drop(peer);
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..SYNCS {
                for (index, account) in accounts.iter_mut().enumerate() {
                    let begin = Instant::now();
                    let answer = sync(account, Some(&positions[index])).await;
                    times[index].push(begin.elapsed().as_secs_f64() * 1e6);
                    let entries = answer["conversations"].as_array().unwrap();
                    assert_eq!(entries.len(), CHANGED);
                    assert!(
                        entries
                            .iter()
                            .all(|entry| entry["unread"] == 2 && entry["last"]["seq"] == 2)
                    );
                }
            }
            times.map(|mut times| median(&mut times))
        });
        println!("  round {round} of {rounds}: {many:.0} µs with {MANY} conversations, {few:.0} µs with {CHANGED}");
        ratios.push(many / few);
        many_us.push(many);
        few_us.push(few);
    }
    println!(
        "{}",
        json!({
            "bench": "sync",
            "time_ratio_to_changed_only": round3(median(&mut ratios)),
            "round_trips": 1,
            "many_us": median(&mut many_us).round(),
            "changed_only_us": median(&mut few_us).round(),
        })
    );
}

fn conversation(number: usize) -> String {
    format!("01ARZ3NDEKTSV4RRFFQ69G{number:04}")
}

fn listed(actor: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    let one = |number| {
        let id = conversation(number);
        format!("{{ id = \"{id}\", kind = \"plain\", members = [\"{actor}\", \"peer\"] }}")
    };
    numbers.map(one).collect()
}

async fn connect(server: &Process, actor: &str) -> Connection {
    let mut connection = Connection::open(server.address).await;
    connection.request(&hello(Some(actor))).await;
    connection
}

async fn write(peer: &mut Connection, number: usize, when: &str) {
    let message = json!({
        "type": "send", "id": format!("{when}{number}"), "conversation": conversation(number),
        "kind": "text", "content": {"text": "x".repeat(200)},
    });
    peer.request(&message).await;
}

async fn sync(account: &mut Connection, since: Option<&Value>) -> Value {
    let mut request = json!({"type": "sync", "id": "s"});
    if let Some(since) = since {
        request["since"] = since.clone();
    }
    account.request(&request).await
}
