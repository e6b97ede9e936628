//! Blobs of a plugin: their descriptions in transactions, and their bytes in jobs.

use std::sync::Arc;

use bytes::Bytes;
use courtyard_plugin_sdk as sdk;
use futures_util::TryStreamExt;

use super::{ServiceContext, ServiceFailure, may_read};
use crate::blobs::{self, BlobName, BlobRecord, Blobs, BlobsError};
use crate::clock::now_ms;
use crate::hooks::{Call, StoreAccess};
use crate::store::{Draft, Store};
use crate::wire::{AppId, ConversationId};

/// The most bytes that a job reads or writes at once.
const MAX_BYTES: usize = 4 << 20;
/// The time, in milliseconds, in which a transaction must keep a blob that a job wrote.
const UNKEPT_MS: u64 = 3_600_000;

/// Returns the description of a blob.
pub(super) fn get(call: &mut Call, plugin: &str, id: &str) -> Result<sdk::Blob, ServiceFailure> {
    let (name, record) = found(call, plugin, id)?;
    Ok(record.seen(&name))
}

/// Lists blobs after an id, or all from the first one if the id is empty.
pub(super) fn list(call: &mut Call, plugin: &str, after: &str, limit: usize) -> Result<Vec<sdk::Blob>, ServiceFailure> {
    if !may_read(call.access) {
        return Err(ServiceFailure::Unavailable);
    }
    let after = match after {
        "" => None,
        after => Some(
            BlobName::parse(call.app.clone(), plugin, after)
                .ok_or(ServiceFailure::NotFound)?
                .id,
        ),
    };
    let found = blobs::list(&mut call.draft, &call.app, plugin, after, limit)?;
    Ok(found.into_iter().map(|(name, record)| record.seen(&name)).collect())
}

/// Keeps a blob that a job wrote.
pub(super) fn keep(call: &mut Call, plugin: &str, id: &str) -> Result<(), ServiceFailure> {
    let (name, record) = found(call, plugin, id)?;
    writable(call)?;
    // An upload that clients have not finished is not the plugin's to keep.
    if !record.complete {
        return Err(ServiceFailure::NotFound);
    }
    let kept = BlobRecord {
        until_ms: 0,
        ..record.clone()
    };
    blobs::put(&mut call.draft, &name, Some(&record), &kept);
    Ok(())
}

/// Removes a blob.
pub(super) fn remove(call: &mut Call, plugin: &str, id: &str) -> Result<(), ServiceFailure> {
    let (name, record) = found(call, plugin, id)?;
    writable(call)?;
    blobs::remove(&mut call.draft, &name, &record);
    Ok(())
}

fn found(call: &mut Call, plugin: &str, id: &str) -> Result<(BlobName, BlobRecord), ServiceFailure> {
    if !may_read(call.access) {
        return Err(ServiceFailure::Unavailable);
    }
    let name = BlobName::parse(call.app.clone(), plugin, id).ok_or(ServiceFailure::NotFound)?;
    let record = blobs::find(&mut call.draft, &name)?.ok_or(ServiceFailure::NotFound)?;
    Ok((name, record))
}

fn writable(call: &Call) -> Result<(), ServiceFailure> {
    if call.access == StoreAccess::Write {
        Ok(())
    } else {
        Err(ServiceFailure::Unavailable)
    }
}

impl ServiceContext {
    /// Reads some bytes of a blob, for a job.
    ///
    /// # Errors
    /// A code with the prefix `blob_`.
    pub async fn read_blob(&self, app: &AppId, id: &str, offset: u64, length: u32) -> Result<Vec<u8>, sdk::Error> {
        let (store, blobs) = self.stored_blobs()?;
        let name = BlobName::parse(app.clone(), &self.id, id).ok_or_else(not_found)?;
        let (finding, store) = (name.clone(), store.clone());
        let record = tokio::task::spawn_blocking(move || blobs::find(&mut Draft::new(store), &finding)).await;
        let record = record.map_err(|_| storage())?.map_err(job_error)?;
        let record = record.filter(|record| record.complete).ok_or_else(not_found)?;
        if length as usize > MAX_BYTES {
            return Err(too_large());
        }
        let end = record.length.min(offset.saturating_add(u64::from(length)));
        let pieces = blobs.read(&name, &record, offset.min(end)..end).map_err(job_error)?;
        let pieces: Vec<Bytes> = pieces.try_collect().await.map_err(job_error)?;
        Ok(pieces.concat())
    }

    /// Writes a new blob, for a job. Returns its id.
    ///
    /// # Errors
    /// A code with the prefix `blob_`.
    pub async fn write_blob(
        &self,
        app: &AppId,
        file: String,
        media_type: String,
        conversation: &str,
        bytes: Vec<u8>,
    ) -> Result<String, sdk::Error> {
        let (store, blobs) = self.stored_blobs()?;
        if bytes.len() > MAX_BYTES || file.len() > blobs::NAME_BYTES || media_type.len() > blobs::MEDIA_TYPE_BYTES {
            return Err(too_large());
        }
        let conversation = match conversation {
            "" => None,
            id => Some(id.parse::<ConversationId>().map_err(|_| not_found())?.0),
        };
        let name = BlobName::new(app.clone(), &self.id);
        let mut record = blobs.begin(&name, bytes.len() as u64).map_err(job_error)?;
        record.name = file;
        record.media_type = media_type;
        record.conversation = conversation;
        // The record is written before the bytes, so the host can remove them after a crash here.
        record.until_ms = now_ms() + UNKEPT_MS;
        commit(store, &name, None, &record).await?;
        let begun = record.clone();
        if !bytes.is_empty() {
            record
                .parts
                .push(blobs.write(&name, &record, bytes.into()).await.map_err(job_error)?);
        }
        record.complete = true;
        commit(store, &name, Some(begun), &record).await?;
        Ok(name.text())
    }

    fn stored_blobs(&self) -> Result<(&Arc<dyn Store>, &Arc<Blobs>), sdk::Error> {
        let blobs = self.host.blobs.as_ref();
        let blobs = blobs.map(|(store, blobs)| (store, blobs));
        blobs.ok_or_else(|| sdk::Error::new("unavailable", "This host has no blobs."))
    }
}

async fn commit(
    store: &Arc<dyn Store>,
    name: &BlobName,
    before: Option<BlobRecord>,
    now: &BlobRecord,
) -> Result<(), sdk::Error> {
    let (store, name, now) = (store.clone(), name.clone(), now.clone());
    let committed = tokio::task::spawn_blocking(move || {
        let mut draft = Draft::new(store);
        blobs::put(&mut draft, &name, before.as_ref(), &now);
        draft.commit_blocking()
    });
    match committed.await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(storage()),
    }
}

fn job_error(error: BlobsError) -> sdk::Error {
    match error {
        BlobsError::Damaged(_) => sdk::Error::new("blob_damaged", error.to_string()),
        error => {
            tracing::error!(%error, cause = ?std::error::Error::source(&error), "a job could not read or write a blob");
            storage()
        }
    }
}

fn not_found() -> sdk::Error {
    sdk::Error::new("blob_not_found", "This blob doesn't exist.")
}

fn too_large() -> sdk::Error {
    sdk::Error::new("blob_too_large", "A job reads or writes at most 4 MiB at once.")
}

fn storage() -> sdk::Error {
    sdk::Error::new("blob_storage", "The blob store failed. Try again later.").retryable()
}
