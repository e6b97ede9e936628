//! Resumable uploads: tus 1.0.0 (<https://tus.io/protocols/resumable-upload>) with the extensions creation and checksum.

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

use crate::http::{BlobRequest, HttpHost, header};
use crate::{Blobs, Error};

/// Default size of one request, in bytes.
const PART_BYTES: usize = 4 << 20;
/// Size down to which parts shrink after lost connections, in bytes.
const MIN_PART_BYTES: usize = 64 << 10;
/// How often an upload restarts, or resends a part after a checksum mismatch.
const MAX_RESTARTS: u32 = 3;
/// Limit of a file name on the server, in bytes.
const NAME_BYTES: usize = 255;

type OnBegin = Box<dyn FnMut(&str) + Send>;
type OnProgress = Box<dyn FnMut(u64, u64) + Send>;
type OnWait = Box<dyn FnMut(&Error, Duration) + Send>;

/// An upload; see [`Blobs::upload`]. It begins with [`Upload::send`], and keeps one part in memory at a time.
#[must_use = "nothing is uploaded before `send`"]
pub struct Upload<S> {
    blobs: Blobs,
    plugin: String,
    source: S,
    name: String,
    media_type: String,
    conversation: String,
    has_checksums: bool,
    largest_part: usize,
    /// Current size of a part, in bytes.
    part: usize,
    /// Id of the upload on the server, once it has one.
    id: Option<String>,
    on_begin: OnBegin,
    on_progress: OnProgress,
    on_wait: OnWait,
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

/// Progress of an upload.
#[derive(Default)]
struct UploadProgress {
    /// Size of the source, in bytes.
    length: u64,
    /// Bytes that the server is known to have.
    offset: u64,
    restarts: u32,
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
            largest_part: PART_BYTES,
            part: PART_BYTES,
            id: None,
            on_begin: Box::new(|_| {}),
            on_progress: Box::new(|_, _| {}),
            on_wait: Box::new(|_, _| {}),
        }
    }

    /// Sets the name of the file. A name of more than 255 bytes is cut in the middle.
    pub fn name(mut self, name: &str) -> Self {
        self.name = shortened(name);
        self
    }

    /// Sets the media type, such as `image/png`: up to 127 bytes of ASCII.
    pub fn media_type(mut self, media_type: &str) -> Self {
        media_type.clone_into(&mut self.media_type);
        self
    }

    /// Sets the conversation of the file.
    pub fn conversation(mut self, conversation: &str) -> Self {
        conversation.clone_into(&mut self.conversation);
        self
    }

    /// Makes the server verify the SHA-256 of each part. A part is then lost as a whole when the connection breaks in it;
    /// without checksums, the received bytes count.
    pub fn checksums(mut self) -> Self {
        self.has_checksums = true;
        self
    }

    /// Sets the largest size of a request, which is also kept in memory, in bytes: at least 1. After lost connections, parts
    /// shrink by themselves, down to 64 KiB. Default: 4 MiB.
    pub fn part_bytes(mut self, bytes: usize) -> Self {
        self.largest_part = bytes.max(1);
        self.part = self.largest_part;
        self
    }

    /// Calls `callback` with the id of the upload when the server has created it, and after each restart of the upload. With
    /// this id and the same source, [`Upload::resume`] continues after a restart of the program.
    pub fn on_begin(mut self, callback: impl FnMut(&str) + Send + 'static) -> Self {
        self.on_begin = Box::new(callback);
        self
    }

    /// Calls `callback` with the number of bytes that the server has or that are being sent, and with the size. The first
    /// number decreases when bytes get lost.
    pub fn on_progress(mut self, callback: impl FnMut(u64, u64) + Send + 'static) -> Self {
        self.on_progress = Box::new(callback);
        self
    }

    /// Calls `callback` before each pause, with the reason and the length of the pause.
    pub fn on_wait(mut self, callback: impl FnMut(&Error, Duration) + Send + 'static) -> Self {
        self.on_wait = Box::new(callback);
        self
    }

    /// Continues an earlier upload of the same source by the same actor. Restarts if the server doesn't know it any more, or
    /// knows it with another length.
    pub fn resume(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Uploads the file, and returns the id of the blob, which is durable then.
    ///
    /// Retries without a limit after lost connections, restarts of the server and temporary errors: wrap it in a timeout, or
    /// drop it. The server keeps an incomplete upload for some time (`unfinished_ms`), for [`Upload::resume`];
    /// [`Blobs::remove`] deletes it.
    ///
    /// # Errors
    /// A permanent error of the server, such as `unauthenticated`, `limit_bytes` for a file that is too large, or a code of
    /// the plugin; [`Error::File`] if the source can't be read or became shorter; [`Error::Protocol`] if the server doesn't
    /// implement this protocol.
    pub async fn send(mut self) -> Result<String, Error> {
        let length = self.source.seek(SeekFrom::End(0)).await.map_err(unreadable)?;
        let mut progress = UploadProgress {
            length,
            ..UploadProgress::default()
        };
        let mut failures = 0;
        loop {
            let before = progress.offset;
            let error = match self.attempt(&mut progress).await {
                Ok(id) => return Ok(id),
                Err(error) => error,
            };
            if !self.prepare_retry(&error, &mut progress) {
                return Err(error);
            }
            failures = if progress.offset > before { 0 } else { failures + 1 };
            let pause = self.blobs.options().pause(failures);
            (self.on_wait)(&error, pause);
            sleep(pause).await;
        }
    }

    /// Returns `true` if another attempt can succeed, and prepares it.
    fn prepare_retry(&mut self, error: &Error, progress: &mut UploadProgress) -> bool {
        match error.code() {
            // These may be accidents, but not without end.
            "unknown_blob" if self.id.take().is_some() => {
                progress.offset = 0;
                progress.restarts += 1;
                progress.restarts <= MAX_RESTARTS
            }
            "invalid_checksum" => {
                progress.restarts += 1;
                progress.restarts <= MAX_RESTARTS
            }
            // The server may not have noticed yet that an earlier connection is lost.
            "invalid_offset" => true,
            "offline" => {
                // On a bad connection, a large part would never arrive.
                let smallest = MIN_PART_BYTES.min(self.largest_part);
                self.part = (self.part / 2).max(smallest);
                true
            }
            _ => error.is_temporary(),
        }
    }

    /// Sends the bytes that the server doesn't have.
    async fn attempt(&mut self, progress: &mut UploadProgress) -> Result<String, Error> {
        let mut host = HttpHost::new(&self.blobs);
        let (id, offset) = match self.id.clone() {
            Some(id) => {
                let url = self.blobs.url(&self.plugin, &id);
                let offset = fetch_offset(&mut host, &url, progress.length).await?;
                (id, offset)
            }
            None => (self.create(&mut host, progress).await?, 0),
        };
        let url = self.blobs.url(&self.plugin, &id);
        progress.offset = offset;
        loop {
            (self.on_progress)(progress.offset, progress.length);
            if progress.offset >= progress.length {
                return Ok(id);
            }
            progress.offset = self.send_part(&mut host, &url, progress).await?;
            self.part = self.part.saturating_mul(2).min(self.largest_part);
        }
    }

    async fn create(&mut self, host: &mut HttpHost, progress: &UploadProgress) -> Result<String, Error> {
        let mut headers = vec![("upload-length", progress.length.to_string())];
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
        let url = self.blobs.url(&self.plugin, "");
        let answer = send(host, Method::POST, &url, headers, Bytes::new(), &mut |_| {}).await?;
        // Uses only the id of the location, so that the token is never sent to another host.
        let id = header(&answer, "location").and_then(|location| location.trim_end_matches('/').rsplit('/').next());
        let id = id
            .filter(|id| !id.is_empty())
            .ok_or_else(|| Error::Protocol("the server returned no location for the upload".to_owned()))?
            .to_owned();
        (self.on_begin)(&id);
        self.id = Some(id.clone());
        Ok(id)
    }

    /// Sends one part, and returns the number of bytes that the server has then.
    async fn send_part(&mut self, host: &mut HttpHost, url: &Url, progress: &UploadProgress) -> Result<u64, Error> {
        let UploadProgress { length, offset, .. } = *progress;
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
        let mut on_sent = |sent: u64| on_progress(offset + sent, length);
        let end = offset + part.len() as u64;
        let answer = send(host, Method::PATCH, url, headers, part, &mut on_sent).await?;
        let reached = offset_in(&answer)?;
        if reached <= offset || reached > end {
            return Err(Error::Protocol(
                "the server returned an impossible offset of the upload".to_owned(),
            ));
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
            return Err(Error::File("the file became shorter during the upload".to_owned()));
        }
        Ok(part.into())
    }
}

/// Requests the number of bytes that the server has.
async fn fetch_offset(host: &mut HttpHost, url: &Url, length: u64) -> Result<u64, Error> {
    let answer = send(host, Method::HEAD, url, Vec::new(), Bytes::new(), &mut |_| {}).await?;
    let known = header(&answer, "upload-length").and_then(|text| text.parse::<u64>().ok());
    if known.is_some_and(|known| known != length) {
        return Err(Error::Refused {
            code: "unknown_blob".to_owned(),
            message: "The server has an upload of another length under this id.".to_owned(),
            retry: false,
        });
    }
    offset_in(&answer)
}

async fn send(
    host: &mut HttpHost,
    method: Method,
    url: &Url,
    mut headers: Vec<(&'static str, String)>,
    body: Bytes,
    on_sent: &mut (dyn FnMut(u64) + Send),
) -> Result<HeaderMap, Error> {
    headers.push(("tus-resumable", "1.0.0".to_owned()));
    let request = BlobRequest {
        method,
        url,
        headers,
        body,
    };
    host.headers(request, on_sent).await
}

fn offset_in(answer: &HeaderMap) -> Result<u64, Error> {
    let offset = header(answer, "upload-offset").and_then(|text| text.parse().ok());
    offset.ok_or_else(|| Error::Protocol("the server returned no offset of the upload".to_owned()))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: std::io::Error) -> Error {
    Error::File(error.to_string())
}

/// Cuts a name that is too long for the server in the middle, which keeps its extension.
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
