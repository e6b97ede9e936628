//! Blobs: bytes that belong to plugins. What is known about one is in the store, its bytes are sealed parts in an object
//! store, and clients stream them past the plugins.
//!
//! A part is an object that is written once, before the transaction that counts it; what no record counts is never read.

mod objects;
mod record;
mod seal;
mod sweep;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::log::{Draft, key};
use crate::store::{CommitError, Store, StoreError};

pub use objects::{Bucket, BucketKeys, bucket, folder};
pub use record::{BlobName, Part, Record, find, list, put, remove};
use seal::{BlobKey, MasterKey, SEGMENT, TAG};
pub use sweep::sweep;

/// Bytes that are read at once.
const PIECE: usize = 16 * SEGMENT;

/// Bytes of the name of a file.
pub const NAME_BYTES: usize = 255;
/// Bytes of a media type.
pub const MEDIA_TYPE_BYTES: usize = 127;

/// Limits of blobs. Every one has a key under `[blobs]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobLimits {
    /// Bytes of one blob.
    pub bytes: u64,
    /// Bytes of one part; an upload that is broken off loses less than that.
    pub part_bytes: usize,
    /// How long an upload may take until it is removed.
    pub unfinished: Duration,
    /// Requests that upload at a time; others are told to come again.
    pub uploads: usize,
}

impl Default for BlobLimits {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            part_bytes: 4 << 20,
            unfinished: Duration::from_secs(24 * 3_600),
            uploads: 32,
        }
    }
}

/// Why a blob can't be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobsError {
    /// The object store refuses.
    #[error("the object store failed")]
    Objects(#[from] object_store::Error),
    /// A bucket can't be used.
    #[error("the bucket {bucket:?} can't be written and read")]
    Bucket {
        /// Its name.
        bucket: String,
        /// Why.
        source: object_store::Error,
    },
    /// Connections to a bucket can't be made.
    #[error("connections to the bucket can't be set up")]
    Connections(#[from] crate::fetch::FetcherError),
    /// The store refuses.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The transaction did not hold.
    #[error("it can't be committed")]
    Commit(#[from] CommitError),
    /// Bytes are not what was written.
    #[error("the blob is damaged: {0}")]
    Damaged(&'static str),
    /// The master key can't be used.
    #[error("the key of the blobs can't be used: {0}")]
    Key(String),
    /// There are blobs under another master key.
    #[error("the blobs were written with another key")]
    OtherKey,
}

/// The bytes of blobs.
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    master: MasterKey,
    limits: BlobLimits,
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blobs")
            .field("objects", &self.objects)
            .finish_non_exhaustive()
    }
}

impl Blobs {
    /// Keeps the bytes in an object store. The key is read from a file; without one, `made` is read, and made if there is none.
    /// Waits for the disk.
    ///
    /// # Errors
    /// When the key can't be used, or there are blobs under another key.
    pub fn open(
        store: &Arc<dyn Store>,
        objects: Arc<dyn ObjectStore>,
        given: Option<&Path>,
        made: &Path,
        limits: BlobLimits,
    ) -> Result<Self, BlobsError> {
        let master = match given {
            Some(path) => MasterKey::read(path)?,
            None => MasterKey::read_or_make(made)?,
        };
        let mut draft = Draft::new(store.clone());
        match draft.get(key::BLOB_KEY)? {
            Some(known) if known[..] != master.fingerprint()[..] => return Err(BlobsError::OtherKey),
            Some(_) => {}
            None => {
                draft.set(
                    Bytes::from_static(key::BLOB_KEY),
                    Some(Bytes::copy_from_slice(master.fingerprint())),
                );
                draft.commit_blocking()?;
            }
        }
        Ok(Self {
            objects,
            master,
            limits,
        })
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> &BlobLimits {
        &self.limits
    }

    /// Makes the record of a blob that begins.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn begin(&self, name: &BlobName, length: u64) -> Result<Record, BlobsError> {
        let now_ms = crate::clock::now_ms();
        let unfinished_ms = u64::try_from(self.limits.unfinished.as_millis()).unwrap_or(u64::MAX);
        Ok(Record {
            name: String::new(),
            media_type: String::new(),
            length,
            uploader: String::new(),
            conversation: None,
            created_ms: now_ms,
            until_ms: now_ms.saturating_add(unfinished_ms),
            complete: false,
            key: self.master.make_blob_key(name.id)?,
            parts: Vec::new(),
        })
    }

    /// Writes a part, durably. It counts once a record names it.
    ///
    /// # Errors
    /// See [`BlobsError`].
    pub async fn write(&self, name: &BlobName, record: &Record, bytes: Bytes) -> Result<Part, BlobsError> {
        let key = self.master.blob_key(name.id, &record.key)?;
        let nonce: u64 = rand::random();
        let length = u32::try_from(bytes.len()).map_err(|_| BlobsError::Damaged("a part is too large"))?;
        // Megabytes are sealed in milliseconds, which is too long for the threads of connections.
        let sealed = tokio::task::spawn_blocking(move || key.seal(nonce, &bytes)).await;
        let sealed = sealed.map_err(|_| BlobsError::Damaged("sealing it panicked"))??;
        let part = Part { nonce, length };
        self.objects.put(&object(name, part), PutPayload::from(sealed)).await?;
        Ok(part)
    }

    /// Reads a range of a blob, in pieces.
    ///
    /// # Errors
    /// When the key can't be opened. The stream ends with an error when bytes are missing or damaged.
    pub fn read(
        self: &Arc<Self>,
        name: &BlobName,
        record: &Record,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobsError>> + Send + 'static, BlobsError> {
        let key = Arc::new(self.master.blob_key(name.id, &record.key)?);
        let mut pieces = Vec::new();
        let mut start = 0;
        for part in &record.parts {
            let end = start + u64::from(part.length);
            let wanted = range.start.max(start)..range.end.min(end);
            if wanted.start < wanted.end {
                let mut at = wanted.start - start;
                while at < wanted.end - start {
                    // Up to the next multiple, so that no segment is opened twice.
                    let next = (at / PIECE as u64 + 1) * PIECE as u64;
                    let to = next.min(wanted.end - start);
                    pieces.push((*part, at..to));
                    at = to;
                }
            }
            start = end;
        }
        let (this, name) = (self.clone(), name.clone());
        Ok(stream::iter(pieces).then(move |(part, range)| {
            let (this, name, key) = (this.clone(), name.clone(), key.clone());
            async move { this.piece(&name, key, part, range).await }
        }))
    }

    /// Reads some bytes of a part.
    async fn piece(
        &self,
        name: &BlobName,
        key: Arc<BlobKey>,
        part: Part,
        range: Range<u64>,
    ) -> Result<Bytes, BlobsError> {
        let (segment, sealed) = (SEGMENT as u64, (SEGMENT + TAG) as u64);
        let first = range.start / segment;
        let last = range.end.div_ceil(segment);
        let whole = u64::from(part.length) + u64::from(part.length).div_ceil(segment) * TAG as u64;
        let wanted = first * sealed..(last * sealed).min(whole);
        let expected = wanted.end - wanted.start;
        let bytes = self.objects.get_range(&object(name, part), wanted).await?;
        if bytes.len() as u64 != expected {
            return Err(BlobsError::Damaged("bytes of it are missing"));
        }
        // What is in memory fits into a usize.
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let opened = tokio::task::spawn_blocking(move || key.open(part.nonce, place(first), &bytes)).await;
        let opened = Bytes::from(opened.map_err(|_| BlobsError::Damaged("opening it panicked"))??);
        let skipped = place(range.start - first * segment);
        Ok(opened.slice(skipped..skipped + place(range.end - range.start)))
    }

    /// Removes parts that no record counts.
    ///
    /// # Errors
    /// When the object store fails.
    pub async fn erase_parts(&self, name: &BlobName, parts: &[Part]) -> Result<(), BlobsError> {
        for part in parts {
            self.objects.delete(&object(name, *part)).await?;
        }
        Ok(())
    }

    /// Removes all objects of a blob.
    ///
    /// # Errors
    /// When the object store fails; what is left can be removed by another try.
    pub async fn erase(&self, name: &BlobName) -> Result<(), BlobsError> {
        let found: Vec<_> = self.objects.list(Some(&place(name))).try_collect().await?;
        for object in found {
            match self.objects.delete(&object.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Where the objects of a blob are.
fn place(name: &BlobName) -> object_store::path::Path {
    [name.app.as_str(), &name.plugin, &name.text()].into_iter().collect()
}

fn object(name: &BlobName, part: Part) -> object_store::path::Path {
    place(name).join(format!("{:016x}", part.nonce))
}

#[cfg(test)]
mod tests;
