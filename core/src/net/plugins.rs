//! The plugins' own parts of the HTTP interface: `/v1/plugins/ID/…`, and `/v1/apps/APP/plugins/ID/…` for another app than
//! the default one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courtyard_plugin_sdk::{HttpRequest, HttpResponse};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};

use crate::hooks::{Access, Call, CallerName, origin};
use crate::log::Draft;
use crate::session::Host;
use crate::store::CommitError;
use crate::wire::{AppId, Code, RequestError};

use super::Site;

/// How often a request that conflicts with others is answered anew.
const ATTEMPTS: u32 = 8;
/// How long the body of a request may take.
const BODY: Duration = Duration::from_secs(30);

/// What concerns one connection only (RFC 9110, section 7.6.1), what the host sets itself, and what would reach beyond the
/// plugin's own part.
const WITHHELD: [&str; 12] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "set-cookie",
    "clear-site-data",
    "strict-transport-security",
];

/// Where a request goes: the app, the plugin, and the path behind them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    app: AppId,
    plugin: String,
    path: String,
}

impl Target {
    /// Finds the plugin whose part of the interface a path is in.
    pub(super) fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/")?;
        let (app, rest) = match rest.strip_prefix("apps/") {
            Some(rest) => {
                let (app, rest) = rest.split_once('/')?;
                (app.parse().ok()?, rest)
            }
            None => (AppId::default_app(), rest),
        };
        let rest = rest.strip_prefix("plugins/")?;
        let (plugin, path) = match rest.find('/') {
            Some(end) => rest.split_at(end),
            None => (rest, "/"),
        };
        (!plugin.is_empty()).then(|| Self {
            app,
            plugin: plugin.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// A refusal of the host, with its status.
struct Refused(StatusCode, RequestError);

impl Refused {
    fn new(status: StatusCode, code: Code, message: &'static str) -> Self {
        Self(status, RequestError::new(code, message))
    }

    fn response(&self) -> Response<Full<Bytes>> {
        let Self(status, error) = self;
        let body = serde_json::json!({
            "error": {"code": error.code, "message": error.message, "retry": error.retry}
        });
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = *status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

impl From<RequestError> for Refused {
    fn from(error: RequestError) -> Self {
        let code = |code: Code| error.code == code.as_str();
        let status = if code(Code::Unauthenticated) {
            StatusCode::UNAUTHORIZED
        } else if code(Code::PluginFailed) {
            StatusCode::BAD_GATEWAY
        } else if error.retry {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::BAD_REQUEST
        };
        Self(status, error)
    }
}

/// Answers a request to a plugin's own part of the interface.
pub(super) async fn answer<B>(site: &Arc<Site>, target: Target, request: Request<B>) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match try_answer(site, target, request).await {
        Ok(response) => response,
        Err(refused) => refused.response(),
    }
}

async fn try_answer<B>(site: &Arc<Site>, target: Target, request: Request<B>) -> Result<Response<Full<Bytes>>, Refused>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let host = site.host.clone();
    if !host.apps.contains(&target.app) {
        let message = "There is no such app.";
        return Err(Refused::new(StatusCode::NOT_FOUND, Code::UnknownApp, message));
    }
    let (parts, body) = request.into_parts();
    let token = bearer(&parts.headers);
    let body = read(body, site.limits.body_bytes).await?;
    let request = HttpRequest {
        method: parts.method.as_str().to_owned(),
        path: target.path.clone(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: readable(&parts.headers),
        body: body.into(),
    };
    let stopping = || {
        Refused::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::ShuttingDown,
            "The server is stopping.",
        )
    };
    let turn = host.blocking.clone().acquire_owned().await.map_err(|_| stopping())?;
    let answered = tokio::task::spawn_blocking(move || committed(&host, &target, token.as_deref(), &request));
    let answered = answered.await.map_err(|_| {
        let message = "The server has a fault.";
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, message)
    });
    drop(turn);
    answered?
}

/// Returns the bearer token of a request (RFC 6750, section 2.1), if it has one.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    // Another scheme, such as a signature, is for the plugin to read.
    let token = text
        .strip_prefix("Bearer")
        .filter(|rest| rest.is_empty() || rest.starts_with(' '));
    token.map(|token| token.trim().to_owned())
}

async fn read<B>(body: B, most: usize) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || {
        let message = "The body is over `body_bytes`.";
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, Code::BadFrame, message)
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY, Limited::new(body, most).collect()).await;
    let late = |_| Refused::new(StatusCode::REQUEST_TIMEOUT, Code::BadFrame, "The body took too long.");
    match collected.map_err(late)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Refused::new(
            StatusCode::BAD_REQUEST,
            Code::BadFrame,
            "The body can't be read.",
        )),
    }
}

/// Returns the headers for the plugin, without the token, which is the host's to check.
fn readable(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let is_token = |name: &HeaderName, value: &HeaderValue| {
        *name == header::AUTHORIZATION && value.as_bytes().starts_with(b"Bearer ")
    };
    headers
        .iter()
        .filter(|(name, value)| !is_token(name, value))
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// Asks the plugin until its transaction holds.
fn committed(
    host: &Arc<Host>,
    target: &Target,
    token: Option<&str>,
    request: &HttpRequest,
) -> Result<Response<Full<Bytes>>, Refused> {
    let identity = token.map(|token| host.identify(&target.app, token)).transpose()?;
    for _ in 0..ATTEMPTS {
        let mut call = Call::new(target.app.clone(), Access::Write, Draft::new(host.log.store().clone()));
        match &identity {
            Some(identity) => {
                call.caller = CallerName {
                    actor: Some(identity.actor.clone()),
                    device: None,
                    credential: identity.credential.as_str().into(),
                };
            }
            // Strangers are one to the plugin: failures on their requests are held against these.
            None => call.origin = Some(origin(&target.app, "\0http")),
        }
        let (call, outcome) = host.hooks.http(call, &target.plugin, request.clone());
        let Some(outcome) = outcome else {
            let message = "There is no such plugin, or it answers no HTTP.";
            return Err(Refused::new(StatusCode::NOT_FOUND, Code::UnknownMethod, message));
        };
        let answered = outcome??;
        let response = checked(&target.plugin, &answered)?;
        if answered.status >= 400 {
            return Ok(response);
        }
        match host.settlement.commit(*call, |_| {}) {
            Ok(()) => return Ok(response),
            Err(CommitError::Conflict) => {}
            Err(CommitError::Closed) => {
                let message = "The server is stopping.";
                return Err(RequestError::new(Code::ShuttingDown, message).into());
            }
            Err(error) => {
                tracing::error!(%error, "a request to a plugin can't be committed");
                return Err(RequestError::new(Code::StorageFailed, "The server can't write.").into());
            }
        }
    }
    Err(RequestError::new(Code::Conflict, "Too many others changed the same things.").into())
}

/// Makes the response of what a plugin answered.
fn checked(plugin: &str, answered: &HttpResponse) -> Result<Response<Full<Bytes>>, Refused> {
    let failed = || {
        tracing::warn!(plugin, status = answered.status, "a plugin's response is malformed");
        let message = "The plugin's response is malformed.";
        Refused::new(StatusCode::BAD_GATEWAY, Code::PluginFailed, message)
    };
    let status = StatusCode::from_u16(answered.status).map_err(|_| failed())?;
    if !(200..600).contains(&answered.status) {
        return Err(failed());
    }
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(&answered.body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in &answered.headers {
        if WITHHELD.contains(&name.to_ascii_lowercase().as_str()) {
            continue;
        }
        let name: HeaderName = name.parse().map_err(|_| failed())?;
        headers.append(name, HeaderValue::from_bytes(value).map_err(|_| failed())?);
    }
    // A page of a plugin must not reach into the pages that the host serves from the same origin.
    headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_app_plugin_and_the_rest() {
        let target = |path: &str| Target::of(path).map(|target| (target.app.to_string(), target.plugin, target.path));
        let of = |app: &str, plugin: &str, path: &str| Some((app.to_owned(), plugin.to_owned(), path.to_owned()));
        assert_eq!(target("/v1/plugins/hello"), of("default", "hello", "/"));
        assert_eq!(target("/v1/plugins/hello/a/b"), of("default", "hello", "/a/b"));
        assert_eq!(target("/v1/apps/shop/plugins/hello/"), of("shop", "hello", "/"));
        for other in [
            "/v1/plugins",
            "/v1/plugins/",
            "/v1/apps/shop/hello",
            "/v2/plugins/hello",
        ] {
            assert_eq!(target(other), None, "{other}");
        }
    }

    #[test]
    fn a_response_keeps_its_headers_but_those_that_reach_too_far() {
        let mut answered = HttpResponse::new(200, "text/html", "<b>");
        answered.headers.push(("Set-Cookie".to_owned(), b"a=b".to_vec()));
        let Ok(response) = checked("p", &answered) else {
            panic!()
        };
        assert_eq!(response.headers()["content-type"], "text/html");
        assert_eq!(response.headers()["content-security-policy"], "sandbox");
        assert!(response.headers().get("set-cookie").is_none());
        for (status, name) in [(99, "a"), (101, "a"), (600, "a"), (200, "a b")] {
            let answered = HttpResponse {
                status,
                headers: vec![(name.to_owned(), Vec::new())],
                body: Vec::new(),
            };
            assert!(checked("p", &answered).is_err(), "{status} {name}");
        }
    }
}
