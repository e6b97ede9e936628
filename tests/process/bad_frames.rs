//! Mistakes of clients get a stable code, and the server continues.

use std::time::{Duration, Instant};

use courtyard_tests::{CONVERSATION, Site};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use yawc::Frame;

#[tokio::test]
async fn each_bad_request_has_its_code_and_the_session_goes_on() {
    let site = Site::new("");
    let server = site.start().await;
    for (frame, code) in [
        (json!({"type": "fly", "id": "x"}), "unknown_type"),
        (json!({"type": "send", "id": "x"}), "invalid_frame"),
        (
            json!({"type": "send", "id": "x", "conversation": "nowhere", "kind": "text", "content": {}}),
            "unknown_conversation",
        ),
        (
            json!({"type": "send", "id": "x", "conversation": CONVERSATION, "kind": "text", "content": {}}),
            "invalid_content",
        ),
        (
            json!({"type": "send", "id": "x", "conversation": CONVERSATION, "kind": "odd", "content": {}}),
            "invalid_content",
        ),
        (
            json!({"type": "call", "id": "x", "method": "nobody.home"}),
            "unknown_method",
        ),
        (
            json!({"type": "auth", "id": "x", "token": "t", "device": "d"}),
            "invalid_order",
        ),
    ] {
        let mut ann = server.sign_in("ann").await;
        let answer = ann.request(frame.clone()).await;
        assert_eq!(
            (&answer["type"], &answer["code"]),
            (&json!("error"), &json!(code)),
            "{frame}"
        );
        assert_eq!(answer["retry"], false);
        ann.send(&json!({"type": "ping"})).await;
        assert_eq!(ann.next().await["type"], "pong");
    }
    let mut ann = server.sign_in("ann").await;
    ann.send_raw(Frame::text("{\"type\":")).await;
    assert_eq!(ann.next().await["code"], "invalid_frame");
    ann.send_raw(Frame::text(format!(
        "{{\"type\":\"ping\",\"x\":{}{}}}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    )))
    .await;
    assert_eq!(ann.next().await["code"], "limit_depth");
    server.stop().await;
}

#[tokio::test]
async fn binary_frames_and_invalid_text_close_with_their_code() {
    let site = Site::new("");
    let server = site.start().await;
    for (frame, code) in [
        (Frame::binary("x"), 1003),
        (
            Frame::text(format!("{{\"type\":\"ping\",\"x\":\"{}\"}}", "x".repeat(70_000))),
            1009,
        ),
        (Frame::text(vec![b'"', 0xff, b'"']), 1007),
    ] {
        let mut ann = server.sign_in("ann").await;
        ann.send_raw(frame).await;
        assert_eq!(ann.closed().await, code);
    }
    // Other sessions aren't affected.
    server.sign_in("bob").await;
    server.stop().await;
}

#[tokio::test]
async fn a_connection_without_a_valid_hello_is_closed() {
    let site = Site::new("[limits]\nhello_ms = 5000\n");
    let server = site.start().await;
    for (frame, code) in [
        (json!({"type": "ping"}), "invalid_order"),
        (json!({"type": "hello", "protocol": 99}), "unknown_protocol"),
        (
            json!({"type": "hello", "protocol": 1, "app": "elsewhere"}),
            "unknown_app",
        ),
        (json!({"type": "hello"}), "invalid_frame"),
    ] {
        let mut client = server.connect().await;
        client.send(&frame).await;
        assert_eq!(client.next().await["code"], code);
        assert_eq!(client.closed().await, 4100);
    }
    let mut silent = server.connect().await;
    assert_eq!(silent.closed().await, 4100);
    server.stop().await;
}

#[tokio::test]
async fn too_many_bad_frames_end_the_session() {
    let site = Site::new("[limits]\nbad_frames = 3\n");
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    for _ in 0..3 {
        ann.send(&json!({"type": "fly"})).await;
    }
    assert_eq!(ann.closed().await, 4100);
    server.stop().await;
}

/// Returns the number of online actors, from the metrics.
async fn actors_online(site: &Site) -> u64 {
    let metrics = site.operate("GET", "/metrics").await.body;
    let mut values = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("courtyard_actors_online "));
    values.next().unwrap().parse().unwrap()
}

/// Waits until this many actors are online.
async fn online(site: &Site, count: u64) {
    let begun = Instant::now();
    while actors_online(site).await != count {
        assert!(begun.elapsed() < Duration::from_secs(60), "not {count} online");
    }
}

#[tokio::test]
async fn a_silent_connection_is_pinged_and_then_closed() {
    let site = Site::new("[limits]\nheartbeat_ms = 1000\n");
    let server = site.start().await;
    // A client answers pings only while it reads: Ann doesn't read until the server has closed her session.
    let mut ann = server.sign_in("ann").await;
    let mut bob = server.sign_in("bob").await;
    // Bob reads all the time, which answers the server's pings: he stays connected when Ann is closed.
    let reading = tokio::spawn(async move { bob.try_next().await });
    online(&site, 1).await;
    assert_eq!(ann.closed().await, 4000);
    assert!(!reading.is_finished());
    reading.abort();
    server.stop().await;
}

/// Opens a session of Ann by hand, with the smallest possible receive buffer.
async fn narrow(port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let upgrade = "GET /v1/ws HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let hello = json!({"type": "hello", "protocol": 1, "device": "d", "token": "ann"}).to_string();
    // A masked text of less than 126 bytes, with a mask of zeros.
    let length = 0x80 | u8::try_from(hello.len()).unwrap();
    stream.write_all(&[0x81, length, 0, 0, 0, 0]).await.unwrap();
    stream.write_all(hello.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("welcome") {
        assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0);
    }
    stream
}

/// A server that waited for such a connection to accept more bytes never reached its heartbeat check.
#[tokio::test]
async fn a_connection_that_stops_reading_is_closed_like_a_silent_one() {
    let site = Site::new("[limits]\nheartbeat_ms = 2000\n");
    let server = site.start().await;
    let ann = narrow(site.port).await;
    let mut bob = server.sign_in("bob").await;
    let begun = Instant::now();
    let mut sent = 0;
    // Far more than the system's buffers hold, until the socket accepts no more.
    loop {
        for _ in 0..16 {
            bob.text(&format!("m{sent}"), &"x".repeat(60_000)).await;
            sent += 1;
        }
        for _ in 0..16 {
            assert_eq!(bob.next().await["type"], "ack");
        }
        if actors_online(&site).await == 1 {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{sent} messages, and Ann is still there"
        );
    }
    drop(ann);
    server.stop().await;
}

#[tokio::test]
async fn configuration_errors_name_their_line() {
    let site = Site::bare("[limits]\nframe_byte = 1\n");
    let said = site.start_fails().await;
    assert!(
        said.contains("courtyard.toml:5:1") && said.contains("did you mean `frame_bytes`?"),
        "{said}"
    );
}
