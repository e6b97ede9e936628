//! The groups plugin in the real server, with accounts of the users plugin.

use courtyard_tests::{Client, Server, Site, accounts, plugin};
use serde_json::{Value, json};

const GRANT: &str = "[\"annotations\", \"conversations\", \"kv\", \"methods\", \"sessions\", \"timers\"]";

/// Both plugins, with cheap password hashes.
fn site() -> Site {
    let groups = plugin("groups");
    accounts::site(&format!(
        "[[plugins]]\nid = \"groups\"\npath = {groups:?}\ngrant = {GRANT}\n"
    ))
}

/// A person with an account and a connection.
struct Person {
    client: Client,
    actor: String,
    sent: u32,
}

async fn register(server: &Server, name: &str) -> Person {
    let mut client = server.connect().await;
    client.send(&json!({"type": "hello", "protocol": 1})).await;
    assert_eq!(client.next().await["type"], "welcome");
    let params = json!({"name": name, "password": "correct horse"});
    let register = json!({"type": "call", "id": "r", "method": "users.register", "params": params});
    let session = client.request(register).await["value"].clone();
    let auth = json!({"type": "auth", "id": "a", "token": session["token"], "device": "test"});
    assert_eq!(client.request(auth).await["type"], "welcome");
    Person {
        client,
        actor: session["actor"].as_str().unwrap().to_owned(),
        sent: 0,
    }
}

impl Person {
    /// Calls a method of the groups plugin, and returns the whole response.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.sent += 1;
        let id = format!("c{}", self.sent);
        let method = format!("groups.{method}");
        let call = json!({"type": "call", "id": id, "method": method, "params": params});
        self.client.request(call).await
    }

    /// Calls a method that must succeed.
    async fn done(&mut self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params).await;
        assert_eq!(answer["type"], "result", "{method}: {answer}");
        answer["value"].clone()
    }

    /// Calls a method that must fail, and returns the code.
    async fn code(&mut self, method: &str, params: Value) -> String {
        let answer = self.ask(method, params).await;
        answer["code"]
            .as_str()
            .unwrap_or_else(|| panic!("{method}: {answer}"))
            .to_owned()
    }

    fn message(&mut self, group: &str, kind: &str, content: Value) -> Value {
        self.sent += 1;
        let id = format!("{}-{}", self.actor, self.sent);
        json!({"type": "send", "id": id, "conversation": group, "kind": kind, "content": content})
    }

    /// Sends a text, and returns the response.
    async fn say(&mut self, group: &str, more: Value) -> Value {
        let mut content = json!({"text": "Hello"});
        content
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let message = self.message(group, "text", content);
        self.client.request(message).await
    }

    /// Acts on a message.
    async fn act(&mut self, group: &str, name: &str, target: u64, more: Value) -> Value {
        self.sent += 1;
        let id = format!("{}-{}", self.actor, self.sent);
        let mut frame = json!({"type": name, "id": id, "conversation": group, "target": target});
        frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.client.request(frame).await
    }

    /// Waits for an event that satisfies the condition.
    async fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.client.next().await;
            if frame["type"] == "event" && wanted(&frame["event"]) {
                return frame["event"].clone();
            }
        }
    }

    /// Waits for a signal.
    async fn signal(&mut self, name: &str) -> Value {
        loop {
            let frame = self.client.next().await;
            if frame["type"] == "signal" && frame["name"] == name {
                return frame["payload"].clone();
            }
        }
    }

    async fn history(&mut self, group: &str) -> Vec<Value> {
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let asked = json!({"type": "history", "id": "h", "conversation": group, "after": after});
            let page = self.client.request(asked).await;
            let new = page["events"].as_array().unwrap();
            events.extend(new.clone());
            after = events.last().map_or(0, |event: &Value| event["seq"].as_u64().unwrap());
            if new.is_empty() || page["head"] == after {
                return events;
            }
        }
    }
}

/// Creates an open group owned by `ann`, with others as members.
async fn group_of(ann: &mut Person, others: &mut [&mut Person]) -> String {
    let created = ann.done("create", json!({"name": "Chess", "join": "open"})).await;
    let group = created["group"].as_str().unwrap().to_owned();
    for other in others {
        assert_eq!(other.done("join", json!({"group": group})).await["joined"], true);
    }
    group
}

#[tokio::test]
async fn a_group_is_created_used_and_left() {
    let site = site();
    let server = site.start().await;
    let (mut ann, mut bob) = (register(&server, "ann").await, register(&server, "bob").await);
    let group = ann.done("create", json!({"name": "Chess"})).await["group"]
        .as_str()
        .unwrap()
        .to_owned();
    let own = json!({"group": group});
    assert_eq!(bob.say(&group, json!({})).await["code"], "unknown_conversation");
    let invited = ann.done("invite", json!({"group": group, "actors": [bob.actor]})).await;
    assert_eq!(invited["invited"], json!([bob.actor]));
    assert_eq!(bob.signal("invited").await["name"], "Chess");
    bob.done("accept", own.clone()).await;
    let joined = ann.event(|event| event["type"] == "members").await;
    assert_eq!(joined["content"]["joined"], json!([bob.actor]));

    assert_eq!(bob.say(&group, json!({})).await["type"], "ack");
    let heard = ann.event(|event| event["type"] == "message").await;
    assert_eq!(
        (&heard["sender"], &heard["conversation"]),
        (&json!(bob.actor), &json!(group))
    );
    bob.done("leave", own.clone()).await;
    assert_eq!(bob.say(&group, json!({})).await["code"], "unknown_conversation");
    assert_eq!(
        ann.done("members", own.clone()).await["members"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    // The group always has an owner, also after a kill.
    assert_eq!(ann.code("leave", own.clone()).await, "groups.conflict");
    assert_eq!(
        ann.code("invite", json!({"group": group, "actors": ["nobody"]})).await,
        "groups.unknown_person"
    );
    ann.done("dissolve", own.clone()).await;
    assert_eq!(ann.say(&group, json!({})).await["code"], "unknown_conversation");
    assert_eq!(ann.code("info", own).await, "groups.conflict_dissolved");
    server.stop().await;
}

#[tokio::test]
async fn a_link_admits_up_to_its_uses_and_until_it_is_revoked() {
    let site = site();
    let server = site.start().await;
    let (mut ann, mut bob) = (register(&server, "ann").await, register(&server, "bob").await);
    let mut cleo = register(&server, "cleo").await;
    let group = group_of(&mut ann, &mut []).await;
    let once = ann.done("create_link", json!({"group": group, "uses": 1})).await;
    let code = json!({"code": once["code"]});
    assert_eq!(bob.done("open_link", code.clone()).await["name"], "Chess");
    bob.done("join_link", code.clone()).await;
    assert_eq!(cleo.code("join_link", code).await, "groups.unknown_link");
    let any = ann.done("create_link", json!({"group": group})).await;
    let code = json!({"code": any["code"]});
    assert_eq!(bob.code("revoke_link", code.clone()).await, "groups.forbidden");
    ann.done("revoke_link", code.clone()).await;
    assert_eq!(cleo.code("join_link", code).await, "groups.unknown_link");
    let brief = ann.done("create_link", json!({"group": group, "seconds": 1})).await;
    let code = json!({"code": brief["code"]});
    let begun = std::time::Instant::now();
    while cleo.ask("open_link", code.clone()).await["type"] == "result" {
        assert!(begun.elapsed().as_secs() < 60, "the link still works");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(cleo.code("join_link", code).await, "groups.unknown_link");
    server.stop().await;
}

#[tokio::test]
async fn join_requests_wait_for_approval() {
    let site = site();
    let server = site.start().await;
    let (mut ann, mut bob) = (register(&server, "ann").await, register(&server, "bob").await);
    let created = ann.done("create", json!({"name": "Chess", "join": "approval"})).await;
    let group = created["group"].as_str().unwrap().to_owned();
    let asked = bob.done("join", json!({"group": group, "note": "Please"})).await;
    assert_eq!(asked["joined"], false);
    assert_eq!(ann.signal("join_request").await["note"], "Please");
    assert_eq!(bob.say(&group, json!({})).await["code"], "unknown_conversation");
    ann.done("approve", json!({"group": group, "actor": bob.actor})).await;
    assert_eq!(bob.say(&group, json!({})).await["type"], "ack");
    server.stop().await;
}

/// Makes `speaker` send without a pause, sixteen messages in flight, until one is rejected; meanwhile `end` is
/// called. Returns the responses to the messages.
async fn send_until_refused(speaker: &mut Person, group: &str, ann: &mut Person, end: (&str, Value)) -> Vec<Value> {
    let (first, begun) = tokio::sync::oneshot::channel();
    let sending = async {
        let (mut answers, mut sent, mut first) = (Vec::new(), 0, Some(first));
        let mut refused = false;
        while !refused || answers.len() < sent {
            while !refused && sent < answers.len() + 16 {
                assert!(sent < 50_000, "it never ends");
                let message = speaker.message(group, "text", json!({"text": "Quick"}));
                speaker.client.send(&message).await;
                sent += 1;
            }
            let frame = speaker.client.next().await;
            if frame["type"] == "ack" || frame["type"] == "error" {
                refused |= frame["type"] == "error";
                answers.push(frame);
            }
            if answers.len() >= 20
                && let Some(first) = first.take()
            {
                first.send(()).unwrap();
            }
        }
        answers
    };
    let ending = async {
        begun.await.unwrap();
        ann.done(end.0, end.1).await;
    };
    tokio::join!(sending, ending).0
}

#[tokio::test]
async fn no_message_of_a_muted_or_removed_member_follows_the_change() {
    let site = site();
    let server = site.start().await;
    let (mut ann, mut bob) = (register(&server, "ann").await, register(&server, "bob").await);
    for round in 0..4 {
        let group = group_of(&mut ann, &mut [&mut bob]).await;
        let whom = json!({"group": group, "actor": bob.actor});
        let (method, params, refusals) = match round % 2 {
            0 => ("mute", whom, ["groups.forbidden", ""]),
            _ => (
                "remove",
                json!({"group": group, "actors": [bob.actor]}),
                ["unknown_conversation", "groups.forbidden"],
            ),
        };
        let answers = send_until_refused(&mut bob, &group, &mut ann, (method, params)).await;
        let history = ann.history(&group).await;
        let is_end = |event: &&Value| match method {
            "mute" => event["content"]["event"] == "muted",
            _ => event["type"] == "members" && event["content"]["left"] == json!([bob.actor]),
        };
        let end = history.iter().find(is_end).unwrap()["seq"].as_u64().unwrap();
        let of_bob: Vec<u64> = history
            .iter()
            .filter(|event| event["type"] == "message" && event["sender"] == bob.actor)
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        assert!(of_bob.iter().all(|seq| *seq < end), "{of_bob:?} and the end at {end}");
        let acks: Vec<u64> = answers.iter().filter_map(|answer| answer["seq"].as_u64()).collect();
        assert_eq!(of_bob, acks, "the log has exactly the acked messages");
        let errors = answers.iter().filter_map(|answer| answer["code"].as_str());
        for code in errors {
            assert!(refusals.contains(&code), "{code}");
        }
        assert_ne!(bob.say(&group, json!({})).await["type"], "ack");
    }
    server.stop().await;
}

#[tokio::test]
async fn acts_of_muted_and_lower_ranked_members_are_rejected() {
    let site = site();
    let server = site.start().await;
    let (mut ann, mut bob) = (register(&server, "ann").await, register(&server, "bob").await);
    let mut cleo = register(&server, "cleo").await;
    let group = group_of(&mut ann, &mut [&mut bob, &mut cleo]).await;
    let of_bob = bob.say(&group, json!({})).await["seq"].as_u64().unwrap();
    let of_ann = ann.say(&group, json!({})).await["seq"].as_u64().unwrap();
    let edit = json!({"content": {"text": "Hullo"}});
    let thumb = json!({"emoji": "👍"});
    assert_eq!(bob.act(&group, "edit", of_bob, edit.clone()).await["type"], "ack");
    assert_eq!(bob.act(&group, "react", of_ann, thumb.clone()).await["type"], "ack");

    ann.done("mute", json!({"group": group, "actor": bob.actor})).await;
    assert_eq!(
        bob.act(&group, "edit", of_bob, edit.clone()).await["code"],
        "groups.forbidden"
    );
    assert_eq!(
        bob.act(&group, "react", of_ann, json!({"emoji": "👎"})).await["code"],
        "groups.forbidden"
    );
    assert_eq!(bob.act(&group, "unreact", of_ann, thumb.clone()).await["type"], "ack");
    ann.done("unmute", json!({"group": group, "actor": bob.actor})).await;

    // Cleo has Bob's rank until she becomes an admin.
    let which = json!({"group": group, "seq": of_bob});
    assert_eq!(cleo.code("recall", which.clone()).await, "groups.forbidden");
    for (method, params) in [
        ("remove", json!({"group": group, "actors": [bob.actor]})),
        ("mute", json!({"group": group, "actor": bob.actor})),
        ("ban", json!({"group": group, "actor": ann.actor})),
        (
            "set_role",
            json!({"group": group, "actor": cleo.actor, "role": "admin"}),
        ),
        ("announce", json!({"group": group, "text": "Hear"})),
        ("mute_all", json!({"group": group, "on": true})),
        ("edit_profile", json!({"group": group, "name": "Mine"})),
    ] {
        assert_eq!(cleo.code(method, params).await, "groups.forbidden", "{method}");
    }
    ann.done(
        "set_role",
        json!({"group": group, "actor": cleo.actor, "role": "admin"}),
    )
    .await;
    assert_eq!(
        cleo.code("recall", json!({"group": group, "seq": of_ann})).await,
        "groups.forbidden"
    );
    assert_eq!(
        cleo.code("remove", json!({"group": group, "actors": [ann.actor]}))
            .await,
        "groups.forbidden"
    );
    cleo.done("pin", which.clone()).await;
    cleo.done("recall", which).await;
    let history = ann.history(&group).await;
    let recalled = history.iter().find(|event| event["seq"] == of_bob).unwrap();
    assert_eq!(
        (&recalled["recalled"], &recalled["content"]),
        (&json!(true), &json!({}))
    );
    assert_eq!(bob.done("pins", json!({"group": group})).await["pins"], json!([]));

    cleo.done("remove", json!({"group": group, "actors": [bob.actor]}))
        .await;
    assert_eq!(
        bob.act(&group, "react", of_ann, thumb).await["code"],
        "unknown_conversation"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_owner_transfers_ownership_before_leaving() {
    let site = site();
    let server = site.start().await;
    let (mut ann, mut bob) = (register(&server, "ann").await, register(&server, "bob").await);
    let group = group_of(&mut ann, &mut [&mut bob]).await;
    let own = json!({"group": group});
    assert_eq!(ann.code("leave", own.clone()).await, "groups.conflict");
    assert_eq!(
        bob.code("transfer", json!({"group": group, "actor": bob.actor})).await,
        "groups.forbidden"
    );
    ann.done("transfer", json!({"group": group, "actor": bob.actor})).await;
    ann.done("leave", own.clone()).await;
    server.kill().await;
    let server = site.start().await;
    let login = json!({"name": "bob", "password": "correct horse"});
    let mut client = server.connect().await;
    client.send(&json!({"type": "hello", "protocol": 1})).await;
    client.next().await;
    let session = client
        .request(json!({"type": "call", "id": "l", "method": "users.login", "params": login}))
        .await["value"]
        .clone();
    let auth = json!({"type": "auth", "id": "a", "token": session["token"], "device": "test"});
    client.request(auth).await;
    bob.client = client;
    assert_eq!(bob.done("membership", own.clone()).await["role"], "owner");
    assert_eq!(bob.code("leave", own).await, "groups.conflict");
    server.stop().await;
}

#[tokio::test]
async fn mentioning_everybody_needs_the_permission() {
    let site = site();
    let server = site.start().await;
    let (mut ann, mut bob) = (register(&server, "ann").await, register(&server, "bob").await);
    let group = group_of(&mut ann, &mut [&mut bob]).await;
    let all = json!({"mention_all": true});
    assert_eq!(bob.say(&group, all.clone()).await["code"], "groups.forbidden");
    assert_eq!(
        bob.say(&group, json!({"mentions": ["nobody"]})).await["code"],
        "groups.invalid_mentions"
    );
    assert_eq!(
        bob.say(&group, json!({"mentions": true})).await["code"],
        "groups.invalid_mentions"
    );
    // An edit can't circumvent it.
    let said = bob.say(&group, json!({})).await["seq"].as_u64().unwrap();
    let edit = json!({"content": {"text": "x", "mention_all": true}});
    assert_eq!(bob.act(&group, "edit", said, edit).await["code"], "groups.forbidden");
    let of_all = ann.say(&group, all).await["seq"].clone();
    let of_bob = ann.say(&group, json!({"mentions": [bob.actor]})).await["seq"].clone();
    let begun = std::time::Instant::now();
    loop {
        let list = bob.done("mentions", json!({"group": group})).await;
        let seqs: Vec<Value> = list["mentions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["seq"].clone())
            .collect();
        if seqs == [of_all.clone(), of_bob.clone()] {
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "{list}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    bob.done("clear_mentions", json!({"group": group, "up_to": of_bob}))
        .await;
    assert_eq!(bob.done("unread_mentions", json!({})).await["groups"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn an_announcement_reaches_members_and_lists_its_readers() {
    let site = site();
    let server = site.start().await;
    let (mut ann, mut bob) = (register(&server, "ann").await, register(&server, "bob").await);
    let mut cleo = register(&server, "cleo").await;
    let group = group_of(&mut ann, &mut [&mut bob, &mut cleo]).await;
    let forged = bob.message(
        &group,
        "custom:announcement",
        json!({"announcement": 1, "text": "Hear"}),
    );
    assert_eq!(bob.client.request(forged).await["code"], "groups.forbidden");
    let id = ann.done("announce", json!({"group": group, "text": "Hear"})).await["announcement"].clone();
    let heard = bob.event(|event| event["kind"] == "custom:announcement").await;
    assert_eq!(heard["content"], json!({"announcement": id, "text": "Hear"}));
    let which = json!({"group": group, "announcement": id});
    bob.done("mark_seen", which.clone()).await;
    assert_eq!(
        ann.done("seen", which.clone()).await["readers"][0]["actor"],
        json!(bob.actor)
    );
    let mut wanted = [ann.actor.clone(), cleo.actor.clone()];
    wanted.sort();
    assert_eq!(ann.done("unseen", which.clone()).await["actors"], json!(wanted));
    assert_eq!(cleo.code("unseen", which).await, "groups.forbidden");
    server.stop().await;
}

#[tokio::test]
async fn invalid_input_is_rejected_and_writes_nothing() {
    let site = site();
    let server = site.start().await;
    let mut ann = register(&server, "ann").await;
    for (params, code) in [
        (json!({"name": "a\u{0}b"}), "groups.invalid_name"),
        (json!({"name": "a\u{202e}b"}), "groups.invalid_name"),
        (json!({"name": "x".repeat(65)}), "groups.invalid_name"),
        (json!({"name": ["a"]}), "groups.invalid_params"),
        (json!({"name": "a", "members": "bob"}), "groups.invalid_params"),
        (json!({"name": "a", "capacity": -1}), "groups.invalid_params"),
        (json!({"name": "a", "unknown": 1}), "groups.invalid_params"),
        (json!([]), "groups.invalid_params"),
        (json!({"name": "a", "members": ["nobody"]}), "groups.unknown_person"),
    ] {
        assert_eq!(ann.code("create", params.clone()).await, code, "{params}");
    }
    assert_eq!(ann.done("mine", json!({})).await["groups"], json!([]));
    assert_eq!(
        ann.code("mine", json!({"after": "no cursor"})).await,
        "groups.invalid_params"
    );
    server.stop().await;
}

#[tokio::test]
async fn five_hundred_concurrent_joins_fill_a_group_exactly() {
    let groups = plugin("groups");
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"groups\"\npath = {groups:?}\ngrant = {GRANT}\nconfig = {{ directory = \"\" }}\n"
    ));
    let server = site.start().await;
    let mut ann = Person {
        client: server.sign_in("ann").await,
        actor: "ann".to_owned(),
        sent: 0,
    };
    let params = json!({"name": "Full house", "join": "open", "capacity": 101});
    let group = ann.done("create", params).await["group"].as_str().unwrap().to_owned();
    let mut crowds = Vec::new();
    for crowd in 0..20 {
        let (group, mut clients) = (group.clone(), Vec::new());
        for number in 0..25 {
            clients.push(server.sign_in(&format!("p{crowd:02}{number:02}")).await);
        }
        crowds.push(async move {
            let (mut joined, mut full) = (0, 0);
            let call = json!({"type": "call", "id": "j", "method": "groups.join", "params": {"group": group}});
            for mut client in clients {
                loop {
                    let answer = client.request(call.clone()).await;
                    match answer["code"].as_str() {
                        None => joined += 1,
                        Some("groups.limit_members") => full += 1,
                        Some(_) if answer["retry"] == true => continue,
                        Some(other) => panic!("{other}"),
                    }
                    break;
                }
            }
            (joined, full)
        });
    }
    let crowds: Vec<_> = crowds.into_iter().map(tokio::spawn).collect();
    let (mut joined, mut full) = (0, 0);
    for crowd in crowds {
        let counted = crowd.await.unwrap();
        joined += counted.0;
        full += counted.1;
    }
    assert_eq!((joined, full), (100, 400));
    assert_eq!(ann.done("info", json!({"group": group})).await["members"], 101);
    let (mut members, mut after) = (0, Value::Null);
    loop {
        let page = ann
            .done("members", json!({"group": group, "after": after, "limit": 40}))
            .await;
        members += page["members"].as_array().unwrap().len();
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(members, 101);
    let synced = ann.client.request(json!({"type": "sync", "id": "s"})).await;
    let conversations = synced["conversations"].as_array().unwrap();
    let own = conversations
        .iter()
        .find(|conversation| conversation["id"] == *group)
        .unwrap();
    assert_eq!(own["members"].as_array().unwrap().len(), 101);
    server.stop().await;
}

#[tokio::test]
async fn a_mute_expires() {
    let site = site();
    let server = site.start().await;
    let (mut ann, mut bob) = (register(&server, "ann").await, register(&server, "bob").await);
    let group = group_of(&mut ann, &mut [&mut bob]).await;
    ann.done("mute", json!({"group": group, "actor": bob.actor, "seconds": 1}))
        .await;
    let refused = bob.say(&group, json!({})).await;
    assert_eq!(
        (&refused["code"], &refused["retry"]),
        (&json!("groups.forbidden"), &json!(true))
    );
    let begun = std::time::Instant::now();
    while bob.done("membership", json!({"group": group})).await["muted_until_ms"] != 0 {
        assert!(begun.elapsed().as_secs() < 60, "the mute does not expire");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(bob.say(&group, json!({})).await["type"], "ack");
    server.stop().await;
}

#[tokio::test]
async fn a_large_group_is_deleted_in_steps_for_everybody() {
    let groups = plugin("groups");
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"groups\"\npath = {groups:?}\ngrant = {GRANT}\nconfig = {{ directory = \"\" }}\n"
    ));
    let server = site.start().await;
    let mut ann = Person {
        client: server.sign_in("ann").await,
        actor: "ann".to_owned(),
        sent: 0,
    };
    let group = ann.done("create", json!({"name": "Many", "join": "open"})).await["group"].clone();
    for number in 0..300 {
        let mut client = server.sign_in(&format!("p{number:03}")).await;
        let join = json!({"type": "call", "id": "j", "method": "groups.join", "params": {"group": group}});
        assert_eq!(client.request(join).await["type"], "result");
    }
    ann.done("dissolve", json!({"group": group})).await;
    // The last member by name is removed in the second step.
    let mut last = server.sign_in("p299").await;
    let begun = std::time::Instant::now();
    loop {
        let say = json!({"type": "send", "id": "m", "conversation": group, "kind": "text", "content": {"text": "x"}});
        let code = last.request(say).await["code"].clone();
        assert!(
            code == "groups.conflict_dissolved" || code == "unknown_conversation",
            "{code}"
        );
        let synced = last.request(json!({"type": "sync", "id": "s"})).await;
        if synced["conversations"] == json!([]) {
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "{synced}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn members_of_a_discussion_are_equal_and_the_last_one_ends_it() {
    let site = site();
    let server = site.start().await;
    let (mut ann, mut bob) = (register(&server, "ann").await, register(&server, "bob").await);
    let params = json!({"form": "discussion", "members": [bob.actor]});
    let group = ann.done("create", params).await["group"].as_str().unwrap().to_owned();
    let own = json!({"group": group});
    let joined = bob.event(|event| event["type"] == "members").await;
    assert_eq!(joined["content"]["joined"], json!([bob.actor]));
    assert_eq!(bob.say(&group, json!({"mention_all": true})).await["type"], "ack");
    for person in [&mut ann, &mut bob] {
        assert_eq!(person.done("membership", own.clone()).await["rank"], 0);
        for actor in [&joined["sender"], &json!(joined["content"]["joined"][0])] {
            let remove = json!({"group": group, "actors": [actor]});
            assert_eq!(person.code("remove", remove).await, "groups.forbidden");
        }
    }
    ann.done("leave", own.clone()).await;
    assert_eq!(bob.say(&group, json!({})).await["type"], "ack");
    bob.done("leave", own.clone()).await;
    assert_eq!(bob.code("info", own).await, "groups.conflict_dissolved");
    server.stop().await;
}
