//! Messages to a large group: Courtyard compared with the bare relay, which copies one frame.

use serde_json::json;
use tokio::task::LocalSet;

use super::chat::{round3, runtime, settle};
use super::full_product::{self, Account, HEAD, call, sign_in, sign_up};
use super::load::Connection;
use super::process::Process;
use super::throughput::{SaturatedLoad, Throughput, in_turns};
use super::{Built, median};

/// Members who are online and send nothing.
const READERS: usize = 200;
/// Messages in flight.
const WINDOW: usize = 16;
/// Members that are added to a group in one call.
const INVITES_PER_CALL: usize = 50;

pub(crate) fn run(built: &Built, rounds: usize, seconds: u64) {
    println!(
        "One member of a group sends texts of 200 bytes, {WINDOW} in flight; {READERS} others are online. A delivery is the \
         arrival of one message at one of them, after it is on the disk. Courtyard runs all plugins of the default \
         configuration, and the groups plugin manages the group. Servers run on processor 0, this generator on processor 1. \
         Both servers run at the same time, and are measured in turns of a fraction of a second, for {seconds} s each in a \
         round; the result is the median of {rounds} rounds."
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
            let loads = [relay_members(&relay).await, group_members(&courtyard).await]
                .map(|(sender, group, readers)| SaturatedLoad::new(vec![(sender, group)], readers, WINDOW));
            let both = in_turns([(&relay, &loads[0]), (&courtyard, &loads[1])], seconds).await;
            for load in loads {
                load.end().await;
            }
            both
        });
        for (name, rate) in ["the bare relay with group commit", "Courtyard"].into_iter().zip(&both) {
            println!(
                "  {name}: {:.0} deliveries/s, {:.0} per second of processor time (busy: server {:.0} %, generator \
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

/// Returns the configuration of all plugins. Invited accounts join a group at once.
fn configuration(built: &Built) -> String {
    let plugins = full_product::plugins(built, None);
    let groups = plugins.find("id = \"groups\"").unwrap();
    let (before, groups) = plugins.split_at(groups);
    format!("{HEAD}{before}config = {{ group_invites = \"add\" }}\n{groups}")
}

/// Connects the members to the relay, which has one group.
async fn relay_members(server: &Process) -> (Connection, String, Vec<Connection>) {
    let mut members = Vec::new();
    for member in 0..=READERS {
        let mut connection = Connection::open(server.address).await;
        connection.send(&member.to_string()).await;
        assert_eq!(connection.next().await, "ok");
        members.push(connection);
    }
    let readers = members.split_off(1);
    // The relay ignores the conversation. Its length is that of a real id.
    (members.remove(0), "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(), readers)
}

/// Signs up the members, creates their group, and connects them.
async fn group_members(server: &Process) -> (Connection, String, Vec<Connection>) {
    let address = server.address;
    let mut accounts: Vec<Account> = Vec::new();
    for member in 0..=READERS {
        accounts.push(sign_up(address, &format!("member{member}")).await);
    }
    let mut sender = sign_in(address, &accounts[0].token).await;
    let created = sender
        .request(&call(
            "groups.create",
            &json!({"name": "bench", "capacity": READERS + 1}),
        ))
        .await;
    let group = created["value"]["group"].as_str().unwrap().to_owned();
    for part in accounts[1..].chunks(INVITES_PER_CALL) {
        let actors: Vec<&str> = part.iter().map(|account| &*account.actor).collect();
        let params = json!({"group": group, "actors": actors});
        let invited = sender.request(&call("groups.invite", &params)).await;
        assert_eq!(
            invited["value"]["added"].as_array().unwrap().len(),
            part.len(),
            "{invited}"
        );
    }
    // A new connection, which received no events about joined members.
    let sender = sign_in(address, &accounts[0].token).await;
    let mut readers = Vec::new();
    for account in &accounts[1..] {
        readers.push(sign_in(address, &account.token).await);
    }
    (sender, group, readers)
}
