//! The users plugin in the real server: sign up, log in, talk, log out.

use courtyard_tests::accounts::{anonymous, call, join, site};
use serde_json::json;

#[tokio::test]
async fn two_people_sign_up_and_talk() {
    let site = site("");
    let server = site.start().await;
    let ((mut ann, _), (mut bob, bobs)) = (
        join(&server, "default", "ann").await,
        join(&server, "default", "bob").await,
    );
    let opened = call(&mut ann, "users.open_direct", json!({"actor": bobs["actor"]})).await;
    let conversation = opened["value"]["conversation"].clone();
    let message = |id: &str| json!({"type": "send", "id": id, "conversation": conversation, "kind": "text", "content": {"text": "Hello"}});
    assert_eq!(ann.request(message("m1")).await["seq"], 1);
    let event = bob.next().await["event"].clone();
    assert_eq!(
        (&event["conversation"], &event["receiver"]),
        (&conversation, &bobs["actor"])
    );

    // A closed account is signed out on every device, and nobody can write to it any more.
    call(&mut bob, "users.close_account", json!({"password": "correct horse"})).await;
    assert_eq!(bob.closed().await, 4101);
    assert_eq!(ann.request(message("m2")).await["code"], "users.conflict_closed");
    server.stop().await;
}

#[tokio::test]
async fn a_session_survives_a_kill_and_ends_with_the_log_out() {
    let site = site("");
    let server = site.start().await;
    let (_, session) = join(&server, "default", "ann").await;
    server.kill().await;
    let server = site.start().await;
    let hello = json!({"type": "hello", "protocol": 1, "device": "test", "token": session["token"]});
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    for client in [&mut first, &mut second] {
        client.send(&hello).await;
        assert_eq!(client.next().await["actor"], session["actor"]);
    }
    call(&mut first, "users.logout", json!({})).await;
    assert_eq!(first.closed().await, 4101);
    assert_eq!(second.closed().await, 4101);
    let mut late = server.connect().await;
    late.send(&hello).await;
    assert_eq!(late.next().await["code"], "unauthenticated");
    assert_eq!(late.closed().await, 4101);
    server.stop().await;
}

#[tokio::test]
async fn one_of_many_concurrent_registrations_of_a_name_wins() {
    let site = site("");
    let server = site.start().await;
    let mut tries = Vec::new();
    for _ in 0..8 {
        let mut client = anonymous(&server, "default").await;
        tries.push(tokio::spawn(async move {
            call(
                &mut client,
                "users.register",
                json!({"name": "ann", "password": "correct horse"}),
            )
            .await
        }));
    }
    let mut outcomes = Vec::new();
    for attempt in tries {
        let answer = attempt.await.unwrap();
        outcomes.push(answer["code"].as_str().unwrap_or("won").to_owned());
    }
    outcomes.sort();
    let mut wanted = vec!["users.conflict_name"; 7];
    wanted.push("won");
    assert_eq!(outcomes, wanted);
    server.stop().await;
}

#[tokio::test]
async fn apps_on_one_host_are_isolated() {
    let site = site("[[apps]]\nid = \"red\"\n[[apps]]\nid = \"blue\"\n");
    let server = site.start().await;
    let (_, red) = join(&server, "red", "ann").await;
    join(&server, "blue", "ann").await;
    let mut crossing = server.connect().await;
    crossing
        .send(&json!({"type": "hello", "protocol": 1, "app": "blue", "device": "d", "token": red["token"]}))
        .await;
    assert_eq!(crossing.next().await["code"], "unauthenticated");
    server.stop().await;
}

#[tokio::test]
async fn methods_that_need_a_sign_in_reject_anonymous_callers() {
    let site = site("");
    let server = site.start().await;
    let mut stranger = anonymous(&server, "default").await;
    assert_eq!(
        call(&mut stranger, "users.whoami", json!({})).await["code"],
        "unauthenticated"
    );
    assert_eq!(
        call(&mut stranger, "users.fly", json!({})).await["code"],
        "unknown_method"
    );
    assert_eq!(
        call(&mut stranger, "users.login", json!({"name": "ann"})).await["code"],
        "users.invalid_params"
    );
    server.stop().await;
}
