//! Resumable downloads by ranges (RFC 9110, section 14).

use std::fmt;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Response, StatusCode};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;

use crate::http::{BlobRequest, HttpHost, error_of, header, next_chunk};
use crate::{Blobs, Error};

/// Failures in a row, without a received byte in between, after which a download fails.
const ATTEMPTS: u32 = 8;

type OnProgress = Box<dyn FnMut(u64, Option<u64>) + Send>;

/// A download; see [`Blobs::download`]. It begins with [`Download::write_to`], and uses little memory for any size.
#[must_use = "nothing is downloaded before `write_to`"]
pub struct Download {
    blobs: Blobs,
    plugin: String,
    id: String,
    start: u64,
    /// Exclusive end; `None` for the end of the blob.
    end: Option<u64>,
    on_progress: OnProgress,
}

impl fmt::Debug for Download {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Download")
            .field("plugin", &self.plugin)
            .field("id", &self.id)
            .field("start", &self.start)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Download {
    pub(crate) fn new(blobs: Blobs, plugin: &str, id: &str) -> Self {
        Self {
            blobs,
            plugin: plugin.to_owned(),
            id: id.to_owned(),
            start: 0,
            end: None,
            on_progress: Box::new(|_, _| {}),
        }
    }

    /// Downloads only a range of bytes, for example to continue an earlier download: a blob never changes. A range that
    /// exceeds the blob ends with it.
    pub fn range(mut self, bytes: impl RangeBounds<u64>) -> Self {
        self.start = match bytes.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        self.end = match bytes.end_bound() {
            Bound::Included(end) => end.checked_add(1),
            Bound::Excluded(end) => Some(*end),
            Bound::Unbounded => None,
        };
        self
    }

    /// Calls `callback` with the number of written bytes, and with the total if it is known.
    pub fn on_progress(mut self, callback: impl FnMut(u64, Option<u64>) + Send + 'static) -> Self {
        self.on_progress = Box::new(callback);
        self
    }

    /// Downloads the blob, and returns the number of written bytes. Each byte is written once and in order; after a lost
    /// connection, the next one fetches the rest. If this fails or is dropped, the bytes written so far are correct, and a
    /// [`range`](Self::range) downloads the rest.
    ///
    /// # Errors
    /// The error of the server: `unknown_blob`, `invalid_range` for a range that starts after the end of the blob,
    /// `unauthenticated`, or a code of the plugin; [`Error::Offline`] after eight failures in a row without a received byte;
    /// [`Error::File`] if `target` can't be written.
    pub async fn write_to<W>(mut self, target: &mut W) -> Result<u64, Error>
    where
        W: AsyncWrite + Send + Unpin,
    {
        let (mut written, mut failures) = (0, 0);
        loop {
            let before = written;
            let Err(error) = self.attempt(target, &mut written).await else {
                target.flush().await.map_err(|error| Error::File(error.to_string()))?;
                return Ok(written);
            };
            failures = if written > before { 1 } else { failures + 1 };
            if !error.is_temporary() || failures >= ATTEMPTS {
                return Err(error);
            }
            sleep(self.blobs.options().pause(failures - 1)).await;
        }
    }

    /// Fetches and writes the missing bytes.
    async fn attempt<W>(&mut self, target: &mut W, written: &mut u64) -> Result<(), Error>
    where
        W: AsyncWrite + Send + Unpin,
    {
        let next = self.start.saturating_add(*written);
        if self.end.is_some_and(|end| end <= next) {
            return Ok(());
        }
        let mut host = HttpHost::new(&self.blobs);
        let mut answer = self.fetch(&mut host, next).await?;
        let headers = answer.headers();
        let (from, length) = match answer.status() {
            StatusCode::OK => (0, header(headers, "content-length").and_then(|text| text.parse().ok())),
            StatusCode::PARTIAL_CONTENT => {
                let range = header(headers, "content-range")
                    .and_then(content_range)
                    .filter(|(from, _)| *from <= next);
                range.ok_or_else(|| Error::Protocol("the server returned another range".to_owned()))?
            }
            // Everything is written already.
            StatusCode::RANGE_NOT_SATISFIABLE if unsatisfied_length(headers) == Some(next) => return Ok(()),
            _ => return Err(error_of(answer).await),
        };
        let end = length.into_iter().chain(self.end).min();
        let size = end.map(|end| end.saturating_sub(self.start));
        (self.on_progress)(*written, size);
        // A server without ranges sends the whole blob: skips what is written already, and stops at the end of the range.
        let mut to_skip = next - from;
        while end.is_none_or(|end| self.start + *written < end)
            && let Some(mut chunk) = next_chunk(&mut answer).await?
        {
            let skip = to_skip.min(chunk.len() as u64);
            to_skip -= skip;
            chunk = chunk.split_off(usize::try_from(skip).unwrap_or(chunk.len()));
            let remaining = end.map_or(u64::MAX, |end| end - self.start - *written);
            chunk.truncate(usize::try_from(remaining).unwrap_or(usize::MAX));
            let failed = |error: std::io::Error| Error::File(error.to_string());
            target.write_all(&chunk).await.map_err(failed)?;
            *written += chunk.len() as u64;
            (self.on_progress)(*written, size);
        }
        match end {
            Some(end) if self.start + *written < end => Err(Error::Offline),
            _ => Ok(()),
        }
    }

    /// Requests the blob from a byte on.
    async fn fetch(&mut self, host: &mut HttpHost, next: u64) -> Result<Response<Incoming>, Error> {
        let range = match self.end {
            Some(end) => Some(format!("bytes={next}-{}", end - 1)),
            None if next > 0 => Some(format!("bytes={next}-")),
            None => None,
        };
        let request = BlobRequest {
            method: Method::GET,
            url: &self.blobs.url(&self.plugin, &self.id),
            headers: range.map(|range| ("range", range)).into_iter().collect(),
            body: Bytes::new(),
        };
        host.send(request, &mut |_| {}).await
    }
}

/// Parses `bytes 2-5/10`: returns the start of the range, and the length of the blob if it is known.
fn content_range(range: &str) -> Option<(u64, Option<u64>)> {
    let (bytes, length) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = bytes.split_once('-')?;
    Some((from.parse().ok()?, length.parse().ok()))
}

/// Returns the length of the blob from an answer about an unsatisfiable range: `bytes */10`.
fn unsatisfied_length(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.strip_prefix("bytes */")?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_of_servers_are_parsed() {
        assert_eq!(content_range("bytes 2-5/10"), Some((2, Some(10))));
        assert_eq!(content_range("bytes 2-5/*"), Some((2, None)));
        for invalid in ["", "bytes", "bytes */10", "lines 2-5/10", "bytes -5/10"] {
            assert_eq!(content_range(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn every_kind_of_range_has_a_start_and_an_end() {
        let blobs = Blobs::new(&crate::Options::new("ws://a/v1/ws")).unwrap();
        let ends = |download: Download| (download.start, download.end);
        let whole = || blobs.download("files", "b");
        assert_eq!(ends(whole()), (0, None));
        assert_eq!(ends(whole().range(3..)), (3, None));
        assert_eq!(ends(whole().range(3..7)), (3, Some(7)));
        assert_eq!(ends(whole().range(..=6)), (0, Some(7)));
        assert_eq!(ends(whole().range(..=u64::MAX)), (0, None));
    }
}
