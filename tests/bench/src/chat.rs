//! Durable messages in direct conversations: Courtyard with and without plugins, compared with the bare relay.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use tokio::task::LocalSet;

use super::full_product::{self, HEAD, call, sign_in};
use super::latency::{self, Latencies, PacedLoad};
use super::load::{Connection, Pair};
use super::process::Process;
use super::throughput::{self, SaturatedLoad, Throughput};
use super::{Built, median};

const PAIRS: usize = 50;
/// Messages in flight of each pair.
const WINDOW: usize = 16;
/// Messages per second at which latency is measured.
pub(crate) const PER_S: u64 = 2_000;

/// The measured server: the relay, or Courtyard with or without plugins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Relay,
    Bare,
    Users,
    /// The users plugin and a guard that reads a key for every message.
    Guarded,
    /// All plugins of the default configuration.
    Product,
    /// Five plugins whose filters match no message.
    Unmatched,
}

impl Subject {
    const CHAT: [Self; 5] = [Self::Relay, Self::Bare, Self::Users, Self::Product, Self::Guarded];

    fn name(self) -> &'static str {
        match self {
            Self::Relay => "the bare relay with group commit",
            Self::Bare => "Courtyard without plugins",
            Self::Users => "Courtyard with the users plugin, whose guard watches blocked conversations only",
            Self::Guarded => "Courtyard with the users plugin and a guard that reads a key for every message",
            Self::Product => "Courtyard with all plugins of the default configuration",
            Self::Unmatched => "Courtyard with five plugins whose filters don't match these messages",
        }
    }
}

pub(crate) fn run(built: &Built, rounds: usize, seconds: u64) {
    println!(
        "{PAIRS} pairs send texts of 200 bytes to each other, {WINDOW} in flight for each pair. A message counts when it is \
         on the disk, acknowledged, and has arrived at the receiver. Servers run on processor 0, this generator on processor \
         1. All servers run at the same time, and are measured in turns of a fraction of a second, for {seconds} s each in a \
         round; the result is the median of the rounds."
    );
    let runtime = runtime();
    let mut results = Vec::new();
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        let servers = Servers::start(built, Subject::CHAT);
        let measured = LocalSet::new().block_on(&runtime, async {
            let mut people = servers.people();
            let mut loads = Vec::new();
            for people in &mut people {
                loads.push(PacedLoad::of_pairs(people.pairs().await, PER_S));
            }
            let Ok(loads) = loads.try_into() else { unreachable!() };
            let delays: [Latencies; 5] = latency::in_turns(loads, seconds).await;
            (servers.throughput(&mut people, seconds).await, delays)
        });
        for (subject, (rate, delay)) in Subject::CHAT.into_iter().zip(measured.0.iter().zip(&measured.1)) {
            println!(
                "  {}: {:.0} messages/s, {:.0} per second of processor time (busy: server {:.0} %, generator \
                 {:.0} %); at {PER_S}/s: p50 {:.2} ms, p99 {:.2} ms",
                subject.name(),
                rate.per_s(),
                rate.per_cpu_s(),
                rate.server_busy() * 100.0,
                rate.generator_busy() * 100.0,
                delay.percentile(50),
                delay.percentile(99)
            );
        }
        results.push(measured);
    }
    let middle = |value: &dyn Fn(&[Throughput; 5], &[Latencies; 5]) -> f64| {
        let mut values: Vec<f64> = results.iter().map(|(rates, delays)| value(rates, delays)).collect();
        median(&mut values)
    };
    let ratio =
        |left: usize, right: usize| round3(middle(&|rates, _| rates[left].per_cpu_s() / rates[right].per_cpu_s()));
    println!(
        "{}",
        json!({
            "bench": "chat",
            "cpu_ratio_to_relay": ratio(2, 0),
            "cpu_ratio_with_guard_of_every_message_to_relay": ratio(4, 0),
            "cpu_ratio_with_to_without_plugins": ratio(2, 1),
            "cpu_ratio_with_all_to_without_plugins": ratio(3, 1),
            "p99_ratio_to_relay_at_2000_per_s":
                round3(middle(&|_, delays| delays[2].percentile(99) / delays[0].percentile(99))),
            "messages_per_cpu_s": middle(&|rates, _| rates[2].per_cpu_s()).round(),
            "messages_per_s": middle(&|rates, _| rates[2].per_s()).round(),
            "relay_messages_per_cpu_s": middle(&|rates, _| rates[0].per_cpu_s()).round(),
            "relay_messages_per_s": middle(&|rates, _| rates[0].per_s()).round(),
            "p99_ms": round3(middle(&|_, delays| delays[2].percentile(99))),
            "relay_p99_ms": round3(middle(&|_, delays| delays[0].percentile(99))),
            "generator_busy_pct": (middle(&|rates, _| rates[2].generator_busy()) * 100.0).round(),
        })
    );
}

/// Servers that run at the same time.
struct Servers<const N: usize> {
    servers: [(Subject, Process); N],
    _folder: tempfile::TempDir,
}

impl<const N: usize> Servers<N> {
    fn start(built: &Built, subjects: [Subject; N]) -> Self {
        settle();
        let folder = tempfile::tempdir_in(&built.data).unwrap();
        let mut number = 0;
        let servers = subjects.map(|subject| {
            number += 1;
            let own = folder.path().join(number.to_string());
            std::fs::create_dir(&own).unwrap();
            (subject, start(built, subject, &own))
        });
        Self {
            servers,
            _folder: folder,
        }
    }

    fn people(&self) -> [People; N] {
        self.servers
            .each_ref()
            .map(|(subject, server)| People::new(server.address, *subject))
    }

    async fn throughput(&self, people: &mut [People; N], seconds: u64) -> [Throughput; N] {
        let mut loads = Vec::new();
        for people in people {
            loads.push(SaturatedLoad::of_pairs(people.pairs().await, WINDOW));
        }
        let each = std::array::from_fn(|index| (&self.servers[index].1, &loads[index]));
        let rates = throughput::in_turns(each, seconds).await;
        for load in loads {
            load.end().await;
        }
        rates
    }
}

/// Returns the overhead of five plugins whose filters don't match, in percent of the processor time of sending a message.
pub(crate) fn unmatched_overhead_pct(built: &Built, rounds: usize, seconds: u64) -> f64 {
    let runtime = runtime();
    let mut overheads = Vec::new();
    for _ in 0..rounds {
        let servers = Servers::start(built, [Subject::Unmatched, Subject::Bare]);
        let [with, without] = LocalSet::new().block_on(&runtime, async {
            let mut people = servers.people();
            servers.throughput(&mut people, seconds).await
        });
        overheads.push((without.per_cpu_s() / with.per_cpu_s() - 1.0) * 100.0);
    }
    median(&mut overheads)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Waits until the disk is idle: earlier writes would affect the measurement.
pub(crate) fn settle() {
    // If it fails, the figures are only noisier.
    let _ = std::process::Command::new("sync").status();
    std::thread::sleep(std::time::Duration::from_secs(1));
}

pub(crate) fn round3(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn start(built: &Built, subject: Subject, folder: &Path) -> Process {
    match subject {
        Subject::Relay => Process::relay(&folder.join("relay.log"), false),
        Subject::Bare | Subject::Unmatched => {
            let conversations: Vec<String> = (0..PAIRS)
                .map(|pair| {
                    let conversation = conversation(pair);
                    format!("{{ id = \"{conversation}\", kind = \"plain\", members = [\"a{pair}\", \"b{pair}\"] }}")
                })
                .collect();
            let list = conversations.join(",\n");
            let plugins = match subject {
                Subject::Unmatched => unmatched(built, folder),
                _ => String::new(),
            };
            let configuration =
                format!("{HEAD}[development]\ntrust_tokens = true\nconversations = [{list}]\n{plugins}");
            Process::courtyard(built, folder, &configuration)
        }
        Subject::Users => {
            let configuration = format!("{HEAD}{}", full_product::plugins(built, Some(&["users"])));
            Process::courtyard(built, folder, &configuration)
        }
        Subject::Guarded => {
            let (users, guard) = (
                full_product::plugins(built, Some(&["users"])),
                full_product::guard(built),
            );
            let configuration = format!("{HEAD}{users}{guard}");
            Process::courtyard(built, folder, &configuration)
        }
        Subject::Product => {
            let configuration = format!("{HEAD}{}", full_product::plugins(built, None));
            Process::courtyard(built, folder, &configuration)
        }
    }
}

/// Creates five copies of the probe, whose filter matches direct conversations, and returns their configuration.
fn unmatched(built: &Built, folder: &Path) -> String {
    let probe = std::fs::read(built.plugins.join("probe.wasm")).unwrap();
    let configure = |number: u8| {
        let (from, mut plugin) = (b"\"id\":\"probe\"", probe.clone());
        let places = (0..probe.len() - from.len()).filter(|at| probe[*at..].starts_with(from));
        // Replaces the last letter of the id with a digit.
        places.for_each(|at| plugin[at + from.len() - 2] = b'0' + number);
        let path = folder.join(format!("prob{number}.wasm"));
        std::fs::write(&path, plugin).unwrap();
        let path = path.canonicalize().unwrap();
        format!(
            "[[plugins]]\nid = \"prob{number}\"\npath = {path:?}\ngrant = [\"kv\"]\nconfig = {{ deed = \"trap\" }}\n"
        )
    };
    (1..=5).map(configure).collect()
}

/// Returns the id of a conversation of the development settings: a ULID that ends with the number of the pair.
fn conversation(pair: usize) -> String {
    format!("01ARZ3NDEKTSV4RRFFQ69G{pair:04}")
}

/// The people who send messages, with their tokens and conversations. They sign up when they first connect.
pub(crate) struct People {
    address: SocketAddr,
    subject: Subject,
    tokens: Vec<[String; 2]>,
    conversations: Vec<String>,
}

impl People {
    pub(crate) fn new(address: SocketAddr, subject: Subject) -> Self {
        Self {
            address,
            subject,
            tokens: Vec::new(),
            conversations: Vec::new(),
        }
    }

    /// Connects all pairs.
    pub(crate) async fn pairs(&mut self) -> Vec<Pair> {
        if self.tokens.is_empty() {
            for pair in 0..PAIRS {
                let (tokens, conversation) = match self.subject {
                    Subject::Relay => ([(2 * pair).to_string(), (2 * pair + 1).to_string()], conversation(pair)),
                    Subject::Bare | Subject::Unmatched => {
                        ([format!("a{pair}"), format!("b{pair}")], conversation(pair))
                    }
                    Subject::Users | Subject::Guarded | Subject::Product => self.sign_up(pair).await,
                };
                self.tokens.push(tokens);
                self.conversations.push(conversation);
            }
        }
        let mut pairs = Vec::new();
        for (tokens, conversation) in self.tokens.iter().zip(&self.conversations) {
            pairs.push(Pair {
                sender: self.connect(&tokens[0]).await,
                receiver: self.connect(&tokens[1]).await,
                conversation: conversation.clone(),
            });
        }
        pairs
    }

    async fn connect(&self, token: &str) -> Connection {
        if self.subject != Subject::Relay {
            return sign_in(self.address, token).await;
        }
        let mut connection = Connection::open(self.address).await;
        connection.send(token).await;
        assert_eq!(connection.next().await, "ok");
        connection
    }

    /// Registers two accounts and opens their conversation.
    async fn sign_up(&self, pair: usize) -> ([String; 2], String) {
        let ann = full_product::sign_up(self.address, &format!("ann{pair}")).await;
        let bob = full_product::sign_up(self.address, &format!("bob{pair}")).await;
        let mut first = sign_in(self.address, &ann.token).await;
        let opened = first
            .request(&call("users.open_direct", &json!({"actor": bob.actor})))
            .await;
        let conversation = opened["value"]["conversation"].as_str().unwrap().to_owned();
        ([ann.token, bob.token], conversation)
    }
}
