//! What entering a plugin costs.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use courtyard::hooks::{Access, Call, HealthPolicy, Hooks, Message, Plugin, Registry};
use courtyard::log::{Conversation, Conversations, Draft, Log, Record};
use courtyard::plugin::{Artifact, CompiledCache, EngineLimits, Loader, PluginSpec, WasmEngine};
use courtyard::store::{EmbeddedOptions, EmbeddedStore, LogId, Store};
use courtyard::wire::AppId;
use courtyard_guest_probe::Probe;
use courtyard_plugin_sdk::library::{Library, import, library};
use serde_json::json;

use super::{Built, bare, chat, median, peers};

/// Calls of one sample.
const CALLS: u32 = 20_000;
/// Samples, of which the median counts.
const SAMPLES: usize = 25;

/// What is measured alone, for a profiler.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Only {
    Accept,
    Replace,
    Read,
    Value,
    Library,
    Load,
}

pub(crate) fn run(built: &Built, only: Option<Only>) {
    println!(
        "Every figure is what `before_send` costs the host, transaction included, for a message with a text of 200 bytes \
         ({SAMPLES} samples of {CALLS} calls each; the median counts)."
    );
    let folder = tempfile::tempdir_in(&built.data).unwrap();
    let store: Arc<dyn Store> =
        Arc::new(EmbeddedStore::open(&folder.path().join("data"), EmbeddedOptions::default()).unwrap());
    let engine = WasmEngine::new(&EngineLimits::default()).unwrap();
    let cache = CompiledCache::open(&folder.path().join("compiled")).unwrap();
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
    let place = Place::make(store);
    let time = |hooks: &Hooks, message: &Message<'_>| ns_per_call(hooks, &place, message);
    if let Some(only) = only {
        let made = match only {
            Only::Accept => hooks("accept"),
            Only::Replace => hooks("replace"),
            Only::Read => hooks("read"),
            Only::Value => native(Kind::Value),
            Only::Library => native(Kind::Library),
            Only::Load => {
                let users = built.plugins.join("users.wasm");
                return println!(
                    "  loading the users plugin: {:.2} ms",
                    ms_per_load(&loader, &users, 250)
                );
            }
        };
        return println!("  {only:?}: {:.0} ns", time(&made, &message));
    }

    let none = time(&Hooks::new(Registry::default()), &message);
    println!("  no plugin: {none:.0} ns (the transaction alone)");
    let bare = bare::call_ns(&engine, message.packed().bytes.len());
    println!("  wasmtime alone, for a call with as many bytes: {bare:.0} ns");
    let accepting = hooks("accept");
    let empty_ns = time(&accepting, &empty);
    println!("  an empty message, accepted: {empty_ns:.0} ns");
    let accept = time(&accepting, &message);
    println!("  accepted: {accept:.0} ns");
    let value = time(&native(Kind::Value), &message);
    println!("  accepted by a value in the process: {value:.0} ns");
    let library = time(&native(Kind::Library), &message);
    println!("  accepted by a native library: {library:.0} ns");
    let replace = time(&hooks("replace"), &message);
    println!("  replaced by a text of 200 bytes, which is checked: {replace:.0} ns");
    let read = time(&hooks("read"), &message);
    println!("  accepted after reading a key: {read:.0} ns");
    let trap = us_per_trap(&hooks("trap"), &place, &message);
    println!("  a trap, from the call to the next instance that is ready: {trap:.1} µs");
    let users = built.plugins.join("users.wasm");
    let cold = ms_per_load(&Loader::new(engine, CompiledCache::none()), &users, 5);
    println!("  loading the users plugin from nothing: {cold:.1} ms");
    let cached = ms_per_load(&loader, &users, 25);
    println!("  loading it from the compiled form: {cached:.2} ms");
    let child = peers::child_process_ns(&message);
    println!("  accepted by a child process over pipes: {child:.0} ns");
    let webhook = peers::webhook_ns(&message);
    println!("  accepted by a webhook on loopback: {webhook:.0} ns");
    // Neither of them has the transaction, so the hook is held against them without it.
    let hook = accept - none;
    println!("  without the transaction, as these two are, the plugin's answer costs {hook:.0} ns");
    println!("  and {:.2} times of what wasmtime takes alone", hook / bare);
    println!("Sending messages with and without five plugins that did not ask for them, 5 rounds:");
    let unmatched = chat::unmatched_overhead_pct(built, 5, 3);
    println!("  they raise its processor time by {unmatched:.1} %");
    println!(
        "{}",
        json!({
            "bench": "hook",
            "unmatched_overhead_pct": (unmatched * 10.0).round() / 10.0,
            "child_process_ratio": (child / hook).round(),
            "webhook_ratio": (webhook / hook).round(),
            "bare_call_ns": bare.round(),
            "hook_to_bare_call_ratio": (hook / bare * 100.0).round() / 100.0,
            "value_accept_ns": value.round(),
            "library_accept_ns": library.round(),
            "typed_accept_ns": accept.round(),
            "kv_read_extra_ns": (read - accept).round(),
            "replace_instance_us": (trap * 10.0).round() / 10.0,
            "cached_load_ms": (cached * 100.0).round() / 100.0,
            "cold_load_ms": (cold * 10.0).round() / 10.0,
            "no_plugin_ns": none.round(),
            "empty_hook_ns": empty_ns.round(),
            "typed_replace_ns": replace.round(),
        })
    );
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

/// Makes the accepting probe in the process.
#[expect(unsafe_code, reason = "a library's table is taken on trust")]
fn native(kind: Kind) -> Hooks {
    static LIBRARY: Library = library::<Probe>();
    let source = match kind {
        Kind::Value => courtyard_plugin_sdk::native::of::<Probe>(),
        // SAFETY: it is a table of this process.
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

/// Where messages are sent to.
struct Place {
    store: Arc<dyn Store>,
    conversation: Arc<Conversation>,
}

impl Place {
    fn make(store: Arc<dyn Store>) -> Self {
        let log = LogId {
            app: AppId::default_app(),
            conversation: message(b"").conversation.parse().unwrap(),
        };
        let record = Record {
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

fn enter(hooks: &Hooks, place: &Place, message: &Message<'_>) -> bool {
    let call = Call::new(AppId::default_app(), Access::Write, Draft::new(place.store.clone()));
    hooks.before_send(call, &place.conversation, message).1.is_ok()
}

fn ns_per_call(hooks: &Hooks, place: &Place, message: &Message<'_>) -> f64 {
    sampled_ns(|| assert!(enter(hooks, place, message)))
}

/// Measures something that takes nanoseconds.
pub(crate) fn sampled_ns(mut call: impl FnMut()) -> f64 {
    let mut samples = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let begin = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        samples.push(begin.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
    }
    median(&mut samples)
}

fn us_per_trap(hooks: &Hooks, place: &Place, message: &Message<'_>) -> f64 {
    let mut samples = Vec::new();
    for _ in 0..1_000 {
        let begin = Instant::now();
        assert!(!enter(hooks, place, message));
        samples.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    median(&mut samples)
}

fn ms_per_load(loader: &Loader, file: &Path, times: usize) -> f64 {
    let mut samples = Vec::new();
    // The first time fills the cache.
    for _ in 0..=times {
        let begin = Instant::now();
        let artifact = Artifact::read(file).unwrap();
        let _guest = loader.load(&artifact, &spec("users", "{}")).unwrap();
        samples.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    median(&mut samples[1..])
}
