//! The files plugin in the real server: uploads, messages that show them, and hostile input.

mod images;
mod leaving;

use std::time::{Duration, Instant};

use courtyard_tests::tus::{self, BYTES, Response, TUS, ask, metadata, patch};
use courtyard_tests::{CONVERSATION, Client, Server, Site, plugin};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Starts a server with the plugin, and more configuration.
async fn start(config: &str, more: &str) -> (Site, Server) {
    let path = plugin("files");
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"files\"\npath = {path:?}\n\
         grant = [\"kv\", \"jobs\", \"blobs\", \"sessions\", \"annotations\", \"memberships\"]\n\
         [plugins.config]\n{config}\n[plugins.limits]\n{more}"
    ));
    let server = site.start().await;
    (site, server)
}

async fn call(client: &mut Client, method: &str, params: Value) -> Value {
    let id = format!("call {method}");
    client
        .request(json!({"type": "call", "id": id, "method": format!("files.{method}"), "params": params}))
        .await
}

/// Calls a method that must succeed.
async fn done(client: &mut Client, method: &str, params: Value) -> Value {
    let answer = call(client, method, params).await;
    assert_eq!(answer["type"], "result", "{answer}");
    answer["value"].clone()
}

/// Upload metadata of a file for a conversation.
fn about(name: &str, media_type: &str, conversation: &str) -> String {
    metadata(&[
        ("filename", name),
        ("filetype", media_type),
        ("conversation", conversation),
    ])
}

fn text() -> String {
    about("a.txt", "text/plain", CONVERSATION)
}

/// Uploads a file, and returns its blob.
async fn upload(port: u16, actor: &str, about: &str, bytes: &[u8]) -> String {
    let answer = tus::upload(port, "files", actor, about, bytes).await;
    let body = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 201, "{} {body}", answer.head);
    let location = answer.header("location").unwrap();
    location.rsplit('/').next().unwrap().to_owned()
}

fn path(blob: &str) -> String {
    format!("/v1/blobs/files/{blob}")
}

async fn read(port: u16, actor: &str, blob: &str) -> Response {
    ask(port, actor, "GET", &path(blob), "", b"").await
}

/// Sends a message with a file.
async fn send(client: &mut Client, id: &str, kind: &str, content: Value) -> Value {
    client
        .request(json!({"type": "send", "id": id, "conversation": CONVERSATION, "kind": kind, "content": content}))
        .await
}

async fn recall(client: &mut Client, id: &str, target: &Value) {
    let frame = json!({"type": "recall", "id": id, "conversation": CONVERSATION, "target": target});
    assert_eq!(client.request(frame).await["type"], "ack");
}

/// Waits until reading a blob returns this status.
async fn becomes(port: u16, blob: &str, status: u16) {
    let begun = Instant::now();
    while read(port, "ann", blob).await.status != status {
        assert!(begun.elapsed().as_secs() < 60, "{blob} is never {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a file is inspected, and returns it.
async fn inspected(client: &mut Client, blob: &str) -> Value {
    let begun = Instant::now();
    loop {
        let file = done(client, "file", json!({"blob": blob})).await;
        if file["state"] != "checking" {
            return file;
        }
        assert!(begun.elapsed().as_secs() < 60, "{file}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Checks that no call of the plugin failed.
async fn never_failed(site: &Site) {
    let status = site.operate("GET", "/v1/plugins/files").await.json()["plugin"].clone();
    let hooks = status["hooks"].as_array().unwrap();
    assert!(hooks.iter().all(|hook| hook["failures"] == json!([])), "{status}");
}

#[tokio::test]
async fn a_file_is_uploaded_sent_and_readable_by_members_only() {
    let (site, server) = start("", "").await;
    let port = server.port;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    for (actor, conversation, status, code) in [
        ("", CONVERSATION, 401, "unauthenticated"),
        ("ann", "", 403, "files.invalid_conversation"),
        ("eve", CONVERSATION, 403, "files.forbidden"),
        ("ann", "01ARZ3NDEKTSV4RRFFQ69G5FAW", 403, "files.forbidden"),
    ] {
        let refused = tus::upload(port, "files", actor, &about("a", "", conversation), b"a").await;
        assert_eq!((refused.status, &*refused.code()), (status, code));
    }
    let blob = upload(port, "ann", &text(), b"hello world").await;
    let said = json!({"blob": blob, "name": "virus.exe", "size": 1, "caption": "Look!"});
    let ack = send(&mut ann, "m1", "file", said).await;
    let content = json!({"blob": blob, "name": "a.txt", "media_type": "text/plain", "size": 11, "caption": "Look!"});
    assert_eq!(ack["content"], content, "{ack}");
    assert_eq!(bob.next().await["event"]["content"], content);

    let whole = read(port, "bob", &blob).await;
    assert_eq!((whole.status, &*whole.body), (200, &b"hello world"[..]));
    let part = ask(port, "bob", "GET", &path(&blob), "range: bytes=6-\r\n", b"").await;
    assert_eq!((part.status, &*part.body), (206, &b"world"[..]));
    for actor in ["eve", ""] {
        let refused = read(port, actor, &blob).await;
        assert_eq!((refused.status, &*refused.code()), (403, "files.forbidden"));
    }
    let mut eve = server.sign_in("eve").await;
    let which = json!({"blob": blob});
    assert_eq!(
        call(&mut eve, "file", which.clone()).await["code"],
        "files.unknown_file"
    );
    let here = json!({"conversation": CONVERSATION});
    assert_eq!(call(&mut eve, "shared", here.clone()).await["code"], "files.forbidden");

    let mut file = done(&mut bob, "file", which.clone()).await;
    assert_eq!((&file["uploader"], &file["state"]), (&json!("ann"), &json!("plain")));
    let own = done(&mut ann, "own", json!({})).await;
    assert_eq!(own, json!({"files": [file], "next": null}));
    assert_eq!(done(&mut bob, "own", json!({})).await["files"], json!([]));
    file["seq"] = json!(1);
    let begun = Instant::now();
    while done(&mut bob, "shared", here.clone()).await["files"] != json!([file]) {
        assert!(begun.elapsed().as_secs() < 60);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    never_failed(&site).await;
    server.stop().await;
}

#[tokio::test]
async fn names_with_paths_and_control_characters_are_harmless() {
    let (_site, server) = start("", "").await;
    let port = server.port;
    let mut ann = server.sign_in("ann").await;
    for (index, (said, kept)) in [
        ("../../../etc/passwd", "passwd"),
        ("C:\\Windows\\system32\\a.dll", "a.dll"),
        ("/absolute", "absolute"),
        ("a\u{0}b\r\nc\u{1b}[31m.txt", "abc[31m.txt"),
        ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
        ("..", ""),
        ("Grüße 👋.txt", "Grüße 👋.txt"),
    ]
    .into_iter()
    .enumerate()
    {
        let blob = upload(port, "ann", &about(said, "text/plain", CONVERSATION), b"a").await;
        let file = done(&mut ann, "file", json!({"blob": blob})).await;
        assert_eq!(file["name"], kept, "{said:?}");
        let ack = send(
            &mut ann,
            &format!("m{index}"),
            "file",
            json!({"blob": blob, "name": said}),
        )
        .await;
        let shown = ack["content"]["name"].as_str().unwrap_or_default();
        assert_eq!(shown, kept, "{said:?}");
        let head = read(port, "ann", &blob).await.head;
        assert!(head.contains("content-disposition: attachment"), "{head}");
    }
    let long = tus::upload(port, "files", "ann", &about(&"a".repeat(256), "", CONVERSATION), b"a").await;
    assert_eq!((long.status, &*long.code()), (400, "invalid_upload"));
    server.stop().await;
}

#[tokio::test]
async fn quotas_of_users_and_apps_are_enforced_and_freed() {
    let config = "user_bytes = 1000\napp_bytes = 1500\nfile_bytes = 900\ndeny_media_types = [\"video/*\"]";
    let (site, server) = start(config, "").await;
    let port = server.port;
    let mut ann = server.sign_in("ann").await;
    let refused = async |actor: &str, about: &str, length: usize| {
        let refused = tus::begin(port, "files", actor, length, about).await;
        assert_eq!(refused.status, 403);
        refused.code()
    };
    assert_eq!(refused("ann", &text(), 901).await, "files.limit_file_bytes");
    let film = about("a.mp4", "video/mp4", CONVERSATION);
    assert_eq!(refused("ann", &film, 1).await, "files.invalid_media_type");
    // Unfinished uploads count.
    let begun = tus::begin(port, "files", "ann", 600, &text()).await;
    let under_way = begun.header("location").unwrap().to_owned();
    assert_eq!(refused("ann", &text(), 401).await, "files.limit_storage");
    let usage = async |client: &mut Client| done(client, "usage", json!({})).await;
    assert_eq!(
        usage(&mut ann).await,
        json!({"bytes": 600, "bytes_limit": 1000, "files": 0})
    );
    // An aborted upload is released when its quota is needed.
    assert_eq!(ask(port, "ann", "DELETE", &under_way, TUS, b"").await.status, 204);
    let blob = upload(port, "ann", &text(), &[0; 800]).await;
    assert_eq!(usage(&mut ann).await["bytes"], 800);
    // The usage of the app is summed a moment later.
    let waited = Instant::now();
    loop {
        let begun = tus::begin(port, "files", "bob", 900, &text()).await;
        if begun.status == 403 {
            assert_eq!(begun.code(), "files.limit_storage");
            break;
        }
        assert!(waited.elapsed().as_secs() < 60);
        let location = begun.header("location").unwrap();
        assert_eq!(ask(port, "bob", "DELETE", location, TUS, b"").await.status, 204);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let not_hers = ask(port, "bob", "DELETE", &path(&blob), "", b"").await;
    assert_eq!(not_hers.code(), "files.forbidden");
    assert_eq!(ask(port, "ann", "DELETE", &path(&blob), "", b"").await.status, 204);
    assert_eq!(
        usage(&mut ann).await,
        json!({"bytes": 0, "bytes_limit": 1000, "files": 0})
    );
    never_failed(&site).await;
    server.stop().await;
}

#[tokio::test]
async fn parts_with_wrong_offsets_or_checksums_change_nothing() {
    let (_site, server) = start("", "").await;
    let port = server.port;
    let mut ann = server.sign_in("ann").await;
    let begun = tus::begin(port, "files", "ann", 11, &text()).await;
    let place = begun.header("location").unwrap().to_owned();
    // sha1 of "hello world".
    let sum = "upload-checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=\r\n";
    for (offset, more, bytes, status, code) in [
        (1, "", &b"ello world"[..], 409, "invalid_offset"),
        (11, "", b"", 409, "invalid_offset"),
        (0, sum, b"hello werld", 460, "invalid_checksum"),
        (
            0,
            "upload-checksum: sha1 %%%\r\n",
            b"hello world",
            400,
            "invalid_upload",
        ),
        (
            0,
            "upload-checksum: crc32 AAAA\r\n",
            b"hello world",
            400,
            "invalid_upload",
        ),
        (0, "", b"hello world, and more", 413, "limit_bytes"),
    ] {
        let refused = patch(port, "ann", &place, offset, more, bytes).await;
        assert_eq!((refused.status, &*refused.code()), (status, code));
        let head = ask(port, "ann", "HEAD", &place, TUS, b"").await;
        assert_eq!(head.header("upload-offset"), Some("0"), "{code}");
    }
    let blob = place.rsplit('/').next().unwrap();
    assert_eq!(
        call(&mut ann, "file", json!({"blob": blob})).await["code"],
        "files.unknown_file"
    );
    assert_eq!(
        send(&mut ann, "m1", "file", json!({"blob": blob})).await["code"],
        "files.unknown_file"
    );
    assert_eq!(patch(port, "ann", &place, 0, "", b"hello").await.status, 204);
    assert_eq!(patch(port, "ann", &place, 5, "", b" world").await.status, 204);
    assert_eq!(read(port, "ann", blob).await.body, b"hello world");
    assert_eq!(done(&mut ann, "usage", json!({})).await["bytes"], 11);
    server.stop().await;
}

#[tokio::test]
async fn missing_foreign_and_unreadable_files_are_rejected() {
    let other = "01ARZ3NDEKTSV4RRFFQ69G5FAW";
    let (site, server) = start("", "").await;
    server.stop().await;
    site.reconfigure(
        "conversations = [",
        &format!("conversations = [{{ id = \"{other}\", kind = \"direct\", members = [\"ann\", \"cleo\"] }}, "),
    );
    let server = site.start().await;
    let port = server.port;
    let mut ann = server.sign_in("ann").await;
    let elsewhere = upload(port, "ann", &about("a", "text/plain", other), b"a").await;
    let plain = upload(port, "ann", &text(), b"a").await;
    let broken = upload(port, "ann", &about("a.png", "image/png", CONVERSATION), b"<html>").await;
    assert_eq!(inspected(&mut ann, &broken).await["state"], "unreadable");
    for (id, kind, blob, code) in [
        ("m1", "file", "01ARZ3NDEKTSV4RRFFQ69G5FAA", "files.unknown_file"),
        ("m2", "voice", "../../etc/passwd", "files.unknown_file"),
        ("m3", "file", &elsewhere, "files.invalid_conversation"),
        ("m4", "image", &plain, "files.invalid_image"),
        ("m5", "image", &broken, "files.invalid_image"),
    ] {
        let answer = send(&mut ann, id, kind, json!({"blob": blob})).await;
        assert_eq!(answer["code"], code, "{answer}");
    }
    assert_eq!(
        send(&mut ann, "m6", "file", json!({"blob": broken})).await["type"],
        "ack"
    );
    // Edits are checked as well, and valid ones pass.
    let edit = |id: &str, blob: &str| json!({"type": "edit", "id": id, "conversation": CONVERSATION, "target": 1, "content": {"blob": blob}});
    assert_eq!(
        ann.request(edit("e1", &elsewhere)).await["code"],
        "files.invalid_conversation"
    );
    assert_eq!(ann.request(edit("e2", &plain)).await["content"]["name"], "a.txt");
    // The file that no message shows any more is removed.
    becomes(port, &broken, 404).await;
    assert_eq!(read(port, "ann", &plain).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_recall_removes_unattached_files_and_a_deletion_keeps_the_message() {
    let (site, server) = start("", "").await;
    let port = server.port;
    let mut ann = server.sign_in("ann").await;
    let blob = upload(port, "ann", &text(), b"hello").await;
    let first = send(&mut ann, "m1", "file", json!({"blob": blob})).await["seq"].clone();
    let second = send(&mut ann, "m2", "file", json!({"blob": blob})).await["seq"].clone();
    recall(&mut ann, "r1", &first).await;
    // The plugin has observed the recall when the list has one less.
    let here = json!({"conversation": CONVERSATION});
    let begun = Instant::now();
    while done(&mut ann, "shared", here.clone()).await["files"]
        .as_array()
        .unwrap()
        .len()
        != 1
    {
        assert!(begun.elapsed().as_secs() < 60);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read(port, "bob", &blob).await.status, 200);
    recall(&mut ann, "r2", &second).await;
    becomes(port, &blob, 404).await;
    assert_eq!(done(&mut ann, "usage", json!({})).await["bytes"], 0);

    let blob = upload(port, "ann", &text(), b"hello").await;
    let third = send(&mut ann, "m3", "file", json!({"blob": blob})).await["seq"].clone();
    let mut bob = server.sign_in("bob").await;
    let which = json!({"blob": blob});
    assert_eq!(call(&mut bob, "delete", which.clone()).await["code"], "files.forbidden");
    assert_eq!(done(&mut ann, "delete", which.clone()).await, json!({}));
    assert_eq!(call(&mut ann, "delete", which).await["code"], "files.unknown_file");
    assert_eq!(read(port, "bob", &blob).await.status, 404);
    let page = json!({"type": "history", "id": "h", "conversation": CONVERSATION});
    let events = bob.request(page).await["events"].clone();
    let kept = events.as_array().unwrap().iter().find(|event| event["seq"] == third);
    assert_eq!(kept.unwrap()["content"]["blob"], blob);
    // No bytes remain on the disk.
    let folder = site.folder.path().join("data/blobs/default/files");
    let begun = Instant::now();
    while folder.exists() && std::fs::read_dir(&folder).unwrap().count() > 0 {
        assert!(begun.elapsed().as_secs() < 60, "objects are left");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    never_failed(&site).await;
    server.stop().await;
}

#[tokio::test]
async fn stored_files_are_encrypted_and_a_flipped_bit_is_detected() {
    let (site, server) = start("", "").await;
    let port = server.port;
    let secret = b"the meeting is at noon; ".repeat(4_000);
    let blob = upload(port, "ann", &text(), &secret).await;
    let folder = site.folder.path().join(format!("data/blobs/default/files/{blob}"));
    let object = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut stored = std::fs::read(&object).unwrap();
    assert!(!stored.windows(11).any(|window| window == b"the meeting"));
    assert!(read(port, "bob", &blob).await.body == secret);
    let last = stored.len() - 100;
    stored[last] ^= 1;
    std::fs::write(&object, &stored).unwrap();
    let damaged = read(port, "bob", &blob).await;
    assert!(damaged.body.len() < secret.len(), "damage went unnoticed");
    assert_eq!(damaged.header("content-length"), Some(&*secret.len().to_string()));
    let log = server.stop().await;
    assert!(log.contains("a blob can't be sent to its end"), "{log}");
}

#[tokio::test]
async fn an_upload_resumes_after_a_kill_and_counts_once() {
    let (site, server) = start("user_bytes = 500000", "[blobs]\npart_bytes = 100_000\n").await;
    let bytes: Vec<u8> = (0..=250).cycle().take(450_000).collect();
    let begun = tus::begin(server.port, "files", "ann", bytes.len(), &text()).await;
    let place = begun.header("location").unwrap().to_owned();
    let mut broken = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer ann\r\n{TUS}{BYTES}upload-offset: 0\r\n\
         content-length: 450000\r\n\r\n"
    );
    broken.write_all(head.as_bytes()).await.unwrap();
    broken.write_all(&bytes[..230_000]).await.unwrap();
    let offset = async |port: u16| -> usize {
        let head = ask(port, "ann", "HEAD", &place, TUS, b"").await;
        head.header("upload-offset").unwrap().parse().unwrap()
    };
    let waited = Instant::now();
    while offset(server.port).await < 200_000 {
        assert!(waited.elapsed().as_secs() < 60);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.kill().await;
    let server = site.start().await;
    let port = server.port;
    assert_eq!(offset(port).await, 200_000);
    let rest = patch(port, "ann", &place, 200_000, "", &bytes[200_000..]).await;
    assert_eq!((rest.status, rest.header("upload-offset")), (204, Some("450000")));
    let blob = place.rsplit('/').next().unwrap();
    assert!(read(port, "bob", blob).await.body == bytes);
    let mut ann = server.sign_in("ann").await;
    let usage = json!({"bytes": 450_000, "bytes_limit": 500_000, "files": 1});
    assert_eq!(done(&mut ann, "usage", json!({})).await, usage);
    server.stop().await;
}
