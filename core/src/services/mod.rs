//! What plugins may ask of the host, whatever they are made of. Each service works on the call that the plugin is in.

pub mod conversations;
pub mod kv;
mod log;

pub use conversations::{ConversationsError, Opened};
pub use kv::KvError;
pub use log::{Level, LogBudget};

use crate::hooks::Access;

/// What a plugin may use up. Every limit has a key under `[plugins.limits]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// Calls of services in one call of the plugin.
    pub host_calls: u32,
    /// Bytes of a key.
    pub key_bytes: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Entries of one scan.
    pub scan_entries: u32,
    /// Lines that the plugin may log each second.
    pub log_lines_per_s: u32,
    /// Bytes of a line.
    pub log_line_bytes: usize,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            host_calls: 10_000,
            key_bytes: 1_024,
            value_bytes: 256 * 1_024,
            scan_entries: 1_000,
            log_lines_per_s: 100,
            log_line_bytes: 1_024,
        }
    }
}

/// Which capabilities there are; `clock`, `random` and `log` need no grant.
pub const CAPABILITIES: [&str; 6] = ["kv", "conversations", "sessions", "clock", "random", "log"];

/// Which of them every plugin has.
pub const ALWAYS_GRANTED: [&str; 3] = ["clock", "random", "log"];

/// Reads the clock, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

fn may_read(access: Access) -> bool {
    matches!(access, Access::Read | Access::Write)
}
