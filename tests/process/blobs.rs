//! Blobs end to end: interrupted tus uploads, downloads in ranges, and the decisions of the plugin.

use std::time::Instant;

use courtyard_tests::tus::{self, BYTES, Response, TUS, ask, patch};
use courtyard_tests::{CONVERSATION, Client, Server, Site, plugin};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

async fn start(more: &str) -> (Site, Server) {
    let path = plugin("keeper");
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"keeper\"\npath = {path:?}\ngrant = [\"kv\", \"jobs\", \"blobs\"]\n{more}"
    ));
    let server = site.start().await;
    (site, server)
}

async fn call(client: &mut Client, method: &str, params: Value) -> Value {
    client
        .request(json!({"type": "call", "id": "c", "method": format!("keeper.{method}"), "params": params}))
        .await
}

async fn noted(client: &mut Client) -> (Value, Value) {
    let value = call(client, "noted", json!({})).await["value"].clone();
    (value["lines"].clone(), value["blobs"].clone())
}

/// Starts an upload; `metadata` are pairs with values in Base64.
async fn begin(port: u16, actor: &str, length: usize, metadata: &str) -> Response {
    tus::begin(port, "keeper", actor, length, metadata).await
}

/// Uploads in one request. Returns the path of the blob.
async fn upload(port: u16, actor: &str, metadata: &str, bytes: &[u8]) -> String {
    let answer = tus::upload(port, "keeper", actor, metadata, bytes).await;
    assert_eq!(answer.status, 201, "{}", answer.head);
    assert_eq!(answer.header("upload-offset").unwrap(), bytes.len().to_string());
    answer.header("location").unwrap().to_owned()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// `hello.txt` of type `text/plain`.
const HELLO: &str = "filename aGVsbG8udHh0, filetype dGV4dC9wbGFpbg==";

#[tokio::test]
async fn uploads_are_downloaded_whole_and_in_ranges() {
    let (site, server) = start("").await;
    let bytes = pattern(5_000_000);
    let path = upload(server.port, "ann", HELLO, &bytes).await;
    let whole = ask(server.port, "ann", "GET", &path, "", b"").await;
    assert_eq!(whole.status, 200);
    assert!(whole.body == bytes);
    assert_eq!(whole.header("content-type"), Some("text/plain"));
    assert_eq!(
        whole.header("content-disposition"),
        Some("attachment; filename*=UTF-8''hello.txt")
    );
    assert_eq!(whole.header("content-security-policy"), Some("sandbox"));
    let part = ask(
        server.port,
        "ann",
        "GET",
        &path,
        "range: bytes=4194300-4194310\r\n",
        b"",
    )
    .await;
    assert_eq!(part.status, 206);
    assert_eq!(part.header("content-range"), Some("bytes 4194300-4194310/5000000"));
    assert_eq!(part.body, &bytes[4_194_300..=4_194_310]);
    let behind = ask(server.port, "ann", "GET", &path, "range: bytes=5000000-\r\n", b"").await;
    assert_eq!(
        (behind.status, behind.header("content-range")),
        (416, Some("bytes */5000000"))
    );
    let head = ask(server.port, "ann", "HEAD", &path, "", b"").await;
    assert_eq!((head.header("content-length"), head.body.len()), (Some("5000000"), 0));
    let tag = whole.header("etag").unwrap();
    let fresh = ask(
        server.port,
        "ann",
        "GET",
        &path,
        &format!("if-none-match: {tag}\r\n"),
        b"",
    )
    .await;
    assert_eq!((fresh.status, fresh.body.len()), (304, 0));
    // The stored files don't contain the plain text.
    let folder = site.folder.path().join("data/blobs/default/keeper");
    let blob = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut files = 0;
    for file in std::fs::read_dir(blob).unwrap() {
        let stored = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!stored.windows(16).any(|window| window == &bytes[..16]));
        files += 1;
    }
    assert_eq!(files, 2);
    server.stop().await;
}

#[tokio::test]
async fn an_upload_resumes_after_a_broken_connection_and_a_kill() {
    let (site, server) = start("[blobs]\npart_bytes = 100_000\n").await;
    let bytes = pattern(450_000);
    let begun = begin(server.port, "ann", bytes.len(), HELLO).await;
    assert_eq!((begun.status, begun.header("upload-offset")), (201, Some("0")));
    assert!(begun.header("upload-expires").is_some());
    let path = begun.header("location").unwrap().to_owned();
    // The server keeps the bytes received before the disconnect.
    let mut broken = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer ann\r\n{TUS}{BYTES}upload-offset: 0\r\ncontent-length: 450000\r\n\r\n"
    );
    broken.write_all(head.as_bytes()).await.unwrap();
    broken.write_all(&bytes[..130_000]).await.unwrap();
    broken.shutdown().await.unwrap();
    drop(broken);
    let offset = offset_of(server.port, &path, 130_000).await;
    assert_eq!(offset, 130_000);
    // An incomplete upload can't be downloaded, and nobody else can continue it.
    assert_eq!(ask(server.port, "ann", "GET", &path, "", b"").await.status, 404);
    assert_eq!(ask(server.port, "bob", "HEAD", &path, TUS, b"").await.status, 404);
    assert_eq!(patch(server.port, "bob", &path, 130_000, "", b"x").await.status, 404);
    // A killed server keeps the complete parts.
    let mut killed = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let head = head
        .replace("upload-offset: 0", "upload-offset: 130000")
        .replace("450000", "320000");
    killed.write_all(head.as_bytes()).await.unwrap();
    killed.write_all(&bytes[130_000..350_000]).await.unwrap();
    assert_eq!(offset_of(server.port, &path, 330_000).await, 330_000);
    server.kill().await;
    let server = site.start().await;
    assert_eq!(offset_of(server.port, &path, 330_000).await, 330_000);
    let wrong = patch(server.port, "ann", &path, 329_999, "", &bytes[330_000..]).await;
    assert_eq!((wrong.status, wrong.code()), (409, "invalid_offset".to_owned()));
    let rest = patch(server.port, "ann", &path, 330_000, "", &bytes[330_000..]).await;
    assert_eq!((rest.status, rest.header("upload-offset")), (204, Some("450000")));
    assert!(ask(server.port, "ann", "GET", &path, "", b"").await.body == bytes);
    let again = patch(server.port, "ann", &path, 450_000, "", b"").await;
    assert_eq!(again.status, 409);
    server.stop().await;
}

/// Waits until an upload has this offset.
async fn offset_of(port: u16, path: &str, wanted: u64) -> u64 {
    let begun = Instant::now();
    loop {
        let head = ask(port, "ann", "HEAD", path, TUS, b"").await;
        assert_eq!((head.status, head.header("cache-control")), (200, Some("no-store")));
        let offset = head.header("upload-offset").unwrap().parse().unwrap();
        if offset >= wanted || begun.elapsed().as_secs() > 20 {
            return offset;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn parts_with_wrong_offset_or_checksum_are_rejected() {
    let (_site, server) = start("[blobs]\npart_bytes = 4\nmax_bytes = 1000\n").await;
    let port = server.port;
    let begun = begin(port, "ann", 11, HELLO).await;
    let path = begun.header("location").unwrap().to_owned();
    // SHA-1 of "hello world"; the first part is another text.
    let sum = "upload-checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=\r\n";
    let wrong = patch(port, "ann", &path, 0, sum, b"hello werld").await;
    assert_eq!((wrong.status, wrong.code()), (460, "invalid_checksum".to_owned()));
    assert_eq!(offset_of(port, &path, 0).await, 0);
    let unknown = patch(port, "ann", &path, 0, "upload-checksum: md5 AAAA\r\n", b"hello").await;
    assert_eq!((unknown.status, unknown.code()), (400, "invalid_upload".to_owned()));
    let more = patch(port, "ann", &path, 0, "", b"hello world, and more").await;
    assert_eq!(more.status, 413);
    let typeless = ask(
        port,
        "ann",
        "PATCH",
        &path,
        &format!("{TUS}upload-offset: 0\r\n"),
        b"hello",
    )
    .await;
    assert_eq!(typeless.status, 415);
    let right = patch(port, "ann", &path, 0, sum, b"hello world").await;
    assert_eq!(right.status, 204);
    assert_eq!(ask(port, "ann", "GET", &path, "", b"").await.body, b"hello world");

    assert_eq!(begin(port, "ann", 1001, HELLO).await.status, 413);
    assert_eq!(begin(port, "", 1, HELLO).await.status, 401);
    for metadata in ["filename %%%", "conversation bm9uZQ=="] {
        assert_eq!(
            begin(port, "ann", 1, metadata).await.code(),
            "invalid_upload",
            "{metadata}"
        );
    }
    let old = ask(
        port,
        "ann",
        "POST",
        "/v1/blobs/keeper",
        "tus-resumable: 0.2.2\r\nupload-length: 1\r\n",
        b"",
    )
    .await;
    assert_eq!((old.status, old.header("tus-version")), (412, Some("1.0.0")));
    let options = ask(port, "", "OPTIONS", "/v1/blobs/keeper", "", b"").await;
    assert_eq!((options.status, options.header("tus-max-size")), (204, Some("1000")));
    for path in [
        "/v1/blobs/nobody",
        "/v1/blobs/keeper/none",
        "/v1/apps/none/blobs/keeper/x",
    ] {
        assert_eq!(ask(port, "ann", "GET", path, "", b"").await.status, 404, "{path}");
    }
    let stranger = ask(
        port,
        "ann",
        "POST",
        "/v1/blobs/nobody",
        &format!("{TUS}upload-length: 1\r\n"),
        b"",
    )
    .await;
    assert_eq!(stranger.status, 404);
    let plain = ask(port, "ann", "POST", "/v1/blobs/keeper", "", b"hello").await;
    assert_eq!((plain.status, plain.code()), (405, "invalid_upload".to_owned()));
    // An empty file is valid.
    let empty = begin(port, "ann", 0, HELLO).await;
    let path = empty.header("location").unwrap();
    assert_eq!(
        ask(port, "ann", "GET", path, "", b"").await.header("content-length"),
        Some("0")
    );
    server.stop().await;
}

#[tokio::test]
async fn the_plugin_decides_and_its_writes_commit_with_the_blob() {
    let (site, server) = start("").await;
    let port = server.port;
    let mut ann = server.sign_in("ann").await;
    // In Base64: refused.txt, broken.txt, late.txt, tired.txt.
    let refused = begin(port, "ann", 5, "filename cmVmdXNlZC50eHQ=").await;
    assert_eq!((refused.status, refused.code()), (403, "keeper.unwanted".to_owned()));
    let broken = begin(port, "ann", 5, "filename YnJva2VuLnR4dA==").await;
    assert_eq!((broken.status, broken.code()), (502, "internal".to_owned()));
    assert_eq!(noted(&mut ann).await, (json!([]), json!([])));
    let late = begin(port, "ann", 5, "filename bGF0ZS50eHQ=").await;
    let path = late.header("location").unwrap();
    let end = patch(port, "ann", path, 0, "", b"hello").await;
    assert_eq!((end.status, end.code()), (403, "keeper.unwanted".to_owned()));
    assert_eq!(ask(port, "ann", "HEAD", path, TUS, b"").await.status, 404);
    // An upload rejected with a retry stays, and its last bytes can be resent.
    let tired = begin(port, "ann", 5, "filename dGlyZWQudHh0").await;
    let path = tired.header("location").unwrap().to_owned();
    assert_eq!(patch(port, "ann", &path, 0, "", b"hello").await.status, 503);
    assert_eq!(offset_of(port, &path, 0).await, 0);
    let other = ask(port, "bob", "DELETE", &path, TUS, b"").await;
    assert_eq!(other.status, 404);
    assert_eq!(ask(port, "ann", "DELETE", &path, TUS, b"").await.status, 204);

    let path = upload(port, "ann", HELLO, b"hello world").await;
    let (lines, blobs) = noted(&mut ann).await;
    let begun = |name: &str, media_type: &str, length: u32| format!("begin {name} {media_type} {length}");
    assert_eq!(
        lines,
        json!([
            begun("late.txt", "", 5),
            begun("tired.txt", "", 5),
            begun("hello.txt", "text/plain", 11),
            "complete hello.txt"
        ])
    );
    assert_eq!(blobs, json!(["hello.txt 11 ann"]));
    assert_eq!(ask(port, "bob", "GET", &path, "", b"").await.code(), "keeper.not_yours");
    assert_eq!(ask(port, "", "GET", &path, "", b"").await.code(), "keeper.not_yours");
    assert_eq!(
        ask(port, "bob", "DELETE", &path, "", b"").await.code(),
        "keeper.not_yours"
    );
    assert_eq!(ask(port, "ann", "DELETE", &path, "", b"").await.status, 204);
    assert_eq!(ask(port, "ann", "GET", &path, "", b"").await.status, 404);
    assert_eq!(noted(&mut ann).await.1, json!([]));

    // A blob of a conversation is for its members.
    let named = tus::metadata(&[("filename", "a"), ("conversation", CONVERSATION)]);
    let stranger = begin(port, "eve", 1, &named).await;
    assert_eq!(stranger.code(), "keeper.stranger");
    let path = upload(port, "ann", &named, b"a").await;
    assert_eq!(ask(port, "bob", "GET", &path, "", b"").await.body, b"a");
    assert_eq!(ask(port, "eve", "GET", &path, "", b"").await.status, 403);

    // Removed blobs leave no bytes on the disk.
    let removed = path.rsplit('/').next().unwrap().to_owned();
    let named = json!({"id": removed});
    assert_eq!(call(&mut ann, "discard", named.clone()).await["type"], "result");
    assert_eq!(call(&mut ann, "discard", named).await["code"], "keeper.internal");
    let folder = site.folder.path().join("data/blobs/default/keeper");
    let begun = Instant::now();
    while folder.exists() && std::fs::read_dir(&folder).unwrap().count() > 0 {
        assert!(begun.elapsed().as_secs() < 60, "files are left");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_job_reads_and_writes_blobs() {
    let (_site, server) = start("").await;
    let port = server.port;
    let mut ann = server.sign_in("ann").await;
    let path = upload(port, "ann", HELLO, b"hello world").await;
    let id = json!({"id": path.rsplit('/').next().unwrap()});
    assert_eq!(
        call(&mut ann, "overreach", id.clone()).await["code"],
        "keeper.unavailable"
    );
    assert_eq!(call(&mut ann, "greedy", id.clone()).await["type"], "result");
    wait_for(&mut ann, "blob_too_large").await;
    assert_eq!(call(&mut ann, "cut", id).await["type"], "result");
    let line = wait_for(&mut ann, "made ").await;
    let made = line.strip_prefix("made ").unwrap();
    // The blob has no uploader, so the plugin allows everybody to download it.
    let first = ask(port, "", "GET", &format!("/v1/blobs/keeper/{made}"), "", b"").await;
    assert_eq!((first.status, &*first.body), (200, &b"llo "[..]));
    wait_for(&mut ann, "unkept 4").await;
    server.stop().await;
}

/// Waits for a line with this prefix.
async fn wait_for(client: &mut Client, wanted: &str) -> String {
    let begun = Instant::now();
    loop {
        let (lines, _) = noted(client).await;
        let texts = lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap());
        if let Some(found) = texts.into_iter().find(|line| line.starts_with(wanted)) {
            return found.to_owned();
        }
        assert!(begun.elapsed().as_secs() < 60, "{wanted:?} is not in {lines}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
