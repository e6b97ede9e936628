//! Uploads that go on where they were broken off: tus 1.0.0 (<https://tus.io/protocols/resumable-upload>) with the
//! extensions creation and checksum.

use std::fmt;
use std::io::SeekFrom;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::{HeaderMap, Method};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeek, AsyncSeekExt};
use tokio::time::sleep;
use url::Url;

use crate::line::{Ask, Line, header};
use crate::{Blobs, Error};

/// Bytes of one request, if nothing else is set.
const PART: usize = 4 << 20;
/// What a part does not become smaller than by itself.
const SMALLEST_PART: usize = 64 << 10;
/// How often an upload begins anew, or sends a part again whose sum is wrong.
const FRESH_STARTS: u32 = 3;
/// The longest name that servers take.
const NAME_BYTES: usize = 255;

type Begun = Box<dyn FnMut(&str) + Send>;
type Progress = Box<dyn FnMut(u64, u64) + Send>;
type Waiting = Box<dyn FnMut(&Error, Duration) + Send>;

/// An upload that was described and not begun; see [`Blobs::upload`].
///
/// It holds one part in memory at a time.
#[must_use = "nothing is uploaded until it is sent"]
pub struct Upload<S> {
    blobs: Blobs,
    plugin: String,
    source: S,
    name: String,
    media_type: String,
    conversation: String,
    has_checksums: bool,
    largest_part: usize,
    part: usize,
    /// The server's id for it, once it has one.
    id: Option<String>,
    on_begin: Begun,
    on_progress: Progress,
    on_wait: Waiting,
}

impl<S> fmt::Debug for Upload<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Upload")
            .field("plugin", &self.plugin)
            .field("name", &self.name)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// How far an upload is.
#[derive(Default)]
struct State {
    length: u64,
    /// Bytes that the server is known to have.
    offset: u64,
    fresh_starts: u32,
}

impl<S: AsyncRead + AsyncSeek + Send + Unpin> Upload<S> {
    pub(crate) fn new(blobs: Blobs, plugin: &str, source: S) -> Self {
        Self {
            blobs,
            plugin: plugin.to_owned(),
            source,
            name: String::new(),
            media_type: String::new(),
            conversation: String::new(),
            has_checksums: false,
            largest_part: PART,
            part: PART,
            id: None,
            on_begin: Box::new(|_| {}),
            on_progress: Box::new(|_, _| {}),
            on_wait: Box::new(|_, _| {}),
        }
    }

    /// Names the file. A name of over 255 bytes is cut in its middle.
    pub fn name(mut self, name: &str) -> Self {
        self.name = shortened(name);
        self
    }

    /// Says what it is, such as `image/png`: up to 127 bytes of ASCII.
    pub fn media_type(mut self, media_type: &str) -> Self {
        media_type.clone_into(&mut self.media_type);
        self
    }

    /// Says for which conversation it is.
    pub fn conversation(mut self, conversation: &str) -> Self {
        conversation.clone_into(&mut self.conversation);
        self
    }

    /// Lets the server check each part by its SHA-256. Of a part in which the connection breaks nothing counts then; without
    /// checksums, what came does.
    pub fn checksums(mut self) -> Self {
        self.has_checksums = true;
        self
    }

    /// Sets the most bytes of one request, which are also what is in memory: 4 MiB if it is not set, and at least 1. Where
    /// connections break, parts become smaller by themselves, down to 64 KiB.
    pub fn part_bytes(mut self, bytes: usize) -> Self {
        self.largest_part = bytes.max(1);
        self.part = self.largest_part;
        self
    }

    /// Has the id told as soon as the server knows the upload, and each time that it begins anew: given to
    /// [`Upload::resume`] with the same source, the upload goes on after a restart of the program.
    pub fn on_begin(mut self, told: impl FnMut(&str) + Send + 'static) -> Self {
        self.on_begin = Box::new(told);
        self
    }

    /// Has told how many bytes the server has or are on their way, and how many there are. The first number becomes smaller
    /// where some got lost.
    pub fn on_progress(mut self, told: impl FnMut(u64, u64) + Send + 'static) -> Self {
        self.on_progress = Box::new(told);
        self
    }

    /// Has told why it has to wait, and for how long.
    pub fn on_wait(mut self, told: impl FnMut(&Error, Duration) + Send + 'static) -> Self {
        self.on_wait = Box::new(told);
        self
    }

    /// Goes on with an earlier upload of the same source by the same actor. Begins anew if the server knows nothing of it any
    /// more, or knows it with another length.
    pub fn resume(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Uploads it, and returns the id of the blob, which is durable then.
    ///
    /// Broken connections, a server that restarts and refusals for now only make it wait, for as long as it takes: wrap it
    /// into a timeout, or drop it. What the server has by then it keeps for some time (`unfinished_ms`), for
    /// [`Upload::resume`]; [`Blobs::remove`] takes it away.
    ///
    /// # Errors
    /// What the server refuses for good, such as `unauthenticated`, `bad_upload` for more bytes than it takes, or a code of
    /// the plugin; [`Error::File`] when the source can't be read or becomes shorter; [`Error::Protocol`] when the server is
    /// none of this protocol.
    pub async fn send(mut self) -> Result<String, Error> {
        let length = self.source.seek(SeekFrom::End(0)).await.map_err(unreadable)?;
        let mut state = State {
            length,
            ..State::default()
        };
        let mut failures = 0;
        loop {
            let before = state.offset;
            let error = match self.attempt(&mut state).await {
                Ok(id) => return Ok(id),
                Err(error) => error,
            };
            if !self.may_go_on(&error, &mut state) {
                return Err(error);
            }
            failures = if state.offset > before { 0 } else { failures + 1 };
            let pause = self.blobs.options().pause(failures);
            (self.on_wait)(&error, pause);
            sleep(pause).await;
        }
    }

    /// Tells whether another attempt can help, and makes it ready.
    fn may_go_on(&mut self, error: &Error, state: &mut State) -> bool {
        match error.code() {
            // Each of these may be a mishap, but not for ever.
            "unknown_blob" if self.id.take().is_some() => {
                state.offset = 0;
                state.fresh_starts += 1;
                state.fresh_starts <= FRESH_STARTS
            }
            "checksum_mismatch" => {
                state.fresh_starts += 1;
                state.fresh_starts <= FRESH_STARTS
            }
            // The server may not know yet that an earlier connection broke.
            "upload_conflict" => true,
            "offline" => {
                // One that is too long for the line would never arrive.
                let smallest = SMALLEST_PART.min(self.largest_part);
                self.part = (self.part / 2).max(smallest);
                true
            }
            _ => error.is_temporary(),
        }
    }

    /// Sends what the server does not have.
    async fn attempt(&mut self, state: &mut State) -> Result<String, Error> {
        let mut line = Line::to(&self.blobs);
        let (id, offset) = match self.id.clone() {
            Some(id) => {
                let url = self.blobs.place(&self.plugin, &id);
                let offset = offset_of(&mut line, &url, state.length).await?;
                (id, offset)
            }
            None => (self.create(&mut line, state).await?, 0),
        };
        let url = self.blobs.place(&self.plugin, &id);
        state.offset = offset;
        loop {
            (self.on_progress)(state.offset, state.length);
            if state.offset >= state.length {
                return Ok(id);
            }
            state.offset = self.send_part(&mut line, &url, state).await?;
            self.part = self.part.saturating_mul(2).min(self.largest_part);
        }
    }

    async fn create(&mut self, line: &mut Line, state: &State) -> Result<String, Error> {
        let mut headers = vec![("upload-length", state.length.to_string())];
        let metadata = [
            ("filename", &self.name),
            ("filetype", &self.media_type),
            ("conversation", &self.conversation),
        ];
        let pairs: Vec<String> = metadata
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| format!("{key} {}", STANDARD.encode(value)))
            .collect();
        if !pairs.is_empty() {
            headers.push(("upload-metadata", pairs.join(",")));
        }
        let place = self.blobs.place(&self.plugin, "");
        let answer = ask(line, Method::POST, &place, headers, Bytes::new(), &mut |_| {}).await?;
        // Only the id is taken, so that the token goes nowhere else.
        let id = header(&answer, "location").and_then(|location| location.trim_end_matches('/').rsplit('/').next());
        let id = id
            .filter(|id| !id.is_empty())
            .ok_or_else(|| Error::Protocol("an upload has no place".to_owned()))?
            .to_owned();
        (self.on_begin)(&id);
        self.id = Some(id.clone());
        Ok(id)
    }

    /// Sends one part, and returns how much the server has then.
    async fn send_part(&mut self, line: &mut Line, url: &Url, state: &State) -> Result<u64, Error> {
        let State { length, offset, .. } = *state;
        let part = self.read(offset, length).await?;
        let mut headers = vec![
            ("upload-offset", offset.to_string()),
            ("content-type", "application/offset+octet-stream".to_owned()),
        ];
        if self.has_checksums {
            let sum = STANDARD.encode(digest::digest(&digest::SHA256, &part));
            headers.push(("upload-checksum", format!("sha256 {sum}")));
        }
        let on_progress = &mut self.on_progress;
        let mut told = |moved: u64| on_progress(offset + moved, length);
        let end = offset + part.len() as u64;
        let answer = ask(line, Method::PATCH, url, headers, part, &mut told).await?;
        let reached = offset_in(&answer)?;
        if reached <= offset || reached > end {
            return Err(Error::Protocol("an upload is where it can't be".to_owned()));
        }
        Ok(reached)
    }

    /// Reads the next part of the source.
    async fn read(&mut self, offset: u64, length: u64) -> Result<Bytes, Error> {
        self.source.seek(SeekFrom::Start(offset)).await.map_err(unreadable)?;
        let wanted = (self.part as u64).min(length - offset);
        let mut part = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        let mut source = (&mut self.source).take(wanted);
        source.read_to_end(&mut part).await.map_err(unreadable)?;
        if (part.len() as u64) < wanted {
            return Err(Error::File("it became shorter".to_owned()));
        }
        Ok(part.into())
    }
}

/// Asks how much the server has.
async fn offset_of(line: &mut Line, url: &Url, length: u64) -> Result<u64, Error> {
    let answer = ask(line, Method::HEAD, url, Vec::new(), Bytes::new(), &mut |_| {}).await?;
    let known = header(&answer, "upload-length").and_then(|text| text.parse::<u64>().ok());
    if known.is_some_and(|known| known != length) {
        return Err(Error::Refused {
            code: "unknown_blob".to_owned(),
            message: "The upload is one of another length.".to_owned(),
            retry: false,
        });
    }
    offset_in(&answer)
}

async fn ask(
    line: &mut Line,
    method: Method,
    url: &Url,
    mut headers: Vec<(&'static str, String)>,
    body: Bytes,
    told: &mut (dyn FnMut(u64) + Send),
) -> Result<HeaderMap, Error> {
    headers.push(("tus-resumable", "1.0.0".to_owned()));
    let ask = Ask {
        method,
        url,
        headers,
        body,
    };
    line.ask(ask, told).await
}

fn offset_in(answer: &HeaderMap) -> Result<u64, Error> {
    let offset = header(answer, "upload-offset").and_then(|text| text.parse().ok());
    offset.ok_or_else(|| Error::Protocol("an upload has no offset".to_owned()))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: std::io::Error) -> Error {
    Error::File(error.to_string())
}

/// Cuts a name that is too long for a server in its middle, so that its end is still there.
fn shortened(name: &str) -> String {
    if name.len() <= NAME_BYTES {
        return name.to_owned();
    }
    let head = name.floor_char_boundary(NAME_BYTES / 2);
    let tail = name.ceil_char_boundary(name.len() - NAME_BYTES / 2);
    format!("{}{}", &name[..head], &name[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_keeps_its_end() {
        assert_eq!(shortened("Übung.png"), "Übung.png");
        assert_eq!(shortened(&"a".repeat(255)), "a".repeat(255));
        let name = shortened(&format!("{}.png", "ü".repeat(300)));
        assert!(
            name.len() <= NAME_BYTES && name.starts_with("üü") && name.ends_with("ü.png"),
            "{name}"
        );
    }
}
