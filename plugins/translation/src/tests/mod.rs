#![allow(clippy::unwrap_used, reason = "tests")]

mod on_demand;

use courtyard_plugin_sdk::manifest::Manifest;
use courtyard_plugin_sdk::testing::{TestHost, TestMessage};
use courtyard_plugin_sdk::{Caller, Registered};
use serde_json::{Value, json};

use super::*;

const CONVERSATION: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const TRANSLATE: &str = "https://mt.example/translate";
const DETECT: &str = "https://mt.example/detect";

fn libre(more: Value) -> TestHost<Translation> {
    let mut settings = json!({"providers": [{"api": "libretranslate", "url": "https://mt.example", "secret": "key"}]});
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    let host = TestHost::start(&settings.to_string()).unwrap();
    host.set_members(CONVERSATION, &["ann", "bob", "cleo", "dan", "eve", "fay"]);
    host.set_secret("key", "k-1");
    host.set_response(DETECT, answer(&json!([{"language": "en", "confidence": 90}])));
    host
}

fn answer(value: &Value) -> HttpResponse {
    HttpResponse::json(200, value)
}

fn caller(actor: &str) -> Caller {
    Caller {
        actor: actor.to_owned(),
        ..Caller::default()
    }
}

fn set_preferences(host: &TestHost<Translation>, actor: &str, settings: &Value) {
    host.call(&caller(actor), "set_settings", settings).unwrap();
}

/// Sends Bob a text from Ann, and runs the jobs.
fn send(host: &TestHost<Translation>, text: &str) {
    host.after_send(&TestMessage::direct("ann", "bob", text)).unwrap();
    host.run_jobs().unwrap();
}

fn in_group(sender: &str, text: &str) -> TestMessage {
    TestMessage {
        conversation_kind: "group".to_owned(),
        ..TestMessage::direct(sender, "", text)
    }
}

fn translation(host: &TestHost<Translation>, language: &str) -> Option<Value> {
    host.annotation(CONVERSATION, 1, language)
}

fn targets(host: &TestHost<Translation>) -> Vec<String> {
    let asked = host.take_fetched();
    let bodies = asked.iter().filter(|request| request.url == TRANSLATE);
    bodies
        .map(|request| {
            serde_json::from_slice::<Value>(&request.body).unwrap()["target"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[test]
fn the_manifest_can_be_parsed() {
    let manifest = Manifest::parse(Translation::MANIFEST.as_bytes()).unwrap();
    assert_eq!((manifest.methods.len(), manifest.hooks.len()), (7, 4));
}

#[test]
fn an_invalid_configuration_is_rejected() {
    for bad in [
        json!({"lanugages": ["de"]}),
        json!({"languages": []}),
        json!({"languages": ["german"]}),
        json!({"providers": [{"api": "libretranslate", "url": "mt.example"}]}),
        json!({"providers": [{"api": "libretranslate", "url": "https://mt.example/"}]}),
        json!({"providers": [{"api": "apertium", "url": "https://mt.example", "secret": "key"}]}),
        json!({"providers": [{"api": "babel", "url": "https://mt.example"}]}),
        json!({"keep": [" "]}),
        json!({"text_chars": 0}),
        json!({"conversation_languages": 33}),
        json!({"min_confidence": 101}),
    ] {
        let error = TestHost::<Translation>::start(&bad.to_string()).err().unwrap();
        assert_eq!(error.code, "invalid_configuration", "{bad}");
    }
}

#[test]
fn the_receiver_gets_a_translation_and_only_the_provider_gets_the_key() {
    let host = libre(json!({}));
    set_preferences(&host, "bob", &json!({"language": "de", "everywhere": true}));
    host.set_response(TRANSLATE, answer(&json!({"translatedText": "Frag {0} morgen"})));
    send(&host, "Ask @carl tomorrow");
    let asked = host.take_fetched();
    assert_eq!(asked.len(), 2);
    let body: Value = serde_json::from_slice(&asked[1].body).unwrap();
    assert_eq!(
        body,
        json!({"q": "Ask {0} tomorrow", "source": "en", "target": "de", "format": "text", "api_key": "k-1"})
    );
    assert!(!asked[1].follow);
    assert_eq!(
        translation(&host, "de").unwrap(),
        json!({"text": "Frag @carl morgen", "from": "en", "by": "libretranslate"})
    );
    assert!(host.take_log().is_empty());
}

#[test]
fn no_provider_is_called_without_a_reader_who_needs_it() {
    let host = libre(json!({}));
    host.set_response(TRANSLATE, answer(&json!({"translatedText": "Hallo zusammen"})));
    set_preferences(
        &host,
        "bob",
        &json!({"language": "de", "reads": ["en-gb"], "everywhere": true}),
    );
    send(&host, "Hello everybody");
    set_preferences(&host, "bob", &json!({"language": "en", "everywhere": true}));
    send(&host, "Hello everyone");
    set_preferences(&host, "bob", &json!({"language": "de"}));
    send(&host, "Hello you all");
    assert_eq!(targets(&host), [] as [&str; 0]);
    // A text without prose isn't sent.
    set_preferences(&host, "bob", &json!({"language": "de", "everywhere": true}));
    send(&host, "https://a.example 12:30 @ann :smile: 😀");
    assert!(host.take_fetched().is_empty());
    assert_eq!(translation(&host, "de"), None);
}

#[test]
fn translations_are_cached_by_text() {
    let host = libre(json!({}));
    set_preferences(&host, "bob", &json!({"language": "de", "everywhere": true}));
    host.set_response(TRANSLATE, answer(&json!({"translatedText": "Wir gehen"})));
    let same = TestMessage::direct("ann", "bob", "We go");
    host.after_send(&same).unwrap();
    host.run_jobs().unwrap();
    let forget = || host.run(|cx| Ok(cx.kv().delete(work::key(CONVERSATION, 1))?)).unwrap();
    forget();
    host.after_send(&same).unwrap();
    host.run_jobs().unwrap();
    assert_eq!(host.take_fetched().len(), 2);
    assert_eq!(host.counter("cache_hits"), 1);
    // The cache entry has expired.
    host.set_clock(1_000_000 + 31 * 24 * 60 * 60 * 1_000);
    forget();
    host.after_send(&same).unwrap();
    host.run_jobs().unwrap();
    assert_eq!(host.take_fetched().len(), 2);
}

#[test]
fn a_group_message_is_translated_once_per_language_of_other_members() {
    let host = libre(json!({"conversation_languages": 3}));
    host.set_response(TRANSLATE, answer(&json!({"translatedText": "…und so weiter"})));
    for (actor, language) in [
        ("ann", "ko"),
        ("bob", "de"),
        ("cleo", "de"),
        ("dan", "fr"),
        ("eve", "en"),
        ("fay", "it"),
    ] {
        set_preferences(&host, actor, &json!({"language": language}));
        let chosen = host
            .call(
                &caller(actor),
                "set_conversation",
                &json!({"conversation": CONVERSATION, "on": true}),
            )
            .unwrap();
        assert_eq!(chosen["translated"], true);
    }
    host.after_send(&in_group("ann", "And so on, my friends")).unwrap();
    host.run_jobs().unwrap();
    // English is the source, only the sender wants Korean, and three languages are the limit.
    assert_eq!(targets(&host), ["de", "fr"]);
}

#[test]
fn joins_and_leaves_change_the_target_languages() {
    let host = libre(json!({}));
    set_preferences(&host, "bob", &json!({"language": "de", "everywhere": true}));
    let change = |joined: &[&str], left: &[&str]| Change {
        conversation: CONVERSATION.to_owned(),
        kind: "group".to_owned(),
        joined: joined.iter().map(|actor| (*actor).to_owned()).collect(),
        left: left.iter().map(|actor| (*actor).to_owned()).collect(),
        ..Change::default()
    };
    let wanted = || {
        host.run(|cx| preferences::languages(cx, CONVERSATION, "ann", "", 8))
            .unwrap()
            .len()
    };
    host.after_change(&change(&["ann", "bob"], &[])).unwrap();
    assert_eq!(wanted(), 1);
    host.set_clock(1_000_001);
    host.after_change(&change(&[], &["bob"])).unwrap();
    assert_eq!(wanted(), 0);
    let choose = || {
        let choice = json!({"conversation": CONVERSATION, "on": true});
        host.call(&caller("bob"), "set_conversation", &choice)
    };
    host.set_members(CONVERSATION, &["ann"]);
    assert_eq!(choose().unwrap_err().code, "forbidden");
    // Bob is back, but the plugin hasn't observed the join yet.
    host.set_members(CONVERSATION, &["ann", "bob"]);
    assert_eq!(choose().unwrap()["translated"], true);
    assert_eq!(wanted(), 1);
    host.after_change(&change(&[], &["bob"])).unwrap();
    host.set_clock(1_000_002);
    // Jobs process large changes.
    let crowd: Vec<String> = (0..120)
        .map(|index| format!("u{index}"))
        .chain(["bob".to_owned()])
        .collect();
    host.after_change(&change(&crowd.iter().map(|actor| &**actor).collect::<Vec<_>>(), &[]))
        .unwrap();
    host.run_jobs().unwrap();
    assert_eq!(wanted(), 1);
    set_preferences(&host, "bob", &json!({}));
    assert_eq!(wanted(), 0);
}

#[test]
fn a_sender_in_a_group_counts_as_a_member_and_preferences_apply_to_all_conversations() {
    let host = libre(json!({"user_conversations": 1}));
    set_preferences(&host, "bob", &json!({"language": "de", "everywhere": true}));
    host.after_send(&in_group("bob", "Guten Abend allerseits")).unwrap();
    let wanted = || {
        let languages = host
            .run(|cx| preferences::languages(cx, CONVERSATION, "ann", "", 8))
            .unwrap();
        languages
            .iter()
            .map(|language| language.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(wanted(), ["de"]);
    set_preferences(&host, "bob", &json!({"language": "fr", "everywhere": true}));
    assert_eq!(wanted(), ["fr"]);
    let off = json!({"conversation": CONVERSATION, "on": false});
    assert_eq!(
        host.call(&caller("bob"), "set_conversation", &off).unwrap()["translated"],
        false
    );
    assert_eq!(wanted(), [] as [&str; 0]);
    host.set_members("01ARZ3NDEKTSV4RRFFQ69G5FAW", &["bob"]);
    let another = json!({"conversation": "01ARZ3NDEKTSV4RRFFQ69G5FAW", "on": true});
    assert_eq!(
        host.call(&caller("bob"), "set_conversation", &another)
            .unwrap_err()
            .code,
        "limit_conversations"
    );
}

#[test]
fn a_damaged_translation_is_discarded() {
    let host = libre(json!({}));
    set_preferences(&host, "bob", &json!({"language": "de", "everywhere": true}));
    // The provider loses the placeholder, and returns one text for two segments.
    host.set_response(TRANSLATE, answer(&json!({"translatedText": "Frag morgen"})));
    send(&host, "Ask @carl tomorrow");
    assert_eq!(translation(&host, "de"), None);
    assert_eq!(host.counter("provider_failures"), 1);
    let lines = host.take_log();
    assert_eq!(lines.len(), 1);
    assert!(
        !lines[0].1.contains("carl") && !lines[0].1.contains("Frag"),
        "{lines:?}"
    );
    // The retry succeeds.
    host.set_response(TRANSLATE, answer(&json!({"translatedText": "Frag {0} morgen"})));
    host.set_clock(1_000_000 + 10_000);
    host.run_jobs().unwrap();
    assert_eq!(translation(&host, "de").unwrap()["text"], "Frag @carl morgen");
}

#[test]
fn invalid_responses_are_retried_or_final() {
    for (response, is_final) in [
        (HttpResponse::new(200, "text/html", "<html>It works!</html>"), false),
        (
            HttpResponse::new(200, "application/json", "{\"translatedText\":7}"),
            false,
        ),
        (HttpResponse::new(200, "application/json", "[".repeat(100_000)), false),
        (HttpResponse::new(500, "application/json", "{}"), false),
        (
            HttpResponse::new(429, "application/json", "{\"error\":\"Slowdown\"}"),
            false,
        ),
        (HttpResponse::new(400, "text/html", "<html>Bad gateway</html>"), false),
        (HttpResponse::new(302, "text/html", ""), false),
        (HttpResponse::json(400, &json!({"error": "de is not supported"})), true),
        (HttpResponse::json(200, &json!({"translatedText": ""})), true),
        (
            HttpResponse::json(200, &json!({"translatedText": "x".repeat(10_000)})),
            true,
        ),
    ] {
        let host = libre(json!({}));
        set_preferences(&host, "bob", &json!({"language": "de", "everywhere": true}));
        host.set_response(TRANSLATE, response.clone());
        send(&host, "We go there");
        assert_eq!(translation(&host, "de"), None);
        let _ = host.take_fetched();
        host.set_clock(1_000_000 + 20_000);
        host.run_jobs().unwrap();
        assert_eq!(
            host.take_fetched().is_empty(),
            is_final,
            "{} {:?}",
            response.status,
            response.body.get(..20)
        );
    }
}

#[test]
fn a_failed_provider_is_paused_and_the_text_waits_until_it_expires() {
    let host = TestHost::<Translation>::start(
        &json!({"source": "en", "wait_hours": 1, "providers": [{"api": "apertium", "url": "https://apy.example", "detect": false}]})
            .to_string(),
    )
    .unwrap();
    set_preferences(&host, "bob", &json!({"language": "es", "everywhere": true}));
    send(&host, "We go there");
    assert_eq!(host.take_fetched().len(), 1);
    // A paused provider gets no request.
    send_another(&host);
    assert!(host.take_fetched().is_empty());
    host.set_clock(1_000_000 + 61 * 60 * 1_000);
    host.run_jobs().unwrap();
    assert!(host.take_fetched().is_empty());
    assert_eq!(translation(&host, "es"), None);
}

/// While all providers were paused, the sender's language was stored as that of the text, and stayed so.
#[test]
fn the_senders_language_does_not_replace_detection_by_a_paused_provider() {
    let host = libre(json!({}));
    set_preferences(&host, "ann", &json!({"language": "fr"}));
    set_preferences(&host, "bob", &json!({"language": "de", "everywhere": true}));
    host.set_response(TRANSLATE, answer(&json!({"translatedText": "Wir gehen dorthin"})));
    host.run(|cx| Ok(cx.kv().set_until("pause/0", "", 1_002_000)?)).unwrap();
    send(&host, "We go there");
    assert!(host.take_fetched().is_empty());
    host.set_clock(1_002_000);
    host.run_jobs().unwrap();
    assert_eq!(translation(&host, "de").unwrap()["from"], "en");
}

fn send_another(host: &TestHost<Translation>) {
    host.run(|cx| Ok(cx.kv().delete(work::key(CONVERSATION, 1))?)).unwrap();
    send(host, "We go away");
}

#[test]
fn apertium_gets_three_letter_codes_and_the_language_of_the_sender() {
    let host = TestHost::<Translation>::start(
        &json!({"providers": [{"api": "apertium", "url": "https://apy.example"}]}).to_string(),
    )
    .unwrap();
    set_preferences(&host, "ann", &json!({"language": "en"}));
    set_preferences(&host, "bob", &json!({"language": "es", "everywhere": true}));
    host.set_response("https://apy.example/identifyLang", answer(&json!({})));
    let said = json!({"responseData": {"translatedText": "Veo 3 gatos & {0}"}, "responseDetails": null, "responseStatus": 200});
    host.set_response("https://apy.example/translate", answer(&said));
    send(&host, "I see 3 cats & @carl");
    let asked = host.take_fetched();
    assert_eq!(
        String::from_utf8_lossy(&asked[1].body),
        "langpair=eng%7Cspa&q=I%20see%203%20cats%20%26%20%7B0%7D&markUnknown=no"
    );
    assert_eq!(
        translation(&host, "es").unwrap(),
        json!({"text": "Veo 3 gatos & @carl", "from": "en", "by": "apertium"})
    );
}

#[test]
fn texts_over_the_cap_are_annotated_and_not_sent() {
    let host = libre(json!({"sender_day_chars": 12}));
    set_preferences(&host, "bob", &json!({"language": "de", "everywhere": true}));
    host.set_response(TRANSLATE, answer(&json!({"translatedText": "Wir gehen"})));
    send(&host, "We go there");
    send_another(&host);
    assert_eq!(translation(&host, "de").unwrap(), json!({"state": "capped"}));
    assert_eq!(targets(&host), ["de"]);
    let status = host.call(&caller("ann"), "status", &json!({})).unwrap();
    assert_eq!(
        (&status["own_characters"], &status["state"]),
        (&json!(11), &json!("ok"))
    );
    host.set_clock(status["resets_ms"].as_u64().unwrap());
    let status = host.call(&caller("ann"), "status", &json!({})).unwrap();
    assert_eq!(status["own_characters"], 0);
}

#[test]
fn a_recall_deletes_text_and_translations() {
    let host = libre(json!({}));
    set_preferences(&host, "bob", &json!({"language": "de", "everywhere": true}));
    host.set_response(TRANSLATE, answer(&json!({"translatedText": "Ein Geheimnis"})));
    let recall = Act {
        name: "recall".to_owned(),
        conversation: CONVERSATION.to_owned(),
        target: 1,
        ..Act::default()
    };
    let kept = || host.run(|cx| Ok(cx.kv().scan("", "\u{7f}", 1_000)?)).unwrap();
    let texts = || {
        kept()
            .iter()
            .filter(|(key, _)| [&b"work"[..], b"cach", b"sour"].contains(&&key[..4.min(key.len())]))
            .count()
    };
    send(&host, "A secret thing");
    assert_eq!(texts(), 3);
    host.after_act(&recall).unwrap();
    assert_eq!(texts(), 0);
    // Recalled before the job runs.
    host.after_send(&TestMessage::direct("ann", "bob", "Another secret"))
        .unwrap();
    host.after_act(&recall).unwrap();
    let _ = host.take_fetched();
    host.run_jobs().unwrap();
    assert!(host.take_fetched().is_empty());
}

#[test]
fn the_glossary_needs_no_provider() {
    let host =
        TestHost::<Translation>::start(&json!({"glossary": [{"en": "ship it", "de": "Raus damit"}]}).to_string())
            .unwrap();
    set_preferences(&host, "bob", &json!({"language": "de", "everywhere": true}));
    send(&host, "Good morning! Ship it!");
    assert_eq!(
        translation(&host, "de").unwrap(),
        json!({"text": "Guten Morgen! Raus damit!", "from": "en", "by": "glossary"})
    );
}

#[test]
fn invalid_parameters_are_rejected() {
    let host = libre(json!({}));
    let code = |method: &str, params: Value| host.call(&caller("bob"), method, &params).unwrap_err().code;
    assert_eq!(code("set_settings", json!({"language": "klingon"})), "invalid_language");
    assert_eq!(code("set_settings", json!({"language": "tlh"})), "invalid_language");
    let many: Vec<String> = (b'a'..=b'z').map(|letter| format!("x{}", char::from(letter))).collect();
    assert_eq!(code("set_settings", json!({"reads": many})), "limit_languages");
    assert_eq!(code("set_settings", json!({"langauge": "de"})), "invalid_params");
    assert_eq!(
        code("set_conversation", json!({"conversation": "x"})),
        "invalid_conversation"
    );
    assert_eq!(
        code("conversation", json!({"conversation": "../../../../../../../../../"})),
        "invalid_conversation"
    );
    let languages = host.call(&caller("bob"), "languages", &json!({})).unwrap();
    assert!(languages["languages"].as_array().unwrap().contains(&json!("de")));
}
