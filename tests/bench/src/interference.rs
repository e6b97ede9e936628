//! Latency of messages that pass a guard: undisturbed, while that guard is reloaded repeatedly, and next to a plugin that loops,
//! traps and allocates without limit.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::chat::{PER_S, People, Subject, round3, runtime, settle};
use super::full_product::{self, call, hello};
use super::latency::{Latencies, PacedLoad};
use super::load::Connection;
use super::process::Process;
use super::{Built, median};

/// What the misbehaving plugin does, in turn.
const DEEDS: [&str; 6] = ["loop", "trap", "memory", "recurse", "storm", "flood"];
/// Sessions that call the misbehaving plugin. Each calls as often as the time limit of a deed permits.
const CALLERS: usize = 2;
/// Time limit of one deed, in milliseconds.
const DEED_MS: u64 = 50;
/// Reloads per second: 200 in one measurement of 8 s.
const RELOADS_PER_S: u64 = 25;

pub(crate) fn run(built: &Built, rounds: usize, seconds: u64) {
    println!(
        "{PER_S} messages per second pass a guard that reads a key for each, for {seconds} s per measurement: undisturbed; with \
         {RELOADS_PER_S} reloads of that plugin per second; and next to a plugin that {CALLERS} sessions make loop, trap, \
         allocate, recurse, call the host and flood the log, for up to {DEED_MS} ms each, one deed after another: with the default \
         quarantine, and without any. The server has one processor for all of that; the result is the median of {rounds} rounds."
    );
    let runtime = runtime();
    let (mut reloading, mut quarantined, mut unquarantined) = (Vec::new(), Vec::new(), Vec::new());
    let (mut reloads, mut deeds) = (0, 0);
    let (mut undisturbed, mut resident) = (Vec::new(), Vec::new());
    let ratio = |left: &Latencies, right: &Latencies| left.percentile(99) / right.percentile(99);
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        let mut server = GuardedServer::start(built, "");
        let (before, _) = server.measure(&runtime, "undisturbed", None, seconds);
        let (during, count) = server.measure(&runtime, "during reloads", Some(Disturbance::Reloads), seconds);
        let (quiet, _) = server.measure(&runtime, "undisturbed again", None, seconds);
        let (loud, first) = server.measure(
            &runtime,
            "next to a misbehaving plugin",
            Some(Disturbance::Deeds),
            seconds,
        );
        reloading.push(ratio(&during, &before));
        quarantined.push(ratio(&loud, &quiet));
        undisturbed.push(before.percentile(99));
        reloads += count;
        resident.push(server.process.resident_kib() / 1_024.0);
        let mut server = GuardedServer::start(built, ", strikes = 100000000");
        let (quiet, _) = server.measure(&runtime, "undisturbed", None, seconds);
        let name = "next to a misbehaving plugin without quarantine";
        let (loud, second) = server.measure(&runtime, name, Some(Disturbance::Deeds), seconds);
        unquarantined.push(ratio(&loud, &quiet));
        deeds += first + second;
        resident.push(server.process.resident_kib() / 1_024.0);
    }
    println!(
        "{}",
        json!({
            "bench": "disturbed",
            "p99_ratio_during_reloads": round3(median(&mut reloading)),
            "p99_ratio_beside_hostile": round3(median(&mut quarantined)),
            "p99_ratio_beside_hostile_never_quarantined": round3(median(&mut unquarantined)),
            "p99_ms_in_peace": round3(median(&mut undisturbed)),
            "reloads": reloads,
            "deeds": deeds,
            "resident_mib": median(&mut resident).round(),
        })
    );
}

/// A server with the guard and the misbehaving plugin, and the people who send messages.
struct GuardedServer {
    process: Process,
    people: People,
    folder: tempfile::TempDir,
}

impl GuardedServer {
    fn start(built: &Built, limits: &str) -> Self {
        settle();
        let folder = tempfile::tempdir_in(&built.data).unwrap();
        let head = "data = \"data\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"off\"\n";
        let hostile = built.plugins.canonicalize().unwrap().join("hostile.wasm");
        let configuration = format!(
            "{head}{}{}[[plugins]]\nid = \"hostile\"\npath = {hostile:?}\ngrant = [\"kv\"]\n\
             limits = {{ method_ms = {DEED_MS}{limits} }}\n",
            full_product::plugins(built, Some(&["users"])),
            full_product::guard(built)
        );
        let process = Process::courtyard(built, folder.path(), &configuration);
        Self {
            people: People::new(process.address, Subject::Guarded),
            process,
            folder,
        }
    }

    /// Returns the latencies of messages, and the number of disturbances meanwhile.
    fn measure(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        name: &str,
        disturb: Option<Disturbance>,
        seconds: u64,
    ) -> (Latencies, u64) {
        let count = Rc::new(Cell::new(0));
        let delays = LocalSet::new().block_on(runtime, async {
            let pairs = self.people.pairs().await;
            let tasks = match disturb {
                Some(disturb) => disturb.begin(&self.process, self.folder.path(), &count).await,
                None => Vec::new(),
            };
            let delays = PacedLoad::of_pairs(pairs, PER_S).measure(seconds).await;
            for task in tasks {
                task.abort();
            }
            delays
        });
        println!(
            "  {name}: p50 {:.2} ms, p99 {:.2} ms{}; {:.0} MiB resident",
            delays.percentile(50),
            delays.percentile(99),
            match count.get() {
                0 => String::new(),
                count => format!(", {count} times"),
            },
            self.process.resident_kib() / 1_024.0
        );
        (delays, count.get())
    }
}

#[derive(Clone, Copy)]
enum Disturbance {
    Reloads,
    Deeds,
}

impl Disturbance {
    async fn begin(self, server: &Process, folder: &Path, count: &Rc<Cell<u64>>) -> Vec<tokio::task::JoinHandle<()>> {
        match self {
            Self::Reloads => {
                let access = std::fs::read_to_string(folder.join("data/admin.json")).unwrap();
                let access: Value = serde_json::from_str(&access).unwrap();
                vec![tokio::task::spawn_local(reload(access, count.clone()))]
            }
            Self::Deeds => {
                let mut tasks = Vec::new();
                for caller in 0..CALLERS {
                    let mut connection = Connection::open(server.address).await;
                    connection.request(&hello(None)).await;
                    tasks.push(tokio::task::spawn_local(misbehave(connection, caller, count.clone())));
                }
                tasks
            }
        }
    }
}

/// Reloads the guard repeatedly. Each reload must succeed.
async fn reload(access: Value, count: Rc<Cell<u64>>) {
    let (address, token) = (access["address"].as_str().unwrap(), access["token"].as_str().unwrap());
    let request = format!(
        "POST /v1/plugins/probe/reload HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
    );
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(RELOADS_PER_S).unwrap());
    loop {
        ticks.tick().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        count.set(count.get() + 1);
    }
}

/// Calls the misbehaving plugin repeatedly, each time after the last call has ended.
async fn misbehave(mut connection: Connection, caller: usize, count: Rc<Cell<u64>>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(DEED_MS));
    for deed in DEEDS.iter().cycle().skip(caller) {
        ticks.tick().await;
        let request = call("hostile.act", &json!({ "deed": deed }));
        connection.send(&request.to_string()).await;
        // The outcome of the call is not measured.
        connection.next().await;
        count.set(count.get() + 1);
    }
}
