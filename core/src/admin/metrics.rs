//! The metrics of a host in the text format of Prometheus (version 0.0.4).

use std::fmt::{Display, Write};

use crate::hooks::BUCKETS_NS;
use crate::plugin::{PluginState, PluginStatus, Supervisor};
use crate::router::Router;
use crate::services::{HISTOGRAM_BOUNDS, Metrics, PluginFigures};

/// One metric family while it is written.
struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl<'a> Family<'a> {
    fn begin(text: &'a mut String, name: &'static str, kind: &str, help: &str) -> Self {
        // Writing into a string can't fail; the same below.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Self { text, name }
    }

    fn value(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.suffixed("", labels, value);
    }

    fn suffixed(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (index, (label, value)) in labels.iter().enumerate() {
            // Escaped, since a version is any text of the plugin.
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{}{label}=\"{value}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// Returns all metrics as text.
pub(super) fn text(supervisor: &Supervisor, router: &Router, metrics: &Metrics) -> String {
    let (mut text, plugins) = (String::new(), supervisor.status());
    let mut family = Family::begin(
        &mut text,
        "courtyard_actors_online",
        "gauge",
        "Actors with live sessions on this node.",
    );
    family.value(&[], router.actors());

    let mut family = Family::begin(
        &mut text,
        "courtyard_plugin_up",
        "gauge",
        "1 if the plugin is running, 0 if it is quarantined, disabled or missing.",
    );
    for plugin in &plugins {
        let version = plugin.version.as_deref().unwrap_or_default();
        let labels = [("plugin", plugin.id.as_str()), ("version", version)];
        family.value(&labels, u8::from(plugin.state == PluginState::Running));
    }
    gauges(&mut text, &plugins);
    calls(&mut text, &plugins);
    own(&mut text, &plugins, metrics);
    text
}

/// Writes the metrics that plugins define themselves.
fn own(text: &mut String, plugins: &[PluginStatus], metrics: &Metrics) {
    let figures: Vec<(&str, PluginFigures)> = plugins
        .iter()
        .map(|plugin| (&*plugin.id, metrics.of(&plugin.id)))
        .collect();
    let help = "Counters that the plugin defines.";
    let mut family = Family::begin(text, "courtyard_plugin_counter_total", "counter", help);
    for (plugin, figures) in &figures {
        for (name, count) in &figures.counters {
            family.value(&[("plugin", plugin), ("name", name)], count);
        }
    }
    let help = "Histograms that the plugin defines.";
    let mut family = Family::begin(text, "courtyard_plugin_value", "histogram", help);
    for (plugin, figures) in &figures {
        for (name, histogram) in &figures.histograms {
            let labels = [("plugin", *plugin), ("name", name.as_str())];
            let mut total = 0;
            for (index, count) in histogram.buckets.iter().enumerate() {
                total += count;
                let bound = HISTOGRAM_BOUNDS
                    .get(index)
                    .map_or_else(|| "+Inf".to_owned(), ToString::to_string);
                family.suffixed("_bucket", &[labels[0], labels[1], ("le", &bound)], total);
            }
            family.suffixed("_sum", &labels, histogram.sum);
            family.suffixed("_count", &labels, total);
        }
    }
}

fn gauges(text: &mut String, plugins: &[PluginStatus]) {
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
        let mut family = Family::begin(text, name, "gauge", help);
        for plugin in plugins {
            family.value(&[("plugin", &plugin.id)], figure(plugin));
        }
    }
}

fn calls(text: &mut String, plugins: &[PluginStatus]) {
    let mut family = Family::begin(text, "courtyard_plugin_calls_total", "counter", "Calls of the plugin.");
    for plugin in plugins {
        for hook in &plugin.hooks {
            family.value(&[("plugin", &plugin.id), ("hook", hook.hook)], hook.calls);
        }
    }
    let mut family = Family::begin(
        text,
        "courtyard_plugin_failures_total",
        "counter",
        "Calls that failed, by kind. Rejections are not failures.",
    );
    for plugin in plugins {
        for hook in &plugin.hooks {
            for (kind, count) in &hook.failures {
                family.value(&[("plugin", &plugin.id), ("hook", hook.hook), ("kind", kind)], count);
            }
        }
    }
    let mut family = Family::begin(
        text,
        "courtyard_plugin_call_seconds",
        "histogram",
        "Duration of calls. One in sixteen is timed.",
    );
    for plugin in plugins {
        for hook in &plugin.hooks {
            let labels = [("plugin", plugin.id.as_str()), ("hook", hook.hook)];
            let mut total = 0;
            for (index, count) in hook.buckets.iter().enumerate() {
                total += count;
                let bound = BUCKETS_NS
                    .get(index)
                    .map_or_else(|| "+Inf".to_owned(), |bound| (*bound as f64 / 1e9).to_string());
                family.suffixed("_bucket", &[labels[0], labels[1], ("le", &bound)], total);
            }
            family.suffixed("_sum", &labels, hook.sampled_ns as f64 / 1e9);
            family.suffixed("_count", &labels, total);
        }
    }
}
