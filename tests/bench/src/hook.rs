//! Cost of calling a plugin.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use courtyard::internals::hooks::{Call, Hooks, Message, Plugin, Registry, StoreAccess};
use courtyard::internals::log::{Conversation, ConversationRecord, Conversations, Log};
use courtyard::internals::plugin::{Artifact, CompiledCache, EngineLimits, Loader, WasmEngine};
use courtyard::internals::store::Draft;
use courtyard::{AppId, EmbeddedOptions, EmbeddedStore, HealthPolicy, LogId, PluginSpec, Store};
use courtyard_guest_probe::Probe;
use courtyard_plugin_sdk::library::{Library, import, library};
use serde_json::json;

use super::alternatives::{ChildHook, Webhook};
use super::{Built, chat, median, wasmtime_baseline};

/// Samples of each call; the result is their median.
const SAMPLES: usize = 50;
/// Approximate time of a sample, in seconds.
const SAMPLE_S: f64 = 0.01;

/// The only call to measure, for a profiler.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Only {
    Accept,
    Replace,
    Read,
    Value,
    Library,
    Trap,
    Load,
}

pub(crate) fn run(built: &Built, only: Option<Only>) {
    println!(
        "Every figure is the cost of `before_send` for the host, including the transaction, for a message with a text of 200 \
         bytes: the median of {SAMPLES} samples, which are taken of all calls in turns."
    );
    let folder = tempfile::tempdir_in(&built.data).unwrap();
    let store: Arc<dyn Store> =
        Arc::new(EmbeddedStore::open(&folder.path().join("data"), EmbeddedOptions::default()).unwrap());
    let engine = WasmEngine::new(&EngineLimits::default()).unwrap();
    let compiled = folder.path().join("compiled");
    let cache = CompiledCache::open(&compiled).unwrap();
    let loader = Loader::new(engine.clone(), cache);
    let file = built.plugins.join("probe.wasm");
    let hooks = |deed: &str| hooks_of(&loader, Artifact::read(&file).unwrap(), deed);
    let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(200));
    let message = message(text.as_bytes());
    let empty = Message {
        app: "",
        conversation: "",
        sender: "a",
        receiver: "",
        kind: "custom:x",
        client_id: "",
        content: b"",
        ..message
    };
    let target = TestConversation::create(store);
    let users = built.plugins.join("users.wasm");
    if let Some(only) = only {
        let hooks = match only {
            Only::Accept => hooks("accept"),
            Only::Replace => hooks("replace"),
            Only::Read => hooks("read"),
            Only::Value => native(Kind::Value),
            Only::Library => native(Kind::Library),
            Only::Trap => {
                let trap = us_per_trap(&hooks("trap"), &target, &message, 50_000);
                return println!("  a trap and the next instance: {trap:.1} µs");
            }
            Only::Load => {
                compile(&loader, &users, &compiled);
                return println!(
                    "  loading the users plugin: {:.2} ms",
                    ms_per_load(&loader, &users, 250)
                );
            }
        };
        let mut alone = Samples::default();
        let mut call = || assert!(enter(&hooks, &target, &message));
        (0..10 * SAMPLES).for_each(|_| alone.measure(&mut call));
        return println!("  {only:?}: {:.0} ns", alone.median());
    }

    let entry = |hooks: Hooks, message| {
        let target = &target;
        move || assert!(enter(&hooks, target, message))
    };
    let (mut child, mut webhook) = (ChildHook::start(), Webhook::start());
    let mut bare = wasmtime_baseline::call(&engine, message.packed().bytes.len());
    let mut none = entry(Hooks::new(Registry::default()), &message);
    let mut accepted = entry(hooks("accept"), &message);
    let mut shortest = entry(hooks("accept"), &empty);
    let mut value = entry(native(Kind::Value), &message);
    let mut library = entry(native(Kind::Library), &message);
    let mut replaced = entry(hooks("replace"), &message);
    let mut read = entry(hooks("read"), &message);
    let mut by_child = || assert!(child.call(&message));
    let mut by_webhook = || assert!(webhook.call(&message));
    let calls: [(&str, &mut dyn FnMut()); 10] = [
        ("no plugin (only the transaction)", &mut none),
        ("wasmtime alone, with as many bytes", &mut bare),
        ("an empty message, accepted", &mut shortest),
        ("accepted", &mut accepted),
        ("accepted by a value in the process", &mut value),
        ("accepted by a native library", &mut library),
        ("replaced by a text of 200 bytes, including its check", &mut replaced),
        ("accepted after reading a key", &mut read),
        ("accepted by a child process over pipes", &mut by_child),
        ("accepted by a webhook on loopback", &mut by_webhook),
    ];
    let [
        none,
        bare,
        shortest,
        accepted,
        value,
        library,
        replaced,
        read,
        child,
        webhook,
    ] = in_turns(calls);
    let trap = us_per_trap(&hooks("trap"), &target, &message, 1_000);
    println!("  a trap, from the call until the next instance is ready: {trap:.1} µs");
    let cold = ms_per_load(&Loader::new(engine, CompiledCache::none()), &users, 5);
    println!("  loading the users plugin without compiled code: {cold:.1} ms");
    compile(&loader, &users, &compiled);
    let cached = ms_per_load(&loader, &users, 25);
    println!("  loading it from compiled code: {cached:.2} ms");
    // The child and the webhook have no transaction, so they are compared with the hook without it.
    let hook = accepted.with(&none, |accepted, none| accepted - none);
    let ratio = |left: &Samples, right: &Samples| left.with(right, |left, right| left / right).median();
    println!("  the call without the transaction: {:.0} ns", hook.median());
    println!("  which is {:.2} times that of wasmtime alone", ratio(&hook, &bare));
    println!("Sending messages with and without five plugins whose filters don't match, in turns, 5 rounds:");
    let unmatched = chat::unmatched_overhead_pct(built, 5, 3);
    println!("  they increase the processor time by {unmatched:.1} %");
    println!(
        "{}",
        json!({
            "bench": "hook",
            "unmatched_overhead_pct": (unmatched * 10.0).round() / 10.0,
            "child_process_ratio": ratio(&child, &hook).round(),
            "webhook_ratio": ratio(&webhook, &hook).round(),
            "bare_call_ns": bare.median().round(),
            "hook_to_bare_call_ratio": (ratio(&hook, &bare) * 100.0).round() / 100.0,
            "value_accept_ns": value.median().round(),
            "library_accept_ns": library.median().round(),
            "typed_accept_ns": accepted.median().round(),
            "kv_read_extra_ns": read.with(&accepted, |read, accepted| read - accepted).median().round(),
            "replace_instance_us": (trap * 10.0).round() / 10.0,
            "cached_load_ms": (cached * 100.0).round() / 100.0,
            "cold_load_ms": (cold * 10.0).round() / 10.0,
            "no_plugin_ns": none.median().round(),
            "empty_hook_ns": shortest.median().round(),
            "typed_replace_ns": replaced.median().round(),
        })
    );
}

/// Samples of the time of a call, in nanoseconds.
#[derive(Default)]
struct Samples(Vec<f64>);

impl Samples {
    /// Adds a sample.
    fn measure(&mut self, call: &mut dyn FnMut()) {
        // As many calls as fill a sample, estimated from the last one.
        let guess = self.0.last().map_or(100.0, |ns| SAMPLE_S * 1e9 / ns);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
        let calls = guess as u32 + 1;
        let begin = Instant::now();
        (0..calls).for_each(|_| call());
        self.0.push(begin.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }

    fn median(&self) -> f64 {
        median(&mut self.0.clone())
    }

    /// Combines samples of the same turns.
    fn with(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        let both = self.0.iter().zip(&other.0);
        Self(both.map(|(left, right)| combine(*left, *right)).collect())
    }
}

/// Measures all calls in turns, so that other work on the machine affects all of them alike, and prints the results.
fn in_turns<const N: usize>(mut calls: [(&str, &mut dyn FnMut()); N]) -> [Samples; N] {
    let mut samples = [(); N].map(|()| Samples::default());
    // The first sample only estimates the number of calls.
    for _ in 0..=SAMPLES {
        for ((_, call), samples) in calls.iter_mut().zip(&mut samples) {
            samples.measure(call);
        }
    }
    for ((name, _), samples) in calls.iter().zip(&mut samples) {
        samples.0.remove(0);
        println!("  {name}: {:.0} ns", samples.median());
    }
    samples
}

fn message(content: &[u8]) -> Message<'_> {
    Message {
        app: "default",
        conversation: "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        conversation_kind: "direct",
        sender: "u0123456789abcdef01234567",
        receiver: "u76543210fedcba9876543210",
        kind: "text",
        client_id: "01BX5ZZKBKACTAV9WEVGEMMVS0",
        content,
        seq: 0,
        edits: 0,
        time_ms: 1_700_000_000_000,
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Value,
    Library,
}

/// Returns hooks with the accepting probe in this process.
#[expect(unsafe_code, reason = "the table of a library is trusted")]
fn native(kind: Kind) -> Hooks {
    static LIBRARY: Library = library::<Probe>();
    let source = match kind {
        Kind::Value => courtyard_plugin_sdk::native::of::<Probe>(),
        // SAFETY: the table belongs to this process.
        Kind::Library => unsafe { import(&LIBRARY) }.unwrap(),
    };
    let loader = Loader::new(
        WasmEngine::new(&EngineLimits::default()).unwrap(),
        CompiledCache::none(),
    );
    hooks_of(&loader, Artifact::native(source).unwrap(), "accept")
}

fn hooks_of(loader: &Loader, artifact: Artifact, deed: &str) -> Hooks {
    let spec = spec("probe", &json!({ "deed": deed }).to_string());
    let guest = loader.load(&artifact, &spec).unwrap();
    let plugin = Plugin::running(artifact.manifest, guest, spec.health, Arc::default());
    Hooks::new(Registry::new([Arc::new(plugin)]))
}

fn spec(id: &str, configuration: &str) -> PluginSpec {
    PluginSpec {
        grants: [
            "kv",
            "conversations",
            "sessions",
            "events",
            "jobs",
            "fetch",
            "blobs",
            "secrets",
            "watches",
        ]
        .map(str::to_owned)
        .into(),
        configuration: configuration.to_owned(),
        health: HealthPolicy {
            strikes: u32::MAX,
            ..HealthPolicy::default()
        },
        ..PluginSpec::new(id)
    }
}

/// The conversation to which messages are sent.
struct TestConversation {
    store: Arc<dyn Store>,
    conversation: Arc<Conversation>,
}

impl TestConversation {
    fn create(store: Arc<dyn Store>) -> Self {
        let log = LogId {
            app: AppId::default_app(),
            conversation: message(b"").conversation.parse().unwrap(),
        };
        let record = ConversationRecord {
            kind: "direct".to_owned(),
            owner: "probe".to_owned(),
            members: vec![message(b"").sender.to_owned(), message(b"").receiver.to_owned()],
        };
        let mut draft = Draft::new(store.clone());
        Conversations::create(&mut draft, &log.app, log.conversation, "", &record);
        draft.commit_blocking().unwrap();
        let conversations = Log::open(store.clone()).unwrap();
        let conversation = conversations.conversations().get(&log).unwrap().unwrap();
        Self { store, conversation }
    }
}

fn enter(hooks: &Hooks, target: &TestConversation, message: &Message<'_>) -> bool {
    let call = Call::new(
        AppId::default_app(),
        StoreAccess::Write,
        Draft::new(target.store.clone()),
    );
    hooks.before_send(call, &target.conversation, message).1.is_ok()
}

fn us_per_trap(hooks: &Hooks, target: &TestConversation, message: &Message<'_>, times: usize) -> f64 {
    let mut samples = Vec::new();
    for _ in 0..times {
        let begin = Instant::now();
        assert!(!enter(hooks, target, message));
        samples.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    median(&mut samples)
}

/// Compiles a plugin for both of its lanes.
fn compile(loader: &Loader, file: &Path, folder: &Path) {
    let count = || {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|end| end == "crc32"))
            .count()
    };
    let before = count();
    let _guest = loader
        .load(&Artifact::read(file).unwrap(), &spec("users", "{}"))
        .unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while count() < before + 2 {
        assert!(Instant::now() < until, "the plugin is not compiled for the action lane");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ms_per_load(loader: &Loader, file: &Path, times: usize) -> f64 {
    let mut samples = Vec::new();
    // The first load is slower than the others.
    for _ in 0..=times {
        let begin = Instant::now();
        let artifact = Artifact::read(file).unwrap();
        let _guest = loader.load(&artifact, &spec("users", "{}")).unwrap();
        samples.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    median(&mut samples[1..])
}
