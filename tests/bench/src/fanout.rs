//! Messages to a large group: Courtyard beside the bare relay that copies one frame.

use serde_json::json;
use tokio::task::LocalSet;

use super::chat::{hello, round3, runtime, settle};
use super::load::{Connection, Throughput, flood};
use super::process::Process;
use super::{Built, median};

/// Members who are online and write nothing.
const READERS: usize = 200;
/// Messages in flight.
const WINDOW: usize = 16;
const CONVERSATION: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

pub(crate) fn run(built: &Built, rounds: usize, seconds: u64) {
    println!(
        "One member of a group writes texts of 200 bytes, {WINDOW} in flight; {READERS} others are online. A delivery is one \
         message at one of them, after it is on the disk. Servers run on processor 0, this generator on processor 1; the \
         median of {rounds} rounds counts."
    );
    let runtime = runtime();
    let mut rates: [Vec<Throughput>; 2] = Default::default();
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        for (index, name) in ["the bare relay with group commit", "Courtyard"]
            .into_iter()
            .enumerate()
        {
            settle();
            let folder = tempfile::tempdir_in(&built.data).unwrap();
            let is_relay = index == 0;
            let server = if is_relay {
                Process::relay(&folder.path().join("relay.log"), true)
            } else {
                Process::courtyard(built, folder.path(), &configuration())
            };
            let rate = LocalSet::new().block_on(&runtime, async {
                let sender = connect(&server, is_relay, 0).await;
                let mut readers = Vec::new();
                for reader in 1..=READERS {
                    readers.push(connect(&server, is_relay, reader).await);
                }
                let senders = vec![(sender, CONVERSATION.to_owned())];
                flood(&server, senders, readers, WINDOW, seconds).await
            });
            println!(
                "  {name}: {:.0} deliveries/s, {:.0} for each second of its processor time (busy: server {:.0} %, generator \
                 {:.0} %)",
                rate.per_s,
                rate.per_cpu_s,
                rate.server_busy * 100.0,
                rate.generator_busy * 100.0
            );
            rates[index].push(rate);
        }
    }
    let per_cpu_s = |rates: &[Throughput]| median(&mut rates.iter().map(|rate| rate.per_cpu_s).collect::<Vec<_>>());
    let both = rates[1].iter().zip(&rates[0]);
    let mut ratios: Vec<f64> = both.map(|(own, relay)| own.per_cpu_s / relay.per_cpu_s).collect();
    println!(
        "{}",
        json!({
            "bench": "fanout",
            "cpu_ratio_to_relay": round3(median(&mut ratios)),
            "deliveries_per_cpu_s": per_cpu_s(&rates[1]).round(),
            "relay_deliveries_per_cpu_s": per_cpu_s(&rates[0]).round(),
        })
    );
}

fn configuration() -> String {
    let members: Vec<String> = (0..=READERS).map(|member| format!("\"m{member}\"")).collect();
    format!(
        "data = \"data\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"error\"\n[development]\ntrust_tokens = true\n\
         conversations = [{{ id = \"{CONVERSATION}\", kind = \"group\", members = [{}] }}]\n",
        members.join(", ")
    )
}

async fn connect(server: &Process, is_relay: bool, member: usize) -> Connection {
    let mut connection = Connection::open(server.address).await;
    if is_relay {
        connection.send(&member.to_string()).await;
        assert_eq!(connection.next().await, "ok");
    } else {
        connection.request(&hello(Some(&format!("m{member}")))).await;
    }
    connection
}
