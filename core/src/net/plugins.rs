//! HTTP endpoints of plugins: `/v1/plugins/ID/…`, and `/v1/apps/APP/plugins/ID/…` for apps other than the default one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courtyard_plugin_sdk::{HttpRequest, HttpResponse};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};

use crate::hooks::StoreAccess;
use crate::host::Host;
use crate::wire::ErrorCode;

use super::request::{HttpError, PluginPath, bearer, in_turn};
use super::{HttpState, Reply, ReplyBody};

/// Longest time that the body of a request may take.
const BODY: Duration = Duration::from_secs(30);

/// Response headers that plugins can't set: those of one connection only (RFC 9110, section 7.6.1), those that the host
/// sets itself, and those with an effect beyond the plugin's own paths.
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

/// Answers a request to an endpoint of a plugin.
pub(super) async fn answer<B>(state: &Arc<HttpState>, path: PluginPath, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match try_answer(state, path, request).await {
        Ok(response) => response,
        Err(error) => error.response(),
    }
}

async fn try_answer<B>(state: &Arc<HttpState>, path: PluginPath, request: Request<B>) -> Result<Reply, HttpError>
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
        path: path.rest.clone(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: readable(&parts.headers),
        body: body.into(),
    };
    in_turn(&state.host, move || {
        call_committed(&host, &path, token.as_deref(), &request)
    })
    .await
}

async fn read<B>(body: B, limit: usize) -> Result<Bytes, HttpError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || {
        let message = "The body is larger than `body_bytes` allows.";
        HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::LimitBytes, message)
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY, Limited::new(body, limit).collect()).await;
    let timed_out = |_| {
        HttpError::new(
            StatusCode::REQUEST_TIMEOUT,
            ErrorCode::InvalidFrame,
            "The body took too long.",
        )
    };
    match collected.map_err(timed_out)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(_) => Err(HttpError::new(
            StatusCode::BAD_REQUEST,
            ErrorCode::InvalidFrame,
            "The body can't be read.",
        )),
    }
}

/// Returns the headers for the plugin, without the bearer token, which only the host checks.
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

/// Calls the plugin, and retries until its transaction commits.
fn call_committed(
    host: &Arc<Host>,
    path: &PluginPath,
    token: Option<&str>,
    request: &HttpRequest,
) -> Result<Reply, HttpError> {
    let identity = path.identify(host, token)?;
    host.settlement.run(|| {
        let call = path.call(host, StoreAccess::Write, identity.as_ref());
        let (mut call, outcome) = host.hooks.http(call, &path.plugin, request.clone());
        let Some(outcome) = outcome else {
            let message = "The plugin does not exist, or has no HTTP endpoint.";
            return Err(HttpError::new(StatusCode::NOT_FOUND, ErrorCode::UnknownMethod, message));
        };
        let response = outcome.flatten().map_err(HttpError::from).and_then(|answer| {
            if answer.status >= 400 {
                call.discard();
            }
            convert(&path.plugin, &answer)
        });
        Ok((call, response))
    })
}

/// Checks a plugin's response, and converts it.
fn convert(plugin: &str, answer: &HttpResponse) -> Result<Reply, HttpError> {
    let failed = || {
        tracing::warn!(plugin, status = answer.status, "a plugin's response is malformed");
        let message = "The plugin's response is malformed.";
        HttpError::new(StatusCode::BAD_GATEWAY, ErrorCode::Internal, message)
    };
    let status = StatusCode::from_u16(answer.status).map_err(|_| failed())?;
    if !(200..600).contains(&answer.status) {
        return Err(failed());
    }
    let mut response = Response::new(ReplyBody::Left(Full::new(Bytes::copy_from_slice(&answer.body))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in &answer.headers {
        if WITHHELD.contains(&name.to_ascii_lowercase().as_str()) {
            continue;
        }
        let name: HeaderName = name.parse().map_err(|_| failed())?;
        headers.append(name, HeaderValue::from_bytes(value).map_err(|_| failed())?);
    }
    // A page of a plugin must not have access to the pages that the host serves from the same origin.
    headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_keeps_its_headers_except_withheld_ones() {
        let mut answer = HttpResponse::new(200, "text/html", "<b>");
        answer.headers.push(("Set-Cookie".to_owned(), b"a=b".to_vec()));
        let Ok(response) = convert("p", &answer) else { panic!() };
        assert_eq!(response.headers()["content-type"], "text/html");
        assert_eq!(response.headers()["content-security-policy"], "sandbox");
        assert!(response.headers().get("set-cookie").is_none());
        for (status, name) in [(99, "a"), (101, "a"), (600, "a"), (200, "a b")] {
            let answer = HttpResponse {
                status,
                headers: vec![(name.to_owned(), Vec::new())],
                body: Vec::new(),
            };
            assert!(convert("p", &answer).is_err(), "{status} {name}");
        }
    }
}
