//! Codes that are sent to addresses.

use super::*;

const MINUTE: u64 = 60_000;
const START: u64 = 1_000_000;

/// Requests a code.
fn request(host: &TestHost<Users>, address: &str) -> Result<Value, Error> {
    host.call(&anonymous(), "request_code", &json!({ "address": address }))
}

/// Returns the last logged code.
fn logged(host: &TestHost<Users>) -> Option<String> {
    let lines = host.take_log();
    lines
        .last()
        .and_then(|(_, line)| line.split_whitespace().last().map(str::to_owned))
}

fn sign_in(host: &TestHost<Users>, address: &str, code: &str) -> Value {
    done(host, &anonymous(), "sign_in", json!({"address": address, "code": code}))
}

/// Returns a wrong code.
fn other_than(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

#[test]
fn a_code_signs_up_and_signs_in_once() {
    let host = host();
    let sent = request(&host, "Ann@Example.com").unwrap();
    assert_eq!(
        sent,
        json!({"sent_by": "log", "expires_ms": START + 10 * MINUTE, "again_ms": 30_000})
    );
    let code = logged(&host).unwrap();
    assert!(
        code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()),
        "{code}"
    );
    let first = sign_in(&host, " ann@example.com", &code);
    assert_eq!(first["registered"], true);
    assert!(host.authenticate(first["session"]["token"].as_str().unwrap()).is_ok());
    let again = sign_in(&host, "ann@example.com", &code);
    assert_eq!(
        (&again["session"], &again["attempts_left"]),
        (&json!(null), &json!(0)),
        "it is used up"
    );

    host.set_clock(START + MINUTE);
    request(&host, "ann@example.com").unwrap();
    let second = sign_in(&host, "ann@example.com", &logged(&host).unwrap());
    assert_eq!(
        (&second["registered"], &second["session"]["actor"]),
        (&json!(false), &first["session"]["actor"])
    );
}

#[test]
fn wrong_codes_consume_attempts_for_good() {
    let host = host();
    request(&host, "ann@example.com").unwrap();
    let code = logged(&host).unwrap();
    for left in (0..5).rev() {
        let tried = sign_in(&host, "ann@example.com", other_than(&code));
        assert_eq!(
            (&tried["session"], &tried["attempts_left"]),
            (&json!(null), &json!(left))
        );
    }
    let late = sign_in(&host, "ann@example.com", &code);
    assert_eq!(late["session"], json!(null), "the right code is invalid by now");
    // Another address has another code.
    request(&host, "bob@example.com").unwrap();
    let bobs = logged(&host).unwrap();
    assert_eq!(sign_in(&host, "ann@example.com", &bobs)["session"], json!(null));
}

#[test]
fn a_code_ends_when_it_expires_and_when_the_next_one_is_sent() {
    let host = host();
    request(&host, "ann@example.com").unwrap();
    let first = logged(&host).unwrap();
    host.set_clock(START + 10 * MINUTE);
    assert_eq!(sign_in(&host, "ann@example.com", &first)["session"], json!(null));
    request(&host, "ann@example.com").unwrap();
    let second = logged(&host).unwrap();
    host.set_clock(START + 11 * MINUTE);
    request(&host, "ann@example.com").unwrap();
    assert_eq!(sign_in(&host, "ann@example.com", &second)["session"], json!(null));
    assert_ne!(
        sign_in(&host, "ann@example.com", &logged(&host).unwrap())["session"],
        json!(null)
    );
}

#[test]
fn nothing_reveals_whether_an_address_has_an_account() {
    let host = host_with(&json!({"codes": {"register": false}}));
    let (ann, _) = register(&host, "ann");
    done(&host, &ann, "add_address", json!({"address": "ann@example.com"}));
    let proof = json!({"address": "ann@example.com", "code": logged(&host).unwrap()});
    assert_eq!(done(&host, &ann, "confirm_address", proof)["done"], true);
    host.set_clock(START + MINUTE);
    let (known, unknown) = (request(&host, "ann@example.com"), request(&host, "bob@example.com"));
    assert_eq!(known, unknown);
    let lines = host.take_log();
    assert_eq!(lines.len(), 1, "only the known address gets a code: {lines:?}");
    let code = lines[0].1.split_whitespace().last().unwrap().to_owned();
    for address in ["ann@example.com", "bob@example.com"] {
        assert_eq!(
            sign_in(&host, address, other_than(&code)),
            json!({"session": null, "registered": false, "attempts_left": 4})
        );
    }
    for address in ["ann@example.com", "bob@example.com"] {
        assert_eq!(request(&host, address).unwrap_err().code, "rate_limited");
    }
    assert_ne!(sign_in(&host, "ann@example.com", &code)["session"], json!(null));
}

#[test]
fn codes_are_limited_per_address_and_per_account() {
    let host = host_with(&json!({"codes": {"per_hour_account": 6}}));
    let (ann, _) = register(&host, "ann");
    for address in ["ann@example.com", "+41 44 123 45 67"] {
        done(&host, &ann, "add_address", json!({"address": address}));
        let proof = json!({"address": address, "code": logged(&host).unwrap()});
        assert_eq!(done(&host, &ann, "confirm_address", proof)["done"], true);
    }
    for minute in 1..5 {
        host.set_clock(START + minute * MINUTE);
        request(&host, "ann@example.com").unwrap();
        assert!(logged(&host).is_some());
        assert_eq!(
            request(&host, "ann@example.com").unwrap_err().code,
            "rate_limited",
            "too soon"
        );
    }
    host.set_clock(START + 5 * MINUTE);
    let refused = request(&host, "ann@example.com").unwrap_err();
    assert_eq!((refused.code.as_str(), refused.retry), ("rate_limited", true));
    request(&host, "+41441234567").unwrap();
    assert_eq!(logged(&host), None, "the account exceeds its rate, silently");
    host.set_clock(START + 61 * MINUTE);
    request(&host, "+41441234567").unwrap();
    assert!(logged(&host).is_some());
}

#[test]
fn addresses_are_added_and_removed_except_the_only_way_to_sign_in() {
    let host = host();
    request(&host, "ann@example.com").unwrap();
    let session = sign_in(&host, "ann@example.com", &logged(&host).unwrap())["session"].clone();
    let identity = host.authenticate(session["token"].as_str().unwrap()).unwrap().unwrap();
    let ann = Caller {
        actor: identity.actor,
        credential: identity.credential,
        ..anonymous()
    };
    let mail = json!({"address": "ann@example.com"});
    assert_eq!(refused(&host, &ann, "remove_address", mail.clone()), "conflict");
    assert_eq!(refused(&host, &ann, "add_address", mail.clone()), "conflict");
    assert_eq!(
        refused(&host, &ann, "add_address", json!({"address": "nowhere"})),
        "invalid_address"
    );

    // A code can be requested for the address of another account, but only its owner learns anything.
    let (bob, _) = register(&host, "bob");
    host.set_clock(START + MINUTE);
    done(&host, &bob, "add_address", mail.clone());
    let code = logged(&host).unwrap();
    let proof = json!({"address": "ann@example.com", "code": other_than(&code)});
    assert_eq!(
        done(&host, &bob, "confirm_address", proof),
        json!({"done": false, "attempts_left": 4})
    );
    assert_eq!(
        sign_in(&host, "ann@example.com", &code)["session"],
        json!(null),
        "the code has another purpose"
    );
    let proof = json!({"address": "ann@example.com", "code": code});
    assert_eq!(refused(&host, &bob, "confirm_address", proof), "conflict_address");

    // A recent login replaces the missing password.
    let new = json!({"new_password": "battery staple"});
    host.set_clock(START + 11 * MINUTE);
    assert_eq!(refused(&host, &ann, "change_password", new.clone()), "expired_login");
    host.set_clock(START + 10 * MINUTE);
    done(&host, &ann, "change_password", new);
    done(&host, &ann, "remove_address", mail.clone());
    assert_eq!(done(&host, &ann, "addresses", json!({}))["addresses"], json!([]));
    assert_eq!(refused(&host, &ann, "remove_address", mail), "unknown_address");
    let name = done(&host, &ann, "whoami", json!({}))["name"].clone();
    let login = json!({"name": name, "password": "battery staple"});
    assert_eq!(done(&host, &anonymous(), "login", login)["actor"], json!(ann.actor));
}

#[test]
fn a_taken_name_consumes_neither_the_code_nor_an_attempt() {
    let host = host();
    register(&host, "ann");
    request(&host, "a@example.com").unwrap();
    let mut params = json!({"address": "a@example.com", "code": logged(&host).unwrap(), "name": "ann"});
    assert_eq!(refused(&host, &anonymous(), "sign_in", params.clone()), "conflict_name");
    params["name"] = json!("anna");
    let session = done(&host, &anonymous(), "sign_in", params)["session"].clone();
    assert_eq!(
        done(&host, &anonymous(), "profiles", json!({"actors": [session["actor"]]}))["people"][0]["name"],
        "anna"
    );
}

#[test]
fn a_gateway_receives_its_filled_template() {
    let host = host_with(&json!({"codes": {
        "email": {
            "url": "https://mail.example/send",
            "headers": {"authorization": "Bearer {secret:mail}"},
            "body": {"personalizations": [{"to": [{"email": "{address}"}]}], "subject": "{subject} {code}", "text": "{text}"},
        },
        "phone": {"url": "https://sms.example/send", "form": true, "body": {"To": "{address}", "Body": "{text}"}},
        "text": "Use {code} within {minutes} minutes.",
    }}));
    host.set_secret("mail", "s3cret");
    host.set_response("https://mail.example/send", HttpResponse::new(202, "text/plain", ""));
    assert_eq!(request(&host, "ann@example.com").unwrap()["sent_by"], "gateway");
    host.run_jobs().unwrap();
    let sent = host.take_fetched().remove(0);
    let header = |name: &str| {
        sent.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_slice())
    };
    assert_eq!(header("authorization"), Some(&b"Bearer s3cret"[..]));
    assert!(header("idempotency-key").is_some() && !sent.follow);
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(body["personalizations"][0]["to"][0]["email"], "ann@example.com");
    let code = body["subject"].as_str().unwrap().rsplit_once(' ').unwrap().1.to_owned();
    assert_eq!(body["text"], format!("Use {code} within 10 minutes."));
    assert!(host.take_log().is_empty(), "the code is not in the log");
    assert_ne!(sign_in(&host, "ann@example.com", &code)["session"], json!(null));

    // Failures of the gateway are retryable, and nothing is sent once the code has expired.
    request(&host, "+41441234567").unwrap();
    assert_eq!(host.run_jobs().unwrap_err().code, "fetch_connect");
    for (status, retry) in [(500, true), (429, true), (400, false)] {
        host.set_response("https://sms.example/send", HttpResponse::new(status, "text/plain", ""));
        let failed = host.run_jobs().unwrap_err();
        assert_eq!((failed.code.as_str(), failed.retry), ("unavailable", retry));
    }
    let sent = host.take_fetched().pop().unwrap();
    let body = String::from_utf8(sent.body).unwrap();
    assert!(
        body.contains("To=%2B41441234567") && body.contains("Body=Use%20"),
        "{body}"
    );
    host.set_clock(START + 10 * MINUTE);
    host.run_jobs().unwrap();
    assert!(host.take_fetched().is_empty());
}

#[test]
fn an_unknown_address_gets_nothing_from_a_gateway() {
    let host = host_with(&json!({"codes": {"register": false, "email": {"url": "https://mail.example/send"}}}));
    assert_eq!(request(&host, "ann@example.com").unwrap()["sent_by"], "gateway");
    host.run_jobs().unwrap();
    assert!(host.take_fetched().is_empty());
}

#[test]
fn anonymous_code_requests_are_limited_per_minute() {
    let host = host_with(&json!({"strangers_per_minute": 2}));
    let mut codes = Vec::new();
    for number in 0..3 {
        let refused = request(&host, &format!("ann{number}@example.com")).err();
        codes.push(refused.map(|error| (error.code, error.retry)));
    }
    assert_eq!(codes, [None, None, Some(("busy".to_owned(), true))]);
    host.set_clock(START + MINUTE);
    assert!(request(&host, "ann2@example.com").is_ok());
}
