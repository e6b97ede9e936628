//! Friends, blocks, presence and pictures, over real connections.

use courtyard_tests::accounts::{call, connect, done, join, refused, signal, site};
use courtyard_tests::{Client, operate};
use serde_json::{Value, json};

fn whom(session: &Value) -> Value {
    json!({ "actor": session["actor"] })
}

async fn befriend(one: (&mut Client, &Value), other: (&mut Client, &Value)) {
    done(one.0, "request_friend", whom(other.1)).await;
    done(other.0, "accept_friend", whom(one.1)).await;
}

#[tokio::test]
async fn friends_get_requests_and_presence() {
    let site = site("");
    let server = site.start().await;
    let (mut ann, anns) = join(&server, "default", "ann").await;
    let (mut bob, bobs) = join(&server, "default", "bob").await;
    done(
        &mut ann,
        "request_friend",
        json!({"actor": bobs["actor"], "text": "It's me."}),
    )
    .await;
    let asked = signal(&mut bob, "friend").await;
    assert_eq!(
        (&asked["change"], &asked["actor"]),
        (&json!("requested"), &anns["actor"])
    );
    done(&mut bob, "accept_friend", whom(&anns)).await;
    while signal(&mut ann, "friend").await["change"] != "accepted" {}
    let online = signal(&mut ann, "presence").await;
    assert_eq!((&online["actor"], &online["state"]), (&bobs["actor"], &json!("online")));

    // The last connection decides, not the first one that ends.
    let (mut phone, _) = connect(&server, &bobs["token"], "phone").await;
    drop(bob);
    done(&mut phone, "set_presence", json!({"state": "busy", "text": "Lunch"})).await;
    let mut seen = signal(&mut ann, "presence").await;
    while seen["state"] == "online" {
        seen = signal(&mut ann, "presence").await;
    }
    assert_eq!((&seen["state"], &seen["text"]), (&json!("busy"), &json!("Lunch")));
    let asked = done(&mut ann, "presence", json!({"actors": [bobs["actor"], "nobody"]})).await;
    assert_eq!(
        (&asked["people"][0]["state"], &asked["people"][1]["state"]),
        (&json!("busy"), &json!("offline"))
    );
    drop(phone);
    while signal(&mut ann, "presence").await["state"] != "offline" {}
    let asked = done(&mut ann, "presence", json!({"actors": [bobs["actor"]]})).await;
    assert_eq!(asked["people"][0]["state"], "offline");
    assert!(
        asked["people"][0]["last_seen_ms"].as_u64() > Some(1_700_000_000_000),
        "{asked}"
    );

    // The chosen status survives the connection, and applies to the next one.
    let (_phone, _) = connect(&server, &bobs["token"], "phone").await;
    let mut back = signal(&mut ann, "presence").await;
    // The end of his first connection may be reported as late as that of his last.
    while back["state"] == "offline" {
        back = signal(&mut ann, "presence").await;
    }
    assert_eq!(back["state"], "busy");
    server.stop().await;
}

#[tokio::test]
async fn a_blocked_person_cannot_send_or_react() {
    let site = site("");
    let server = site.start().await;
    let (mut ann, anns) = join(&server, "default", "ann").await;
    let (mut bob, bobs) = join(&server, "default", "bob").await;
    befriend((&mut ann, &anns), (&mut bob, &bobs)).await;
    let conversation = done(&mut ann, "open_direct", whom(&bobs)).await["conversation"].clone();
    let send = |id: &str| json!({"type": "send", "id": id, "conversation": conversation, "kind": "text", "content": {"text": "Hello"}});
    let act = |kind: &str, id: &str, target: u64| json!({"type": kind, "id": id, "conversation": conversation, "target": target, "emoji": "👍"});
    assert_eq!(ann.request(send("a1")).await["seq"], 1);
    assert_eq!(bob.request(send("b1")).await["seq"], 2);

    done(&mut ann, "block", whom(&bobs)).await;
    while signal(&mut bob, "presence").await["state"] != "offline" {}
    for (client, own) in [(&mut ann, 1), (&mut bob, 2)] {
        assert_eq!(client.request(send("x")).await["code"], "users.forbidden");
        assert_eq!(
            client.request(act("react", "y", 3 - own)).await["code"],
            "users.forbidden"
        );
        let edit =
            json!({"type": "edit", "id": "z", "conversation": conversation, "target": own, "content": {"text": "Ha"}});
        assert_eq!(client.request(edit).await["code"], "users.forbidden");
    }
    assert_eq!(refused(&mut bob, "open_direct", whom(&anns)).await, "users.forbidden");
    assert_eq!(
        refused(&mut bob, "request_friend", whom(&anns)).await,
        "users.forbidden"
    );
    assert_eq!(bob.request(act("recall", "r", 2)).await["type"], "ack");

    // It survives a restart.
    server.kill().await;
    let server = site.start().await;
    let (mut bob, _) = connect(&server, &bobs["token"], "test").await;
    assert_eq!(bob.request(send("b2")).await["code"], "users.forbidden");
    let (mut ann, _) = connect(&server, &anns["token"], "test").await;
    done(&mut ann, "unblock", whom(&bobs)).await;
    assert_eq!(bob.request(send("b2")).await["type"], "ack");
    server.stop().await;
}

#[tokio::test]
async fn a_picture_is_uploaded_shown_and_replaced() {
    let site = site("");
    let server = site.start().await;
    let (mut ann, anns) = join(&server, "default", "ann").await;
    let (_bob, bobs) = join(&server, "default", "bob").await;
    let address = format!("127.0.0.1:{}", site.port);
    let bearer = |session: &Value| format!("authorization: Bearer {}\r\n", session["token"].as_str().unwrap());
    let upload = |kind: &str, text: &str| {
        // `image/png` and `text/html` in Base64.
        let kind = if kind == "png" { "aW1hZ2UvcG5n" } else { "dGV4dC9odG1s" };
        format!(
            "{}tus-resumable: 1.0.0\r\nupload-length: {length}\r\nupload-metadata: filetype {kind}\r\n\
             content-type: application/offset+octet-stream\r\ncontent-length: {length}\r\n\r\n{text}",
            bearer(&anns),
            length = text.len()
        )
    };
    let refused = operate(&address, "POST", "/v1/blobs/users", &upload("html", "<b>")).await;
    assert_eq!(
        (refused.status, refused.code()),
        (403, "users.invalid_media_type".to_owned())
    );
    for picture in ["first", "second"] {
        let made = operate(&address, "POST", "/v1/blobs/users", &upload("png", picture)).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }
    let id = done(&mut ann, "whoami", json!({})).await["avatar"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/v1/blobs/users/{id}");
    let seen = operate(&address, "GET", &path, &bearer(&bobs)).await;
    assert_eq!((seen.status, seen.body.as_str()), (200, "second"));
    assert_ne!(operate(&address, "GET", &path, "").await.status, 200);
    assert_eq!(
        operate(
            &address,
            "DELETE",
            &path,
            &format!("{}tus-resumable: 1.0.0\r\n", bearer(&bobs))
        )
        .await
        .status,
        403
    );
    done(&mut ann, "set_profile", json!({"avatar": ""})).await;
    assert_eq!(operate(&address, "GET", &path, &bearer(&bobs)).await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn a_closed_account_ends_its_sessions_and_friendships() {
    let site = site("");
    let server = site.start().await;
    let (mut ann, anns) = join(&server, "default", "ann").await;
    let (mut bob, bobs) = join(&server, "default", "bob").await;
    befriend((&mut ann, &anns), (&mut bob, &bobs)).await;
    let conversation = done(&mut ann, "open_direct", whom(&bobs)).await["conversation"].clone();
    call(&mut bob, "users.close_account", json!({"password": "correct horse"})).await;
    assert_eq!(bob.closed().await, 4101);
    let send =
        json!({"type": "send", "id": "m", "conversation": conversation, "kind": "text", "content": {"text": "Hello"}});
    assert_eq!(ann.request(send).await["code"], "users.conflict_closed");
    while signal(&mut ann, "friend").await["change"] != "removed" {}
    assert_eq!(done(&mut ann, "friends", json!({})).await["friends"], json!([]));
    server.stop().await;
}
