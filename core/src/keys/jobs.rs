//! Keys of jobs.

use bytes::Bytes;

use super::{Range, build};
use crate::wire::AppId;

/// A job, sorted by due time among those of its plugin: `j PLUGIN 0 TIME APP 0 ID`.
#[must_use]
pub fn job(plugin: &str, at_ms: u64, app: &AppId, id: u128) -> Bytes {
    let start = build(b'j', &[plugin], &at_ms.to_be_bytes());
    [&start[..], app.as_str().as_bytes(), &[0], &id.to_be_bytes()]
        .concat()
        .into()
}

/// The range of the jobs of a plugin that are due before a time.
#[must_use]
pub fn due_before(plugin: &str, before_ms: u64) -> Range {
    (
        build(b'j', &[plugin], &[]),
        build(b'j', &[plugin], &before_ms.to_be_bytes()),
    )
}

/// Returns the plugin, the app and the id of a job's key.
#[must_use]
pub fn parse(key: &[u8]) -> Option<(&str, AppId, u128)> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let plugin = std::str::from_utf8(key.get(1..end)?).ok()?;
    let rest = key.get(end + 9..)?;
    let (app, id) = rest.split_at_checked(rest.len().checked_sub(16)?)?;
    let app = std::str::from_utf8(app.strip_suffix(&[0])?).ok()?;
    Some((plugin, app.parse().ok()?, u128::from_be_bytes(id.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_can_be_parsed_and_sorts_by_its_due_time() {
        let app = AppId::default_app();
        for (at_ms, id) in [(0, 0), (u64::MAX, u128::MAX), (256, 1)] {
            assert_eq!(parse(&job("mail", at_ms, &app, id)), Some(("mail", app.clone(), id)));
        }
        assert_eq!(parse(b"jmail"), None);
        let (start, end) = due_before("mail", 7);
        assert!(start < job("mail", 6, &app, 0) && job("mail", 6, &app, u128::MAX) < end);
        assert!(end <= job("mail", 7, &app, 0));
    }
}
