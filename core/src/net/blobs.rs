//! Blobs over HTTP: `/v1/blobs/PLUGIN` takes uploads, `/v1/blobs/PLUGIN/ID` is one, to read or to remove.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use courtyard_plugin_sdk::hook::Request as Question;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Full, StreamBody};
use http_range_header::parse_range_header;
use hyper::body::{Body, Frame};
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::asked::{Refused, Target, bearer, in_turn};
use super::{Reply, ReplyBody, Site, uploads};
use crate::blobs::{self, BlobName, BlobsError, Record};
use crate::hooks::{Access, Identity};
use crate::log::Draft;
use crate::session::Host;
use crate::store::{CommitError, LogId};
use crate::wire::{Code, ConversationId, RequestError};

/// What stands as it is in the name of a file (RFC 8187, `attr-char`).
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// Answers a request to the blobs of a plugin.
pub(super) async fn answer<B>(site: &Arc<Site>, target: Target, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let uploads = uploads::is_meant(&parts.method, &parts.headers);
    let asked = Asked {
        id: target.path.trim_start_matches('/').to_owned(),
        target,
        token: bearer(&parts.headers),
    };
    let answered = match uploads::method(&parts.method, &parts.headers) {
        _ if uploads => {
            let answered = uploads::answer(site, asked, &parts, body).await;
            return uploads::finished(site, answered.unwrap_or_else(|refused| refused.response()));
        }
        Method::GET | Method::HEAD => download(site, asked, &parts.headers, parts.method == Method::HEAD).await,
        Method::DELETE => remove(site, asked).await,
        _ => Err(Refused::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Code::BadUpload,
            "Uploads speak tus 1.0 (Tus-Resumable: 1.0.0); see docs/reference/protocol.md.",
        )),
    };
    answered.unwrap_or_else(|refused| refused.response())
}

/// A request, and who sends it.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) target: Target,
    /// What stands behind the plugin; empty for none.
    pub(super) id: String,
    pub(super) token: Option<String>,
}

impl Asked {
    pub(super) fn identify(&self, host: &Host) -> Result<Option<Identity>, Refused> {
        self.target.identify(host, self.token.as_deref())
    }

    /// Returns who sends the request, which must be somebody.
    pub(super) fn signed_in(&self, host: &Host) -> Result<Identity, Refused> {
        let needed = || {
            let message = "This needs a bearer token.";
            Refused::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated, message)
        };
        self.identify(host)?.ok_or_else(needed)
    }

    /// Finds the blob that the request names.
    pub(super) fn find(&self, draft: &mut Draft) -> Result<(BlobName, Record), Refused> {
        let name = BlobName::parse(self.target.app.clone(), &self.target.plugin, &self.id).ok_or_else(unknown)?;
        let record = blobs::find(draft, &name).map_err(storage)?;
        Ok((name, record.ok_or_else(unknown)?))
    }
}

pub(super) fn unknown() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, Code::UnknownBlob, "There is no such blob.")
}

/// Tells the operator, and the client as much as it may know.
pub(super) fn storage(error: BlobsError) -> Refused {
    if let BlobsError::Commit(CommitError::Closed) = error {
        let message = "The server is stopping.";
        return Refused::new(StatusCode::SERVICE_UNAVAILABLE, Code::ShuttingDown, message);
    }
    tracing::error!(%error, cause = ?std::error::Error::source(&error), "a blob can't be written or read");
    let message = "The server can't write or read this.";
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, Code::StorageFailed, message)
}

/// Makes of a plugin's answer about a blob whether the request goes on. A plugin that does not decide about blobs has none.
pub(super) fn allowed(outcome: Option<Result<(), RequestError>>) -> Result<(), Refused> {
    match outcome {
        None => Err(unknown()),
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => {
            let refused = Refused::from(error);
            // What a plugin refuses is understood well enough.
            let status = match refused.0 {
                StatusCode::BAD_REQUEST => StatusCode::FORBIDDEN,
                status => status,
            };
            Err(Refused(status, refused.1))
        }
    }
}

/// Tells whether an actor is a member of the conversation that a blob is for, and relies on that.
pub(super) fn is_member(
    host: &Host,
    draft: &mut Draft,
    target: &Target,
    record: &Record,
    identity: Option<&Identity>,
) -> Result<bool, Refused> {
    let (Some(id), Some(identity)) = (record.conversation, identity) else {
        return Ok(false);
    };
    let log = LogId {
        app: target.app.clone(),
        conversation: ConversationId(id),
    };
    let found = host.log.conversations().get(&log).map_err(|error| {
        tracing::error!(%error, "a conversation can't be read");
        let message = "The server can't read its data.";
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, Code::StorageFailed, message)
    })?;
    Ok(found.is_some_and(|conversation| {
        draft.rely_on(conversation.key.clone());
        conversation.has_member(&identity.actor)
    }))
}

/// Removes a blob.
async fn remove(site: &Arc<Site>, asked: Asked) -> Result<Reply, Refused> {
    let host = site.host.clone();
    in_turn(&site.host, move || removed(&host, &asked)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Removes a blob, if the plugin agrees; its uploader may also break an upload off.
pub(super) fn removed(host: &Arc<Host>, asked: &Asked) -> Result<(), Refused> {
    let identity = asked.signed_in(host)?;
    host.settlement.run(|| {
        let mut call = asked.target.call(host, Access::Write, Some(&identity));
        let (name, record) = asked.find(&mut call.draft)?;
        let mut outcome = Ok(());
        if record.complete {
            let question = Question::BeforeRemove(record.seen(&name));
            let answer;
            (call, answer) = host.hooks.blob(call, &asked.target.plugin, question);
            let nobody = || {
                let message = "Nobody may remove blobs of this plugin.";
                Refused::new(StatusCode::FORBIDDEN, Code::Forbidden, message)
            };
            outcome = allowed(Some(answer.ok_or_else(nobody)?));
        } else if record.uploader != identity.actor.as_str() {
            return Err(unknown());
        }
        blobs::remove(&mut call.draft, &name, &record);
        Ok((call, outcome))
    })
}

/// Sends a blob, or a part of it, to whoever may have it.
async fn download(site: &Arc<Site>, asked: Asked, headers: &HeaderMap, head: bool) -> Result<Reply, Refused> {
    let host = site.host.clone();
    let permitted = move || {
        let identity = asked.identify(&host)?;
        host.settlement.run(|| {
            let mut call = asked.target.call(&host, Access::Read, identity.as_ref());
            let (name, record) = asked.find(&mut call.draft)?;
            if !record.complete {
                return Err(unknown());
            }
            let is_member = is_member(&host, &mut call.draft, &asked.target, &record, identity.as_ref())?;
            let question = Question::BeforeDownload {
                blob: record.seen(&name),
                is_member,
            };
            let (call, outcome) = host.hooks.blob(call, &asked.target.plugin, question);
            Ok((call, allowed(outcome).map(|()| (name, record))))
        })
    };
    let (name, record) = in_turn(&site.host, permitted).await?;
    let tag = HeaderValue::from_str(&format!("\"{}\"", name.text())).map_err(|_| unknown())?;
    let mut response = if headers.get(IF_NONE_MATCH) == Some(&tag) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        let whole = 0..record.length;
        let range = match wanted(headers, &tag, record.length) {
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
            let pieces = site.blobs.read(&name, &record, part.clone()).map_err(storage)?;
            let told = |error: &BlobsError| {
                tracing::error!(%error, cause = ?std::error::Error::source(error), "a blob can't be sent to its end");
            };
            let frames = pieces.map_ok(Frame::data).inspect_err(told);
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
    // It never changes, but who may read it does.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Finds the part that a request asks for (RFC 9110, section 14); none for the whole. Several parts are sent as the whole,
/// which the RFC allows.
fn wanted(headers: &HeaderMap, tag: &HeaderValue, length: u64) -> Result<Option<Range<u64>>, ()> {
    let Some(range) = headers.get(RANGE).and_then(|range| range.to_str().ok()) else {
        return Ok(None);
    };
    if headers.get(IF_RANGE).is_some_and(|condition| condition != tag) {
        return Ok(None);
    }
    // One that can't be understood is as good as none.
    let Ok(parsed) = parse_range_header(range) else {
        return Ok(None);
    };
    match parsed.validate(length).map_err(|_| ())?.as_slice() {
        [part] => Ok(Some(*part.start()..part.end() + 1)),
        _ => Ok(None),
    }
}

pub(super) fn empty(status: StatusCode) -> Reply {
    let mut response = Response::new(ReplyBody::Left(Full::default()));
    *response.status_mut() = status;
    response
}

/// Adds a header whose value is of our own making.
pub(super) fn insert(response: &mut Reply, name: impl hyper::header::IntoHeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_understood_or_refused() {
        let tag = HeaderValue::from_static("\"a\"");
        let wanted = |range: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static(range));
            super::wanted(&headers, &tag, 10)
        };
        assert_eq!(wanted("bytes=0-0"), Ok(Some(0..1)));
        assert_eq!(wanted("bytes=4-"), Ok(Some(4..10)));
        assert_eq!(wanted("bytes=-3"), Ok(Some(7..10)));
        assert_eq!(wanted("bytes=5-100"), Ok(Some(5..10)));
        assert_eq!(wanted("bytes=10-"), Err(()));
        assert_eq!(wanted("bytes=0-1,3-4"), Ok(None));
        assert_eq!(wanted("lines=1-2"), Ok(None));
    }
}
