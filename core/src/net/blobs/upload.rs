//! Resumable uploads of blobs: tus 1.0.0 (<https://tus.io/protocols/resumable-upload>) with the extensions creation,
//! creation-with-upload, checksum, expiration and termination.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use courtyard_plugin_sdk::hook::Request as Question;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::removal::remove_blocking;
use super::request::{BlobRequest, allowed, empty, insert, is_member, storage_failed, unknown};
use crate::blobs::{self, BlobName, BlobPart, BlobRecord, Blobs, MEDIA_TYPE_BYTES, NAME_BYTES};
use crate::hooks::{Identity, StoreAccess};
use crate::host::Host;
use crate::net::request::{HttpError, in_turn};
use crate::net::{HttpState, Reply};
use crate::wire::{ConversationId, ErrorCode};

const RESUMABLE: &str = "tus-resumable";
const VERSION: &str = "1.0.0";
const LENGTH: &str = "upload-length";
const OFFSET: &str = "upload-offset";
const METADATA: &str = "upload-metadata";
const CHECKSUM: &str = "upload-checksum";
const EXPIRES: &str = "upload-expires";
const OVERRIDE: &str = "x-http-method-override";
const OFFSET_STREAM: &str = "application/offset+octet-stream";

/// Longest wait for the next bytes of a body.
const STALL: Duration = Duration::from_secs(30);

/// Whether a request is about an upload, not about a complete blob.
pub(super) fn is_upload(method: &Method, headers: &HeaderMap) -> bool {
    headers.contains_key(RESUMABLE) || *method == Method::OPTIONS
}

/// Returns the method of a request. Clients behind old proxies override it by a header.
pub(super) fn method(method: &Method, headers: &HeaderMap) -> Method {
    let overriding = headers
        .get(OVERRIDE)
        .and_then(|name| Method::from_bytes(name.as_bytes()).ok());
    overriding.unwrap_or_else(|| method.clone())
}

/// Adds the headers of every answer about uploads.
pub(super) fn with_tus_headers(state: &HttpState, mut response: Reply) -> Reply {
    let headers = response.headers_mut();
    headers.insert(RESUMABLE, HeaderValue::from_static(VERSION));
    headers.insert("tus-version", HeaderValue::from_static(VERSION));
    headers.insert(
        "tus-extension",
        HeaderValue::from_static("creation,creation-with-upload,checksum,expiration,termination"),
    );
    headers.insert("tus-checksum-algorithm", HeaderValue::from_static("sha1,sha256"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert(&mut response, "tus-max-size", &state.blobs.limits().bytes.to_string());
    response
}

/// Answers a request about an upload.
pub(super) async fn answer<B>(
    state: &Arc<HttpState>,
    request: BlobRequest,
    parts: &Parts,
    body: B,
) -> Result<Reply, HttpError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let method = method(&parts.method, &parts.headers);
    if method == Method::OPTIONS {
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    if parts.headers.get(RESUMABLE).map(HeaderValue::as_bytes) != Some(VERSION.as_bytes()) {
        let message = "This server supports tus 1.0.0 only.";
        return Err(HttpError::new(
            StatusCode::PRECONDITION_FAILED,
            ErrorCode::InvalidUpload,
            message,
        ));
    }
    let host = state.host.clone();
    match method {
        Method::POST if request.id.is_empty() => create(state, request, parts, body).await,
        Method::HEAD => {
            let (name, record) = in_turn(&state.host, move || find_own(&host, &request)).await?;
            let mut response = empty(StatusCode::OK);
            insert(&mut response, LENGTH, &record.length.to_string());
            describe(&mut response, &record);
            tracing::trace!(blob = name.text(), offset = record.offset(), "resuming an upload");
            Ok(response)
        }
        Method::PATCH => {
            let (name, record) = in_turn(&state.host, {
                let request = request.clone();
                move || find_own(&host, &request)
            })
            .await?;
            let upload = Upload::new(state, request, name, record)?;
            let record = upload.receive_body(&parts.headers, body).await?;
            let mut response = empty(StatusCode::NO_CONTENT);
            describe(&mut response, &record);
            Ok(response)
        }
        Method::DELETE => {
            in_turn(&state.host, move || remove_blocking(&host, &request)).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(bad(StatusCode::METHOD_NOT_ALLOWED, "Uploads don't have this method.")),
    }
}

fn too_large(message: &'static str) -> HttpError {
    HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::LimitBytes, message)
}

fn bad(status: StatusCode, message: &'static str) -> HttpError {
    HttpError::new(status, ErrorCode::InvalidUpload, message)
}

/// Adds the headers with the offset of an upload and the time when it expires.
fn describe(response: &mut Reply, record: &BlobRecord) {
    insert(response, OFFSET, &record.offset().to_string());
    if record.until_ms != 0 {
        let until = UNIX_EPOCH.checked_add(Duration::from_millis(record.until_ms));
        let until = until.unwrap_or_else(SystemTime::now);
        insert(response, EXPIRES, &httpdate::fmt_http_date(until));
    }
}

/// Returns an upload of the sender.
fn find_own(host: &Arc<Host>, request: &BlobRequest) -> Result<(BlobName, BlobRecord), HttpError> {
    let identity = request.signed_in(host)?;
    let mut call = request.path.call(host, StoreAccess::Read, Some(&identity));
    let (name, record) = request.find(&mut call.draft)?;
    if record.uploader == identity.actor.as_str() {
        Ok((name, record))
    } else {
        Err(unknown())
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// A client's description of a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metadata {
    name: String,
    media_type: String,
    conversation: Option<u128>,
}

impl Metadata {
    fn read(headers: &HeaderMap) -> Result<Self, &'static str> {
        let mut metadata = Self::default();
        let Some(text) = headers.get(METADATA) else {
            return Ok(metadata);
        };
        let text = text.to_str().map_err(|_| "Upload-Metadata must be ASCII text.")?;
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let value = STANDARD.decode(value.trim()).ok();
            let value = value.and_then(|value| String::from_utf8(value).ok());
            let value = value.ok_or("A value in Upload-Metadata must be UTF-8 in Base64.")?;
            match key {
                "filename" | "name" => metadata.name = file_name(&value)?,
                "filetype" | "type" => {
                    if value.len() > MEDIA_TYPE_BYTES || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                        return Err("Not a media type: `filetype` in Upload-Metadata.");
                    }
                    metadata.media_type = value;
                }
                "conversation" if !value.is_empty() => {
                    let id: ConversationId = value
                        .parse()
                        .map_err(|_| "Not a conversation id: `conversation` in Upload-Metadata.")?;
                    metadata.conversation = Some(id.0);
                }
                // Other keys have no meaning for the server.
                _ => {}
            }
        }
        Ok(metadata)
    }
}

/// Returns a client's file name without its path, and without control and bidirectional formatting characters.
fn file_name(claimed: &str) -> Result<String, &'static str> {
    let last = claimed.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_hidden = |c: &char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let name: String = last.chars().filter(|c| !c.is_control() && !is_hidden(c)).collect();
    match name.trim() {
        "." | ".." => Ok(String::new()),
        name if name.len() > NAME_BYTES => Err("The name of the file is too long."),
        name => Ok(name.to_owned()),
    }
}

/// Creates an upload.
async fn create<B>(state: &Arc<HttpState>, request: BlobRequest, parts: &Parts, body: B) -> Result<Reply, HttpError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let headers = &parts.headers;
    let length = number(headers, LENGTH).ok_or_else(|| bad(StatusCode::BAD_REQUEST, "Upload-Length is required."))?;
    if length > state.blobs.limits().bytes {
        return Err(too_large("The file is larger than `max_bytes` allows."));
    }
    let metadata = Metadata::read(headers).map_err(|message| bad(StatusCode::BAD_REQUEST, message))?;
    let (host, blobs, for_begin) = (state.host.clone(), state.blobs.clone(), request.clone());
    let begun = in_turn(&state.host, move || begin(&host, &blobs, &for_begin, length, metadata)).await;
    let (name, mut record) = begun?;
    let path = parts.uri.path().trim_end_matches('/');
    // A body saves the client a request (creation-with-upload).
    if has_bytes(headers) && length > 0 {
        let request = BlobRequest {
            id: name.text(),
            ..request
        };
        let upload = Upload::new(state, request, name.clone(), record)?;
        record = upload.receive_body(headers, body).await?;
    }
    let mut response = empty(StatusCode::CREATED);
    insert(&mut response, LOCATION, &format!("{path}/{}", name.text()));
    describe(&mut response, &record);
    Ok(response)
}

fn has_bytes(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) == Some(OFFSET_STREAM.as_bytes())
}

/// Asks the plugin whether an upload may begin. An upload without bytes is completed as well.
fn begin(
    host: &Arc<Host>,
    blobs: &Blobs,
    request: &BlobRequest,
    length: u64,
    metadata: Metadata,
) -> Result<(BlobName, BlobRecord), HttpError> {
    let identity = request.signed_in(host)?;
    let name = BlobName::new(request.path.app.clone(), &request.path.plugin);
    let mut record = blobs.begin(&name, length).map_err(storage_failed)?;
    record.uploader = identity.actor.as_str().to_owned();
    record.name = metadata.name;
    record.media_type = metadata.media_type;
    record.conversation = metadata.conversation;
    let now = host.settlement.run(|| {
        let mut call = request.path.call(host, StoreAccess::Write, Some(&identity));
        let question = Question::BeforeUpload {
            blob: record.seen(&name),
            is_member: is_member(host, &mut call.draft, &request.path, &record, Some(&identity))?,
        };
        let (mut call, answer) = host.hooks.blob(call, &request.path.plugin, question);
        let mut outcome = allowed(answer);
        let mut now = record.clone();
        if length == 0 && outcome.is_ok() {
            let answer;
            (call, answer) = host
                .hooks
                .blob(call, &request.path.plugin, Question::CompleteUpload(record.seen(&name)));
            outcome = allowed(answer.or(Some(Ok(()))));
            now.complete = true;
            now.until_ms = 0;
        }
        blobs::put(&mut call.draft, &name, None, &now);
        Ok((call, outcome.map(|()| now)))
    })?;
    Ok((name, now))
}

/// One request with bytes for an upload.
struct Upload {
    state: Arc<HttpState>,
    request: BlobRequest,
    name: BlobName,
    /// The record as it is stored.
    record: BlobRecord,
    /// Parts that are written, but not yet in the record.
    pending: Vec<BlobPart>,
    buffer: BytesMut,
    /// Whether parts are added to the record only once the whole body has arrived.
    atomic: bool,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl Upload {
    fn new(
        state: &Arc<HttpState>,
        request: BlobRequest,
        name: BlobName,
        record: BlobRecord,
    ) -> Result<Self, HttpError> {
        let permit = state.uploads.clone().try_acquire_owned().map_err(|_| {
            let message = "Too many uploads are in progress. Try again later.";
            HttpError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Busy, message)
        })?;
        Ok(Self {
            state: state.clone(),
            request,
            name,
            record,
            pending: Vec::new(),
            buffer: BytesMut::new(),
            atomic: false,
            _permit: permit,
        })
    }

    /// Receives the bytes of a request. Bytes that arrived before a broken connection are kept, unless there is a checksum.
    async fn receive_body<B>(mut self, headers: &HeaderMap, body: B) -> Result<BlobRecord, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if !has_bytes(headers) {
            let message = "The Content-Type must be application/offset+octet-stream.";
            return Err(bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let checksum = Checksum::read(headers)?;
        self.atomic = checksum.is_some();
        // The request that creates an upload needs no offset.
        let offset = number(headers, OFFSET).unwrap_or(0);
        if self.record.complete || offset != self.record.offset() {
            return Err(conflict());
        }
        let outcome = self.receive(body, checksum).await;
        if outcome.is_err() {
            self.discard().await;
        }
        outcome.map(|()| self.record)
    }

    async fn receive<B>(&mut self, body: B, mut checksum: Option<Checksum>) -> Result<(), HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let left = self.record.length - self.record.offset();
        let over = || too_large("The body has more bytes than Upload-Length allows.");
        if body.size_hint().lower() > left {
            return Err(over());
        }
        let part_bytes = self.state.blobs.limits().part_bytes;
        let mut body = std::pin::pin!(body);
        let mut received = 0;
        let broken = loop {
            let frame = match tokio::time::timeout(STALL, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => break None,
                Ok(Some(Err(_))) => break Some("The connection was interrupted."),
                Err(_) => break Some("No bytes arrived for 30 seconds."),
            };
            let Ok(mut bytes) = frame.into_data() else { continue };
            received += bytes.len() as u64;
            if received > left {
                return Err(over());
            }
            if let Some(checksum) = &mut checksum {
                checksum.context.update(&bytes);
            }
            while !bytes.is_empty() {
                let room = part_bytes - self.buffer.len();
                self.buffer.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
                if self.buffer.len() == part_bytes {
                    self.write().await?;
                }
            }
        };
        match (broken, checksum) {
            // The checksum of an incomplete body can't be verified.
            (Some(message), Some(_)) => return Err(bad(StatusCode::BAD_REQUEST, message)),
            (None, Some(checksum)) => checksum.check()?,
            (_, None) => {}
        }
        self.atomic = false;
        self.write().await?;
        match broken {
            Some(message) => Err(bad(StatusCode::BAD_REQUEST, message)),
            None => Ok(()),
        }
    }

    /// Writes the buffer as a part, and adds pending parts to the record, unless the request is atomic.
    async fn write(&mut self) -> Result<(), HttpError> {
        if !self.buffer.is_empty() {
            let bytes = self.buffer.split().freeze();
            let part = self.state.blobs.write(&self.name, &self.record, bytes).await;
            self.pending.push(part.map_err(storage_failed)?);
        }
        if self.atomic || self.pending.is_empty() {
            return Ok(());
        }
        let (host, request, name) = (self.state.host.clone(), self.request.clone(), self.name.clone());
        let (before, pending) = (self.record.clone(), self.pending.clone());
        self.record = in_turn(&self.state.host, move || {
            advance(&host, &request, &name, &before, pending)
        })
        .await?;
        self.pending.clear();
        Ok(())
    }

    /// Deletes the parts that are written, but not in the record.
    async fn discard(&mut self) {
        if let Err(error) = self.state.blobs.erase_parts(&self.name, &self.pending).await {
            tracing::warn!(%error, "unused bytes of an upload stay until it is removed");
        }
    }
}

fn conflict() -> HttpError {
    let message = "Upload-Offset differs from the offset of the upload.";
    HttpError::new(StatusCode::CONFLICT, ErrorCode::InvalidOffset, message)
}

/// Adds parts to the record. With the last part, the plugin decides whether to accept the blob.
fn advance(
    host: &Arc<Host>,
    request: &BlobRequest,
    name: &BlobName,
    before: &BlobRecord,
    parts: Vec<BlobPart>,
) -> Result<BlobRecord, HttpError> {
    let identity = request.signed_in(host)?;
    let mut now = before.clone();
    now.parts.extend(parts);
    if now.offset() == now.length {
        now.complete = true;
        now.until_ms = 0;
    }
    let mut is_rejected = false;
    let advanced = host.settlement.run(|| {
        let mut call = request.path.call(host, StoreAccess::Write, Some(&identity));
        if request.find(&mut call.draft)?.1 != *before {
            return Err(conflict());
        }
        let mut outcome = Ok(());
        if now.complete {
            let answer;
            (call, answer) = host
                .hooks
                .blob(call, &request.path.plugin, Question::CompleteUpload(now.seen(name)));
            outcome = allowed(answer.or(Some(Ok(()))));
        }
        is_rejected = outcome.as_ref().is_err_and(|error| !error.1.retry);
        blobs::put(&mut call.draft, name, Some(before), &now);
        Ok((call, outcome))
    });
    match advanced {
        Ok(()) => Ok(now),
        Err(error) => {
            if is_rejected {
                remove_rejected(host, request, name, before, &identity)?;
            }
            Err(error)
        }
    }
}

/// Removes an upload that the plugin rejected.
fn remove_rejected(
    host: &Arc<Host>,
    request: &BlobRequest,
    name: &BlobName,
    record: &BlobRecord,
    identity: &Identity,
) -> Result<(), HttpError> {
    let mut call = request.path.call(host, StoreAccess::Write, Some(identity));
    blobs::remove(&mut call.draft, name, record);
    host.settlement.commit(*call, |_| {}).map_err(HttpError::from)
}

/// The expected checksum of a body.
struct Checksum {
    context: digest::Context,
    expected: Vec<u8>,
}

impl Checksum {
    fn read(headers: &HeaderMap) -> Result<Option<Self>, HttpError> {
        let Some(text) = headers.get(CHECKSUM) else {
            return Ok(None);
        };
        let (algorithm, sum) = text
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .unwrap_or_default();
        let algorithm = match algorithm {
            "sha1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            "sha256" => &digest::SHA256,
            _ => return Err(bad(StatusCode::BAD_REQUEST, "The checksum must be sha1 or sha256.")),
        };
        let expected = STANDARD.decode(sum.trim()).ok();
        let expected = expected.ok_or_else(|| bad(StatusCode::BAD_REQUEST, "The checksum must be Base64."))?;
        Ok(Some(Self {
            context: digest::Context::new(algorithm),
            expected,
        }))
    }

    fn check(self) -> Result<(), HttpError> {
        if self.context.finish().as_ref() == self.expected {
            return Ok(());
        }
        let mismatch = StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST);
        let message = "The body doesn't match the checksum.";
        Err(HttpError::new(mismatch, ErrorCode::InvalidChecksum, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_lose_paths_and_control_characters() {
        let name = |claimed: &str| file_name(claimed).unwrap();
        assert_eq!(name("report.pdf"), "report.pdf");
        assert_eq!(name("../../etc/passwd"), "passwd");
        assert_eq!(name("C:\\Users\\ann\\a.txt"), "a.txt");
        assert_eq!(name("a\u{0}b\n.txt\u{202e}"), "ab.txt");
        assert_eq!(name(".."), "");
        assert_eq!(name("Übung 1.txt"), "Übung 1.txt");
        assert!(file_name(&"a".repeat(256)).is_err());
    }

    #[test]
    fn metadata_is_parsed_or_rejected() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(METADATA, HeaderValue::from_str(text).unwrap());
            Metadata::read(&headers)
        };
        let metadata = read("filename YS50eHQ=, filetype dGV4dC9wbGFpbg==,other,conversation ").unwrap();
        assert_eq!((&*metadata.name, &*metadata.media_type), ("a.txt", "text/plain"));
        assert_eq!(metadata.conversation, None);
        for wrong in ["filename %%%", "filename /w==", "conversation YQ==", "filetype CgA="] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
