//! Durable messages between two: Courtyard with and without a plugin, beside the bare relay.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use tokio::task::LocalSet;

use super::flood::{self, Flood, Throughput};
use super::load::{Connection, Pair};
use super::pace::{self, Latencies, Pace};
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
         processor 1. All servers are up, and are measured in turns of a fraction of a second, for {seconds} s each in a round; the \
         median of the rounds counts."
    );
    let runtime = runtime();
    let mut results = Vec::new();
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        let field = Field::set(built, Subject::CHAT);
        let measured = LocalSet::new().block_on(&runtime, async {
            let mut people = field.people();
            let mut paces = Vec::new();
            for people in &mut people {
                paces.push(Pace::of(people.pairs().await, PER_S));
            }
            let Ok(paces) = paces.try_into() else { unreachable!() };
            let delays: [Latencies; 5] = pace::in_turns(paces, seconds).await;
            (field.flood(&mut people, seconds).await, delays)
        });
        for (subject, (rate, delay)) in Subject::CHAT.into_iter().zip(measured.0.iter().zip(&measured.1)) {
            println!(
                "  {}: {:.0} messages/s, {:.0} for each second of its processor time (busy: server {:.0} %, generator \
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

/// Servers that are all up.
struct Field<const N: usize> {
    servers: [(Subject, Process); N],
    _folder: tempfile::TempDir,
}

impl<const N: usize> Field<N> {
    fn set(built: &Built, subjects: [Subject; N]) -> Self {
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

    async fn flood(&self, people: &mut [People; N], seconds: u64) -> [Throughput; N] {
        let mut floods = Vec::new();
        for people in people {
            floods.push(Flood::of(people.pairs().await, WINDOW));
        }
        let each = std::array::from_fn(|index| (&self.servers[index].1, &floods[index]));
        let rates = flood::in_turns(each, seconds).await;
        for flood in floods {
            flood.end().await;
        }
        rates
    }
}

/// Returns by how many percent five plugins that did not ask for a message raise the processor time of sending it.
pub(crate) fn unmatched_overhead_pct(built: &Built, rounds: usize, seconds: u64) -> f64 {
    let runtime = runtime();
    let mut overheads = Vec::new();
    for _ in 0..rounds {
        let field = Field::set(built, [Subject::Unmatched, Subject::Bare]);
        let [with, without] = LocalSet::new().block_on(&runtime, async {
            let mut people = field.people();
            field.flood(&mut people, seconds).await
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
