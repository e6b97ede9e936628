//! The translation plugin in the real server, with valid and with misbehaving providers on loopback.

mod provider;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use courtyard_tests::{CONVERSATION, Client, Server, Site, free_port, plugin};
use provider::{Provider, libre, ok, response};
use serde_json::{Value, json};
use tokio::sync::watch;

async fn start(provider: &Provider, api: &str, more: &str) -> (Site, Server) {
    start_with(provider, api, more, 300).await
}

/// Starts a host with this timeout for the provider.
async fn start_with(provider: &Provider, api: &str, more: &str, fetch_ms: u32) -> (Site, Server) {
    let (path, port) = (plugin("translation"), provider.port);
    let secret = if api == "apertium" { "" } else { ", secret = \"key\"" };
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"translation\"\npath = {path:?}\n\
         grant = [\"kv\", \"memberships\", \"annotations\", \"jobs\", \"fetch\", \"secrets\", \"sessions\", \"watches\"]\n\
         [plugins.config]\nretry_ms = 50\npause_ms = 50\nproviders = [{{ api = \"{api}\", url = \"http://127.0.0.1:{port}\"{secret} }}]\n{more}\n\
         [plugins.secrets]\nkey = \"k-1\"\n\
         [plugins.fetch]\nhosts = [\"POST http://127.0.0.1:{port}\"]\n\
         [plugins.limits]\nfetch_ms = {fetch_ms}\n"
    ));
    let server = site.start().await;
    (site, server)
}

async fn call(client: &mut Client, method: &str, params: Value) -> Value {
    let id = format!("call {method}");
    let method = format!("translation.{method}");
    client
        .request(json!({"type": "call", "id": id, "method": method, "params": params}))
        .await
}

async fn wants(client: &mut Client, settings: Value) {
    assert_eq!(call(client, "set_settings", settings).await["type"], "result");
}

/// Waits for the annotation of a message in a language.
async fn annotation(client: &mut Client, target: u64, language: &str) -> Value {
    loop {
        let event = client.next().await["event"].clone();
        if event["type"] == "annotation" && event["target"] == target && event["kind"] == language {
            assert_eq!(event["sender"], "translation");
            return event["content"]["value"].clone();
        }
    }
}

async fn history(client: &mut Client) -> Vec<Value> {
    let page = client
        .request(json!({"type": "history", "id": "h", "conversation": CONVERSATION}))
        .await;
    page["events"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_reader_gets_translations_beside_the_original_on_every_path() {
    let provider = Provider::start(libre).await;
    let (site, server) = start(&provider, "libretranslate", "keep = [\"Courtyard\"]").await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    wants(&mut bob, json!({"language": "de", "everywhere": true})).await;
    let text = "See https://a.example/x, write to b@c.example or @carl about Courtyard 2.0 and `let x;`";
    ann.text("m1", text).await;
    assert_eq!(bob.next().await["event"]["content"]["text"], text);
    let value = annotation(&mut bob, 1, "de").await;
    assert_eq!(
        value,
        json!({"text": format!("de: {text}"), "from": "en", "by": "libretranslate"})
    );
    // Protected parts never reached the provider.
    let asked = provider.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    let query: Value = serde_json::from_str(&asked[1].1).unwrap();
    assert_eq!(query["q"], "See {0}, write to {1} or {2} about {3} 2.0 and {4}");

    // History and sync include it, also for a new device, and after a kill.
    server.kill().await;
    let server = site.start().await;
    let mut tablet = server.sign_in("bob").await;
    let message = history(&mut tablet).await.remove(0);
    assert_eq!(
        message["annotations"],
        json!([{"plugin": "translation", "name": "de", "value": value}])
    );
    assert_eq!(message["content"]["text"], text);
    server.stop().await;
}

#[tokio::test]
async fn a_message_is_not_delayed_by_a_failed_provider_and_its_translation_follows() {
    // It accepts requests, and never responds.
    let provider = Provider::start(|_, _| Vec::new()).await;
    let (_site, server) = start_with(&provider, "libretranslate", "", 2_000).await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    wants(&mut bob, json!({"language": "de", "everywhere": true})).await;
    // Messages that waited for the provider would take 40 seconds.
    let begun = Instant::now();
    for index in 0..20 {
        ann.text(&format!("m{index}"), "We go there").await;
        assert_eq!(ann.next().await["type"], "ack");
        assert_eq!(bob.next().await["event"]["seq"], index + 1);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    provider.was_asked("/detect", 1).await;
    provider.behave(libre);
    for target in 1..=3 {
        // They arrive in any order, so history is polled until it has all.
        let begun = Instant::now();
        loop {
            let message = history(&mut bob).await[target - 1].clone();
            if message["annotations"][0]["value"]["text"] == "de: We go there" {
                break;
            }
            assert!(begun.elapsed().as_secs() < 60, "{message}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn pending_translations_survive_a_kill() {
    let provider = Provider::start(|_, _| response("503 Busy", "text/html", "<html>")).await;
    let (site, server) = start(&provider, "libretranslate", "").await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    wants(&mut bob, json!({"language": "de", "everywhere": true})).await;
    ann.text("m1", "We go there").await;
    provider.was_asked("/translate", 1).await;
    server.kill().await;
    provider.behave(libre);
    let server = site.start().await;
    let mut bob = server.sign_in("bob").await;
    // The annotation may precede the session.
    let begun = Instant::now();
    while history(&mut bob).await[0]["annotations"][0]["value"]["text"] != "de: We go there" {
        assert!(begun.elapsed().as_secs() < 60);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn invalid_provider_responses_do_no_harm() {
    let provider = Provider::start(libre).await;
    // Its longest response takes a busy machine some time.
    let (site, server) = start_with(&provider, "libretranslate", "", 20_000).await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    wants(&mut bob, json!({"language": "de", "everywhere": true})).await;
    let bad: [fn() -> Vec<u8>; 8] = [
        || response("200 OK", "text/html", "<html>Welcome to nginx!</html>"),
        || response("200 OK", "application/json", "{\"translatedText\":"),
        || {
            response(
                "200 OK",
                "application/json",
                "{\"translatedText\":[\"one\",\"too many\"]}",
            )
        },
        || {
            response(
                "200 OK",
                "application/json",
                &format!("{{\"translatedText\":\"{}\"}}", "x".repeat(50 << 20)),
            )
        },
        || response("200 OK", "application/json", &"[".repeat(500_000)),
        || b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{".to_vec(),
        || b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        || b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec(),
    ];
    // The first response to each text is invalid, later ones are valid.
    let count = bad.len();
    let left = Arc::new(Mutex::new(vec![true; count]));
    let served = Arc::clone(&left);
    provider.behave(move |path, body| {
        let mut indexes = 0..count;
        // Language detection gets the text without its numbers.
        let index = indexes.find(|index| body.contains(&format!("number {index},")));
        match index.filter(|index| std::mem::take(&mut served.lock().unwrap()[*index])) {
            Some(index) => bad[index](),
            None => libre(path, body),
        }
    });
    for index in 0..count {
        ann.text(&format!("m{index}"), &format!("We like number {index}, you know"))
            .await;
    }
    let mut texts = Vec::new();
    while texts.len() < count {
        let event = bob.next().await["event"].clone();
        if event["type"] == "annotation" {
            texts.push(event["content"]["value"]["text"].as_str().unwrap().to_owned());
        }
    }
    texts.sort();
    let wanted: Vec<String> = (0..count)
        .map(|index| format!("de: We like number {index}, you know"))
        .collect();
    assert_eq!(texts, wanted);
    assert!(!left.lock().unwrap().contains(&true));
    let status = site.operate("GET", "/v1/plugins/translation").await.json()["plugin"].clone();
    let hooks = status["hooks"].as_array().unwrap();
    assert!(hooks.iter().all(|hook| hook["failures"] == json!([])), "{status}");
    let log = server.stop().await;
    assert!(
        log.contains("provider libretranslate failed: answer_too_large"),
        "{log}"
    );
    assert!(!log.contains("We like"), "a text of a message is in the log");
}

#[tokio::test]
async fn text_with_damaged_placeholders_is_translated_in_segments() {
    // The provider changes text in brackets.
    let provider = Provider::start(|path, body| libre(path, &body.replace("{0}", "{ 0 }"))).await;
    let (_site, server) = start(&provider, "libretranslate", "").await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    wants(&mut bob, json!({"language": "fr", "everywhere": true})).await;
    ann.text("m1", "Ask @carl about it").await;
    assert_eq!(
        annotation(&mut bob, 1, "fr").await["text"],
        "fr: Ask @carl fr: about it"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_edit_is_retranslated_and_a_recall_deletes_everything() {
    let provider = Provider::start(libre).await;
    let (_site, server) = start(&provider, "libretranslate", "").await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    wants(&mut bob, json!({"language": "de", "everywhere": true})).await;
    ann.text("m1", "We go there").await;
    assert_eq!(annotation(&mut bob, 1, "de").await["text"], "de: We go there");
    let edit = |id: &str, text: &str| json!({"type": "edit", "id": id, "conversation": CONVERSATION, "target": 1, "content": {"text": text}});
    assert_eq!(ann.request(edit("e1", "We stay here")).await["type"], "ack");
    // The outdated translation is cleared at once.
    assert_eq!(annotation(&mut bob, 1, "de").await, Value::Null);
    assert_eq!(annotation(&mut bob, 1, "de").await["text"], "de: We stay here");
    assert_eq!(ann.request(edit("e2", "https://a.example")).await["type"], "ack");
    assert_eq!(annotation(&mut bob, 1, "de").await, Value::Null);

    // The result of a slow provider is discarded after a recall.
    provider.held.send_replace(true);
    let asked = provider.count("/detect");
    ann.text("m2", "A secret thing").await;
    let seq = bob.next().await["event"]["seq"].as_u64().unwrap();
    provider.was_asked("/detect", asked + 1).await;
    let recall = json!({"type": "recall", "id": "r", "conversation": CONVERSATION, "target": seq});
    assert_eq!(ann.request(recall).await["type"], "ack");
    assert_eq!(bob.next().await["event"]["type"], "recall");
    provider.held.send_replace(false);
    ann.text("m3", "The next thing").await;
    let next = bob.next().await["event"]["seq"].as_u64().unwrap();
    assert_eq!(annotation(&mut bob, next, "de").await["text"], "de: The next thing");
    let events = history(&mut bob).await;
    let recalled = events.iter().find(|event| event["seq"] == seq).unwrap();
    assert_eq!(
        (&recalled["recalled"], recalled.get("annotations")),
        (&json!(true), None)
    );
    assert!(
        !events.iter().any(|event| event.to_string().contains("secret")),
        "{events:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_reached_cap_is_annotated_and_cached_texts_cost_nothing() {
    let provider = Provider::start(libre).await;
    let (_site, server) = start(&provider, "libretranslate", "day_chars = 12").await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    wants(&mut bob, json!({"language": "de", "everywhere": true})).await;
    ann.text("m1", "We go there").await;
    assert_eq!(annotation(&mut bob, 1, "de").await["text"], "de: We go there");
    ann.text("m2", "We go there").await;
    assert_eq!(annotation(&mut bob, 3, "de").await["text"], "de: We go there");
    assert_eq!(provider.count("/translate"), 1);
    ann.text("m3", "We go").await;
    assert_eq!(annotation(&mut bob, 5, "de").await, json!({"state": "capped"}));
    assert_eq!(provider.count("/translate"), 1);
    let status = call(&mut bob, "status", json!({})).await["value"].clone();
    assert_eq!(
        (&status["app_characters"], &status["app_limit"]),
        (&json!(11), &json!(12))
    );
    server.stop().await;
}

#[tokio::test]
async fn preferences_decide_which_translations_are_made() {
    let provider = Provider::start(libre).await;
    let (_site, server) = start(&provider, "libretranslate", "").await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    wants(&mut ann, json!({"language": "fr", "everywhere": true})).await;
    let mut seq: u64 = 0;
    let on = |on: Value| json!({"conversation": CONVERSATION, "on": on});
    for (settings, choice, is_made) in [
        (json!({"language": "de"}), Value::Null, false),
        (json!({"language": "de"}), json!(true), true),
        (json!({"language": "de", "everywhere": true}), json!(false), false),
        (json!({"language": "de", "everywhere": true}), Value::Null, true),
        (
            json!({"language": "de", "everywhere": true, "reads": ["en"]}),
            Value::Null,
            false,
        ),
        (json!({"language": "en", "everywhere": true}), Value::Null, false),
        (json!({}), json!(true), false),
    ] {
        wants(&mut bob, settings.clone()).await;
        assert_eq!(
            call(&mut bob, "set_conversation", on(choice.clone())).await["type"],
            "result"
        );
        ann.text(&format!("m{seq}"), &format!("This one is number {seq}")).await;
        seq += 1;
        let asked = seq;
        while bob.next().await["event"]["seq"] != seq {}
        if is_made {
            annotation(&mut bob, seq, "de").await;
            seq += 1;
        }
        // Messages are processed in order: once this one is translated, the one before it was processed.
        bob.text(&format!("b{seq}"), &format!("And this is answer {seq}")).await;
        annotation(&mut ann, seq + 1, "fr").await;
        seq += 2;
        let made = history(&mut bob)
            .await
            .iter()
            .any(|event| event["seq"] == asked && event.get("annotations").is_some());
        assert_eq!(made, is_made, "{settings} {choice}");
    }
    // Preferences apply to all devices of the user.
    wants(&mut bob, json!({"language": "PT", "reads": ["EN", "de"]})).await;
    let mut tablet = server.sign_in("bob").await;
    assert_eq!(
        call(&mut tablet, "settings", json!({})).await["value"],
        json!({"language": "pt", "reads": ["de", "en"], "everywhere": false, "untranslated": false})
    );
    server.stop().await;
}

#[tokio::test]
async fn in_a_group_each_language_is_translated_once() {
    let provider = Provider::start(libre).await;
    let (path, port) = (plugin("translation"), provider.port);
    let site = Site::bare(&format!(
        "[development]\ntrust_tokens = true\nconversations = [{{ id = \"{CONVERSATION}\", kind = \"group\", \
         members = [\"ann\", \"bob\", \"cleo\", \"dan\"] }}]\n\
         [[plugins]]\nid = \"translation\"\npath = {path:?}\n\
         grant = [\"kv\", \"memberships\", \"annotations\", \"jobs\", \"fetch\", \"secrets\", \"sessions\", \"watches\"]\n\
         [plugins.config]\nproviders = [{{ api = \"libretranslate\", url = \"http://127.0.0.1:{port}\", secret = \"key\" }}]\n\
         [plugins.secrets]\nkey = \"k-1\"\n[plugins.fetch]\nhosts = [\"http://127.0.0.1:{port}\"]\n"
    ));
    let server = site.start().await;
    let mut clients = Vec::new();
    for (actor, language) in [("ann", "en"), ("bob", "de"), ("cleo", "de"), ("dan", "fr")] {
        let mut client = server.sign_in(actor).await;
        wants(&mut client, json!({"language": language})).await;
        let on = json!({"conversation": CONVERSATION, "on": true});
        assert_eq!(
            call(&mut client, "set_conversation", on).await["value"]["translated"],
            true
        );
        clients.push(client);
    }
    clients[0].text("m1", "We go there").await;
    for client in &mut clients {
        assert_eq!(annotation(client, 1, "de").await["text"], "de: We go there");
        assert_eq!(annotation(client, 1, "fr").await["text"], "fr: We go there");
    }
    assert_eq!((provider.count("/detect"), provider.count("/translate")), (1, 2));
    server.stop().await;
}

#[tokio::test]
async fn apertium_translates_from_the_senders_language() {
    let provider = Provider::start(|path, body| {
        if path == "/identifylang" {
            return ok(&json!({}));
        }
        let text = if body.starts_with("langpair=eng%7Cspa&") {
            "Veo {0}"
        } else {
            "?"
        };
        ok(&json!({"responseData": {"translatedText": text}, "responseDetails": null, "responseStatus": 200}))
    })
    .await;
    let (_site, server) = start(&provider, "apertium", "").await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    wants(&mut ann, json!({"language": "en"})).await;
    wants(&mut bob, json!({"language": "es", "everywhere": true})).await;
    ann.text("m1", "I see @carl").await;
    assert_eq!(
        annotation(&mut bob, 1, "es").await,
        json!({"text": "Veo @carl", "from": "en", "by": "apertium"})
    );
    server.stop().await;
}

#[tokio::test]
async fn known_phrases_need_no_provider() {
    let path = plugin("translation");
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"translation\"\npath = {path:?}\n\
         grant = [\"kv\", \"memberships\", \"annotations\", \"jobs\", \"fetch\", \"secrets\", \"sessions\", \"watches\"]\n"
    ));
    let server = site.start().await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    wants(&mut bob, json!({"language": "zh", "everywhere": true})).await;
    ann.text("m1", "Good morning! How are you?").await;
    assert_eq!(
        annotation(&mut bob, 1, "zh").await,
        json!({"text": "早上好! 你好吗?", "from": "en", "by": "glossary"})
    );
    server.stop().await;
}

#[tokio::test]
async fn a_text_is_translated_on_demand() {
    let provider = Provider::start(libre).await;
    let (_site, server) = start(&provider, "libretranslate", "").await;
    let mut bob = server.sign_in("bob").await;
    let ask = json!({"text": "We go to @carl", "to": "de"});
    let pending = call(&mut bob, "translate", ask.clone()).await["value"].clone();
    assert_eq!(pending["state"], "pending");
    loop {
        let frame = bob.next().await;
        if frame["type"] == "signal" {
            assert_eq!(frame["payload"]["id"], pending["id"]);
            break;
        }
    }
    let made = call(&mut bob, "translate", ask).await["value"].clone();
    assert_eq!(
        (&made["state"], &made["text"]),
        (&json!("ready"), &json!("de: We go to @carl"))
    );
    assert_eq!(provider.count("/translate"), 1);
    server.stop().await;
}

/// Needs `apt-get install --no-install-recommends apertium-apy apertium-eng-spa`.
#[tokio::test]
async fn a_real_apertium_server_translates() {
    let port = free_port();
    let mut apertium = tokio::process::Command::new("apertium-apy")
        .args(["--port", &port.to_string(), "/usr/share/apertium"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("apertium-apy is installed");
    // Texts sent before it listens are translated later.
    let provider = Provider {
        port,
        asked: Arc::default(),
        answer: Arc::new(Mutex::new(Box::new(|_, _| Vec::new()))),
        held: Arc::new(watch::Sender::new(false)),
    };
    // It starts its translator with the first text, which takes a busy machine some time.
    let (_site, server) = start_with(&provider, "apertium", "", 20_000).await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    wants(&mut ann, json!({"language": "en"})).await;
    wants(&mut bob, json!({"language": "es", "everywhere": true})).await;
    ann.text("m1", "I see 3 cats and @carl.").await;
    let value = annotation(&mut bob, 1, "es").await;
    assert_eq!(value["text"], "Veo 3 gatos y @carl.");
    server.stop().await;
    apertium.kill().await.unwrap();
}
