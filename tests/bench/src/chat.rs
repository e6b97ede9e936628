//! Durable messages between two: Courtyard with and without a plugin, beside the bare relay.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use tokio::task::LocalSet;

use super::load::{Connection, Latencies, Pair, Throughput, latencies, throughput};
use super::process::Process;
use super::product::{self, HEAD, call, sign_in};
use super::{Built, median};

const PAIRS: usize = 50;
const WINDOW: usize = 16;
pub(crate) const PER_S: u64 = 2_000;

/// What is measured: the relay, or Courtyard with plugins or without.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Relay,
    Bare,
    Users,
    /// The users plugin, and a guard that reads a key for every message.
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
            Self::Users => "Courtyard with the users plugin, whose guard asked for conversations that are shut",
            Self::Guarded => "Courtyard with the users plugin and a guard that reads a key for every message",
            Self::Product => "Courtyard with all plugins of the default configuration",
            Self::Unmatched => "Courtyard with five plugins that did not ask for these messages",
        }
    }
}

pub(crate) fn run(built: &Built, rounds: usize, seconds: u64) {
    println!(
        "{PAIRS} pairs write texts of 200 bytes to each other, {WINDOW} in flight for each pair. A message counts when it \
         is on the disk, acknowledged, and has arrived at the other side. Servers run on processor 0, this generator on \
         processor 1. In each round all are measured one after the other; the median of the rounds counts."
    );
    let runtime = runtime();
    let mut rates: [Vec<Throughput>; 5] = Default::default();
    let mut delays: [Vec<Latencies>; 5] = Default::default();
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        for (index, subject) in Subject::CHAT.into_iter().enumerate() {
            settle();
            let folder = tempfile::tempdir_in(&built.data).unwrap();
            let server = start(built, subject, folder.path());
            let local = LocalSet::new();
            let (rate, delay) = local.block_on(&runtime, async {
                let mut people = People::new(server.address, subject);
                let pairs = people.pairs().await;
                let delay = latencies(pairs, PER_S, seconds).await;
                let pairs = people.pairs().await;
                (throughput(&server, pairs, WINDOW, seconds).await, delay)
            });
            println!(
                "  {}: {:.0} messages/s, {:.0} for each second of its processor time (busy: server {:.0} %, generator \
                 {:.0} %); at {PER_S}/s: p50 {:.2} ms, p99 {:.2} ms",
                subject.name(),
                rate.per_s,
                rate.per_cpu_s,
                rate.server_busy * 100.0,
                rate.generator_busy * 100.0,
                delay.percentile(50),
                delay.percentile(99)
            );
            rates[index].push(rate);
            delays[index].push(delay);
        }
    }
    let ratio = |left: usize, right: usize, value: fn(&Throughput) -> f64| {
        let mut ratios: Vec<f64> = rates[left]
            .iter()
            .zip(&rates[right])
            .map(|(left, right)| value(left) / value(right))
            .collect();
        median(&mut ratios)
    };
    let p99_ratio = median(
        &mut delays[2]
            .iter()
            .zip(&delays[0])
            .map(|(users, relay)| users.percentile(99) / relay.percentile(99))
            .collect::<Vec<_>>(),
    );
    let middle =
        |index: usize, value: fn(&Throughput) -> f64| median(&mut rates[index].iter().map(value).collect::<Vec<_>>());
    let per_cpu_s = |rate: &Throughput| rate.per_cpu_s;
    println!(
        "{}",
        json!({
            "bench": "chat",
            "cpu_ratio_to_relay": round3(ratio(2, 0, per_cpu_s)),
            "cpu_ratio_with_guard_of_every_message_to_relay": round3(ratio(4, 0, per_cpu_s)),
            "cpu_ratio_with_to_without_plugins": round3(ratio(2, 1, per_cpu_s)),
            "cpu_ratio_with_all_to_without_plugins": round3(ratio(3, 1, per_cpu_s)),
            "p99_ratio_to_relay_at_2000_per_s": round3(p99_ratio),
            "messages_per_cpu_s": middle(2, per_cpu_s).round(),
            "messages_per_s": middle(2, |rate| rate.per_s).round(),
            "relay_messages_per_cpu_s": middle(0, per_cpu_s).round(),
            "relay_messages_per_s": middle(0, |rate| rate.per_s).round(),
            "p99_ms": round3(median(&mut delays[2].iter().map(|delay| delay.percentile(99)).collect::<Vec<_>>())),
            "relay_p99_ms": round3(median(&mut delays[0].iter().map(|delay| delay.percentile(99)).collect::<Vec<_>>())),
            "generator_busy_pct": (middle(2, |rate| rate.generator_busy) * 100.0).round(),
        })
    );
}

/// Returns by how many percent five plugins that did not ask for a message raise the processor time of sending it.
pub(crate) fn unmatched_overhead_pct(built: &Built, rounds: usize, seconds: u64) -> f64 {
    let runtime = runtime();
    let mut overheads = Vec::new();
    for _ in 0..rounds {
        let [with, without] = [Subject::Unmatched, Subject::Bare].map(|subject| {
            settle();
            let folder = tempfile::tempdir_in(&built.data).unwrap();
            let server = start(built, subject, folder.path());
            let rate = LocalSet::new().block_on(&runtime, async {
                let pairs = People::new(server.address, subject).pairs().await;
                throughput(&server, pairs, WINDOW, seconds).await
            });
            1.0 / rate.per_cpu_s
        });
        overheads.push((with / without - 1.0) * 100.0);
    }
    median(&mut overheads)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Lets the disk come to rest: what was written and removed before would be measured as well.
pub(crate) fn settle() {
    // Without it the figures are only noisier.
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
            let configuration = format!("{HEAD}{}", product::plugins(built, Some(&["users"])));
            Process::courtyard(built, folder, &configuration)
        }
        Subject::Guarded => {
            let (users, guard) = (product::plugins(built, Some(&["users"])), product::guard(built));
            let configuration = format!("{HEAD}{users}{guard}");
            Process::courtyard(built, folder, &configuration)
        }
        Subject::Product => {
            let configuration = format!("{HEAD}{}", product::plugins(built, None));
            Process::courtyard(built, folder, &configuration)
        }
    }
}

/// Makes five plugins of the probe, which asks for messages of direct conversations, and configures them.
fn unmatched(built: &Built, folder: &Path) -> String {
    let probe = std::fs::read(built.plugins.join("probe.wasm")).unwrap();
    let configure = |number: u8| {
        let (from, mut plugin) = (b"\"id\":\"probe\"", probe.clone());
        let places = (0..probe.len() - from.len()).filter(|at| probe[*at..].starts_with(from));
        // The last letter of the id becomes a digit.
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

/// A conversation of the development settings: a ULID with the number of the pair at its end.
fn conversation(pair: usize) -> String {
    format!("01ARZ3NDEKTSV4RRFFQ69G{pair:04}")
}

/// Those who write, by what they connect with; filled when they first connect.
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

    /// Registers two people and opens their conversation.
    async fn sign_up(&self, pair: usize) -> ([String; 2], String) {
        let ann = product::sign_up(self.address, &format!("ann{pair}")).await;
        let bob = product::sign_up(self.address, &format!("bob{pair}")).await;
        let mut first = sign_in(self.address, &ann.token).await;
        let opened = first
            .request(&call("users.open_direct", &json!({"actor": bob.actor})))
            .await;
        let conversation = opened["value"]["conversation"].as_str().unwrap().to_owned();
        ([ann.token, bob.token], conversation)
    }
}
