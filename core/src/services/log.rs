//! Lines that plugins write into the host's log.

use parking_lot::Mutex;
use std::time::Instant;

use super::ServiceLimits;

/// The level of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A failure.
    Error,
    /// A warning.
    Warn,
    /// An event of normal operation.
    Info,
    /// Details for the author of the plugin.
    Debug,
}

/// Counts the lines of one plugin, over all of its instances.
#[derive(Debug)]
pub struct LogBudget {
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    lines: u32,
    dropped: u64,
}

impl Default for LogBudget {
    fn default() -> Self {
        Self {
            window: Mutex::new(Window {
                start: Instant::now(),
                lines: 0,
                dropped: 0,
            }),
        }
    }
}

impl LogBudget {
    /// Writes a line, shortened to its limit. Drops it if the plugin has used up the lines of this second; a later line
    /// reports the number of dropped lines.
    pub fn write(&self, plugin: &str, limits: &ServiceLimits, level: Level, text: &str) {
        let dropped = match self.admit(limits.log_lines_per_s) {
            Some(dropped) => dropped,
            None => return,
        };
        if dropped > 0 {
            tracing::warn!(
                plugin,
                dropped,
                "the plugin exceeds its rate of log lines; lines were dropped"
            );
        }
        let end = (0..=limits.log_line_bytes.min(text.len()))
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        // Control characters are replaced, so a plugin can't forge the lines of others.
        let line: String = text[..end]
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        match level {
            Level::Error => tracing::error!(target: "courtyard::plugin_log", plugin, "{line}"),
            Level::Warn => tracing::warn!(target: "courtyard::plugin_log", plugin, "{line}"),
            Level::Info => tracing::info!(target: "courtyard::plugin_log", plugin, "{line}"),
            Level::Debug => tracing::debug!(target: "courtyard::plugin_log", plugin, "{line}"),
        }
    }

    /// Returns the number of lines dropped before this one; none if this one exceeds the rate.
    fn admit(&self, lines_per_s: u32) -> Option<u64> {
        let mut window = self.window.lock();
        if window.start.elapsed().as_secs() >= 1 {
            window.start = Instant::now();
            window.lines = 0;
        }
        if window.lines >= lines_per_s {
            window.dropped += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::LogBudget;

    #[test]
    fn lines_over_the_rate_are_dropped_and_counted() {
        let budget = LogBudget::default();
        let admitted = (0..1_000).filter(|_| budget.admit(3).is_some()).count();
        assert!((3..=6).contains(&admitted), "{admitted} lines passed");
        assert!(budget.window.lock().dropped >= 994);
    }
}
