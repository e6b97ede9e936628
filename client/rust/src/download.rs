//! Downloads that go on where they were broken off, in ranges (RFC 9110, section 14).

use std::fmt;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Response, StatusCode};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;

use crate::line::{Ask, Line, header, next_piece, refused};
use crate::{Blobs, Error};

/// Failures in a row, without a byte in between, after which a download is given up.
const ATTEMPTS: u32 = 8;

type Progress = Box<dyn FnMut(u64, Option<u64>) + Send>;

/// A download that was described and not begun; see [`Blobs::download`].
///
/// It holds little in memory, whatever the size of the blob.
#[must_use = "nothing is downloaded until it is written somewhere"]
pub struct Download {
    blobs: Blobs,
    plugin: String,
    id: String,
    start: u64,
    /// Where it ends, without the byte there; none for the end of the blob.
    end: Option<u64>,
    on_progress: Progress,
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

    /// Takes only some of its bytes, such as those behind what is there from an earlier time; a blob never changes. A range
    /// that ends behind the blob ends with it.
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

    /// Has told how many bytes were written, and how many there will be, if that is known.
    pub fn on_progress(mut self, told: impl FnMut(u64, Option<u64>) + Send + 'static) -> Self {
        self.on_progress = Box::new(told);
        self
    }

    /// Downloads it, and returns how many bytes were written, in their order and each once. Where a connection breaks, the
    /// rest is fetched with the next one. When it fails, or is dropped, what was written until then is good, and the rest can
    /// be had by its [`range`](Self::range).
    ///
    /// # Errors
    /// What the server answers: `unknown_blob`, `bad_range` for one that begins behind the end of the blob,
    /// `unauthenticated`, or a code of the plugin; [`Error::Offline`] after eight failures in a row without a byte;
    /// [`Error::File`] when `target` can't be written.
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

    /// Writes what is missing.
    async fn attempt<W>(&mut self, target: &mut W, written: &mut u64) -> Result<(), Error>
    where
        W: AsyncWrite + Send + Unpin,
    {
        let next = self.start.saturating_add(*written);
        if self.end.is_some_and(|end| end <= next) {
            return Ok(());
        }
        let mut line = Line::to(&self.blobs);
        let mut answer = self.ask(&mut line, next).await?;
        let headers = answer.headers();
        let (from, length) = match answer.status() {
            StatusCode::OK => (0, header(headers, "content-length").and_then(|text| text.parse().ok())),
            StatusCode::PARTIAL_CONTENT => {
                let part = header(headers, "content-range")
                    .and_then(part)
                    .filter(|(from, _)| *from <= next);
                part.ok_or_else(|| Error::Protocol("a download has another part".to_owned()))?
            }
            // Nothing comes behind what is there.
            StatusCode::RANGE_NOT_SATISFIABLE if length_without(headers) == Some(next) => return Ok(()),
            _ => return Err(refused(answer).await),
        };
        let end = length.into_iter().chain(self.end).min();
        let size = end.map(|end| end.saturating_sub(self.start));
        (self.on_progress)(*written, size);
        // A server that knows no ranges sends first what is there already, and goes on behind the end.
        let mut skipped = next - from;
        while end.is_none_or(|end| self.start + *written < end)
            && let Some(mut piece) = next_piece(&mut answer).await?
        {
            let known = skipped.min(piece.len() as u64);
            skipped -= known;
            piece = piece.split_off(usize::try_from(known).unwrap_or(piece.len()));
            let left = end.map_or(u64::MAX, |end| end - self.start - *written);
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let failed = |error: std::io::Error| Error::File(error.to_string());
            target.write_all(&piece).await.map_err(failed)?;
            *written += piece.len() as u64;
            (self.on_progress)(*written, size);
        }
        match end {
            Some(end) if self.start + *written < end => Err(Error::Offline),
            _ => Ok(()),
        }
    }

    /// Asks for what comes from a byte on.
    async fn ask(&mut self, line: &mut Line, next: u64) -> Result<Response<Incoming>, Error> {
        let range = match self.end {
            Some(end) => Some(format!("bytes={next}-{}", end - 1)),
            None if next > 0 => Some(format!("bytes={next}-")),
            None => None,
        };
        let ask = Ask {
            method: Method::GET,
            url: &self.blobs.place(&self.plugin, &self.id),
            headers: range.map(|range| ("range", range)).into_iter().collect(),
            body: Bytes::new(),
        };
        line.request(ask, &mut |_| {}).await
    }
}

/// Reads `bytes 2-5/10` of an answer: where its part begins, and the length of the blob, if that is told.
fn part(range: &str) -> Option<(u64, Option<u64>)> {
    let (bytes, length) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = bytes.split_once('-')?;
    Some((from.parse().ok()?, length.parse().ok()))
}

/// Reads the length of the blob in an answer that says that it has no such part: `bytes */10`.
fn length_without(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.strip_prefix("bytes */")?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_servers_write_it() {
        assert_eq!(part("bytes 2-5/10"), Some((2, Some(10))));
        assert_eq!(part("bytes 2-5/*"), Some((2, None)));
        for wrong in ["", "bytes", "bytes */10", "lines 2-5/10", "bytes -5/10"] {
            assert_eq!(part(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_range_of_any_kind_has_a_begin_and_an_end() {
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
