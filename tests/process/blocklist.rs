//! A block closes every path between two people: each path is open before the block, closed in both directions while it
//! lasts, and open again after it.

use courtyard_tests::accounts::{call, done, join, site_with};
use courtyard_tests::{Client, Server, operate, plugin};
use serde_json::{Value, json};

/// A path from one person to another.
#[derive(Clone, Copy, Debug)]
enum Path {
    Send,
    Edit,
    React,
    Typing,
    Receipt,
    ReceiptListed,
    ReceiptSynced,
    Presence,
    Profile,
    Picture,
    OpenDirect,
    RequestFriend,
    Invite,
    Discussion,
}

const PATHS: [Path; 14] = [
    Path::Send,
    Path::Edit,
    Path::React,
    Path::Typing,
    Path::Receipt,
    Path::ReceiptListed,
    Path::ReceiptSynced,
    Path::Presence,
    Path::Profile,
    Path::Picture,
    Path::OpenDirect,
    Path::RequestFriend,
    Path::Invite,
    Path::Discussion,
];

/// A person with an own group and a message in the conversation of both.
struct Person {
    client: Client,
    actor: Value,
    token: Value,
    group: Value,
    message: u64,
    /// The picture of the person.
    picture: String,
    /// How far the person has read.
    read: u64,
    sent: u32,
}

/// The conversations that both share.
struct Common {
    direct: Value,
    /// A group that both are in, where everything arrives.
    square: Value,
    port: u16,
}

impl Person {
    async fn settle(server: &Server, name: &str) -> Self {
        let (mut client, session) = join(server, "default", name).await;
        let (actor, token) = (session["actor"].clone(), session["token"].clone());
        done(&mut client, "set_profile", json!({"bio": "I am here."})).await;
        let created = call(&mut client, "groups.create", json!({"name": name, "join": "open"})).await;
        let picture = format!(
            "authorization: Bearer {}\r\ntus-resumable: 1.0.0\r\nupload-length: 3\r\nupload-metadata: filetype aW1hZ2UvcG5n\r\n\
             content-type: application/offset+octet-stream\r\ncontent-length: 3\r\n\r\nPNG",
            token.as_str().unwrap()
        );
        let address = format!("127.0.0.1:{}", server.port);
        let made = operate(&address, "POST", "/v1/blobs/users", &picture).await;
        let place = made.head.lines().find_map(|line| line.strip_prefix("location: "));
        Self {
            client,
            actor,
            token,
            group: created["value"]["group"].clone(),
            message: 0,
            picture: place.unwrap().to_owned(),
            read: 0,
            sent: 0,
        }
    }

    async fn ask(&mut self, mut frame: Value) -> Value {
        self.sent += 1;
        frame["id"] = json!(format!("r{}", self.sent));
        self.client.request(frame).await
    }

    async fn say(&mut self, conversation: &Value) -> Value {
        let content = json!({"text": "Hello"});
        self.ask(json!({"type": "send", "conversation": conversation, "kind": "text", "content": content}))
            .await
    }
}

/// Sends a frame, and returns true if the other person gets its effect before the effect of a later message.
async fn is_heard(from: &mut Person, to: &mut Person, frame: Value, common: &Common) -> bool {
    // Typing frames of one session are limited to one per second.
    (from.client, _) = connect_again(common.port, &from.token).await;
    let wanted = frame["type"].clone();
    if wanted == "receipt" {
        assert_eq!(from.ask(frame).await["type"], "marked");
    } else {
        from.client.send(&frame).await;
    }
    let said = from.say(&common.square).await;
    let mut heard = false;
    loop {
        let frame = to.client.next().await;
        heard |= frame["type"] == wanted && frame["actor"] == from.actor;
        if frame["event"]["id"] == said["event"] {
            return heard;
        }
    }
}

async fn connect_again(port: u16, token: &Value) -> (Client, Value) {
    let mut client = Client::connect(port).await;
    let hello = json!({"type": "hello", "protocol": 1, "device": "test", "token": token});
    client.send(&hello).await;
    let welcome = client.next().await;
    (client, welcome)
}

/// Returns true if a request succeeded; otherwise checks that it was rejected because of the block.
fn is_done(answer: &Value) -> bool {
    let code = answer["code"].as_str().unwrap_or_default();
    assert!(
        answer["type"] != "error" || code.ends_with("users.forbidden"),
        "{answer}"
    );
    answer["type"] != "error"
}

/// Advances the read mark by one in the conversation of both.
async fn read_on(from: &mut Person, common: &Common) -> u64 {
    from.read += 1;
    let receipt = json!({"type": "receipt", "conversation": common.direct, "read": from.read});
    assert_eq!(from.ask(receipt).await["type"], "marked");
    from.read
}

/// Returns true if a list of receipts includes the read mark of the actor.
fn shows(receipts: &Value, actor: &Value, read: u64) -> bool {
    let mut receipts = receipts.as_array().into_iter().flatten();
    receipts.any(|receipt| receipt["actor"] == *actor && receipt["read"] == read)
}

/// Takes a path. Returns true if it reaches the other person.
async fn reaches(path: Path, from: &mut Person, to: &mut Person, common: &Common) -> bool {
    let whom = json!({"actor": to.actor});
    match path {
        Path::Send => is_done(&from.say(&common.direct).await),
        Path::Edit => {
            let content = json!({"text": "Hello again"});
            let target = from.message;
            let edit = json!({"type": "edit", "conversation": common.direct, "target": target, "content": content});
            is_done(&from.ask(edit).await)
        }
        Path::React => {
            let target = to.message;
            let react = json!({"type": "react", "conversation": common.direct, "target": target, "emoji": "👍"});
            is_done(&from.ask(react).await)
        }
        Path::Typing => {
            let typing = json!({"type": "typing", "conversation": common.direct});
            is_heard(from, to, typing, common).await
        }
        Path::Receipt => {
            from.read += 1;
            let receipt = json!({"type": "receipt", "conversation": common.direct, "read": from.read});
            is_heard(from, to, receipt, common).await
        }
        Path::ReceiptListed => {
            let read = read_on(from, common).await;
            let listed = to.ask(json!({"type": "receipts", "conversation": common.direct})).await;
            let own = json!(to.read);
            assert!(
                to.read == 0 || shows(&listed["receipts"], &to.actor, to.read),
                "{own} is not in {listed}"
            );
            shows(&listed["receipts"], &from.actor, read)
        }
        Path::ReceiptSynced => {
            let read = read_on(from, common).await;
            let synced = to.ask(json!({"type": "sync"})).await;
            let mut conversations = synced["conversations"].as_array().unwrap().iter();
            let direct = conversations.find(|entry| entry["id"] == common.direct).unwrap();
            assert_eq!(direct["read"], to.read);
            shows(&direct["receipts"], &from.actor, read)
        }
        Path::Presence => {
            let shown = done(&mut to.client, "presence", json!({"actors": [from.actor]})).await;
            shown["people"][0]["state"] == "online"
        }
        Path::Profile => done(&mut from.client, "profile", whom).await["bio"] == "I am here.",
        Path::Picture => {
            let address = format!("127.0.0.1:{}", common.port);
            let bearer = format!("authorization: Bearer {}\r\n", from.token.as_str().unwrap());
            let answered = operate(&address, "GET", &to.picture, &bearer).await;
            assert!(
                answered.status == 200 || answered.code() == "users.forbidden",
                "{}",
                answered.body
            );
            answered.status == 200
        }
        Path::OpenDirect => is_done(&call(&mut from.client, "users.open_direct", whom).await),
        Path::RequestFriend => {
            let asked = call(&mut from.client, "users.request_friend", whom.clone()).await;
            is_done(&asked) && is_done(&call(&mut from.client, "users.withdraw_friend", whom).await)
        }
        Path::Invite => {
            let invite = json!({"group": from.group, "actors": [to.actor]});
            let invited = call(&mut from.client, "groups.invite", invite).await;
            let uninvite = json!({"group": from.group, "actor": to.actor});
            is_done(&invited) && is_done(&call(&mut from.client, "groups.uninvite", uninvite).await)
        }
        Path::Discussion => {
            let create = json!({"form": "discussion", "members": [to.actor]});
            is_done(&call(&mut from.client, "groups.create", create).await)
        }
    }
}

#[tokio::test]
async fn a_block_closes_every_path_in_both_directions() {
    let groups = plugin("groups");
    let site = site_with(
        ", request_again_s = 0",
        &format!(
            "[[plugins]]\nid = \"groups\"\npath = {groups:?}\n\
             grant = [\"annotations\", \"conversations\", \"kv\", \"methods\", \"sessions\", \"timers\"]\n\
             [plugins.limits]\n"
        ),
    );
    let server = site.start().await;
    let (mut ann, mut bob) = (
        Person::settle(&server, "ann").await,
        Person::settle(&server, "bob").await,
    );
    let direct = done(&mut ann.client, "open_direct", json!({"actor": bob.actor})).await["conversation"].clone();
    let square = call(
        &mut ann.client,
        "groups.create",
        json!({"name": "Square", "join": "open"}),
    )
    .await;
    let square = square["value"]["group"].clone();
    call(&mut bob.client, "groups.join", json!({"group": square})).await;
    let common = Common {
        direct,
        square,
        port: server.port,
    };
    for person in [&mut ann, &mut bob] {
        for _ in 0..12 {
            let said = person.say(&common.direct).await;
            person.message = said["seq"].as_u64().unwrap();
        }
    }
    for (time, is_open) in [("before", true), ("while", false), ("after", true)] {
        match time {
            "while" => drop(done(&mut ann.client, "block", json!({"actor": bob.actor})).await),
            "after" => drop(done(&mut ann.client, "unblock", json!({"actor": bob.actor})).await),
            _ => {}
        }
        for path in PATHS {
            assert_eq!(
                reaches(path, &mut ann, &mut bob, &common).await,
                is_open,
                "{path:?} of Ann {time} the block"
            );
            assert_eq!(
                reaches(path, &mut bob, &mut ann, &common).await,
                is_open,
                "{path:?} of Bob {time} the block"
            );
        }
    }
    // Recalls of own messages stay possible, and in a shared group both still get each other's messages.
    done(&mut ann.client, "block", json!({"actor": bob.actor})).await;
    let recall = json!({"type": "recall", "conversation": common.direct, "target": bob.message});
    assert_eq!(bob.ask(recall).await["type"], "ack");
    assert_eq!(bob.say(&common.square).await["type"], "ack");
    // She can't add him to a group either.
    let ask = json!({"group": ann.group, "join": "approval"});
    assert_eq!(call(&mut ann.client, "groups.configure", ask).await["type"], "result");
    let joined = call(&mut bob.client, "groups.join", json!({"group": ann.group})).await;
    assert_eq!(joined["value"]["joined"], false);
    let approve = json!({"group": ann.group, "actor": bob.actor});
    let approved = call(&mut ann.client, "groups.approve", approve).await;
    assert_eq!(approved["code"], "groups.users.forbidden");
    server.stop().await;
}
