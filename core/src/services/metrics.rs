//! PluginFigures that plugins add to those of the host.

use std::collections::BTreeMap;
use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::Mutex;

/// The most figures that a plugin can have.
const MAX_FIGURES: usize = 64;

/// Upper bounds of the buckets of histograms. One more bucket holds the values above them.
pub const HISTOGRAM_BOUNDS: [f64; 10] = [
    0.001,
    0.01,
    0.1,
    1.0,
    10.0,
    100.0,
    1_000.0,
    10_000.0,
    100_000.0,
    1_000_000.0,
];

/// The values of a histogram, counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// The number of values by upper bound; the last bucket has none.
    pub buckets: [u64; HISTOGRAM_BOUNDS.len() + 1],
    /// The sum of the values.
    pub sum: f64,
}

/// The figures of one plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginFigures {
    /// Counters by name.
    pub counters: BTreeMap<String, u64>,
    /// Histograms by name.
    pub histograms: BTreeMap<String, Histogram>,
}

impl PluginFigures {
    fn has_room(&self) -> bool {
        self.counters.len() + self.histograms.len() < MAX_FIGURES
    }
}

/// The figures of all plugins, over all of their generations.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    figures: Arc<DashMap<String, Mutex<PluginFigures>>>,
}

impl Metrics {
    /// Adds to a counter of a plugin. A malformed name, or a new figure over the limit, is dropped.
    pub fn count(&self, plugin: &str, name: &str, more: u64) {
        self.change(plugin, name, |figures| {
            if let Some(counter) = figures.counters.get_mut(name) {
                *counter = counter.saturating_add(more);
            } else if figures.has_room() {
                figures.counters.insert(name.to_owned(), more);
            }
        });
    }

    /// Adds a value to a histogram of a plugin. A malformed name, a value that is not finite, or a new figure over the limit,
    /// is dropped.
    pub fn observe(&self, plugin: &str, name: &str, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.change(plugin, name, |figures| {
            if !figures.histograms.contains_key(name) {
                if !figures.has_room() {
                    return;
                }
                figures.histograms.insert(name.to_owned(), Histogram::default());
            }
            if let Some(histogram) = figures.histograms.get_mut(name) {
                histogram.buckets[HISTOGRAM_BOUNDS.partition_point(|bound| *bound < value)] += 1;
                histogram.sum += value;
            }
        });
    }

    fn change(&self, plugin: &str, name: &str, change: impl FnOnce(&mut PluginFigures)) {
        let well_formed = (1..=48).contains(&name.len())
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !well_formed {
            return;
        }
        if let Some(figures) = self.figures.get(plugin) {
            return change(&mut figures.lock());
        }
        let figures = self.figures.entry(plugin.to_owned()).or_default();
        change(&mut figures.lock());
    }

    /// Returns the figures of a plugin.
    #[must_use]
    pub fn of(&self, plugin: &str) -> PluginFigures {
        let figures = self.figures.get(plugin);
        figures.map(|figures| figures.lock().clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_counted_within_their_limit() {
        let metrics = Metrics::default();
        metrics.count("p", "sent", 2);
        metrics.count("p", "sent", u64::MAX);
        metrics.count("p", "No Name", 1);
        metrics.observe("p", "seconds", 0.5);
        metrics.observe("p", "seconds", 5e9);
        metrics.observe("p", "seconds", f64::NAN);
        for index in 0..2 * MAX_FIGURES {
            metrics.count("p", &format!("more_{index}"), 1);
        }
        let figures = metrics.of("p");
        assert_eq!(figures.counters["sent"], u64::MAX);
        assert_eq!(figures.counters.len() + figures.histograms.len(), MAX_FIGURES);
        let seconds = &figures.histograms["seconds"];
        assert_eq!((seconds.buckets[3], seconds.buckets[10]), (1, 1));
        assert_eq!(metrics.of("q"), PluginFigures::default());
    }
}
