//! Several plugins at one hook: their order, what each sees of the others' changes, and the effect of a rejection or a
//! failure of one on the others.

use courtyard::{Config, PluginSpec, Server};
use courtyard_plugin_sdk::native::{self, Native};
use courtyard_plugin_sdk::prelude::*;
use courtyard_tests::{CONVERSATION, Client};
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;

record! {
    /// A text message.
    struct Text { text: String }
}

record! {
    /// No parameters.
    struct Nothing {}
}

record! {
    /// Number of messages that a plugin counted.
    struct Noted { count: u64 }
}

fn noted(cx: &Context) -> Result<Noted, Error> {
    Ok(Noted {
        count: cx.kv().get_json("count")?.unwrap_or_default(),
    })
}

/// Counts a message, and appends a letter to its text.
fn append_letter(cx: &Context, message: &Message<'_>, letter: char) -> Verdict {
    let count = noted(cx).unwrap().count + 1;
    cx.kv().set_json("count", &count).unwrap();
    let Text { text } = message.content_as().unwrap();
    Verdict::replace(&Text {
        text: format!("{text}{letter}"),
    })
}

/// Defines a plugin with a verdict for each text.
macro_rules! plugin {
    ($module:ident, $type:ident, $id:literal, after: $after:tt, $class:ident, |$cx:ident, $message:ident| $verdict:expr) => {
        mod $module {
            use super::*;

            pub(super) struct $type;

            impl Plugin for $type {
                fn start(_configuration: &str) -> Result<Self, Error> {
                    Ok(Self)
                }

                fn before_send(&self, $cx: &Context, $message: &Message<'_>) -> Verdict {
                    $verdict
                }
            }

            impl $type {
                fn noted(&self, cx: &Context, _nothing: Nothing) -> Result<Noted, Error> {
                    super::noted(cx)
                }
            }

            register! {
                plugin: $type,
                id: $id,
                description: "For the tests of the order.",
                after: $after,
                capabilities: [kv],
                hooks: [before_send($class) { contents: ["text"] }],
                methods: [noted],
            }
        }
    };
}

plugin!(first, First, "first", after: [], transform, |cx, message| append_letter(cx, message, 'a'));
plugin!(breaking, Breaking, "breaking", after: ["first"], transform, |cx, message| {
    let verdict = append_letter(cx, message, '!');
    match message.content_as::<Text>().unwrap().text.contains("break") {
        true => panic!("on request"),
        false => verdict,
    }
});
plugin!(judge, Judge, "judge", after: ["breaking"], guard, |cx, message| {
    match message.content_as::<Text>().unwrap().text.contains("bad") {
        true => Verdict::reject("unwanted", "Not here."),
        false => append_letter(cx, message, 'j'),
    }
});
plugin!(last, Last, "last", after: ["judge"], transform, |cx, message| append_letter(cx, message, 'z'));

/// Starts the plugins in another order than the declared one.
async fn start() -> (Server, TempDir, Client) {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\nenabled = false\n[development]\ntrust_tokens = true\n\
         conversations = [{{ id = \"{CONVERSATION}\", kind = \"direct\", members = [\"ann\", \"bob\"] }}]\n"
    );
    let config = Config::parse(&text, "test", folder.path()).unwrap();
    let mut builder = Server::builder(config);
    let plugins: [(&str, Arc<dyn Native>); 4] = [
        ("last", native::of::<last::Last>()),
        ("judge", native::of::<judge::Judge>()),
        ("first", native::of::<first::First>()),
        ("breaking", native::of::<breaking::Breaking>()),
    ];
    for (id, plugin) in plugins {
        let spec = PluginSpec {
            grants: vec!["kv".to_owned()],
            ..PluginSpec::new(id)
        };
        builder = builder.plugin(plugin, spec);
    }
    let server = builder.start().await.unwrap();
    let mut ann = Client::connect(server.addresses()[0].0.port()).await;
    ann.send(&json!({"type": "hello", "protocol": 1, "device": "test", "token": "ann"}))
        .await;
    assert_eq!(ann.next().await["type"], "welcome");
    (server, folder, ann)
}

async fn counts(client: &mut Client) -> [Value; 4] {
    let mut counts = [Value::Null, Value::Null, Value::Null, Value::Null];
    for (count, id) in counts.iter_mut().zip(["first", "breaking", "judge", "last"]) {
        let call = json!({"type": "call", "id": id, "method": format!("{id}.noted"), "params": {}});
        *count = client.request(call).await["value"]["count"].clone();
    }
    counts
}

async fn send(client: &mut Client, id: &str, text: &str) -> Value {
    client.text(id, text).await;
    client.next().await
}

#[tokio::test]
async fn plugins_run_in_their_declared_order_on_each_others_output() {
    let (server, _folder, mut ann) = start().await;
    assert_eq!(send(&mut ann, "m1", "x").await["content"]["text"], "xa!jz");
    assert_eq!(counts(&mut ann).await, [1, 1, 1, 1].map(Value::from));
    server.shut_down().await;
}

#[tokio::test]
async fn a_failing_transform_rolls_back_only_its_own_writes() {
    let (server, _folder, mut ann) = start().await;
    assert_eq!(send(&mut ann, "m1", "break ").await["content"]["text"], "break ajz");
    assert_eq!(counts(&mut ann).await, [1, 0, 1, 1].map(Value::from));
    server.shut_down().await;
}

#[tokio::test]
async fn the_first_rejection_ends_the_chain_and_rolls_back_all_writes() {
    let (server, _folder, mut ann) = start().await;
    let refused = send(&mut ann, "m1", "bad ").await;
    assert_eq!(
        (&refused["code"], &refused["message"]),
        (&json!("judge.unwanted"), &json!("Not here."))
    );
    assert_eq!(counts(&mut ann).await, [0, 0, 0, 0].map(Value::from));
    assert_eq!(send(&mut ann, "m2", "good").await["seq"], 1);
    server.shut_down().await;
}
