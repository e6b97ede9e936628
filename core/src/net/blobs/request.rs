//! What the requests to blobs have in common: who sends them, which blob they name, and how they are refused.

use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};

use crate::blobs::{self, BlobName, BlobsError, Record};
use crate::hooks::Identity;
use crate::host::Host;
use crate::log::Draft;
use crate::net::request::{HttpError, PluginPath};
use crate::net::{Reply, ReplyBody};
use crate::store::{CommitError, LogId};
use crate::wire::{Code, ConversationId, RequestError};

/// A request, and who sends it.
#[derive(Clone)]
pub(super) struct BlobRequest {
    pub(super) target: PluginPath,
    /// What stands behind the plugin; empty for none.
    pub(super) id: String,
    pub(super) token: Option<String>,
}

impl BlobRequest {
    pub(super) fn identify(&self, host: &Host) -> Result<Option<Identity>, HttpError> {
        self.target.identify(host, self.token.as_deref())
    }

    /// Returns who sends the request, which must be somebody.
    pub(super) fn signed_in(&self, host: &Host) -> Result<Identity, HttpError> {
        let needed = || {
            let message = "This needs a bearer token.";
            HttpError::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated, message)
        };
        self.identify(host)?.ok_or_else(needed)
    }

    /// Finds the blob that the request names.
    pub(super) fn find(&self, draft: &mut Draft) -> Result<(BlobName, Record), HttpError> {
        let name = BlobName::parse(self.target.app.clone(), &self.target.plugin, &self.id).ok_or_else(unknown)?;
        let record = blobs::find(draft, &name).map_err(storage)?;
        Ok((name, record.ok_or_else(unknown)?))
    }
}

pub(super) fn unknown() -> HttpError {
    HttpError::new(StatusCode::NOT_FOUND, Code::UnknownBlob, "There is no such blob.")
}

/// Tells the operator, and the client as much as it may know.
pub(super) fn storage(error: BlobsError) -> HttpError {
    if let BlobsError::Commit(CommitError::Closed) = error {
        let message = "The server is stopping.";
        return HttpError::new(StatusCode::SERVICE_UNAVAILABLE, Code::ShuttingDown, message);
    }
    tracing::error!(%error, cause = ?std::error::Error::source(&error), "a blob can't be written or read");
    let message = "The server can't write or read this.";
    HttpError::new(StatusCode::SERVICE_UNAVAILABLE, Code::StorageFailed, message)
}

/// Makes of a plugin's answer about a blob whether the request goes on. A plugin that does not decide about blobs has none.
pub(super) fn allowed(outcome: Option<Result<(), RequestError>>) -> Result<(), HttpError> {
    match outcome {
        None => Err(unknown()),
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => {
            let refused = HttpError::from(error);
            // What a plugin refuses is understood well enough.
            let status = match refused.0 {
                StatusCode::BAD_REQUEST => StatusCode::FORBIDDEN,
                status => status,
            };
            Err(HttpError(status, refused.1))
        }
    }
}

/// Tells whether an actor is a member of the conversation that a blob is for, and relies on that.
pub(super) fn is_member(
    host: &Host,
    draft: &mut Draft,
    target: &PluginPath,
    record: &Record,
    identity: Option<&Identity>,
) -> Result<bool, HttpError> {
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
        HttpError::new(StatusCode::SERVICE_UNAVAILABLE, Code::StorageFailed, message)
    })?;
    Ok(found.is_some_and(|conversation| {
        draft.rely_on(conversation.key.clone());
        conversation.has_member(&identity.actor)
    }))
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
