//! Uploads and downloads of the Rust client with the files plugin in the real server, over faulty connections.

use std::io::Cursor;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use courtyard_client::{Blobs, Error, Options, Upload};
use courtyard_tests::line::{Fault, From, Line};
use courtyard_tests::{CONVERSATION, Server, Site, plugin};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Upper bound of every wait; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of a file.
const LENGTH: u64 = 3_000_000;
/// Bytes of one request.
const PART: usize = 256 << 10;

/// A server with the files plugin and small storage parts.
fn site() -> Site {
    let files = plugin("files");
    Site::new(&format!(
        "[blobs]\npart_bytes = 65536\nmax_bytes = 9_000_000\n[[plugins]]\nid = \"files\"\npath = {files:?}\n\
         grant = [\"kv\", \"jobs\", \"blobs\", \"sessions\", \"annotations\", \"memberships\"]\n\
         [plugins.config]\nuser_bytes = 7_000_000\n[plugins.limits]\n"
    ))
}

fn options(port: u16) -> Options {
    Options::new(&format!("ws://127.0.0.1:{port}/v1/ws"))
        .back_off(Duration::from_millis(20), Duration::from_millis(100))
}

fn blobs(port: u16, actor: &str) -> Blobs {
    Blobs::new(&options(port).token(actor)).unwrap()
}

/// Bytes without two equal parts.
fn pattern() -> Vec<u8> {
    (0..LENGTH / 4)
        .flat_map(|number| u32::try_from(number).unwrap().wrapping_mul(2_654_435_761).to_le_bytes())
        .collect()
}

/// Describes an upload for the conversation.
fn upload(blobs: &Blobs, bytes: &[u8]) -> Upload<Cursor<Vec<u8>>> {
    blobs
        .upload("files", Cursor::new(bytes.to_vec()))
        .name("a.bin")
        .media_type("application/octet-stream")
        .conversation(CONVERSATION)
        .part_bytes(PART)
}

async fn sent(upload: Upload<Cursor<Vec<u8>>>) -> Result<String, Error> {
    timeout(PATIENCE, upload.send()).await.unwrap()
}

/// Downloads a part.
async fn part(blobs: &Blobs, id: &str, range: impl RangeBounds<u64>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let download = blobs.download("files", id).range(range).write_to(&mut bytes);
    let written = timeout(PATIENCE, download).await.unwrap()?;
    assert_eq!(written, bytes.len() as u64);
    Ok(bytes)
}

async fn whole(blobs: &Blobs, id: &str) -> Result<Vec<u8>, Error> {
    part(blobs, id, ..).await
}

/// Calls a method of the plugin.
async fn call(server: &Server, actor: &str, method: &str, params: Value) -> Value {
    let frame = json!({"type": "call", "id": "c", "method": format!("files.{method}"), "params": params});
    server.sign_in(actor).await.request(frame).await["value"].clone()
}

/// Collects reported values.
#[derive(Clone)]
struct Told<T>(Arc<Mutex<Vec<T>>>);

impl<T> Told<T> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn add(&self, collected: T) {
        self.0.lock().unwrap().push(collected);
    }

    fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn a_client_upload_is_downloaded_whole_and_in_ranges() {
    let (site, bytes) = (site(), pattern());
    let server = site.start().await;
    let (ann, bob) = (blobs(site.port, "ann"), blobs(site.port, "bob"));
    let moves = Told::new();
    let collected = moves.clone();
    let name = format!("{}.bin", "ü".repeat(200));
    let described = upload(&ann, &bytes).name(&name).checksums();
    let id = sent(described.on_progress(move |sent, size| collected.add((sent, size))))
        .await
        .unwrap();
    let moves = moves.take();
    assert_eq!(
        (moves.first(), moves.last()),
        (Some(&(0, LENGTH)), Some(&(LENGTH, LENGTH)))
    );
    assert!(moves.is_sorted() && moves.len() > 10, "{moves:?}");
    let file = call(&server, "bob", "file", json!({"blob": id})).await;
    let kept = file["name"].as_str().unwrap();
    assert!(kept.len() <= 255 && kept.ends_with("ü.bin"), "{file}");
    assert_eq!(
        (&file["size"], &file["media_type"]),
        (&json!(LENGTH), &json!("application/octet-stream"))
    );

    let (moves, mut copy) = (Told::new(), Vec::new());
    let collected = moves.clone();
    let download = bob
        .download("files", &id)
        .on_progress(move |got, size| collected.add((got, size)));
    assert_eq!(
        timeout(PATIENCE, download.write_to(&mut copy)).await.unwrap(),
        Ok(LENGTH)
    );
    assert!(copy == bytes);
    assert_eq!(moves.take().last(), Some(&(LENGTH, Some(LENGTH))));
    let end = bytes.len();
    for (got, wanted) in [
        (part(&bob, &id, 1_000..2_000).await, &bytes[1_000..2_000]),
        (part(&bob, &id, ..=9).await, &bytes[..10]),
        (part(&bob, &id, LENGTH - 5..).await, &bytes[end - 5..]),
        (part(&bob, &id, LENGTH - 5..LENGTH + 100).await, &bytes[end - 5..]),
        (part(&bob, &id, 7..7).await, &[]),
        (part(&bob, &id, LENGTH..).await, &[]),
    ] {
        assert!(got.unwrap() == wanted);
    }
    assert_eq!(part(&bob, &id, LENGTH + 1..).await.unwrap_err().code(), "invalid_range");

    let empty = sent(upload(&ann, b"")).await.unwrap();
    assert_eq!(whole(&bob, &empty).await.unwrap(), b"");
    server.stop().await;
}

#[tokio::test]
async fn an_upload_survives_repeated_disconnects() {
    let (site, bytes) = (site(), pattern());
    let server = site.start().await;
    let breaks = [200_000, 900_000, 1_500_000, 2_400_000].map(|at| (at, Fault::Cut));
    for has_checksums in [false, true] {
        let line = Line::to(site.port, From::Client, &breaks).await;
        let (ann, waits) = (blobs(line.port, "ann"), Told::new());
        let collected = waits.clone();
        let mut described = upload(&ann, &bytes).on_wait(move |error, _| collected.add(error.clone()));
        if has_checksums {
            described = described.checksums();
        }
        let id = sent(described).await.unwrap();
        assert_eq!(line.left(), 0);
        let broken = waits.take().iter().filter(|error| **error == Error::Offline).count();
        assert_eq!(broken, breaks.len());
        // Each attempt resumed at the stored offset.
        assert!(line.carried() < LENGTH + 5 * PART as u64, "{} bytes", line.carried());
        assert!(whole(&blobs(site.port, "bob"), &id).await.unwrap() == bytes);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_download_survives_repeated_disconnects() {
    let (site, bytes) = (site(), pattern());
    let server = site.start().await;
    let id = sent(upload(&blobs(site.port, "ann"), &bytes)).await.unwrap();
    let breaks = [100_000, 700_000, 1_800_000, 2_900_000].map(|at| (at, Fault::Cut));
    let line = Line::to(site.port, From::Server, &breaks).await;
    let bob = blobs(line.port, "bob");
    assert!(whole(&bob, &id).await.unwrap() == bytes);
    assert_eq!(line.left(), 0);
    assert!(line.carried() < LENGTH + 500_000, "{} bytes", line.carried());

    let line = Line::to(site.port, From::Server, &[(300_000, Fault::Cut)]).await;
    let some = part(&blobs(line.port, "bob"), &id, 1_000_000..2_000_000).await.unwrap();
    assert!(some == bytes[1_000_000..2_000_000]);
    assert_eq!(line.left(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_corrupted_part_is_resent_a_limited_number_of_times() {
    let (site, bytes) = (site(), pattern());
    let server = site.start().await;
    // One fault per part.
    let flips = [100_000, 400_000, 700_000, 900_000].map(|at| (at, Fault::Flip));
    let line = Line::to(site.port, From::Client, &flips[..2]).await;
    let waits = Told::new();
    let collected = waits.clone();
    let ann = blobs(line.port, "ann");
    let described = upload(&ann, &bytes).checksums();
    let id = sent(described.on_wait(move |error, _| collected.add(error.code().to_owned())))
        .await
        .unwrap();
    assert_eq!((line.left(), waits.take()), (0, vec!["invalid_checksum".to_owned(); 2]));
    assert!(whole(&blobs(site.port, "bob"), &id).await.unwrap() == bytes);

    let line = Line::to(site.port, From::Client, &flips).await;
    let refused = sent(upload(&blobs(line.port, "ann"), &bytes).checksums())
        .await
        .unwrap_err();
    assert_eq!((refused.code(), line.left()), ("invalid_checksum", 0));
    server.stop().await;
}

#[tokio::test]
async fn a_killed_server_only_delays_uploads_and_downloads() {
    let (site, bytes) = (site(), pattern());
    let (waits, mut waiting) = mpsc::unbounded_channel();
    let line = Line::to(site.port, From::Client, &[(1_500_000, Fault::Hold)]).await;
    let described = upload(&blobs(line.port, "ann"), &bytes).on_wait(move |error, _| drop(waits.send(error.clone())));
    let upload = tokio::spawn(described.send());
    // The server isn't running yet.
    assert_eq!(timeout(PATIENCE, waiting.recv()).await.unwrap(), Some(Error::Offline));
    let server = site.start().await;
    timeout(PATIENCE, line.exhausted()).await.unwrap();
    server.kill().await;
    let server = site.start().await;
    line.release();
    let id = timeout(PATIENCE, upload).await.unwrap().unwrap().unwrap();
    // The server kept the received bytes.
    assert!(line.carried() < 2 * LENGTH, "{} bytes", line.carried());

    let line = Line::to(site.port, From::Server, &[(1_500_000, Fault::Hold)]).await;
    let bob = blobs(line.port, "bob");
    let download = tokio::spawn({
        let id = id.clone();
        async move { whole(&bob, &id).await }
    });
    timeout(PATIENCE, line.exhausted()).await.unwrap();
    server.kill().await;
    let server = site.start().await;
    line.release();
    assert!(timeout(PATIENCE, download).await.unwrap().unwrap().unwrap() == bytes);
    let usage = call(&server, "ann", "usage", json!({})).await;
    assert_eq!((&usage["bytes"], &usage["files"]), (&json!(LENGTH), &json!(1)));
    server.stop().await;
}

/// Starts an upload and drops the client in the middle of it. Returns its id.
async fn broken_off(site: &Site, bytes: &[u8]) -> String {
    let line = Line::to(site.port, From::Client, &[(1_500_000, Fault::Hold)]).await;
    let ids = Told::new();
    let collected = ids.clone();
    let described = upload(&blobs(line.port, "ann"), bytes).on_begin(move |id| collected.add(id.to_owned()));
    let upload = tokio::spawn(described.send());
    timeout(PATIENCE, line.exhausted()).await.unwrap();
    upload.abort();
    assert!(upload.await.unwrap_err().is_cancelled());
    let ids = ids.take();
    assert_eq!(ids.len(), 1);
    ids[0].clone()
}

#[tokio::test]
async fn an_upload_resumes_by_its_id_after_a_restart_of_the_client() {
    let (site, bytes) = (site(), pattern());
    let server = site.start().await;
    let ann = blobs(site.port, "ann");
    let id = broken_off(&site, &bytes).await;
    let moves = Told::new();
    let collected = moves.clone();
    let again = upload(&ann, &bytes)
        .resume(&id)
        .on_progress(move |sent, _| collected.add(sent));
    assert_eq!(sent(again).await, Ok(id.clone()));
    // At least the acknowledged bytes.
    assert!(moves.take()[0] >= 1_000_000);
    assert!(whole(&ann, &id).await.unwrap() == bytes);
    // A complete upload stays as it is.
    assert_eq!(sent(upload(&ann, &bytes).resume(&id)).await, Ok(id.clone()));

    // Another file, another actor, and a missing upload.
    let shorter = sent(upload(&ann, b"shorter").resume(&id)).await.unwrap();
    let foreign = sent(upload(&blobs(site.port, "bob"), &bytes).resume(&id))
        .await
        .unwrap();
    ann.remove("files", &shorter).await.unwrap();
    let fresh = sent(upload(&ann, b"shorter").resume(&shorter)).await.unwrap();
    assert!(id != shorter && id != foreign && shorter != fresh);
    assert_eq!(whole(&ann, &fresh).await.unwrap(), b"shorter");
    assert_eq!(whole(&ann, &shorter).await.unwrap_err().code(), "unknown_blob");
    server.stop().await;
}

#[tokio::test]
async fn an_aborted_upload_can_be_deleted_on_the_server() {
    let (site, bytes) = (site(), pattern());
    let server = site.start().await;
    let ann = blobs(site.port, "ann");
    let id = broken_off(&site, &bytes).await;
    // An aborted upload counts for the quota.
    sent(upload(&ann, &bytes)).await.unwrap();
    assert_eq!(
        sent(upload(&ann, &bytes)).await.unwrap_err().code(),
        "files.limit_storage"
    );
    let foreign = blobs(site.port, "bob").remove("files", &id).await;
    assert_eq!(foreign.unwrap_err().code(), "unknown_blob");
    ann.remove("files", &id).await.unwrap();
    assert_eq!(ann.remove("files", &id).await.unwrap_err().code(), "unknown_blob");
    sent(upload(&ann, &bytes)).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_final_rejection_is_reported_with_its_code_and_not_retried() {
    let (site, bytes) = (site(), pattern());
    let server = site.start().await;
    let ann = blobs(site.port, "ann");
    let nobody = Blobs::new(&options(site.port)).unwrap();
    let wrong = blobs(site.port, &"x".repeat(129));
    let tried = Told::new();
    let attempt = |blobs: &Blobs, bytes: &[u8]| {
        let tried = tried.clone();
        upload(blobs, bytes).on_wait(move |error, _| tried.add(error.clone()))
    };
    let id = sent(attempt(&ann, &bytes)).await.unwrap();
    sent(attempt(&ann, &bytes)).await.unwrap();
    let too_long = vec![0; 9_000_001];
    let refusals = [
        (sent(attempt(&nobody, b"a")).await, "unauthenticated"),
        (sent(attempt(&wrong, b"a")).await, "unauthenticated"),
        (sent(attempt(&wrong, b"a").resume(&id)).await, "unauthenticated"),
        (sent(attempt(&blobs(site.port, "eve"), b"a")).await, "files.forbidden"),
        (
            sent(attempt(&ann, b"a").conversation("")).await,
            "files.invalid_conversation",
        ),
        (sent(attempt(&ann, b"a").conversation("no id")).await, "invalid_upload"),
        (sent(attempt(&ann, &bytes)).await, "files.limit_storage"),
        (sent(attempt(&ann, &too_long)).await, "limit_bytes"),
    ];
    for (refused, code) in refusals {
        let error = refused.unwrap_err();
        assert_eq!((error.code(), error.is_temporary()), (code, false), "{error}");
    }
    assert_eq!(tried.take(), []);
    for (actor, id, code) in [
        (&wrong, &*id, "unauthenticated"),
        (&blobs(site.port, "eve"), &id, "files.forbidden"),
        (&ann, "none", "unknown_blob"),
        (&ann, "..", "unknown_blob"),
    ] {
        assert_eq!(whole(actor, id).await.unwrap_err().code(), code, "{id}");
    }
    let elsewhere = ann.upload("none", Cursor::new(b"a".to_vec())).send();
    assert_eq!(
        timeout(PATIENCE, elsewhere).await.unwrap().unwrap_err().code(),
        "unknown_blob"
    );

    // A new token applies from the next request.
    wrong.set_token("bob");
    assert!(whole(&wrong, &id).await.unwrap() == bytes);
    server.stop().await;

    // Without a server, a download fails after its attempts.
    assert_eq!(whole(&ann, &id).await, Err(Error::Offline));
}

#[tokio::test]
async fn a_truncated_file_is_reported_as_unreadable() {
    let (site, bytes) = (site(), pattern());
    let server = site.start().await;
    let path = site.folder.path().join("shrinking.bin");
    std::fs::write(&path, &bytes).unwrap();
    let file = tokio::fs::File::open(&path).await.unwrap();
    let described = blobs(site.port, "ann")
        .upload("files", file)
        .conversation(CONVERSATION)
        .on_begin(move |_| {
            std::fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(5)
                .unwrap();
        });
    let failed = timeout(PATIENCE, described.send()).await.unwrap().unwrap_err();
    assert_eq!((failed.code(), failed.is_temporary()), ("file", false));
    server.stop().await;
}
