//! Ways to sign in, and sessions.

use courtyard_tests::accounts::{anonymous, call, connect, done, join, refused, site, site_with};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn sessions_are_listed_and_ended_from_another_device() {
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
async fn invalid_modified_and_expired_tokens_are_rejected() {
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
async fn password_guessing_is_throttled() {
    let site = site_with(
        ", wrong_passwords = { free = 3, first_ms = 600000, longest_ms = 600000 }",
        // Each instance counts on its own.
        "instances = 1\n",
    );
    let server = site.start().await;
    let (mut ann, _) = join(&server, "default", "ann").await;
    let mut stranger = anonymous(&server, "default").await;
    for name in ["ann", "nobody"] {
        let guess = json!({"name": name, "password": "wrong horse"});
        for _ in 0..3 {
            assert_eq!(
                refused(&mut stranger, "login", guess.clone()).await,
                "users.invalid_credentials"
            );
        }
        let late = call(&mut stranger, "users.login", guess).await;
        assert_eq!(
            (&late["code"], &late["retry"]),
            (&json!("users.rate_limited"), &json!(true))
        );
    }
    let right = json!({"name": "ann", "password": "correct horse"});
    assert_eq!(refused(&mut stranger, "login", right).await, "users.rate_limited");
    // Existing sessions continue.
    done(&mut ann, "whoami", json!({})).await;
    server.stop().await;
}

#[tokio::test]
async fn an_operator_bans_and_unbans_a_person() {
    let site = site_with(", operators = []", "");
    let server = site.start().await;
    let (_, root) = join(&server, "default", "root").await;
    server.stop().await;
    site.reconfigure("operators = []", &format!("operators = [{}]", root["actor"]));
    let server = site.start().await;
    let (mut root, _) = connect(&server, &root["token"], "d").await;
    let (mut ann, session) = join(&server, "default", "ann").await;
    let whom = json!({"actor": session["actor"]});
    assert_eq!(refused(&mut ann, "ban", whom.clone()).await, "users.forbidden");
    done(&mut root, "ban", json!({"actor": session["actor"], "reason": "Spam"})).await;
    assert_eq!(ann.closed().await, 4101);
    assert_eq!(
        connect(&server, &session["token"], "d").await.1["code"],
        "unauthenticated"
    );
    let mut stranger = anonymous(&server, "default").await;
    let login = json!({"name": "ann", "password": "correct horse"});
    assert_eq!(refused(&mut stranger, "login", login.clone()).await, "users.forbidden");
    done(&mut root, "unban", whom).await;
    done(&mut stranger, "login", login).await;
    server.stop().await;
}

/// Serves a gateway. Returns its port and the received requests.
async fn gateway() -> (u16, tokio::sync::mpsc::UnboundedReceiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        // The first request fails.
        let mut status = "503 Service Unavailable";
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            sender.send((head, serde_json::from_slice(&body).unwrap())).unwrap();
            status = "202 Accepted";
        }
    });
    (port, receiver)
}

#[tokio::test]
async fn a_code_from_a_gateway_signs_up_and_in() {
    let (port, mut sent) = gateway().await;
    let settings = format!(
        ", codes = {{ interval_s = 0, email = {{ url = \"http://127.0.0.1:{port}/send\", \
         headers = {{ authorization = \"Bearer {{secret:mail}}\" }}, \
         body = {{ to = [{{ email = \"{{address}}\" }}], text = \"{{text}}\", code = \"{{code}}\" }} }} }}"
    );
    let more =
        format!("[plugins.secrets]\nmail = \"s3cret\"\n[plugins.fetch]\nhosts = [\"POST http://127.0.0.1:{port}\"]\n");
    let site = site_with(&settings, &more);
    let server = site.start().await;
    let mut stranger = anonymous(&server, "default").await;
    let asked = done(&mut stranger, "request_code", json!({"address": "Ann@Example.com"})).await;
    assert_eq!(asked["sent_by"], "gateway");
    let (head, first) = sent.recv().await.unwrap();
    assert!(
        head.contains("authorization: bearer s3cret") && head.contains("idempotency-key: "),
        "{head}"
    );
    let (again, second) = sent.recv().await.unwrap();
    assert_eq!(first, second, "it is sent again under the same key");
    let key = |head: &str| {
        head.lines()
            .find(|line| line.starts_with("idempotency-key"))
            .unwrap()
            .to_owned()
    };
    assert_eq!(key(&head), key(&again));
    assert_eq!(first["to"][0]["email"], "ann@example.com");

    let code = first["code"].as_str().unwrap();
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let proof = |code: &str| json!({"address": "ann@example.com", "code": code, "name": "ann"});
    let tried = done(&mut stranger, "sign_in", proof(wrong)).await;
    assert_eq!((&tried["session"], &tried["attempts_left"]), (&json!(null), &json!(4)));
    let signed_in = done(&mut stranger, "sign_in", proof(code)).await;
    let (mut ann, welcome) = connect(&server, &signed_in["session"]["token"], "d").await;
    assert_eq!(welcome["type"], "welcome");
    assert_eq!(done(&mut ann, "whoami", json!({})).await["name"], "ann");
    assert_eq!(
        done(&mut stranger, "sign_in", proof(code)).await["session"],
        json!(null),
        "it is used up"
    );
    assert_eq!(
        refused(&mut ann, "remove_address", json!({"address": "ann@example.com"})).await,
        "users.conflict"
    );

    // A kill doesn't reset the attempts.
    done(&mut stranger, "request_code", json!({"address": "ann@example.com"})).await;
    let (_, third) = sent.recv().await.unwrap();
    for left in [4, 3] {
        assert_eq!(done(&mut stranger, "sign_in", proof("x")).await["attempts_left"], left);
    }
    server.kill().await;
    let server = site.start().await;
    let mut stranger = anonymous(&server, "default").await;
    for left in [2, 1, 0, 0] {
        assert_eq!(done(&mut stranger, "sign_in", proof("x")).await["attempts_left"], left);
    }
    let late = done(&mut stranger, "sign_in", proof(third["code"].as_str().unwrap())).await;
    assert_eq!(late["session"], json!(null));
    let log = server.stop().await;
    assert!(!log.contains(code), "the code is in the log: {log}");
}

#[tokio::test]
async fn without_a_gateway_the_code_is_logged() {
    let site = site("");
    let server = site.start().await;
    let mut stranger = anonymous(&server, "default").await;
    let asked = done(&mut stranger, "request_code", json!({"address": "+41 44 123 45 67"})).await;
    assert_eq!(asked["sent_by"], "log");
    let again = refused(&mut stranger, "request_code", json!({"address": "+41441234567"})).await;
    assert_eq!(again, "users.rate_limited");
    let log = server.stop().await;
    let line = log
        .lines()
        .find(|line| line.contains("the code for +41441234567 is "))
        .unwrap();
    let code = line.split("41441234567 is ").nth(1).unwrap();
    assert!(code.chars().take_while(char::is_ascii_digit).count() == 6, "{line}");
}

#[tokio::test]
async fn concurrent_tries_of_a_code_allow_one_sign_in_and_five_attempts() {
    let (port, mut sent) = gateway().await;
    let settings = format!(
        ", codes = {{ interval_s = 0, email = {{ url = \"http://127.0.0.1:{port}/send\", body = {{ code = \"{{code}}\" }} }} }}"
    );
    let site = site_with(
        &settings,
        &format!("[plugins.fetch]\nhosts = [\"http://127.0.0.1:{port}\"]\n"),
    );
    let server = site.start().await;
    let mut stranger = anonymous(&server, "default").await;
    for wrong_ones in [false, true] {
        done(&mut stranger, "request_code", json!({"address": "ann@example.com"})).await;
        let mut code = sent.recv().await.unwrap().1["code"].clone();
        if !wrong_ones {
            // The gateway fails the first time.
            code = sent.recv().await.unwrap().1["code"].clone();
        }
        if wrong_ones {
            code = json!("none");
        }
        let mut tries = Vec::new();
        for _ in 0..8 {
            let mut client = anonymous(&server, "default").await;
            let params = json!({"address": "ann@example.com", "code": code});
            tries.push(tokio::spawn(
                async move { call(&mut client, "users.sign_in", params).await },
            ));
        }
        let (mut sessions, mut left) = (0, Vec::new());
        for attempt in tries {
            let answer = attempt.await.unwrap();
            // Requests that conflict too often are rejected with a retry.
            if answer["type"] == "result" {
                sessions += u32::from(!answer["value"]["session"].is_null());
                left.push(answer["value"]["attempts_left"].as_u64().unwrap());
            } else {
                assert_eq!(answer["code"], "conflict", "{answer}");
            }
        }
        left.sort_unstable();
        assert_eq!(sessions, u32::from(!wrong_ones), "{left:?}");
        if wrong_ones {
            // Each attempt counts at least once.
            let counted: Vec<u64> = left.iter().copied().filter(|left| *left > 0).collect();
            assert!(
                counted.windows(2).all(|pair| pair[0] < pair[1]) && counted.len() <= 4,
                "{left:?}"
            );
        }
    }
    server.stop().await;
}
