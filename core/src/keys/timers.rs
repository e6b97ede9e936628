//! Keys of timers.

use bytes::Bytes;

use super::{Range, build, build_timed};
use crate::wire::AppId;

/// A timer, sorted by due time: `t TIME PLUGIN 0 APP 0 NAME`.
#[must_use]
pub fn timer(at_ms: u64, plugin: &str, app: &AppId, name: &str) -> Bytes {
    build_timed(b't', at_ms, &[plugin, app.as_str()], name.as_bytes())
}

/// The due time of a timer, found by its name: `n APP 0 PLUGIN 0 NAME`.
#[must_use]
pub fn due_time(app: &AppId, plugin: &str, name: &str) -> Bytes {
    build(b'n', &[app.as_str(), plugin], name.as_bytes())
}

/// The range of all timers.
#[must_use]
pub fn timers() -> Range {
    (Bytes::from_static(b"t"), Bytes::from_static(b"u"))
}

/// Returns the due time of a timer's key, in milliseconds since 1970.
#[must_use]
pub fn time_of(key: &[u8]) -> Option<u64> {
    super::time_of(key)
}

/// Returns the due time, the plugin, the app and the name of a timer's key.
#[must_use]
pub fn parse(key: &[u8]) -> Option<(u64, &str, AppId, &str)> {
    let at_ms = time_of(key)?;
    let mut texts = key[9..].splitn(3, |byte| *byte == 0).map(std::str::from_utf8);
    let (plugin, app, name) = (texts.next()?.ok()?, texts.next()?.ok()?, texts.next()?.ok()?);
    Some((at_ms, plugin, app.parse().ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_can_be_parsed() {
        let app = AppId::default_app();
        let key = timer(7, "groups", &app, "mute/ann");
        assert_eq!(parse(&key), Some((7, "groups", app, "mute/ann")));
        assert_eq!(parse(b"t123"), None);
    }
}
