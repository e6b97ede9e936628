//! The metrics of a host in the text format of Prometheus (version 0.0.4).

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::hooks::BUCKETS_NS;
use crate::plugin::{PluginState, PluginStatus, Supervisor};
use crate::router::Router;
use crate::services::{HISTOGRAM_BOUNDS, Metrics, PluginFigures};

/// Returns all metrics as text.
pub(super) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing into a string can't fail.
    let _ = prometheus_text::encode(&mut text, registry);
    text
}

/// Figures that are read when the metrics are requested: those of plugins and of who is online.
#[derive(Debug)]
pub struct PluginCollector {
    /// The plugins.
    pub supervisor: Arc<Supervisor>,
    /// The live sessions.
    pub router: Arc<Router>,
    /// The metrics that plugins define.
    pub metrics: Metrics,
}

impl Collector for PluginCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let plugins = self.supervisor.status();
        let help = "Actors with live sessions on this node.";
        let mut family = encoder.encode_descriptor("courtyard_actors_online", help, None, MetricType::Gauge)?;
        family.encode_gauge(&(self.router.actors() as u64))?;
        let help = "1 if the plugin is running, 0 if it is quarantined, disabled or missing.";
        let mut family = encoder.encode_descriptor("courtyard_plugin_up", help, None, MetricType::Gauge)?;
        for plugin in &plugins {
            let version = plugin.version.as_deref().unwrap_or_default();
            let labels = [("plugin", plugin.id.as_str()), ("version", version)];
            let up = u64::from(plugin.state == PluginState::Running);
            family.encode_family(&labels)?.encode_gauge(&up)?;
        }
        encode_gauges(&mut encoder, &plugins)?;
        encode_calls(&mut encoder, &plugins)?;
        encode_own(&mut encoder, &plugins, &self.metrics)
    }
}

/// Encodes the metrics that plugins define themselves.
fn encode_own(encoder: &mut DescriptorEncoder<'_>, plugins: &[PluginStatus], metrics: &Metrics) -> Result<(), Error> {
    let figures: Vec<(&str, PluginFigures)> = plugins
        .iter()
        .map(|plugin| (&*plugin.id, metrics.of(&plugin.id)))
        .collect();
    let help = "Counters that the plugin defines.";
    let mut family = encoder.encode_descriptor("courtyard_plugin_counter", help, None, MetricType::Counter)?;
    for (plugin, figures) in &figures {
        for (name, count) in &figures.counters {
            encode_count(&mut family, &[("plugin", plugin), ("name", name)], *count)?;
        }
    }
    let help = "Histograms that the plugin defines.";
    let mut family = encoder.encode_descriptor("courtyard_plugin_value", help, None, MetricType::Histogram)?;
    for (plugin, figures) in &figures {
        for (name, histogram) in &figures.histograms {
            let buckets = buckets(HISTOGRAM_BOUNDS.iter().copied(), &histogram.buckets);
            let labels = [("plugin", *plugin), ("name", name.as_str())];
            encode_histogram(&mut family, &labels, histogram.sum, &buckets)?;
        }
    }
    Ok(())
}

fn encode_gauges(encoder: &mut DescriptorEncoder<'_>, plugins: &[PluginStatus]) -> Result<(), Error> {
    type Figure = fn(&PluginStatus) -> u64;
    let figures: [(&'static str, &str, Figure); 8] = [
        (
            "courtyard_plugin_generation",
            "Generations of the plugin since the host started.",
            |plugin| plugin.generation,
        ),
        ("courtyard_plugin_entered", "Calls that run in the plugin.", |plugin| {
            plugin.entered as u64
        }),
        (
            "courtyard_plugin_waiting",
            "Calls that wait for an instance.",
            |plugin| plugin.usage.waiting as u64,
        ),
        ("courtyard_plugin_instances", "Instances of the plugin.", |plugin| {
            plugin.usage.instances as u64
        }),
        (
            "courtyard_plugin_memory_bytes",
            "Memory of all instances of the plugin.",
            |plugin| plugin.usage.memory_bytes as u64,
        ),
        (
            "courtyard_plugin_unobserved",
            "Observations that are pending, up to 1,000.",
            |plugin| plugin.unobserved as u64,
        ),
        (
            "courtyard_plugin_jobs",
            "Jobs that are pending, up to 1,000.",
            |plugin| plugin.jobs as u64,
        ),
        (
            "courtyard_plugin_dead_letters",
            "Dead letters: observations and jobs that failed too often, up to 1,000.",
            |plugin| plugin.dead_letters as u64,
        ),
    ];
    for (name, help, figure) in figures {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for plugin in plugins {
            let labels = [("plugin", plugin.id.as_str())];
            family.encode_family(&labels)?.encode_gauge(&figure(plugin))?;
        }
    }
    Ok(())
}

fn encode_calls(encoder: &mut DescriptorEncoder<'_>, plugins: &[PluginStatus]) -> Result<(), Error> {
    let help = "Calls of the plugin.";
    let mut family = encoder.encode_descriptor("courtyard_plugin_calls", help, None, MetricType::Counter)?;
    for plugin in plugins {
        for hook in &plugin.hooks {
            encode_count(&mut family, &[("plugin", &plugin.id), ("hook", hook.hook)], hook.calls)?;
        }
    }
    let help = "Calls that failed, by kind. Rejections are not failures.";
    let mut family = encoder.encode_descriptor("courtyard_plugin_failures", help, None, MetricType::Counter)?;
    for plugin in plugins {
        for hook in &plugin.hooks {
            for (kind, count) in &hook.failures {
                let labels = [("plugin", plugin.id.as_str()), ("hook", hook.hook), ("kind", kind)];
                encode_count(&mut family, &labels, *count)?;
            }
        }
    }
    let help = "Duration of calls. One in sixteen is timed.";
    let mut family = encoder.encode_descriptor("courtyard_plugin_call_seconds", help, None, MetricType::Histogram)?;
    for plugin in plugins {
        for hook in &plugin.hooks {
            let buckets = buckets(BUCKETS_NS.iter().map(|ns| *ns as f64 / 1e9), &hook.buckets);
            let labels = [("plugin", plugin.id.as_str()), ("hook", hook.hook)];
            encode_histogram(&mut family, &labels, hook.sampled_ns as f64 / 1e9, &buckets)?;
        }
    }
    Ok(())
}

fn encode_count<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    count: u64,
) -> Result<(), Error> {
    family
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, u64, f64>(&count, None)
}

/// Pairs counts with the upper bounds of their buckets; the last one has none.
fn buckets(bounds: impl Iterator<Item = f64>, counts: &[u64]) -> Vec<(f64, u64)> {
    bounds.chain([f64::MAX]).zip(counts.iter().copied()).collect()
}

fn encode_histogram<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    sum: f64,
    buckets: &[(f64, u64)],
) -> Result<(), Error> {
    let count = buckets.iter().map(|(_, count)| count).sum();
    family
        .encode_family(labels)?
        .encode_histogram::<NoLabelSet>(sum, count, buckets, None)
}
