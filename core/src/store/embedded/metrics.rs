//! Metrics of the embedded store: commits, bytes and the free space of its disk.

use std::path::PathBuf;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// How long commits take, and how many transactions share one.
#[derive(Debug)]
pub(super) struct CommitMetrics {
    seconds: Histogram,
    transactions: Histogram,
}

impl CommitMetrics {
    pub(super) fn new() -> Self {
        Self {
            // 0.1 ms to 3.3 s.
            seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
            // 1 to 2,048.
            transactions: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
        }
    }

    /// Counts a batch that was written and synced.
    pub(super) fn observe(&self, duration: Duration, transactions: usize) {
        self.seconds.observe(duration.as_secs_f64());
        self.transactions.observe(transactions as f64);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "courtyard_commit_seconds",
            "Time to write and sync a batch of transactions",
            self.seconds.clone(),
        );
        registry.register(
            "courtyard_commit_transactions",
            "Transactions of a batch",
            self.transactions.clone(),
        );
    }
}

/// Measures the files of a store and the free space of its disk when the metrics are requested.
#[derive(Debug)]
pub(super) struct DiskCollector {
    /// The folder of the segments; the index lies beside it.
    pub(super) log: PathBuf,
}

impl Collector for DiskCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let index = self.log.with_file_name("state.redb");
        let segments = std::fs::read_dir(&self.log).into_iter().flatten().flatten();
        // A segment may be deleted meanwhile.
        let lengths = segments.map(|entry| entry.metadata()).chain([std::fs::metadata(index)]);
        let bytes: u64 = lengths.flatten().map(|metadata| metadata.len()).sum();
        let help = "Bytes of the files of the store.";
        let mut family = encoder.encode_descriptor("courtyard_store_bytes", help, None, MetricType::Gauge)?;
        family.encode_gauge(&bytes)?;
        if let Ok(disk) = rustix::fs::statvfs(&self.log) {
            let help = "Free bytes of the disk that holds the store.";
            let mut family = encoder.encode_descriptor("courtyard_disk_free_bytes", help, None, MetricType::Gauge)?;
            family.encode_gauge(&(disk.f_bavail * disk.f_frsize))?;
        }
        Ok(())
    }
}
