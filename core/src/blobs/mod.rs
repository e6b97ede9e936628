//! Blobs: bytes that belong to plugins. The record of a blob is in the store; its bytes are sealed parts in an object store,
//! which clients stream without passing through plugins.
//!
//! A part is an object that is written once, before the transaction that adds it to a record. A part without a record is
//! never read.

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

use crate::keys;
use crate::store::{CommitError, Draft, Store, StoreError};

pub use objects::{Bucket, BucketKeys, bucket, folder};
pub use record::{BlobName, BlobPart, BlobRecord, find, list, put, remove};
use seal::{BlobKey, MasterKey, SEGMENT, TAG};
pub use sweep::sweep;

/// The bytes that are read at once.
const PIECE: usize = 16 * SEGMENT;

/// The longest name of a file, in bytes.
pub const NAME_BYTES: usize = 255;
/// The longest media type, in bytes.
pub const MEDIA_TYPE_BYTES: usize = 127;

/// Limits of blobs. Every one has a key under `[blobs]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobLimits {
    /// The bytes of one blob.
    pub bytes: u64,
    /// The bytes of one part; an interrupted upload loses less than that.
    pub part_bytes: usize,
    /// The time after which an unfinished upload is removed.
    pub unfinished: Duration,
    /// The number of uploading requests at a time; others are refused as retryable.
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
    /// The object store failed.
    #[error("the object store failed")]
    Objects(#[from] object_store::Error),
    /// A bucket can't be used.
    #[error("can't write and read the bucket {bucket:?}")]
    Bucket {
        /// The name of the bucket.
        bucket: String,
        /// The error of the object store.
        source: object_store::Error,
    },
    /// The connections to a bucket can't be configured.
    #[error("can't configure connections to the bucket")]
    Connections(#[from] crate::fetch::FetcherError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The commit failed.
    #[error("the commit failed")]
    Commit(#[from] CommitError),
    /// Bytes differ from those that were written.
    #[error("the blob is damaged: {0}")]
    Damaged(&'static str),
    /// The master key can't be used.
    #[error("the key of the blobs can't be used: {0}")]
    Key(String),
    /// The store has blobs under another master key.
    #[error("the blobs were written with another key; configure that one")]
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
    /// Opens the blobs in an object store. The master key is read from the file `given`. Without it, the file `generated` is
    /// read, or created with a new key. Waits for the disk.
    ///
    /// # Errors
    /// When the key can't be used, or the store has blobs under another key.
    pub fn open(
        store: &Arc<dyn Store>,
        objects: Arc<dyn ObjectStore>,
        given: Option<&Path>,
        generated: &Path,
        limits: BlobLimits,
    ) -> Result<Self, BlobsError> {
        let master = match given {
            Some(path) => MasterKey::read(path)?,
            None => MasterKey::read_or_create(generated)?,
        };
        let mut draft = Draft::new(store.clone());
        match draft.get(keys::blobs::SECRET)? {
            Some(known) if known[..] != master.fingerprint()[..] => return Err(BlobsError::OtherKey),
            Some(_) => {}
            None => {
                draft.set(
                    Bytes::from_static(keys::blobs::SECRET),
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

    /// Creates the record of a new blob.
    ///
    /// # Errors
    /// When its key can't be created.
    pub fn begin(&self, name: &BlobName, length: u64) -> Result<BlobRecord, BlobsError> {
        let now_ms = crate::clock::now_ms();
        let unfinished_ms = u64::try_from(self.limits.unfinished.as_millis()).unwrap_or(u64::MAX);
        Ok(BlobRecord {
            name: String::new(),
            media_type: String::new(),
            length,
            uploader: String::new(),
            conversation: None,
            created_ms: now_ms,
            until_ms: now_ms.saturating_add(unfinished_ms),
            complete: false,
            key: self.master.new_blob_key(name.id)?,
            parts: Vec::new(),
        })
    }

    /// Writes a part, durably. It counts once a record names it.
    ///
    /// # Errors
    /// See [`BlobsError`].
    pub async fn write(&self, name: &BlobName, record: &BlobRecord, bytes: Bytes) -> Result<BlobPart, BlobsError> {
        let key = self.master.blob_key(name.id, &record.key)?;
        let nonce: u64 = rand::random();
        let length = u32::try_from(bytes.len()).map_err(|_| BlobsError::Damaged("a part is too large"))?;
        // Sealing megabytes takes milliseconds, too long for the threads of connections.
        let sealed = tokio::task::spawn_blocking(move || key.seal(nonce, &bytes)).await;
        let sealed = sealed.map_err(|_| BlobsError::Damaged("sealing panicked"))??;
        let part = BlobPart { nonce, length };
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
        record: &BlobRecord,
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
                    // Up to the next multiple of a piece, so that no segment is opened twice.
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
        part: BlobPart,
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
            return Err(BlobsError::Damaged("some bytes are missing"));
        }
        // Sizes in memory fit into a usize.
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let opened = tokio::task::spawn_blocking(move || key.open(part.nonce, index(first), &bytes)).await;
        let opened = Bytes::from(opened.map_err(|_| BlobsError::Damaged("opening panicked"))??);
        let skipped = index(range.start - first * segment);
        Ok(opened.slice(skipped..skipped + index(range.end - range.start)))
    }

    /// Removes parts that no record contains.
    ///
    /// # Errors
    /// When the object store fails.
    pub async fn erase_parts(&self, name: &BlobName, parts: &[BlobPart]) -> Result<(), BlobsError> {
        for part in parts {
            self.objects.delete(&object(name, *part)).await?;
        }
        Ok(())
    }

    /// Removes all objects of a blob.
    ///
    /// # Errors
    /// When the object store fails; another call removes the remaining objects.
    pub async fn erase(&self, name: &BlobName) -> Result<(), BlobsError> {
        let found: Vec<_> = self.objects.list(Some(&prefix(name))).try_collect().await?;
        for object in found {
            match self.objects.delete(&object.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Returns the path of the objects of a blob.
fn prefix(name: &BlobName) -> object_store::path::Path {
    [name.app.as_str(), &name.plugin, &name.text()].into_iter().collect()
}

fn object(name: &BlobName, part: BlobPart) -> object_store::path::Path {
    prefix(name).join(format!("{:016x}", part.nonce))
}

#[cfg(test)]
mod tests;
