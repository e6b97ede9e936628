use super::*;

#[test]
fn what_somebody_keeps_to_themselves_is_handed_to_nobody() {
    let host = libre(json!({}));
    wants(&host, "bob", &json!({"language": "de", "everywhere": true}));
    wants(&host, "ann", &json!({"untranslated": true}));
    send(&host, "We go there");
    assert!(host.take_fetched().is_empty());
}

#[test]
fn a_text_that_somebody_asks_about_is_translated_for_them_alone() {
    let host = libre(json!({"sender_day_chars": 30, "text_chars": 40}));
    host.set_response(TRANSLATE, answer(&json!({"translatedText": "Wir gehen dorthin"})));
    let ask = |text: &str, to: Option<&str>| host.call(&caller("bob"), "translate", &json!({"text": text, "to": to}));
    assert_eq!(ask("We go there", None).unwrap_err().code, "no_language");
    assert_eq!(ask(&"x".repeat(41), Some("de")).unwrap_err().code, "too_long");
    assert_eq!(ask("https://a.example", Some("de")).unwrap()["state"], "unneeded");
    let ready = ask("Thank you!", Some("de")).unwrap();
    assert_eq!((&ready["state"], &ready["text"]), (&json!("ready"), &json!("Danke!")));
    // It asks for nothing twice while it waits.
    let pending = ask("We go there", Some("de")).unwrap();
    assert_eq!(pending["state"], "pending");
    assert_eq!(ask("We go there", Some("de")).unwrap(), pending);
    host.run_jobs().unwrap();
    let told = host.take_signals();
    assert_eq!(
        (&told[0].actors[..], &told[0].payload),
        (&["bob".to_owned()][..], &json!({"id": pending["id"], "to": "de"}))
    );
    let made = ask("We go there", Some("de")).unwrap();
    assert_eq!(
        (&made["state"], &made["text"], &made["from"]),
        (&json!("ready"), &json!("Wir gehen dorthin"), &json!("en"))
    );
    // The same language needs no translation, and nobody else is shown anything.
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
