//! What all HTTP requests to plugins share: their paths, their senders, and their errors.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::{Reply, ReplyBody};
use crate::hooks::{Call, CallerName, Identity, StoreAccess, origin};
use crate::host::Host;
use crate::store::{CommitError, Draft};
use crate::wire::{AppId, ErrorCode, RequestError};

/// The path of a request to a plugin: the app, the plugin's id, and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PluginPath {
    pub(super) app: AppId,
    pub(super) plugin: String,
    pub(super) rest: String,
}

impl PluginPath {
    /// Parses a path `/v1/NOUN/PLUGIN/…`, or `/v1/apps/APP/NOUN/PLUGIN/…` for apps other than the default one.
    pub(super) fn parse(path: &str, noun: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/")?;
        let (app, rest) = match rest.strip_prefix("apps/") {
            Some(rest) => {
                let (app, rest) = rest.split_once('/')?;
                (app.parse().ok()?, rest)
            }
            None => (AppId::default_app(), rest),
        };
        let rest = rest.strip_prefix(noun)?.strip_prefix('/')?;
        let (plugin, rest) = match rest.find('/') {
            Some(end) => rest.split_at(end),
            None => (rest, "/"),
        };
        (!plugin.is_empty()).then(|| Self {
            app,
            plugin: plugin.to_owned(),
            rest: rest.to_owned(),
        })
    }

    /// Creates a call to the plugin on behalf of the sender.
    pub(super) fn call(&self, host: &Host, access: StoreAccess, identity: Option<&Identity>) -> Box<Call> {
        let mut call = Call::new(self.app.clone(), access, Draft::new(host.log.store().clone()));
        match identity {
            Some(identity) => {
                call.caller = CallerName {
                    actor: Some(identity.actor.clone()),
                    device: None,
                    credential: identity.credential.as_str().into(),
                };
            }
            // All anonymous senders share one origin, so their failures count against them only.
            None => call.origin = Some(origin(&self.app, "\0http")),
        }
        call
    }

    /// Asks the plugins who the sender is; `None` without a token.
    pub(super) fn identify(&self, host: &Host, token: Option<&str>) -> Result<Option<Identity>, HttpError> {
        if !host.apps.contains(&self.app) {
            let message = "The app does not exist.";
            return Err(HttpError::new(StatusCode::NOT_FOUND, ErrorCode::UnknownApp, message));
        }
        Ok(token.map(|token| host.identify(&self.app, token)).transpose()?)
    }
}

/// An error with its HTTP status.
pub(super) struct HttpError(pub(super) StatusCode, pub(super) RequestError);

impl HttpError {
    pub(super) fn new(status: StatusCode, code: ErrorCode, message: &'static str) -> Self {
        Self(status, RequestError::new(code, message))
    }

    pub(super) fn response(&self) -> Reply {
        let Self(status, error) = self;
        let body = serde_json::json!({
            "error": {"code": error.code, "message": error.message, "retry": error.retry}
        });
        let mut response = Response::new(ReplyBody::Left(Full::new(Bytes::from(body.to_string()))));
        *response.status_mut() = *status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

impl From<RequestError> for HttpError {
    fn from(error: RequestError) -> Self {
        let code = |code: ErrorCode| error.code == code.as_str();
        let status = if code(ErrorCode::Unauthenticated) {
            StatusCode::UNAUTHORIZED
        } else if code(ErrorCode::Internal) {
            StatusCode::BAD_GATEWAY
        } else if error.retry {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::BAD_REQUEST
        };
        Self(status, error)
    }
}

impl From<CommitError> for HttpError {
    fn from(error: CommitError) -> Self {
        RequestError::from(error).into()
    }
}

/// Returns the bearer token of a request (RFC 6750, section 2.1), if it has one.
pub(super) fn bearer(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    // Plugins check other schemes, such as signatures.
    let token = text
        .strip_prefix("Bearer")
        .filter(|rest| rest.is_empty() || rest.starts_with(' '));
    token.map(|token| token.trim().to_owned())
}

/// Runs work that waits for plugins and the store on a worker thread, when a turn is free.
pub(super) async fn in_turn<T: Send + 'static>(
    host: &Arc<Host>,
    work: impl FnOnce() -> Result<T, HttpError> + Send + 'static,
) -> Result<T, HttpError> {
    let done = host.workers.in_turn(work).await.map_err(|_| {
        let message = "The server is stopping.";
        HttpError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message)
    })?;
    done.map_err(|_| {
        let message = "The server has a fault.";
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal, message)
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_app_plugin_and_rest() {
        let parse =
            |path: &str| PluginPath::parse(path, "plugins").map(|path| (path.app.to_string(), path.plugin, path.rest));
        let of = |app: &str, plugin: &str, path: &str| Some((app.to_owned(), plugin.to_owned(), path.to_owned()));
        assert_eq!(parse("/v1/plugins/hello"), of("default", "hello", "/"));
        assert_eq!(parse("/v1/plugins/hello/a/b"), of("default", "hello", "/a/b"));
        assert_eq!(parse("/v1/apps/shop/plugins/hello/"), of("shop", "hello", "/"));
        for other in [
            "/v1/plugins",
            "/v1/plugins/",
            "/v1/pluginshello",
            "/v1/blobs/hello",
            "/v1/apps/shop/hello",
            "/v2/plugins/hello",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
