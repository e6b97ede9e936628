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

use crate::hooks::Access;
use crate::host::Host;
use crate::wire::Code;

use super::request::{HttpError, PluginPath, bearer, in_turn};
use super::{HttpState, Reply, ReplyBody};

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
    "clear-state-data",
    "strict-transport-security",
];

/// Answers a request to a plugin's own part of the interface.
pub(super) async fn answer<B>(state: &Arc<HttpState>, target: PluginPath, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match try_answer(state, target, request).await {
        Ok(response) => response,
        Err(refused) => refused.response(),
    }
}

async fn try_answer<B>(state: &Arc<HttpState>, target: PluginPath, request: Request<B>) -> Result<Reply, HttpError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let host = state.host.clone();
    let (parts, body) = request.into_parts();
    let token = bearer(&parts.headers);
    let body = read(body, state.limits.body_bytes).await?;
    let request = HttpRequest {
        method: parts.method.as_str().to_owned(),
        path: target.path.clone(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: readable(&parts.headers),
        body: body.into(),
    };
    in_turn(&state.host, move || {
        committed(&host, &target, token.as_deref(), &request)
    })
    .await
}

async fn read<B>(body: B, most: usize) -> Result<Bytes, HttpError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || {
        let message = "The body is over `body_bytes`.";
        HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, Code::BadFrame, message)
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY, Limited::new(body, most).collect()).await;
    let late = |_| HttpError::new(StatusCode::REQUEST_TIMEOUT, Code::BadFrame, "The body took too long.");
    match collected.map_err(late)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(_) => Err(HttpError::new(
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
    target: &PluginPath,
    token: Option<&str>,
    request: &HttpRequest,
) -> Result<Reply, HttpError> {
    let identity = target.identify(host, token)?;
    host.settlement.run(|| {
        let call = target.call(host, Access::Write, identity.as_ref());
        let (mut call, outcome) = host.hooks.http(call, &target.plugin, request.clone());
        let Some(outcome) = outcome else {
            let message = "There is no such plugin, or it answers no HTTP.";
            return Err(HttpError::new(StatusCode::NOT_FOUND, Code::UnknownMethod, message));
        };
        let response = outcome.flatten().map_err(HttpError::from).and_then(|answered| {
            if answered.status >= 400 {
                call.forget();
            }
            checked(&target.plugin, &answered)
        });
        Ok((call, response))
    })
}

/// Makes the response of what a plugin answered.
fn checked(plugin: &str, answered: &HttpResponse) -> Result<Reply, HttpError> {
    let failed = || {
        tracing::warn!(plugin, status = answered.status, "a plugin's response is malformed");
        let message = "The plugin's response is malformed.";
        HttpError::new(StatusCode::BAD_GATEWAY, Code::PluginFailed, message)
    };
    let status = StatusCode::from_u16(answered.status).map_err(|_| failed())?;
    if !(200..600).contains(&answered.status) {
        return Err(failed());
    }
    let mut response = Response::new(ReplyBody::Left(Full::new(Bytes::copy_from_slice(&answered.body))));
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
