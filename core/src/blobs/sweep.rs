//! Removes expired blobs, and the objects of removed blobs.

use std::sync::Arc;
use std::time::Duration;

use super::{BlobName, BlobRecord, Blobs, BlobsError};
use crate::clock::now_ms;
use crate::error_chain::with_causes;
use crate::keys;
use crate::store::{Draft, Store};

/// The pause between two sweeps.
const PAUSE: Duration = Duration::from_secs(5);
/// The number of blobs that are removed in one transaction.
const BATCH: usize = 100;

/// Removes blobs until the future is dropped.
pub async fn sweep(store: Arc<dyn Store>, blobs: Arc<Blobs>) {
    loop {
        if let Err(error) = sweep_once(&store, &blobs).await {
            tracing::error!(
                error = with_causes(&error),
                "can't remove blobs; the next sweep tries again"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Removes the blobs that have expired by now.
pub(super) async fn sweep_once(store: &Arc<dyn Store>, blobs: &Blobs) -> Result<(), BlobsError> {
    let expiring = store.clone();
    let expired = tokio::task::spawn_blocking(move || expire(&expiring)).await;
    expired.unwrap_or(Ok(()))?;
    loop {
        let reading = store.clone();
        let (start, end) = keys::blobs::all_garbage();
        let found = tokio::task::spawn_blocking(move || reading.scan(&start, &end, BATCH, false)).await;
        let found = found.unwrap_or_else(|_| Ok(Vec::new()))?;
        if found.is_empty() {
            return Ok(());
        }
        for (garbage, _) in found {
            // The removal is visible shortly before it is durable. Until then, the objects must exist.
            let waiting = store.clone();
            let durable = tokio::task::spawn_blocking(move || Draft::new(waiting).commit_blocking()).await;
            durable.unwrap_or(Ok(Vec::new()))?;
            if let Some((app, plugin, id)) = keys::blobs::parse_garbage(&garbage) {
                let plugin = plugin.to_owned();
                blobs.erase(&BlobName { app, plugin, id }).await?;
            }
            let store = store.clone();
            let unmarked = tokio::task::spawn_blocking(move || {
                let mut draft = Draft::new(store);
                draft.set(garbage, None);
                draft.commit_blocking()
            });
            unmarked.await.unwrap_or(Ok(Vec::new()))?;
        }
    }
}

/// Removes the records of expired blobs.
fn expire(store: &Arc<dyn Store>) -> Result<(), BlobsError> {
    let (mut start, end) = keys::blobs::expired(now_ms());
    loop {
        let mut draft = Draft::new(store.clone());
        let found = store.scan(&start, &end, BATCH, false)?;
        let Some((last, _)) = found.last() else {
            return Ok(());
        };
        start = [last, &[0][..]].concat().into();
        for (expiry, _) in &found {
            let Some((until_ms, app, plugin, id)) = keys::blobs::parse_expiry(expiry) else {
                continue;
            };
            let plugin = plugin.to_owned();
            let name = BlobName { app, plugin, id };
            match draft.get(name.key())?.map(|stored| BlobRecord::decode(&stored)) {
                Some(Ok(record)) if record.until_ms == until_ms => super::remove(&mut draft, &name, &record),
                _ => draft.set(expiry.clone(), None),
            }
        }
        match draft.commit_blocking() {
            // After a conflict with an upload that just ended, the next sweep finds them again.
            Ok(_) | Err(crate::store::CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
