//! Requests racing the revocation of a right: those in flight precede it in the log, or are rejected.

use courtyard_tests::accounts::{call, join, site};
use courtyard_tests::{Client, Server, Site, plugin};
use serde_json::{Value, json};

/// Requests in flight of the actor who loses the right.
const IN_FLIGHT: usize = 16;

fn quarter() -> Site {
    let groups = plugin("groups");
    site(&format!(
        "[[plugins]]\nid = \"groups\"\npath = {groups:?}\n\
         grant = [\"annotations\", \"conversations\", \"kv\", \"methods\", \"sessions\", \"timers\"]\n\
         [plugins.limits]\n"
    ))
}

/// A repeated request.
#[derive(Clone, Copy, Debug)]
enum RacingRequest {
    Edit,
    React,
    /// Mutes and unmutes somebody.
    Mute,
    Announce,
    Pin,
}

/// How the right is revoked, and the event that records it.
#[derive(Clone, Copy, Debug)]
enum Revocation {
    Muted,
    Removed,
    Demoted,
    Denied,
}

/// Requests, the revocation of the right to them, and the codes of their rejection after it.
const TABLE: [(RacingRequest, Revocation, &[&str]); 9] = [
    (RacingRequest::Edit, Revocation::Muted, &["groups.forbidden"]),
    (RacingRequest::React, Revocation::Muted, &["groups.forbidden"]),
    (RacingRequest::Announce, Revocation::Muted, &["groups.forbidden"]),
    (
        RacingRequest::Edit,
        Revocation::Removed,
        &["unknown_conversation", "groups.forbidden"],
    ),
    (
        RacingRequest::React,
        Revocation::Removed,
        &["unknown_conversation", "groups.forbidden"],
    ),
    (RacingRequest::Mute, Revocation::Removed, &["groups.forbidden"]),
    (RacingRequest::Mute, Revocation::Demoted, &["groups.forbidden"]),
    (RacingRequest::Announce, Revocation::Demoted, &["groups.forbidden"]),
    (RacingRequest::Pin, Revocation::Denied, &["groups.forbidden"]),
];

struct Person {
    client: Client,
    actor: String,
}

async fn settle(server: &Server, name: &str) -> Person {
    let (client, session) = join(server, "default", name).await;
    let actor = session["actor"].as_str().unwrap().to_owned();
    Person { client, actor }
}

async fn done(person: &mut Person, method: &str, params: Value) -> Value {
    let answer = call(&mut person.client, &format!("groups.{method}"), params).await;
    assert_eq!(answer["type"], "result", "{method}: {answer}");
    answer["value"].clone()
}

/// Returns the frame of a request; `own` is a message of its sender.
fn request(deed: RacingRequest, number: u64, group: &Value, own: u64, other: &str) -> Value {
    let id = format!("d{number}");
    let act = |name: &str, more: Value| {
        let mut frame = json!({"type": name, "id": id, "conversation": group, "target": own});
        frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        frame
    };
    let call = |method: &str, params: Value| json!({"type": "call", "id": id, "method": method, "params": params});
    match deed {
        RacingRequest::Edit => act("edit", json!({"content": {"text": number.to_string()}})),
        RacingRequest::React => act("react", json!({"emoji": "👍"})),
        RacingRequest::Mute if number.is_multiple_of(2) => call("groups.mute", json!({"group": group, "actor": other})),
        RacingRequest::Mute => call("groups.unmute", json!({"group": group, "actor": other})),
        RacingRequest::Announce => call("groups.announce", json!({"group": group, "text": number.to_string()})),
        RacingRequest::Pin if number.is_multiple_of(2) => call("groups.pin", json!({"group": group, "seq": own})),
        RacingRequest::Pin => call("groups.unpin", json!({"group": group, "seq": own})),
    }
}

/// Repeats a request without a pause until it is rejected, while its right is revoked. Returns the rejections.
async fn repeat_until_rejected(
    doer: &mut Person,
    requests: impl Fn(u64) -> Value,
    owner: &mut Person,
    (method, params): (&str, Value),
) -> Vec<Value> {
    let (first, begun) = tokio::sync::oneshot::channel();
    let doing = async {
        let (mut sent, mut answered, mut first) = (0, 0, Some(first));
        let mut refusals: Vec<Value> = Vec::new();
        while refusals.is_empty() || answered < sent {
            while refusals.is_empty() && sent < answered + IN_FLIGHT as u64 {
                assert!(sent < 50_000, "it never ends");
                doer.client.send(&requests(sent)).await;
                sent += 1;
            }
            let frame = doer.client.next().await;
            match frame["type"].as_str().unwrap() {
                // Concurrent calls that conflict too often are rejected with a retry.
                "error" if frame["code"] == "conflict" || frame["code"] == "groups.unknown_pin" => answered += 1,
                "error" => {
                    refusals.push(frame);
                    answered += 1;
                }
                "ack" | "result" => answered += 1,
                _ => {}
            }
            if answered >= 20
                && let Some(first) = first.take()
            {
                first.send(()).unwrap();
            }
        }
        refusals
    };
    let losing = async {
        begun.await.unwrap();
        done(owner, method, params).await;
    };
    tokio::join!(doing, losing).0
}

async fn history(person: &mut Person, group: &Value) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let asked = json!({"type": "history", "id": "h", "conversation": group, "after": after, "limit": 500});
        let page = person.client.request(asked).await;
        events.extend(page["events"].as_array().unwrap().clone());
        after = events.last().map_or(0, |event: &Value| event["seq"].as_u64().unwrap());
        if page["head"] == after {
            return events;
        }
    }
}

#[tokio::test]
async fn requests_racing_a_revocation_precede_it_or_are_rejected() {
    let site = quarter();
    let server = site.start().await;
    let (mut ann, mut abe) = (settle(&server, "ann").await, settle(&server, "abe").await);
    let mut cleo = settle(&server, "cleo").await;
    for (deed, loss, codes) in TABLE {
        let group = done(&mut ann, "create", json!({"name": "Chess", "join": "open"})).await["group"].clone();
        for person in [&mut abe, &mut cleo] {
            done(person, "join", json!({"group": group})).await;
        }
        let of_abe = json!({"group": group, "actor": abe.actor});
        done(
            &mut ann,
            "set_role",
            json!({"group": group, "actor": abe.actor, "role": "admin"}),
        )
        .await;
        let say = json!({"type": "send", "id": format!("{deed:?}{loss:?}"), "conversation": group, "kind": "text", "content": {"text": "0"}});
        let own = abe.client.request(say).await["seq"].as_u64().unwrap();
        let taken = match loss {
            Revocation::Muted => ("mute", of_abe),
            Revocation::Removed => ("remove", json!({"group": group, "actors": [abe.actor]})),
            Revocation::Demoted => (
                "set_role",
                json!({"group": group, "actor": abe.actor, "role": "member"}),
            ),
            Revocation::Denied => (
                "set_overrides",
                json!({"group": group, "actor": abe.actor, "allow": [], "deny": ["pin"]}),
            ),
        };
        // Each act needs a new id.
        let prefix = format!("{deed:?}{loss:?}");
        let requests = |number: u64| {
            let mut request = request(deed, number, &group, own, &cleo.actor);
            request["id"] = json!(format!("{prefix}{}", request["id"].as_str().unwrap()));
            request
        };
        let refusals = repeat_until_rejected(&mut abe, requests, &mut ann, taken).await;
        for refusal in &refusals {
            let code = refusal["code"].as_str().unwrap();
            assert!(codes.contains(&code), "{deed:?} {loss:?}: {refusal}");
        }
        let events = history(&mut ann, &group).await;
        let is_end = |event: &&Value| match loss {
            Revocation::Muted => event["content"]["event"] == "muted" && event["content"]["actor"] == abe.actor,
            Revocation::Removed => event["content"]["left"] == json!([abe.actor]),
            Revocation::Demoted => event["content"]["event"] == "role" && event["content"]["role"] == "member",
            // Abe got the role before.
            Revocation::Denied => event["content"]["event"] == "role" && event["seq"].as_u64().unwrap() > own,
        };
        let end = events.iter().find(is_end).unwrap()["seq"].as_u64().unwrap();
        let of_abe = |event: &&Value| {
            event["sender"] == abe.actor || (event["type"] == "annotation" && matches!(deed, RacingRequest::Pin))
        };
        let late: Vec<&Value> = events
            .iter()
            .filter(of_abe)
            .filter(|event| event["seq"].as_u64().unwrap() > end)
            .collect();
        assert!(
            late.is_empty(),
            "{deed:?} {loss:?} ended with {end}, and then came {late:?}"
        );
        let before = events.iter().filter(of_abe).count();
        assert!(before > 10, "{deed:?} {loss:?}: only {before} were under way");
    }
    server.stop().await;
}
