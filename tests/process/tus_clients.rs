//! Third-party clients (npm `tus-js-client`, PyPI `tuspy`) upload a large file over a breaking connection to a server that is
//! killed meanwhile, and that stores blobs in a folder or in a bucket (PyPI `moto`).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use courtyard_tests::line::{self, Fault, Line};
use courtyard_tests::tus::{self, TUS, ask, metadata};
use courtyard_tests::{CONVERSATION, Server, Site, plugin};
use rand::{RngCore, SeedableRng};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Percentages of the file at which the connection that carries it breaks.
const BREAKS: [u64; 5] = [4, 25, 45, 65, 91];
/// Percentage of the file at which the server is killed.
const KILL: u64 = 55;

/// Returns the bytes of the file: 200 MB in a long run, 24 MB otherwise.
fn length() -> u64 {
    if courtyard_tests::long() {
        200_000_000
    } else {
        24_000_000
    }
}

/// Returns a percentage of the file in bytes.
fn percent(percent: u64) -> u64 {
    length() / 100 * percent
}

/// Upper bound of every wait, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

fn tool(path: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let found = target.join("python/bin").join(path);
    assert!(
        found.exists(),
        "{} is missing; `cargo xtask test` installs it",
        found.display()
    );
    found
}

/// An S3 server with a bucket.
struct Bucket {
    child: Child,
    port: u16,
}

impl Bucket {
    async fn start() -> Self {
        let port = free_port();
        let child = Command::new(tool("moto_server"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "moto does not start");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(ask(port, "", "PUT", "/chat", "", b"").await.status, 200);
        Self { child, port }
    }

    /// Returns the configuration of a server that stores its blobs there.
    fn configuration(&self) -> String {
        configuration(self.port, "chat")
    }

    /// Counts the objects.
    async fn objects(&self) -> usize {
        let listed = ask(self.port, "", "GET", "/chat?list-type=2&max-keys=1000", "", b"").await;
        String::from_utf8(listed.body)
            .unwrap()
            .matches("<Key>some/where/")
            .count()
    }
}

fn configuration(port: u16, bucket: &str) -> String {
    format!(
        "[blobs.s3]\nbucket = \"{bucket}\"\nendpoint = \"http://127.0.0.1:{port}\"\nallow_http = true\n\
         prefix = \"some/where\"\naccess_key = \"id\"\nsecret_key = \"secret\"\n"
    )
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts a server with the files plugin and more configuration.
async fn start(more: &str) -> (Site, Server) {
    let files = plugin("files");
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"files\"\npath = {files:?}\n\
         grant = [\"kv\", \"jobs\", \"blobs\", \"sessions\", \"annotations\", \"memberships\"]\n\
         [plugins.limits]\n{more}"
    ));
    let server = site.start().await;
    (site, server)
}

/// Random bytes, which don't compress.
fn random() -> impl RngCore {
    rand::rngs::StdRng::seed_from_u64(7)
}

fn write_file(path: &Path) {
    let (mut random, mut piece) = (random(), vec![0; 1_000_000]);
    let mut file = BufWriter::new(File::create(path).unwrap());
    for _ in 0..length() / 1_000_000 {
        random.fill_bytes(&mut piece);
        file.write_all(&piece).unwrap();
    }
}

/// Downloads a blob and compares it with the file.
async fn check(port: u16, place: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!("GET {place} HTTP/1.1\r\nhost: here\r\nconnection: close\r\nauthorization: Bearer bob\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("content-length: {}\r\n", length())),
        "{answer}"
    );
    let (mut random, mut piece) = (random(), vec![0; 1_000_000]);
    let mut read = vec![0; 1_000_000];
    for index in 0..length() / 1_000_000 {
        random.fill_bytes(&mut piece);
        stream.read_exact(&mut read).await.unwrap();
        assert!(read == piece, "megabyte {index} is another one");
    }
    assert_eq!(stream.read(&mut read).await.unwrap(), 0);
}

/// Runs a client that uploads.
async fn upload(mut client: Command, more: &str) {
    let (site, server) = start(more).await;
    let file = site.folder.path().join("large.bin");
    write_file(&file);
    let breaks = BREAKS.map(|at| (percent(at), Fault::Cut));
    let line = Line::to(server.port, line::From::Client, &breaks).await;
    let client = client
        .arg(format!("http://127.0.0.1:{}/v1/blobs/files", line.port))
        .args(["ann", CONVERSATION])
        .arg(&file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let client = tokio::spawn(client);
    let begun = Instant::now();
    while line.carried() < percent(KILL) {
        assert!(
            begun.elapsed() < PATIENCE && !client.is_finished(),
            "{:?}",
            client.await
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill().await;
    let server = site.start().await;
    let output = timeout(PATIENCE, client).await.unwrap().unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(line.left(), 0, "not every connection broke");
    let place = String::from_utf8(output.stdout).unwrap();
    let (_, place) = place.trim().split_once("/v1/").unwrap();
    check(server.port, &format!("/v1/{place}")).await;
    let mut ann = server.sign_in("ann").await;
    let usage = json!({"type": "call", "id": "u", "method": "files.usage", "params": {}});
    let usage = ann.request(usage).await["value"].clone();
    assert_eq!((&usage["bytes"], &usage["files"]), (&json!(length()), &json!(1)));
    server.stop().await;
}

fn tus_js_client() -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tus");
    assert!(
        folder.join("node_modules").exists(),
        "`cargo xtask test` installs the client; or run `npm ci` in tests/tus"
    );
    let mut client = Command::new("node");
    client.arg("upload.js").current_dir(folder);
    client
}

fn tuspy() -> Command {
    let mut client = Command::new(tool("python"));
    client
        .arg("upload.py")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tus"));
    client
}

#[tokio::test]
async fn tus_js_client_uploads_to_a_folder_despite_disconnects() {
    upload(tus_js_client(), "").await;
}

#[tokio::test]
async fn tuspy_uploads_to_a_bucket_despite_disconnects() {
    let bucket = Bucket::start().await;
    upload(tuspy(), &bucket.configuration()).await;
}

#[tokio::test]
async fn tuspy_uploads_to_a_folder_despite_disconnects() {
    upload(tuspy(), "").await;
}

#[tokio::test]
async fn tus_js_client_uploads_to_a_bucket_despite_disconnects() {
    let bucket = Bucket::start().await;
    upload(tus_js_client(), &bucket.configuration()).await;
}

#[tokio::test]
async fn a_bucket_has_only_the_objects_of_existing_blobs() {
    let bucket = Bucket::start().await;
    let (site, server) = start(&bucket.configuration()).await;
    let port = server.port;
    assert_eq!(bucket.objects().await, 0);
    let about = metadata(&[("filename", "a.txt"), ("conversation", CONVERSATION)]);
    let secret = b"the meeting is at noon; ".repeat(10_000);
    let uploaded = tus::upload(port, "files", "ann", &about, &secret).await;
    assert_eq!(uploaded.status, 201);
    let place = uploaded.header("location").unwrap();
    assert_eq!(bucket.objects().await, 1);
    let part = ask(port, "bob", "GET", place, "range: bytes=100000-100010\r\n", b"").await;
    assert_eq!((part.status, &*part.body), (206, &secret[100_000..=100_010]));
    assert!(!site.folder.path().join("data/blobs").exists());
    // An aborted upload, and a removed blob.
    let begun = tus::begin(port, "files", "ann", 5, &about).await;
    let begun = begun.header("location").unwrap();
    assert_eq!(ask(port, "ann", "DELETE", begun, TUS, b"").await.status, 204);
    assert_eq!(ask(port, "ann", "DELETE", place, "", b"").await.status, 204);
    let waited = Instant::now();
    while bucket.objects().await > 0 {
        assert!(waited.elapsed().as_secs() < 60, "objects are left");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn an_unusable_bucket_stops_the_start() {
    let bucket = Bucket::start().await;
    for (port, name, reason) in [
        (free_port(), "chat", "Connect"),
        (bucket.port, "absent", "NoSuchBucket"),
    ] {
        let said = Site::new(&configuration(port, name)).start_fails().await;
        assert!(
            said.contains(&format!("can't write and read the bucket \"{name}\"")),
            "{said}"
        );
        assert!(said.contains(reason), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn while_the_bucket_is_down_uploads_wait_and_downloads_abort() {
    let mut bucket = Bucket::start().await;
    let (_site, server) = start(&bucket.configuration()).await;
    let port = server.port;
    let about = metadata(&[("filename", "a.txt"), ("conversation", CONVERSATION)]);
    let there = tus::upload(port, "files", "ann", &about, b"hello").await;
    let there = there.header("location").unwrap();
    let begun = tus::begin(port, "files", "ann", 5, &about).await;
    let begun = begun.header("location").unwrap();
    bucket.child.kill().await.unwrap();
    let refused = tus::patch(port, "ann", begun, 0, "", b"hello").await;
    assert_eq!((refused.status, &*refused.code()), (503, "unavailable"));
    let head = ask(port, "ann", "HEAD", begun, TUS, b"").await;
    assert_eq!((head.status, head.header("upload-offset")), (200, Some("0")));
    let broken = ask(port, "ann", "GET", there, "", b"").await;
    assert_eq!((broken.status, broken.body.len()), (200, 0));
    let log = server.stop().await;
    assert!(
        log.contains("a blob can't be written or read") && !log.contains("secret"),
        "{log}"
    );
}
