//! The plugin on the test host.

mod error_codes;
mod lifecycle;
mod membership;
mod mentions_and_pins;
mod moderation;
mod permission_table;
mod random_walk;
mod read_cost;
mod roles;

use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::testing::TestHost;
use courtyard_plugin_sdk::{Caller, Error};
use serde_json::{Value, json};

use crate::Groups;

type Host = TestHost<Groups>;

fn host() -> Host {
    host_with(&json!({"directory": ""}))
}

fn host_with(settings: &Value) -> Host {
    Host::start(&settings.to_string()).unwrap()
}

fn caller(actor: &str) -> Caller {
    Caller {
        actor: actor.to_owned(),
        ..Caller::default()
    }
}

/// Calls a method as an actor.
fn call(host: &Host, actor: &str, method: &str, params: Value) -> Result<Value, Error> {
    host.call(&caller(actor), method, &params)
}

/// Calls a method that must succeed.
fn done(host: &Host, actor: &str, method: &str, params: Value) -> Value {
    let outcome = call(host, actor, method, params.clone());
    outcome.unwrap_or_else(|error| panic!("{method} of {actor} with {params}: {error:?}"))
}

/// Calls a method that must fail, and returns the reason.
fn code(host: &Host, actor: &str, method: &str, params: Value) -> String {
    match call(host, actor, method, params) {
        Ok(value) => panic!("{method} of {actor} succeeded: {value}"),
        Err(error) => error.reason(),
    }
}

/// Tells apart the reasons that share a code.
trait Reason {
    /// Returns the code, or a word for the message of `forbidden` and `conflict`.
    fn reason(&self) -> String;
}

impl Reason for Error {
    fn reason(&self) -> String {
        const REASONS: [(&str, &str, &str); 14] = [
            ("forbidden", "This needs the permission", "no_permission"),
            ("forbidden", "You are not a member of this group.", "not_a_member"),
            ("forbidden", "of equal or higher rank.", "outranked"),
            ("forbidden", "You can't grant a permission or a rank", "not_held"),
            ("forbidden", "You are muted.", "muted"),
            ("forbidden", "Everybody is muted.", "all_muted"),
            ("forbidden", "is banned from this group.", "banned"),
            ("forbidden", "Only the owner can do this.", "not_the_owner"),
            ("forbidden", "Only the server can send", "reserved_kind"),
            ("forbidden", "Only plugins can read", "not_a_plugin"),
            ("conflict", "a member already.", "already_member"),
            ("conflict", "The owner can't leave.", "owner_must_stay"),
            ("conflict", "A discussion has no owner.", "no_owner"),
            ("conflict", "This role can't be changed", "fixed_role"),
        ];
        let matches = |(code, message, _): &&(&str, &str, &str)| self.code == *code && self.message.contains(message);
        let found = REASONS.iter().find(matches).map(|(_, _, reason)| (*reason).to_owned());
        found.unwrap_or_else(|| self.code.clone())
    }
}

/// Creates an open group of these people; the first one owns it.
fn group_of(host: &Host, actors: &[&str]) -> String {
    let created = done(host, actors[0], "create", json!({"name": "Chess", "join": "open"}));
    let group = created["group"].as_str().unwrap().to_owned();
    for actor in &actors[1..] {
        done(host, actor, "join", json!({"group": group}));
    }
    group
}

/// Creates an open group of an owner `ann`, an admin `abe`, and the members `bob` and `cleo`.
fn club(host: &Host) -> String {
    let group = group_of(host, &["ann", "abe", "bob", "cleo"]);
    done(
        host,
        "ann",
        "set_role",
        json!({"group": group, "actor": "abe", "role": "admin"}),
    );
    group
}

/// Starts the plugin with a [`club`].
fn club_host() -> (Host, String) {
    let host = host();
    let group = club(&host);
    (host, group)
}

/// Adds the members of one JSON object to another one.
fn with_members(mut object: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

/// A message, before it is sent or in the log.
struct TestSend<'a> {
    group: &'a str,
    sender: &'a str,
    kind: &'a str,
    content: Value,
    seq: u64,
    edits: u64,
}

fn text<'a>(group: &'a str, sender: &'a str) -> TestSend<'a> {
    TestSend {
        group,
        sender,
        kind: "text",
        content: json!({"text": "Hello"}),
        seq: 0,
        edits: 0,
    }
}

impl TestSend<'_> {
    fn with<T>(&self, now_ms: u64, call: impl FnOnce(&Message<'_>) -> T) -> T {
        let content = self.content.to_string();
        let texts = [
            "default",
            self.group,
            "group",
            self.sender,
            "",
            self.kind,
            "m1",
            &content,
        ];
        let mut bytes = Vec::new();
        let ends = texts.map(|text| {
            bytes.extend_from_slice(text.as_bytes());
            u32::try_from(bytes.len()).unwrap()
        });
        call(&Message::new(&bytes, ends, self.seq, self.edits, now_ms))
    }

    /// Runs `before_send`, and returns the reason of a rejection.
    fn check_with(&self, host: &Host, settings: &Value) -> Result<(), String> {
        let plugin = Groups::start(&settings.to_string()).unwrap();
        let checked = host.run(|cx| {
            self.with(cx.now_ms(), |message| match plugin.before_send(cx, message) {
                Verdict::Reject(error) => Err(error),
                _ => Ok(()),
            })
        });
        checked.map_err(|error| error.reason())
    }

    fn check(&self, host: &Host) -> Result<(), String> {
        self.check_with(host, &json!({}))
    }

    /// Runs `after_send`.
    fn record(&self, host: &Host, settings: &Value) {
        let plugin = Groups::start(&settings.to_string()).unwrap();
        host.run(|cx| self.with(cx.now_ms(), |message| plugin.after_send(cx, message)))
            .unwrap();
    }
}

fn rejected(code: &str) -> Result<(), String> {
    Err(code.to_owned())
}

/// Runs `before_act` for an act on a message of `sender`, and returns the reason of a rejection.
fn act(host: &Host, group: &str, name: &str, actor: &str, sender: &str) -> Result<(), String> {
    let checked = host.before_act(&Act {
        name: name.to_owned(),
        conversation: group.to_owned(),
        conversation_kind: "group".to_owned(),
        actor: actor.to_owned(),
        target: 1,
        target_sender: sender.to_owned(),
        target_kind: "text".to_owned(),
        time_ms: 1_000_000,
        ..Act::default()
    });
    checked.map_err(|error| error.reason())
}
