//! A token revoked during its sign-in: the revocation finds no session yet, and none may remain.

use courtyard::{Config, PluginSpec, Server};
use courtyard_plugin_sdk::native;
use courtyard_plugin_sdk::prelude::*;
use courtyard_tests::Client;
use courtyard_tests::pause::Pause;
use serde_json::{Value, json};

/// Reads tokens as keys with the name of an actor.
struct Door {
    pause: Pause,
}

record! {
    /// The actor.
    struct Who { actor: String }
}

record! {
    /// No parameters.
    struct Nothing {}
}

impl Plugin for Door {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Err(Error::new("no_pause", "The test makes it."))
    }

    fn authenticate(&self, cx: &Context, _app: &str, token: &str) -> Result<Option<Identity>, Error> {
        let found = cx.kv().get(token)?;
        self.pause.pass();
        Ok(found.map(|_| Identity {
            actor: token.to_owned(),
            credential: token.to_owned(),
            expires_at_ms: 0,
        }))
    }
}

impl Door {
    fn admit(&self, cx: &Context, Who { actor }: Who) -> Result<Nothing, Error> {
        cx.kv().set(&actor, b"yes")?;
        Ok(Nothing {})
    }

    fn expel(&self, cx: &Context, Who { actor }: Who) -> Result<Nothing, Error> {
        cx.kv().delete(&actor)?;
        cx.sessions().end(&actor, Some(&actor));
        Ok(Nothing {})
    }

    /// Rewrites the key of a token, which revokes nothing.
    fn renew(&self, cx: &Context, who: Who) -> Result<Nothing, Error> {
        self.admit(cx, who)
    }
}

register! {
    plugin: Door,
    id: "door",
    description: "Lets people in.",
    capabilities: [kv, sessions],
    hooks: [authenticate],
    methods: [admit(anonymous), expel(anonymous), renew(anonymous)],
}

async fn call(client: &mut Client, method: &str, actor: &str) {
    let frame = json!({"type": "call", "id": method, "method": format!("door.{method}"), "params": {"actor": actor}});
    let answer = client.request(frame).await;
    assert_eq!(answer["type"], "result", "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_revoked_during_sign_in_ends_the_session_and_a_renewed_one_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let pause = Pause::default();
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\nenabled = false\n";
    let config = Config::parse(text, "test", folder.path()).unwrap();
    let spec = PluginSpec {
        grants: ["kv".to_owned(), "sessions".to_owned()].into(),
        ..PluginSpec::new("door")
    };
    let door = native::value(Door { pause: pause.clone() });
    let server = Server::builder(config).plugin(door, spec).start().await.unwrap();
    let port = server.addresses()[0].0.port();
    let mut porter = Client::connect(port).await;
    porter.send(&json!({"type": "hello", "protocol": 1})).await;
    assert_eq!(porter.next().await["type"], "welcome");
    call(&mut porter, "admit", "ann").await;
    for (meanwhile, stays) in [("renew", true), ("expel", false)] {
        let held = pause.hold();
        let mut ann = Client::connect(port).await;
        let hello = json!({"type": "hello", "protocol": 1, "device": "phone", "token": "ann"});
        ann.send(&hello).await;
        let held = held.come().await;
        call(&mut porter, meanwhile, "ann").await;
        held.go_on();
        assert_eq!(ann.next().await["type"], "welcome");
        if stays {
            // A closed session ends after a few responses, if not at once.
            for _ in 0..20 {
                let synced: Value = ann.request(json!({"type": "sync", "id": "s"})).await;
                assert_eq!(synced["type"], "synced");
            }
        } else {
            assert_eq!(ann.closed().await, 4101);
        }
    }
    server.shut_down().await;
}
