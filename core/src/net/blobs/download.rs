//! Downloads of blobs, with ranges and conditions.

use std::ops::Range;
use std::sync::Arc;

use courtyard_plugin_sdk::hook::Request as Question;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Full, StreamBody};
use http_range_header::parse_range_header;
use hyper::body::Frame;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::request::{BlobRequest, allowed, empty, insert, is_member, storage_failed, unknown};
use crate::blobs::BlobsError;
use crate::hooks::StoreAccess;
use crate::net::request::{HttpError, in_turn};
use crate::net::{HttpState, Reply, ReplyBody};

/// Characters that file names are percent-encoded without: a subset of `attr-char` (RFC 8187).
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// Sends a blob, or a range of it, if its plugin allows that.
pub(super) async fn download(
    state: &Arc<HttpState>,
    request: BlobRequest,
    headers: &HeaderMap,
    head: bool,
) -> Result<Reply, HttpError> {
    let host = state.host.clone();
    let permitted = move || {
        let identity = request.identify(&host)?;
        host.settlement.run(|| {
            let mut call = request.path.call(&host, StoreAccess::Read, identity.as_ref());
            let (name, record) = request.find(&mut call.draft)?;
            if !record.complete {
                return Err(unknown());
            }
            let is_member = is_member(&host, &mut call.draft, &request.path, &record, identity.as_ref())?;
            let question = Question::BeforeDownload {
                blob: record.seen(&name),
                is_member,
            };
            let (call, outcome) = host.hooks.blob(call, &request.path.plugin, question);
            Ok((call, allowed(outcome).map(|()| (name, record))))
        })
    };
    let (name, record) = in_turn(&state.host, permitted).await?;
    let tag = HeaderValue::from_str(&format!("\"{}\"", name.text())).map_err(|_| unknown())?;
    let mut response = if headers.get(IF_NONE_MATCH) == Some(&tag) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        let whole = 0..record.length;
        let range = match requested_range(headers, &tag, record.length) {
            Ok(range) => range,
            Err(()) => {
                let mut response = empty(StatusCode::RANGE_NOT_SATISFIABLE);
                let text = format!("bytes */{}", record.length);
                insert(&mut response, CONTENT_RANGE, &text);
                return Ok(response);
            }
        };
        let part = range.clone().unwrap_or(whole);
        let length = part.end - part.start;
        let body = if head {
            ReplyBody::Left(Full::default())
        } else {
            let pieces = state.blobs.read(&name, &record, part.clone()).map_err(storage_failed)?;
            let log = |error: &BlobsError| {
                tracing::error!(%error, cause = ?std::error::Error::source(error), "a blob can't be sent to its end");
            };
            let frames = pieces.map_ok(Frame::data).inspect_err(log);
            ReplyBody::Right(StreamBody::new(frames).boxed_unsync())
        };
        let mut response = Response::new(body);
        if range.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let text = format!("bytes {}-{}/{}", part.start, part.end - 1, record.length);
            insert(&mut response, CONTENT_RANGE, &text);
        }
        insert(&mut response, CONTENT_LENGTH, &length.to_string());
        response
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, tag);
    let media_type = HeaderValue::from_str(&record.media_type)
        .ok()
        .filter(|text| !text.is_empty());
    let unknown_type = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, media_type.unwrap_or(unknown_type));
    let name = utf8_percent_encode(&record.name, NAME).to_string();
    if let Ok(text) = HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{name}")) {
        headers.insert(CONTENT_DISPOSITION, text);
    }
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // A blob never changes, but the permission to read it may.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Returns the range that a request asks for (RFC 9110, section 14), or `None` for the whole blob. A request for several
/// ranges gets the whole blob, which the RFC allows.
///
/// # Errors
/// When the blob has no byte of the range.
fn requested_range(headers: &HeaderMap, tag: &HeaderValue, length: u64) -> Result<Option<Range<u64>>, ()> {
    let Some(range) = headers.get(RANGE).and_then(|range| range.to_str().ok()) else {
        return Ok(None);
    };
    if headers.get(IF_RANGE).is_some_and(|condition| condition != tag) {
        return Ok(None);
    }
    // An invalid range is ignored.
    let Ok(parsed) = parse_range_header(range) else {
        return Ok(None);
    };
    match parsed.validate(length).map_err(|_| ())?.as_slice() {
        [part] => Ok(Some(*part.start()..part.end() + 1)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_parsed_or_rejected() {
        let tag = HeaderValue::from_static("\"a\"");
        let requested_range = |range: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static(range));
            super::requested_range(&headers, &tag, 10)
        };
        assert_eq!(requested_range("bytes=0-0"), Ok(Some(0..1)));
        assert_eq!(requested_range("bytes=4-"), Ok(Some(4..10)));
        assert_eq!(requested_range("bytes=-3"), Ok(Some(7..10)));
        assert_eq!(requested_range("bytes=5-100"), Ok(Some(5..10)));
        assert_eq!(requested_range("bytes=10-"), Err(()));
        assert_eq!(requested_range("bytes=0-1,3-4"), Ok(None));
        assert_eq!(requested_range("lines=1-2"), Ok(None));
    }
}
