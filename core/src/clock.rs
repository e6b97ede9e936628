//! The time of day, and ids that sort by it.

use ulid::Ulid;

/// Returns the time of the system clock, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// Returns a new random id of the present time.
#[must_use]
pub fn new_ulid() -> Ulid {
    Ulid::from_parts(now_ms(), rand::random())
}
