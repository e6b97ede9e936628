#![allow(clippy::unwrap_used, reason = "tests")]

mod attach;
mod quota;
mod uploads;

use courtyard_plugin_sdk::manifest::Manifest;
use courtyard_plugin_sdk::testing::{TestHost, TestMessage};
use courtyard_plugin_sdk::{Caller, Registered};
use serde_json::{Value, json};

use super::*;
use crate::picture::samples;

const CONVERSATION: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const OTHER: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAW";

/// Starts the plugin with a conversation of Ann and Bob.
fn host(settings: Value) -> TestHost<FilesPlugin> {
    let host = TestHost::start(&settings.to_string()).unwrap();
    host.set_members(CONVERSATION, &["ann", "bob"]);
    host
}

fn caller(actor: &str) -> Caller {
    Caller {
        actor: actor.to_owned(),
        ..Caller::default()
    }
}

fn call(host: &TestHost<FilesPlugin>, actor: &str, method: &str, params: Value) -> Result<Value, Error> {
    host.call(&caller(actor), method, &params)
}

fn code<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    outcome.unwrap_err().code
}

fn upload(host: &TestHost<FilesPlugin>, actor: &str, bytes: &[u8]) -> Result<String, Error> {
    upload_as(host, actor, "a.txt", "text/plain", bytes)
}

fn upload_as(
    host: &TestHost<FilesPlugin>,
    actor: &str,
    name: &str,
    media_type: &str,
    bytes: &[u8],
) -> Result<String, Error> {
    host.upload(&caller(actor), name, media_type, Some((CONVERSATION, true)), bytes)
}

/// A message at `seq`, with a client id made from it.
fn message(sender: &str, kind: &str, content: Value, seq: u64) -> TestMessage {
    TestMessage {
        kind: kind.to_owned(),
        content,
        client_id: format!("m{seq}"),
        seq,
        ..TestMessage::direct(sender, "other", "")
    }
}

/// Sends a message as the host does. Returns its content, or the code of the rejection.
fn send(host: &TestHost<FilesPlugin>, mut message: TestMessage) -> Result<Value, String> {
    match host.before_send(&message) {
        Verdict::Accept => {}
        Verdict::Replace(content) => message.content = serde_json::from_slice(&content).unwrap(),
        Verdict::Reject(error) => return Err(error.code),
    }
    host.after_send(&message).unwrap();
    Ok(message.content)
}

fn recall(host: &TestHost<FilesPlugin>, seq: u64) {
    let act = Act {
        name: "recall".to_owned(),
        conversation: CONVERSATION.to_owned(),
        target: seq,
        ..Act::default()
    };
    host.after_act(&act).unwrap();
}

fn state(host: &TestHost<FilesPlugin>, blob: &str) -> Result<Value, Error> {
    Ok(call(host, "ann", "file", json!({"blob": blob}))?["state"].clone())
}

#[test]
fn the_manifest_can_be_parsed() {
    let manifest = Manifest::parse(FilesPlugin::MANIFEST.as_bytes()).unwrap();
    assert_eq!((manifest.methods.len(), manifest.hooks.len()), (5, 8));
}

#[test]
fn an_invalid_configuration_is_rejected() {
    for bad in [
        json!({"files": 1}),
        json!({"user_uploads": 0}),
        json!({"unsent_hours": 0}),
        json!({"thumbnail_side": 8}),
        json!({"max_pixels": 0}),
        json!({"decode_bytes": 100}),
        json!({"deny_media_types": ["exe"]}),
        json!({"deny_media_types": ["*/*"]}),
    ] {
        let error = TestHost::<FilesPlugin>::start(&bad.to_string()).err().unwrap();
        assert_eq!(error.code, "invalid_configuration", "{bad}");
    }
}
