use super::*;

#[test]
fn messages_of_senders_who_opted_out_reach_no_provider() {
    let host = libre(json!({}));
    set_preferences(&host, "bob", &json!({"language": "de", "everywhere": true}));
    set_preferences(&host, "ann", &json!({"untranslated": true}));
    send(&host, "We go there");
    assert!(host.take_fetched().is_empty());
}

#[test]
fn an_on_demand_translation_is_visible_to_its_requester_alone() {
    let host = libre(json!({"sender_day_chars": 30, "text_chars": 40}));
    host.set_response(TRANSLATE, answer(&json!({"translatedText": "Wir gehen dorthin"})));
    let ask = |text: &str, to: Option<&str>| host.call(&caller("bob"), "translate", &json!({"text": text, "to": to}));
    assert_eq!(ask("We go there", None).unwrap_err().code, "unknown_language");
    assert_eq!(ask(&"x".repeat(41), Some("de")).unwrap_err().code, "limit_text");
    assert_eq!(ask("https://a.example", Some("de")).unwrap()["state"], "unneeded");
    let ready = ask("Thank you!", Some("de")).unwrap();
    assert_eq!((&ready["state"], &ready["text"]), (&json!("ready"), &json!("Danke!")));
    // A pending text is requested once.
    let pending = ask("We go there", Some("de")).unwrap();
    assert_eq!(pending["state"], "pending");
    assert_eq!(ask("We go there", Some("de")).unwrap(), pending);
    host.run_jobs().unwrap();
    let signals = host.take_signals();
    assert_eq!(
        (&signals[0].actors[..], &signals[0].payload),
        (&["bob".to_owned()][..], &json!({"id": pending["id"], "to": "de"}))
    );
    let ready = ask("We go there", Some("de")).unwrap();
    assert_eq!(
        (&ready["state"], &ready["text"], &ready["from"]),
        (&json!("ready"), &json!("Wir gehen dorthin"), &json!("en"))
    );
    // A text in the target language needs no translation, and other actors see no result.
    assert_eq!(ask("We go there", Some("en")).unwrap()["state"], "pending");
    host.run_jobs().unwrap();
    assert_eq!(ask("We go there", Some("en")).unwrap()["state"], "unneeded");
    assert_eq!(ask("We went there", Some("de")).unwrap()["state"], "capped");
    assert_eq!(translation(&host, "de"), None);
    let others = host
        .call(&caller("eve"), "translate", &json!({"text": "We go there", "to": "de"}))
        .unwrap();
    assert_eq!(others["state"], "pending");
}
