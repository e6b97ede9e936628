#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::store::{EmbeddedOptions, EmbeddedStore};
use crate::wire::AppId;

struct TestBlobs {
    folder: tempfile::TempDir,
    store: Arc<dyn Store>,
    blobs: Arc<Blobs>,
}

async fn open_blobs() -> TestBlobs {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let runtime = tokio::runtime::Handle::current();
    let (store, blobs) = tokio::task::spawn_blocking(move || {
        let store = EmbeddedStore::open_on(&runtime, &path.join("data"), EmbeddedOptions::default()).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let limits = BlobLimits::default();
        let objects = super::folder(&path.join("blobs")).unwrap();
        let blobs = Blobs::open(&store, objects, None, &path.join("blobs.key"), limits).unwrap();
        (store, Arc::new(blobs))
    })
    .await
    .unwrap();
    TestBlobs { folder, store, blobs }
}

impl TestBlobs {
    async fn commit(&self, work: impl FnOnce(&mut Draft) + Send + 'static) {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut draft = Draft::new(store);
            work(&mut draft);
            draft.commit_blocking().unwrap();
        });
        done.await.unwrap();
    }

    /// Writes a blob in parts of these lengths.
    async fn blob(&self, lengths: &[usize]) -> (BlobName, BlobRecord, Vec<u8>) {
        let name = BlobName::new(AppId::default_app(), "files");
        let whole: usize = lengths.iter().sum();
        let bytes: Vec<u8> = (0..=250).cycle().take(whole).collect();
        let mut record = self.blobs.begin(&name, whole as u64).unwrap();
        let mut at = 0;
        for length in lengths {
            let part = Bytes::copy_from_slice(&bytes[at..at + length]);
            record.parts.push(self.blobs.write(&name, &record, part).await.unwrap());
            at += length;
        }
        let (named, kept) = (name.clone(), record.clone());
        self.commit(move |draft| put(draft, &named, None, &kept)).await;
        (name, record, bytes)
    }

    async fn read(&self, name: &BlobName, record: &BlobRecord, range: Range<u64>) -> Result<Vec<u8>, BlobsError> {
        let mut stream = Box::pin(self.blobs.read(name, record, range)?);
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let mut folders = vec![self.folder.path().join("blobs")];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_range_can_be_read() {
    let test = open_blobs().await;
    let (name, record, bytes) = test.blob(&[PIECE + 7, 1, SEGMENT, 2 * PIECE - 1]).await;
    let whole = bytes.len() as u64;
    let piece = PIECE as u64;
    for range in [
        0..whole,
        0..1,
        piece - 1..piece + 9,
        piece + 6..piece + 8,
        whole - 1..whole,
        piece + 7..piece + 8,
        70_000..700_000,
        5..5,
    ] {
        let index = |at: u64| usize::try_from(at).unwrap();
        let (from, to) = (index(range.start), index(range.end));
        let read = test.read(&name, &record, range.clone()).await.unwrap();
        assert!(read == bytes[from..to], "{range:?}");
    }
    assert_eq!(record.offset(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_show_no_plain_bytes_and_a_flipped_bit_is_an_error() {
    let test = open_blobs().await;
    let (name, record, bytes) = test.blob(&[100_000]).await;
    let files = test.files();
    assert_eq!(files.len(), 1);
    let mut stored = std::fs::read(&files[0]).unwrap();
    assert!(!stored.windows(32).any(|window| window == &bytes[..32]));
    stored[90_000] ^= 4;
    std::fs::write(&files[0], &stored).unwrap();
    // The first segment is unchanged.
    assert!(test.read(&name, &record, 0..10).await.is_ok());
    assert!(matches!(
        test.read(&name, &record, 0..100_000).await,
        Err(BlobsError::Damaged(_))
    ));
    std::fs::write(&files[0], &stored[..70_000]).unwrap();
    assert!(test.read(&name, &record, 0..100_000).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_and_expired_blobs_leave_no_files() {
    let test = open_blobs().await;
    let (removed, record, _) = test.blob(&[10, 10]).await;
    let (over, late, _) = test.blob(&[10]).await;
    let (stays, ..) = test.blob(&[10]).await;
    assert_eq!(test.files().len(), 4);
    let (name, other) = (removed.clone(), over.clone());
    test.commit(move |draft| {
        remove(draft, &name, &record);
        let now = BlobRecord {
            until_ms: 1,
            ..late.clone()
        };
        put(draft, &other, Some(&late), &now);
    })
    .await;
    sweep::sweep_once(&test.store, &test.blobs).await.unwrap();
    assert_eq!(test.files().len(), 1);
    for (name, there) in [(&removed, false), (&over, false), (&stays, true)] {
        assert_eq!(test.store.get(&name.key()).unwrap().is_some(), there);
    }
    assert!(test.store.scan(b"g", b"h", 9, false).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_another_key_are_not_opened() {
    let test = open_blobs().await;
    let (store, path) = (test.store.clone(), test.folder.path().to_owned());
    let opened = tokio::task::spawn_blocking(move || {
        let other = path.join("other.key");
        let objects = super::folder(&path.join("blobs")).unwrap();
        Blobs::open(&store, objects, None, &other, BlobLimits::default()).map(drop)
    });
    assert!(matches!(opened.await.unwrap(), Err(BlobsError::OtherKey)));
}
