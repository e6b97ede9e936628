#![allow(clippy::unwrap_used, reason = "tests")]

use courtyard_plugin_sdk::manifest::Manifest;
use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::testing::{TestHost, TestMessage};
use courtyard_plugin_sdk::{Caller, Registered};
use serde_json::{Value, json};

use crate::Users;

mod codes;
mod error_codes;
mod layers;
mod presence;
mod sessions;
mod social;

const CHEAP: &str = r#"{"token_days":1,"argon2":{"memory_kib":8,"iterations":1,"parallelism":1}}"#;

fn host() -> TestHost<Users> {
    TestHost::start(CHEAP).unwrap()
}

/// Starts the plugin with further settings.
fn host_with(more: &Value) -> TestHost<Users> {
    let mut settings: Value = serde_json::from_str(CHEAP).unwrap();
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    TestHost::start(&settings.to_string()).unwrap()
}

fn done(host: &TestHost<Users>, caller: &Caller, method: &str, params: Value) -> Value {
    let outcome = host.call(caller, method, &params);
    outcome.unwrap_or_else(|error| panic!("{method} {params}: {error:?}"))
}

fn refused(host: &TestHost<Users>, caller: &Caller, method: &str, params: Value) -> String {
    code(host.call(caller, method, &params))
}

fn anonymous() -> Caller {
    Caller::default()
}

/// Registers someone and returns them as a caller, with their token.
fn register(host: &TestHost<Users>, name: &str) -> (Caller, String) {
    let params = json!({"name": name, "password": "correct horse"});
    let session = host.call(&anonymous(), "register", &params).unwrap();
    let token = session["token"].as_str().unwrap().to_owned();
    let identity = host.authenticate(&token).unwrap().unwrap();
    let caller = Caller {
        actor: identity.actor,
        credential: identity.credential,
        device: "d".to_owned(),
        ..anonymous()
    };
    (caller, token)
}

fn code(outcome: Result<Value, Error>) -> String {
    outcome.unwrap_err().code
}

#[test]
fn the_manifest_is_one_that_hosts_read() {
    let manifest = Manifest::parse(Users::MANIFEST.as_bytes()).unwrap();
    let guard = manifest.hooks.iter().find(|hook| hook.class.is_some()).unwrap();
    assert_eq!(guard.conversation_kinds, ["direct"]);
    assert_eq!(manifest.methods[0].params["required"], json!(["name", "password"]));
}

#[test]
fn a_registered_person_can_sign_in_and_sees_their_account() {
    let host = host();
    let (ann, _) = register(&host, "Ann");
    let session = host
        .call(
            &anonymous(),
            "login",
            &json!({"name": "aNN", "password": "correct horse"}),
        )
        .unwrap();
    assert_eq!(session["actor"], ann.actor);
    let who = host.call(&ann, "whoami", &json!({})).unwrap();
    assert_eq!((&who["name"], &who["display_name"]), (&json!("Ann"), &json!("Ann")));
}

#[test]
fn names_are_unique_without_regard_to_case() {
    let host = host();
    register(&host, "Ann");
    let again = json!({"name": "ANN", "password": "another one"});
    assert_eq!(code(host.call(&anonymous(), "register", &again)), "conflict_name");
}

#[test]
fn invalid_names_and_passwords_are_rejected() {
    let host = host();
    for (params, wanted) in [
        (json!({"name": "ab", "password": "long enough"}), "invalid_name"),
        (json!({"name": "a b c", "password": "long enough"}), "invalid_name"),
        (json!({"name": "abc", "password": "short"}), "invalid_password"),
        (json!({"name": "abc", "password": "x".repeat(257)}), "invalid_password"),
        (
            json!({"name": "abc", "password": "long enough", "display_name": "\u{7}"}),
            "invalid_display_name",
        ),
        (json!({"name": "abc"}), "invalid_params"),
        (
            json!({"name": "abc", "password": "long enough", "admin": true}),
            "invalid_params",
        ),
    ] {
        assert_eq!(code(host.call(&anonymous(), "register", &params)), wanted, "{params}");
    }
}

#[test]
fn wrong_names_and_wrong_passwords_look_the_same() {
    let host = host();
    register(&host, "ann");
    let login = |name: &str, password: &str| {
        host.call(&anonymous(), "login", &json!({"name": name, "password": password}))
            .unwrap_err()
    };
    assert_eq!(login("ann", "wrong horse"), login("nobody", "correct horse"));
}

#[test]
fn a_token_ends_when_it_expires_and_on_logout() {
    let host = host();
    let (ann, token) = register(&host, "ann");
    assert_eq!(host.authenticate("something else").unwrap(), None);
    assert!(host.authenticate("cyt_forged").is_err());
    host.set_clock(1_000_000 + 24 * 60 * 60 * 1_000);
    assert!(host.authenticate(&token).is_err());
    host.set_clock(1_000_000);
    assert!(host.authenticate(&token).is_ok());
    host.call(&ann, "logout", &json!({})).unwrap();
    assert_eq!(host.take_ended(), [(ann.actor.clone(), Some(ann.credential))]);
    assert!(host.authenticate(&token).is_err());
}

#[test]
fn two_people_have_one_conversation() {
    let host = host();
    let ((ann, _), (bob, _)) = (register(&host, "ann"), register(&host, "bob"));
    let open = |from: &Caller, to: &Caller| host.call(from, "open_direct", &json!({"actor": to.actor}));
    assert_eq!(open(&ann, &bob).unwrap(), open(&bob, &ann).unwrap());
    assert_eq!(code(open(&ann, &ann)), "invalid_actor");
    assert_eq!(
        code(host.call(&ann, "open_direct", &json!({"actor": "nobody"}))),
        "unknown_person"
    );
}

#[test]
fn a_closed_account_receives_nothing_and_cannot_sign_in() {
    let host = host();
    let ((ann, _), (bob, token)) = (register(&host, "ann"), register(&host, "bob"));
    host.call(&ann, "open_direct", &json!({"actor": bob.actor})).unwrap();
    let message = TestMessage::direct(&ann.actor, &bob.actor, "Hello");
    assert_eq!(host.before_send(&message), Verdict::Accept);
    assert_eq!(
        code(host.call(&bob, "close_account", &json!({"password": "wrong horse"}))),
        "invalid_credentials"
    );
    host.call(&bob, "close_account", &json!({"password": "correct horse"}))
        .unwrap();
    assert!(host.take_ended().contains(&(bob.actor.clone(), None)));
    host.run_jobs().unwrap();
    assert!(matches!(host.before_send(&message), Verdict::Reject(error) if error.code == "conflict_closed"));
    assert!(host.authenticate(&token).is_err());
    let login = json!({"name": "bob", "password": "correct horse"});
    assert_eq!(code(host.call(&anonymous(), "login", &login)), "invalid_credentials");
    assert_eq!(code(host.call(&anonymous(), "register", &login)), "conflict_name");
    assert_eq!(
        code(host.call(&ann, "open_direct", &json!({"actor": bob.actor}))),
        "conflict_closed"
    );
}

#[test]
fn people_are_listed_by_the_beginning_of_their_name_in_pages() {
    let host = host();
    let (ann, _) = register(&host, "ann");
    for name in ["anna", "anton", "bob"] {
        register(&host, name);
    }
    let mut names = Vec::new();
    let mut after = Value::Null;
    loop {
        let mut query = json!({"query": "AN", "limit": 2});
        if !after.is_null() {
            query["after"] = after;
        }
        let page = host.call(&ann, "people", &query).unwrap();
        names.extend(
            page["people"]
                .as_array()
                .unwrap()
                .iter()
                .map(|person| person["name"].clone()),
        );
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(names, ["ann", "anna", "anton"]);
}

#[test]
fn apps_are_separate() {
    let host = host();
    let (_, token) = register(&host, "ann");
    host.enter_app("other");
    assert!(host.authenticate(&token).is_err());
    let (other, _) = register(&host, "ann");
    assert_eq!(
        host.call(&other, "people", &json!({})).unwrap()["people"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
