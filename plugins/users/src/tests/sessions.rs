//! Logins, wrong passwords and bans.

use super::*;

fn login(host: &TestHost<Users>, name: &str, password: &str) -> Result<Value, Error> {
    let params = json!({"name": name, "password": password});
    host.call(&anonymous(), "login", &params)
}

/// Signs in and returns the caller and the token.
fn sign_in(host: &TestHost<Users>, device: &str) -> (Caller, String) {
    let params = json!({"name": "ann", "password": "correct horse", "device": device});
    let token = done(host, &anonymous(), "login", params)["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let identity = host.authenticate(&token).unwrap().unwrap();
    let caller = Caller {
        actor: identity.actor,
        credential: identity.credential,
        device: "id-of-the-device".to_owned(),
        ..anonymous()
    };
    (caller, token)
}

#[test]
fn sessions_are_listed_and_ended_one_by_one_or_all_but_one() {
    let host = host();
    let (first, first_token) = register(&host, "ann");
    host.set_clock(1_060_000);
    let (second, second_token) = sign_in(&host, "Phone");
    let (third, third_token) = sign_in(&host, "");
    host.set_clock(1_120_000);
    host.connected(&third);
    let sessions = done(&host, &third, "sessions", json!({}))["sessions"].clone();
    assert_eq!(sessions.as_array().unwrap().len(), 3);
    let mine = sessions
        .as_array()
        .unwrap()
        .iter()
        .find(|session| session["current"] == true)
        .unwrap();
    assert_eq!(
        (&mine["device"], &mine["created_ms"], &mine["last_seen_ms"]),
        (&json!("id-of-the-device"), &json!(1_060_000), &json!(1_120_000))
    );
    assert_eq!(sessions[2]["created_ms"], 1_000_000, "the newest comes first");
    let phone = sessions
        .as_array()
        .unwrap()
        .iter()
        .find(|session| session["device"] == "Phone")
        .unwrap();

    done(&host, &third, "end_session", json!({"id": phone["id"]}));
    assert_eq!(host.take_ended(), [(second.actor, Some(second.credential))]);
    assert!(host.authenticate(&second_token).is_err());
    assert_eq!(
        refused(&host, &third, "end_session", json!({"id": phone["id"]})),
        "unknown_session"
    );
    done(&host, &third, "end_other_sessions", json!({}));
    assert!(host.authenticate(&first_token).is_err());
    assert!(host.authenticate(&third_token).is_ok());

    // Nobody ends a login of another account.
    let (bob, bobs_token) = register(&host, "bob");
    assert_eq!(
        refused(&host, &first, "end_session", json!({"id": bob.credential})),
        "unknown_session"
    );
    assert!(host.authenticate(&bobs_token).is_ok());
}

#[test]
fn the_last_use_of_a_session_is_stored_at_intervals() {
    let host = host();
    let (ann, _) = register(&host, "ann");
    let seen = || done(&host, &ann, "sessions", json!({}))["sessions"][0]["last_seen_ms"].clone();
    for (now_ms, wanted) in [(1_001_000, 1_001_000), (1_600_000, 1_001_000), (1_601_000, 1_601_000)] {
        host.set_clock(now_ms);
        host.connected(&ann);
        assert_eq!(seen(), wanted);
    }
    // A late disconnection doesn't bring an ended login back.
    done(&host, &ann, "logout", json!({}));
    host.set_clock(9_000_000);
    host.disconnected(&ann);
    let (again, _) = sign_in(&host, "");
    assert_eq!(
        done(&host, &again, "sessions", json!({}))["sessions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_new_session_beyond_the_limit_ends_the_oldest_one() {
    let host = host_with(&json!({"sessions": 2}));
    let (_, first) = register(&host, "ann");
    host.set_clock(1_001_000);
    let (_, second) = sign_in(&host, "");
    host.set_clock(1_002_000);
    let (_, third) = sign_in(&host, "");
    assert!(host.authenticate(&first).is_err());
    assert!(host.authenticate(&second).is_ok() && host.authenticate(&third).is_ok());
}

#[test]
fn a_refreshed_token_is_invalid() {
    let host = host();
    let (ann, old) = register(&host, "ann");
    host.set_clock(2_000_000);
    let new = done(&host, &ann, "refresh", json!({}));
    assert_eq!(new["expires_ms"], 2_000_000 + 24 * 60 * 60 * 1_000);
    assert!(host.authenticate(&old).is_err());
    assert!(host.authenticate(new["token"].as_str().unwrap()).is_ok());
    assert_eq!(refused(&host, &ann, "refresh", json!({})), "unknown_session");
}

#[test]
fn forged_and_changed_tokens_are_rejected() {
    let host = host();
    let (ann, token) = register(&host, "ann");
    let last = if token.ends_with('0') { '1' } else { '0' };
    let changed = format!("{}{last}", &token[..token.len() - 1]);
    for forged in [
        "cyt_",
        &changed,
        &token[..token.len() - 1],
        &format!("{token}0"),
        &token.to_uppercase().replace("CYT_", "cyt_"),
    ] {
        assert_eq!(host.authenticate(forged).unwrap_err().code, "expired_token", "{forged}");
    }
    // The id of a login is no token.
    assert_eq!(host.authenticate(&ann.credential).unwrap(), None);
}

#[test]
fn wrong_passwords_cause_pauses_that_the_right_one_has_to_wait_for() {
    let host = host();
    register(&host, "ann");
    for name in ["ann", "nobody"] {
        let codes: Vec<String> = (0..7)
            .map(|_| login(&host, name, "wrong horse").unwrap_err().code)
            .collect();
        let mut wanted = vec!["invalid_credentials"; 5];
        wanted.extend(["rate_limited"; 2]);
        assert_eq!(codes, wanted, "{name}: the answers reveal who has an account");
    }
    let waiting = login(&host, "ANN", "correct horse").unwrap_err();
    assert_eq!((waiting.code.as_str(), waiting.retry), ("rate_limited", true));
    host.enter_app("other");
    assert_eq!(
        login(&host, "ann", "wrong horse").unwrap_err().code,
        "invalid_credentials",
        "it is another account"
    );
    host.enter_app("default");
    host.set_clock(1_001_000);
    assert_eq!(
        login(&host, "ann", "wrong horse").unwrap_err().code,
        "invalid_credentials"
    );
    host.set_clock(1_002_000);
    assert_eq!(
        login(&host, "ann", "correct horse").unwrap_err().code,
        "rate_limited",
        "the pause doubled"
    );
    host.set_clock(1_003_000);
    assert!(login(&host, "ann", "correct horse").is_ok());
    assert_eq!(
        login(&host, "ann", "wrong horse").unwrap_err().code,
        "invalid_credentials",
        "the count restarts after a success"
    );
}

#[test]
fn changing_the_password_ends_all_other_sessions() {
    let host = host();
    let (ann, old) = register(&host, "ann");
    let (_, token) = sign_in(&host, "");
    let change = |password: &str, new: &str| {
        host.call(
            &ann,
            "change_password",
            &json!({"password": password, "new_password": new}),
        )
    };
    assert_eq!(code(change("wrong horse", "battery staple")), "invalid_credentials");
    assert_eq!(code(change("correct horse", "short")), "invalid_password");
    change("correct horse", "battery staple").unwrap();
    assert!(host.authenticate(&old).is_ok() && host.authenticate(&token).is_err());
    assert_eq!(
        login(&host, "ann", "correct horse").unwrap_err().code,
        "invalid_credentials"
    );
    assert!(login(&host, "ann", "battery staple").is_ok());
}

#[test]
fn operators_ban_until_they_unban_or_the_ban_expires() {
    // Random bytes are the same in each run, and so are the actors.
    let (host, mut operators) = (host(), Vec::new());
    for name in ["root", "second"] {
        operators.push(register(&host, name).0.actor);
    }
    let host = host_with(&json!({ "operators": operators }));
    let (root, _) = register(&host, "root");
    let (second, _) = register(&host, "second");
    let (ann, token) = register(&host, "ann");
    let ban = |caller: &Caller, whom: &Caller, more: Value| {
        let mut params = json!({"actor": whom.actor});
        for (key, value) in more.as_object().unwrap() {
            params[key] = value.clone();
        }
        host.call(caller, "ban", &params)
    };
    assert_eq!(code(ban(&ann, &root, json!({}))), "forbidden");
    assert_eq!(code(ban(&root, &second, json!({}))), "forbidden");
    assert_eq!(code(ban(&root, &ann, json!({"until_ms": 1_000_000}))), "invalid_time");
    ban(&root, &ann, json!({"reason": "Spam", "until_ms": 2_000_000})).unwrap();
    assert!(host.take_ended().contains(&(ann.actor.clone(), None)));
    assert!(host.authenticate(&token).is_err());
    let refused = login(&host, "ann", "correct horse").unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.message.as_str()),
        ("forbidden", "You are banned: Spam")
    );
    // Only the right password reveals the ban.
    assert_eq!(
        login(&host, "ann", "wrong horse").unwrap_err().code,
        "invalid_credentials"
    );
    host.set_clock(2_000_000);
    assert!(login(&host, "ann", "correct horse").is_ok());
    ban(&second, &ann, json!({})).unwrap();
    assert_eq!(login(&host, "ann", "correct horse").unwrap_err().code, "forbidden");
    let own = json!({"actor": ann.actor});
    assert_eq!(super::refused(&host, &ann, "unban", own), "forbidden");
    done(&host, &root, "unban", json!({"actor": ann.actor}));
    assert!(login(&host, "ann", "correct horse").is_ok());
}

#[test]
fn invalid_settings_are_rejected() {
    for settings in [
        json!({"token_dayz": 1}),
        json!({"sessions": 0}),
        json!({"friends": 10_001}),
        json!({"wrong_passwords": {"first_ms": 2, "longest_ms": 1}}),
        json!({"argon2": {"memory_kib": 1}}),
        json!({"fields": [{"name": "x", "type": "colour"}]}),
    ] {
        let refused = TestHost::<Users>::start(&settings.to_string()).unwrap_err();
        assert_eq!(refused.code, "invalid_configuration", "{settings}");
    }
}
