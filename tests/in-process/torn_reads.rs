//! Reads of one call may belong to different commits. No result based on them takes effect: a rejection, too, is
//! validated against its reads, and retried.

use std::time::Duration;

use courtyard::{Config, PluginSpec, Server};
use courtyard_plugin_sdk::native;
use courtyard_plugin_sdk::prelude::*;
use courtyard_tests::pause::Pause;
use courtyard_tests::{CONVERSATION, Client};
use serde_json::json;

/// Keeps two keys equal in every commit, and rejects messages when it reads different values.
struct Scales {
    pause: Pause,
}

record! {
    /// The value of both keys.
    struct Weight { weight: String }
}

record! {
    /// No parameters.
    struct Nothing {}
}

impl Plugin for Scales {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Err(Error::new("no_pause", "The test makes it."))
    }

    fn before_send(&self, cx: &Context, _message: &Message<'_>) -> Verdict {
        match self.compare(cx) {
            Ok(_) => Verdict::Accept,
            Err(error) => Verdict::Reject(error),
        }
    }
}

impl Scales {
    fn load(&self, cx: &Context, Weight { weight }: Weight) -> Result<Nothing, Error> {
        cx.kv().set("left", &weight)?;
        cx.kv().set("right", &weight)?;
        Ok(Nothing {})
    }

    fn weigh(&self, cx: &Context, _params: Nothing) -> Result<Weight, Error> {
        self.compare(cx)
    }

    fn compare(&self, cx: &Context) -> Result<Weight, Error> {
        let left = cx.kv().get("left")?;
        self.pause.pass();
        if left != cx.kv().get("right")? {
            return Err(Error::new("torn", "They are not equal."));
        }
        Ok(Weight {
            weight: String::from_utf8(left.unwrap_or_default()).unwrap(),
        })
    }
}

register! {
    plugin: Scales,
    id: "scales",
    description: "Compares two keys.",
    capabilities: [kv],
    hooks: [before_send(guard) { conversations: ["direct"] }],
    methods: [load, weigh],
}

async fn serve(folder: &std::path::Path, pause: Pause) -> Server {
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\nenabled = false\n[development]\ntrust_tokens = true\n\
         conversations = [{{ id = \"{CONVERSATION}\", kind = \"direct\", members = [\"ann\", \"bob\"] }}]\n"
    );
    let config = Config::parse(&text, "test", folder).unwrap();
    let mut spec = PluginSpec {
        grants: ["kv".to_owned()].into(),
        ..PluginSpec::new("scales")
    };
    // It waits for the test, so it counts as slow after its first message; no other call needs its thread.
    spec.limits.hook = Duration::ZERO;
    let builder = Server::builder(config).plugin(native::value(Scales { pause }), spec);
    builder.start().await.unwrap()
}

async fn sign_in(server: &Server, actor: &str) -> Client {
    let mut client = Client::connect(server.addresses()[0].0.port()).await;
    let hello = json!({"type": "hello", "protocol": 1, "device": "test", "token": actor});
    client.send(&hello).await;
    assert_eq!(client.next().await["type"], "welcome");
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rejection_based_on_inconsistent_reads_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let pause = Pause::default();
    let server = serve(folder.path(), pause.clone()).await;
    let (mut ann, mut bob) = (sign_in(&server, "ann").await, sign_in(&server, "bob").await);
    bob.text("first", "weighed at once").await;
    assert_eq!(bob.next().await["type"], "ack");
    assert_eq!(ann.next().await["type"], "event");
    let weigh = json!({"type": "call", "id": "w", "method": "scales.weigh", "params": {}});
    let text = json!({
        "type": "send", "id": "m", "conversation": CONVERSATION, "kind": "text", "content": {"text": "weigh me"}
    });
    for (number, (asked, answer)) in [(weigh, "result"), (text, "ack")].into_iter().enumerate() {
        let held = pause.hold();
        ann.send(&asked).await;
        let held = held.come().await;
        let params = json!({"weight": number.to_string()});
        let loaded = bob
            .request(json!({"type": "call", "id": "l", "method": "scales.load", "params": params}))
            .await;
        assert_eq!(loaded["type"], "result", "{loaded}");
        held.go_on();
        let answered = ann.next().await;
        assert_eq!(answered["type"], answer, "{answered}");
    }
    server.shut_down().await;
}
