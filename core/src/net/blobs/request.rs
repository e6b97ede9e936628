//! What all requests to blobs share: the sender, the blob they name, and their errors.

use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};

use crate::blobs::{self, BlobName, BlobRecord, BlobsError};
use crate::hooks::Identity;
use crate::host::Host;
use crate::net::request::{HttpError, PluginPath};
use crate::net::{Reply, ReplyBody};
use crate::store::{CommitError, Draft, LogId};
use crate::wire::{ConversationId, ErrorCode, RequestError};

/// A request to a blob of a plugin.
#[derive(Clone)]
pub(super) struct BlobRequest {
    pub(super) path: PluginPath,
    /// The path behind the plugin's id: the id of a blob, or empty.
    pub(super) id: String,
    pub(super) token: Option<String>,
}

impl BlobRequest {
    pub(super) fn identify(&self, host: &Host) -> Result<Option<Identity>, HttpError> {
        self.path.identify(host, self.token.as_deref())
    }

    /// Returns the sender. Fails with `unauthenticated` without a token.
    pub(super) fn signed_in(&self, host: &Host) -> Result<Identity, HttpError> {
        let needed = || {
            let message = "A bearer token is required.";
            HttpError::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthenticated, message)
        };
        self.identify(host)?.ok_or_else(needed)
    }

    /// Returns the blob that the request names.
    pub(super) fn find(&self, draft: &mut Draft) -> Result<(BlobName, BlobRecord), HttpError> {
        let name = BlobName::parse(self.path.app.clone(), &self.path.plugin, &self.id).ok_or_else(unknown)?;
        let record = blobs::find(draft, &name).map_err(storage_failed)?;
        Ok((name, record.ok_or_else(unknown)?))
    }
}

pub(super) fn unknown() -> HttpError {
    HttpError::new(
        StatusCode::NOT_FOUND,
        ErrorCode::UnknownBlob,
        "The blob does not exist.",
    )
}

/// Logs a failure, and converts it without details for the client.
pub(super) fn storage_failed(error: BlobsError) -> HttpError {
    if let BlobsError::Commit(CommitError::Closed) = error {
        let message = "The server is stopping.";
        return HttpError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message);
    }
    tracing::error!(%error, cause = ?std::error::Error::source(&error), "a blob can't be written or read");
    let message = "The server can't write or read this.";
    HttpError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message)
}

/// Converts a plugin's verdict about a blob. `None` means that the plugin has no hook for blobs: the blob is unknown
/// then.
pub(super) fn allowed(outcome: Option<Result<(), RequestError>>) -> Result<(), HttpError> {
    match outcome {
        None => Err(unknown()),
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => {
            let refused = HttpError::from(error);
            // The request was valid, so its rejection isn't a 400.
            let status = match refused.0 {
                StatusCode::BAD_REQUEST => StatusCode::FORBIDDEN,
                status => status,
            };
            Err(HttpError(status, refused.1))
        }
    }
}

/// Whether the actor is a member of the conversation that the blob is for. The draft depends on the answer.
pub(super) fn is_member(
    host: &Host,
    draft: &mut Draft,
    path: &PluginPath,
    record: &BlobRecord,
    identity: Option<&Identity>,
) -> Result<bool, HttpError> {
    let (Some(id), Some(identity)) = (record.conversation, identity) else {
        return Ok(false);
    };
    let log = LogId {
        app: path.app.clone(),
        conversation: ConversationId(id),
    };
    let found = host.log.conversations().get(&log).map_err(|error| {
        tracing::error!(%error, "a conversation can't be read");
        let message = "The server can't read its data.";
        HttpError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message)
    })?;
    Ok(found.is_some_and(|conversation| {
        draft.add_read(conversation.key.clone());
        conversation.has_member(&identity.actor)
    }))
}

pub(super) fn empty(status: StatusCode) -> Reply {
    let mut response = Response::new(ReplyBody::Left(Full::default()));
    *response.status_mut() = status;
    response
}

/// Adds a header; a value with characters that headers can't have is left out.
pub(super) fn insert(response: &mut Reply, name: impl hyper::header::IntoHeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
