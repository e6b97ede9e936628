//! Latency of messages past a guard: in peace, while that guard is reloaded again and again, and beside a plugin that loops,
//! traps and hoards.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::chat::{PER_S, People, Subject, round3, runtime, settle};
use super::load::Connection;
use super::pace::{Latencies, Pace};
use super::process::Process;
use super::product::{self, call, hello};
use super::{Built, median};

/// What the misbehaving plugin is told to do, in turn.
const DEEDS: [&str; 6] = ["loop", "trap", "memory", "recurse", "storm", "flood"];
/// Sessions that tell it so, each as often as deeds that take all of their time can follow each other.
const TELLERS: usize = 2;
/// How long one deed may take, in milliseconds.
const DEED_MS: u64 = 50;
/// The pause between two reloads: 200 of them in the time of one measurement.
const RELOADS_PER_S: u64 = 25;

pub(crate) fn run(built: &Built, rounds: usize, seconds: u64) {
    println!(
        "{PER_S} messages in each second go past a guard that reads a key for each, for {seconds} s each: in peace; with \
         {RELOADS_PER_S} reloads of that plugin in each second; and beside a plugin that {TELLERS} sessions tell to loop, to trap, to \
         hoard memory, to recurse, to call the host and to flood the log, for up to {DEED_MS} ms each, one deed after the other: \
         with quarantine as it is by default, and with none at all. The server has one processor for all of that; the median of \
         {rounds} rounds counts."
    );
    let runtime = runtime();
    let (mut reloading, mut beside, mut unquarantined) = (Vec::new(), Vec::new(), Vec::new());
    let (mut reloads, mut deeds) = (0, 0);
    let (mut peaceful, mut resident) = (Vec::new(), Vec::new());
    let ratio = |left: &Latencies, right: &Latencies| left.percentile(99) / right.percentile(99);
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        let mut stage = Stage::set(built, "");
        let (before, _) = stage.measure(&runtime, "in peace", None, seconds);
        let (during, count) = stage.measure(&runtime, "while it is reloaded", Some(Disturbance::Reloads), seconds);
        let (quiet, _) = stage.measure(&runtime, "in peace again", None, seconds);
        let (loud, told) = stage.measure(
            &runtime,
            "beside one that misbehaves",
            Some(Disturbance::Deeds),
            seconds,
        );
        reloading.push(ratio(&during, &before));
        beside.push(ratio(&loud, &quiet));
        peaceful.push(before.percentile(99));
        reloads += count;
        resident.push(stage.server.resident_kib() / 1_024.0);
        let mut stage = Stage::set(built, ", strikes = 100000000");
        let (quiet, _) = stage.measure(&runtime, "in peace", None, seconds);
        let name = "beside one that misbehaves and is never quarantined";
        let (loud, more) = stage.measure(&runtime, name, Some(Disturbance::Deeds), seconds);
        unquarantined.push(ratio(&loud, &quiet));
        deeds += told + more;
        resident.push(stage.server.resident_kib() / 1_024.0);
    }
    println!(
        "{}",
        json!({
            "bench": "disturbed",
            "p99_ratio_during_reloads": round3(median(&mut reloading)),
            "p99_ratio_beside_hostile": round3(median(&mut beside)),
            "p99_ratio_beside_hostile_never_quarantined": round3(median(&mut unquarantined)),
            "p99_ms_in_peace": round3(median(&mut peaceful)),
            "reloads": reloads,
            "deeds": deeds,
            "resident_mib": median(&mut resident).round(),
        })
    );
}

/// A server with the guard and the plugin that misbehaves, and those who write to each other.
struct Stage {
    server: Process,
    people: People,
    folder: tempfile::TempDir,
}

impl Stage {
    fn set(built: &Built, limits: &str) -> Self {
        settle();
        let folder = tempfile::tempdir_in(&built.data).unwrap();
        let head = "data = \"data\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"off\"\n";
        let hostile = built.plugins.canonicalize().unwrap().join("hostile.wasm");
        let configuration = format!(
            "{head}{}{}[[plugins]]\nid = \"hostile\"\npath = {hostile:?}\ngrant = [\"kv\"]\n\
             limits = {{ method_ms = {DEED_MS}{limits} }}\n",
            product::plugins(built, Some(&["users"])),
            product::guard(built)
        );
        let server = Process::courtyard(built, folder.path(), &configuration);
        Self {
            people: People::new(server.address, Subject::Guarded),
            server,
            folder,
        }
    }

    /// Returns how long messages take, and how often the disturbance took place meanwhile.
    fn measure(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        name: &str,
        disturb: Option<Disturbance>,
        seconds: u64,
    ) -> (Latencies, u64) {
        let counted = Rc::new(Cell::new(0));
        let delays = LocalSet::new().block_on(runtime, async {
            let pairs = self.people.pairs().await;
            let tasks = match disturb {
                Some(disturb) => disturb.begin(&self.server, self.folder.path(), &counted).await,
                None => Vec::new(),
            };
            let delays = Pace::of(pairs, PER_S).measure(seconds).await;
            for task in tasks {
                task.abort();
            }
            delays
        });
        println!(
            "  {name}: p50 {:.2} ms, p99 {:.2} ms{}; {:.0} MiB resident",
            delays.percentile(50),
            delays.percentile(99),
            match counted.get() {
                0 => String::new(),
                counted => format!(", {counted} times"),
            },
            self.server.resident_kib() / 1_024.0
        );
        (delays, counted.get())
    }
}

#[derive(Clone, Copy)]
enum Disturbance {
    Reloads,
    Deeds,
}

impl Disturbance {
    async fn begin(self, server: &Process, folder: &Path, counted: &Rc<Cell<u64>>) -> Vec<tokio::task::JoinHandle<()>> {
        match self {
            Self::Reloads => {
                let access = std::fs::read_to_string(folder.join("data/admin.json")).unwrap();
                let access: Value = serde_json::from_str(&access).unwrap();
                vec![tokio::task::spawn_local(reload(access, counted.clone()))]
            }
            Self::Deeds => {
                let mut tasks = Vec::new();
                for teller in 0..TELLERS {
                    let mut connection = Connection::open(server.address).await;
                    connection.request(&hello(None)).await;
                    tasks.push(tokio::task::spawn_local(tell(connection, teller, counted.clone())));
                }
                tasks
            }
        }
    }
}

/// Reloads the guard again and again; each must succeed.
async fn reload(access: Value, counted: Rc<Cell<u64>>) {
    let (address, token) = (access["address"].as_str().unwrap(), access["token"].as_str().unwrap());
    let request = format!(
        "POST /v1/plugins/probe/reload HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
    );
    let mut pace = tokio::time::interval(Duration::from_secs(1) / u32::try_from(RELOADS_PER_S).unwrap());
    loop {
        pace.tick().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        counted.set(counted.get() + 1);
    }
}

/// Tells the plugin what to do, again and again; the next thing not before the last one has ended.
async fn tell(mut connection: Connection, teller: usize, counted: Rc<Cell<u64>>) {
    let mut pace = tokio::time::interval(Duration::from_millis(DEED_MS));
    for deed in DEEDS.iter().cycle().skip(teller) {
        pace.tick().await;
        let asked = call("hostile.act", &json!({ "deed": deed }));
        connection.send(&asked.to_string()).await;
        // What it ends with is not what is measured.
        connection.next().await;
        counted.set(counted.get() + 1);
    }
}
