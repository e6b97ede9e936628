//! An embedded store with faults.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use courtyard::{
    DedupEntry, EmbeddedOptions, EmbeddedStore, LogHead, LogId, Position, Store, StoreError, StoredEvent, Transaction,
};

/// Behaviour that a test puts between the server and its store.
pub(crate) trait Fault: Send + Sync + 'static {
    /// Returns false for an event that reads must not return.
    fn is_visible(&self, _event: &StoredEvent) -> bool {
        true
    }

    /// Commits, delays or fails transactions.
    fn submit_all(&self, store: &EmbeddedStore, transactions: &mut Vec<Transaction>);
}

/// An embedded store behind a [`Fault`]; everything else is forwarded.
pub(crate) struct FaultyStore<F> {
    pub(crate) store: EmbeddedStore,
    pub(crate) fault: F,
}

impl<F: Fault + Default> FaultyStore<F> {
    /// Opens the store in a server's folder.
    pub(crate) fn open(folder: &Path) -> Arc<Self> {
        Arc::new(Self {
            store: EmbeddedStore::open(&folder.join("store"), EmbeddedOptions::default()).unwrap(),
            fault: F::default(),
        })
    }
}

impl<F: Fault> Store for FaultyStore<F> {
    fn register_metrics(&self, registry: &mut courtyard::prometheus_client::registry::Registry) {
        self.store.register_metrics(registry);
    }

    fn position(&self) -> Position {
        self.store.position()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(key)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize, reverse: bool) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.store.scan(start, end, limit, reverse)
    }

    fn head(&self, log: &LogId) -> Result<LogHead, StoreError> {
        self.store.head(log)
    }

    fn events(
        &self,
        log: &LogId,
        range: RangeInclusive<u64>,
        limit: usize,
        newest_first: bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut events = self.store.events(log, range, limit, newest_first)?;
        events.retain(|event| self.fault.is_visible(event));
        Ok(events)
    }

    fn find(&self, key: u128) -> Result<Option<DedupEntry>, StoreError> {
        self.store.find(key)
    }

    fn submit_all(&self, transactions: &mut Vec<Transaction>) {
        self.fault.submit_all(&self.store, transactions);
    }

    fn close(&self) {
        self.store.close();
    }
}
