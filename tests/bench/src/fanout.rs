//! Messages to a large group: Courtyard beside the bare relay that copies one frame.

use serde_json::json;
use tokio::task::LocalSet;

use super::chat::{round3, runtime, settle};
use super::flood::{Flood, Throughput, in_turns};
use super::load::Connection;
use super::process::Process;
use super::product::{self, HEAD, Person, call, sign_in, sign_up};
use super::{Built, median};

/// Members who are online and write nothing.
const READERS: usize = 200;
/// Messages in flight.
const WINDOW: usize = 16;
/// People who are added to a group in one call.
const AT_ONCE: usize = 50;

pub(crate) fn run(built: &Built, rounds: usize, seconds: u64) {
    println!(
        "One member of a group writes texts of 200 bytes, {WINDOW} in flight; {READERS} others are online. A delivery is one \
         message at one of them, after it is on the disk. Courtyard has all plugins of the default configuration, and the group is \
         one of the groups plugin. Servers run on processor 0, this generator on processor 1. Both are up, and are measured in \
         turns of a fraction of a second, for {seconds} s each in a round; the median of {rounds} rounds counts."
    );
    let runtime = runtime();
    let mut rates: Vec<[Throughput; 2]> = Vec::new();
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        settle();
        let folder = tempfile::tempdir_in(&built.data).unwrap();
        let relay = Process::relay(&folder.path().join("relay.log"), true);
        let courtyard = Process::courtyard(built, folder.path(), &configuration(built));
        let both = LocalSet::new().block_on(&runtime, async {
            let floods = [relayed(&relay).await, grouped(&courtyard).await]
                .map(|(sender, group, readers)| Flood::new(vec![(sender, group)], readers, WINDOW));
            let both = in_turns([(&relay, &floods[0]), (&courtyard, &floods[1])], seconds).await;
            for flood in floods {
                flood.end().await;
            }
            both
        });
        for (name, rate) in ["the bare relay with group commit", "Courtyard"].into_iter().zip(&both) {
            println!(
                "  {name}: {:.0} deliveries/s, {:.0} for each second of its processor time (busy: server {:.0} %, generator \
                 {:.0} %)",
                rate.per_s(),
                rate.per_cpu_s(),
                rate.server_busy() * 100.0,
                rate.generator_busy() * 100.0
            );
        }
        rates.push(both);
    }
    let middle = |value: &dyn Fn(&[Throughput; 2]) -> f64| median(&mut rates.iter().map(value).collect::<Vec<_>>());
    println!(
        "{}",
        json!({
            "bench": "fanout",
            "cpu_ratio_to_relay": round3(middle(&|[relay, own]| own.per_cpu_s() / relay.per_cpu_s())),
            "deliveries_per_cpu_s": middle(&|rates| rates[1].per_cpu_s()).round(),
            "relay_deliveries_per_cpu_s": middle(&|rates| rates[0].per_cpu_s()).round(),
        })
    );
}

/// Configures all plugins; who is invited to a group is in it at once.
fn configuration(built: &Built) -> String {
    let plugins = product::plugins(built, None);
    let groups = plugins.find("id = \"groups\"").unwrap();
    let (before, groups) = plugins.split_at(groups);
    format!("{HEAD}{before}config = {{ group_invites = \"add\" }}\n{groups}")
}

/// Connects the members to the relay, which has one group.
async fn relayed(server: &Process) -> (Connection, String, Vec<Connection>) {
    let mut members = Vec::new();
    for member in 0..=READERS {
        let mut connection = Connection::open(server.address).await;
        connection.send(&member.to_string()).await;
        assert_eq!(connection.next().await, "ok");
        members.push(connection);
    }
    let readers = members.split_off(1);
    // It passes over what a message says, but for its length.
    (members.remove(0), "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(), readers)
}

/// Signs up the members, makes a group of them, and connects them.
async fn grouped(server: &Process) -> (Connection, String, Vec<Connection>) {
    let address = server.address;
    let mut people: Vec<Person> = Vec::new();
    for member in 0..=READERS {
        people.push(sign_up(address, &format!("member{member}")).await);
    }
    let mut sender = sign_in(address, &people[0].token).await;
    let created = sender
        .request(&call(
            "groups.create",
            &json!({"name": "bench", "capacity": READERS + 1}),
        ))
        .await;
    let group = created["value"]["group"].as_str().unwrap().to_owned();
    for part in people[1..].chunks(AT_ONCE) {
        let actors: Vec<&str> = part.iter().map(|person| &*person.actor).collect();
        let params = json!({"group": group, "actors": actors});
        let invited = sender.request(&call("groups.invite", &params)).await;
        assert_eq!(
            invited["value"]["added"].as_array().unwrap().len(),
            part.len(),
            "{invited}"
        );
    }
    // A connection that has heard nothing of who joined.
    let sender = sign_in(address, &people[0].token).await;
    let mut readers = Vec::new();
    for person in &people[1..] {
        readers.push(sign_in(address, &person.token).await);
    }
    (sender, group, readers)
}
