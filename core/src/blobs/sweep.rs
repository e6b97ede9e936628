//! Removes blobs whose time is over, and the objects of those that were removed.

use std::sync::Arc;
use std::time::Duration;

use super::{BlobName, Blobs, BlobsError, Record};
use crate::clock::now_ms;
use crate::log::{Draft, key};
use crate::store::Store;

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_secs(5);
/// Blobs that are removed in one transaction.
const BATCH: usize = 100;

/// Removes blobs until the future is dropped.
pub async fn sweep(store: Arc<dyn Store>, blobs: Arc<Blobs>) {
    loop {
        if let Err(error) = round(&store, &blobs).await {
            tracing::error!(%error, cause = ?std::error::Error::source(&error), "blobs can't be removed; they are tried again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Removes what is over now.
pub(super) async fn round(store: &Arc<dyn Store>, blobs: &Blobs) -> Result<(), BlobsError> {
    let expiring = store.clone();
    let expired = tokio::task::spawn_blocking(move || expire(&expiring)).await;
    expired.unwrap_or(Ok(()))?;
    loop {
        let reading = store.clone();
        let found = tokio::task::spawn_blocking(move || reading.scan(b"g", b"h", BATCH, false)).await;
        let found = found.unwrap_or_else(|_| Ok(Vec::new()))?;
        if found.is_empty() {
            return Ok(());
        }
        for (garbage, _) in found {
            // The removal may be seen a moment before it is durable, and the objects must outlast that.
            let waiting = store.clone();
            let durable = tokio::task::spawn_blocking(move || Draft::new(waiting).commit_blocking()).await;
            durable.unwrap_or(Ok(Vec::new()))?;
            if let Some((app, plugin, id)) = key::garbage_parts(&garbage) {
                let plugin = plugin.to_owned();
                blobs.erase(&BlobName { app, plugin, id }).await?;
            }
            let store = store.clone();
            let forgotten = tokio::task::spawn_blocking(move || {
                let mut draft = Draft::new(store);
                draft.set(garbage, None);
                draft.commit_blocking()
            });
            forgotten.await.unwrap_or(Ok(Vec::new()))?;
        }
    }
}

/// Removes the records whose time is over.
fn expire(store: &Arc<dyn Store>) -> Result<(), BlobsError> {
    let (mut start, end) = key::blobs_expired(now_ms());
    loop {
        let mut draft = Draft::new(store.clone());
        let found = store.scan(&start, &end, BATCH, false)?;
        let Some((last, _)) = found.last() else {
            return Ok(());
        };
        start = [last, &[0][..]].concat().into();
        for (expiry, _) in &found {
            let Some((until_ms, app, plugin, id)) = key::blob_expiry_parts(expiry) else {
                continue;
            };
            let plugin = plugin.to_owned();
            let name = BlobName { app, plugin, id };
            match draft.get(name.key())?.map(|stored| Record::decode(&stored)) {
                Some(Ok(record)) if record.until_ms == until_ms => super::remove(&mut draft, &name, &record),
                _ => draft.set(expiry.clone(), None),
            }
        }
        match draft.commit_blocking() {
            // The next round finds them again: an upload ended just now.
            Ok(_) | Err(crate::store::CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
