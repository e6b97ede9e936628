//! Ways to sign in, and what is signed in.

#![allow(clippy::unwrap_used, reason = "tests")]

use courtyard_tests::accounts::{anonymous, call, connect, done, join, refused, site, site_with};
use serde_json::json;

#[tokio::test]
async fn sessions_are_listed_and_ended_on_the_other_device() {
    let site = site("");
    let server = site.start().await;
    let (mut first, _) = join(&server, "default", "ann").await;
    let mut stranger = anonymous(&server, "default").await;
    let login = json!({"name": "ann", "password": "correct horse", "device": "Phone"});
    let phone = done(&mut stranger, "login", login).await;
    let (mut second, _) = connect(&server, &phone["token"], "phone-7").await;
    let sessions = done(&mut first, "sessions", json!({})).await["sessions"].clone();
    let sessions = sessions.as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    let other = sessions.iter().find(|session| session["current"] == false).unwrap();
    assert_eq!(other["device"], "Phone");
    done(&mut first, "end_session", json!({"id": other["id"]})).await;
    assert_eq!(second.closed().await, 4101);
    assert_eq!(
        connect(&server, &phone["token"], "phone-7").await.1["code"],
        "unauthenticated"
    );

    let login = json!({"name": "ann", "password": "correct horse"});
    let third = done(&mut stranger, "login", login).await;
    let (mut third, _) = connect(&server, &third["token"], "tablet").await;
    done(&mut first, "end_other_sessions", json!({})).await;
    assert_eq!(third.closed().await, 4101);
    let sessions = done(&mut first, "sessions", json!({})).await["sessions"].clone();
    assert_eq!(
        (sessions.as_array().unwrap().len(), &sessions[0]["current"]),
        (1, &json!(true))
    );
    server.stop().await;
}

#[tokio::test]
async fn tokens_that_were_made_up_changed_or_used_up_are_refused() {
    let site = site("");
    let server = site.start().await;
    let (mut ann, session) = join(&server, "default", "ann").await;
    let token = session["token"].as_str().unwrap().to_owned();
    let changed = format!(
        "{}{}",
        &token[..token.len() - 1],
        if token.ends_with('0') { '1' } else { '0' }
    );
    for forged in [
        "cyt_",
        &changed,
        &token[1..],
        &format!("{token}0"),
        "",
        "' or 1=1",
        "cyt_../actor",
    ] {
        let (mut client, answer) = connect(&server, &json!(forged), "d").await;
        assert_ne!(answer["type"], "welcome", "{forged}");
        assert!(client.closed().await >= 4100);
    }
    let fresh = done(&mut ann, "refresh", json!({})).await;
    assert_eq!(ann.closed().await, 4101);
    assert_eq!(connect(&server, &json!(token), "d").await.1["code"], "unauthenticated");
    let (mut ann, answer) = connect(&server, &fresh["token"], "d").await;
    assert_eq!(answer["actor"], session["actor"]);
    call(&mut ann, "users.logout", json!({})).await;
    assert_eq!(ann.closed().await, 4101);
    assert_eq!(
        connect(&server, &fresh["token"], "d").await.1["code"],
        "unauthenticated"
    );
    server.stop().await;
}

#[tokio::test]
async fn passwords_that_are_tried_out_have_to_wait() {
    let site = site_with(
        ", wrong_passwords = { free = 3, first_ms = 600000, longest_ms = 600000 }",
        "",
    );
    let server = site.start().await;
    let (mut ann, _) = join(&server, "default", "ann").await;
    let mut stranger = anonymous(&server, "default").await;
    for name in ["ann", "nobody"] {
        let guess = json!({"name": name, "password": "wrong horse"});
        for _ in 0..3 {
            assert_eq!(
                refused(&mut stranger, "login", guess.clone()).await,
                "users.wrong_credentials"
            );
        }
        let late = call(&mut stranger, "users.login", guess).await;
        assert_eq!(
            (&late["code"], &late["retry"]),
            (&json!("users.too_many_attempts"), &json!(true))
        );
    }
    let right = json!({"name": "ann", "password": "correct horse"});
    assert_eq!(refused(&mut stranger, "login", right).await, "users.too_many_attempts");
    // Whoever is signed in stays so.
    done(&mut ann, "whoami", json!({})).await;
    server.stop().await;
}
