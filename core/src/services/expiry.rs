//! Removes expired keys of plugins. Reads treat them as deleted already.

use std::sync::Arc;
use std::time::Duration;

use super::kv;
use crate::clock::now_ms;
use crate::keys;
use crate::store::{Draft, Store, StoreError};

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_secs(10);
/// The keys that one transaction removes.
const BATCH: usize = 500;

/// Removes expired keys in rounds until the future is dropped.
pub async fn expire(store: Arc<dyn Store>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let store = store.clone();
        match tokio::task::spawn_blocking(move || sweep(&store)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "expired keys could not be removed"),
            // The panic hook already logged it. The next round tries again.
            Err(_) => {}
        }
    }
}

/// Removes all keys that have expired by now.
fn sweep(store: &Arc<dyn Store>) -> Result<(), StoreError> {
    let (mut start, end) = keys::plugins::expired(now_ms());
    loop {
        let mut draft = Draft::new(store.clone());
        let found = store.scan(&start, &end, BATCH, false)?;
        let Some((last, _)) = found.last() else {
            return Ok(());
        };
        start = [last, &[0][..]].concat().into();
        for (expiry, _) in &found {
            if let Some((until_ms, plugin, app, key)) = keys::plugins::parse_expiry(expiry) {
                let key = keys::plugins::value(&app, plugin, key);
                let stored = draft.get(key.clone())?;
                // Its plugin may have set it again since.
                if stored.is_some_and(|stored| kv::until(&stored) == Some(until_ms)) {
                    draft.set(key, None);
                }
            }
            draft.set(expiry.clone(), None);
        }
        if let Err(error) = draft.commit_blocking() {
            // The next round finds them again.
            tracing::debug!(%error, "expired keys stay until the next round");
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::hooks::{Call, StoreAccess};
    use crate::services::ServiceLimits;
    use crate::store::{EmbeddedOptions, EmbeddedStore};
    use crate::wire::AppId;

    #[tokio::test(flavor = "multi_thread")]
    async fn expired_keys_are_removed_and_keys_set_again_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            let store = EmbeddedStore::open_on(&runtime, &path, EmbeddedOptions::default()).unwrap();
            let store: Arc<dyn Store> = Arc::new(store);
            let app = AppId::default_app();
            let mut call = Call::new(app.clone(), StoreAccess::Write, Draft::new(store.clone()));
            let limits = ServiceLimits::default();
            let later = now_ms() + 60_000;
            kv::set_until(&mut call, "p", &limits, b"over", b"1", 5).unwrap();
            kv::set_until(&mut call, "p", &limits, b"anew", b"1", 5).unwrap();
            kv::set_until(&mut call, "p", &limits, b"later", b"1", later).unwrap();
            kv::set(&mut call, "p", &limits, b"anew", Some(b"2".to_vec())).unwrap();
            assert_eq!(kv::get(&mut call, "p", &limits, b"over").unwrap(), None);
            let live = kv::scan(&mut call, "p", &limits, (b"", b""), 2, false).unwrap();
            let entry = |key: &'static [u8], value: &'static [u8]| (Bytes::from_static(key), Bytes::from_static(value));
            assert_eq!(live, [entry(b"anew", b"2"), entry(b"later", b"1")]);
            let backwards = kv::scan(&mut call, "p", &limits, (b"", b""), 2, true).unwrap();
            assert_eq!(backwards, [entry(b"later", b"1"), entry(b"anew", b"2")]);
            call.draft.commit_blocking().unwrap();

            sweep(&store).unwrap();
            let stored = |name: &[u8]| store.get(&keys::plugins::value(&app, "p", name)).unwrap().is_some();
            assert!(!stored(b"over") && stored(b"anew") && stored(b"later"));
            assert_eq!(store.scan(b"e", b"f", 9, false).unwrap().len(), 1);
            store.close();
        };
        tokio::task::spawn_blocking(work).await.unwrap();
    }
}
