//! Requests of plugins to other servers: only granted ones, and to addresses that aren't public only if the operator opens
//! them.

mod address;
mod connect;
mod error;
mod grant;
mod request_url;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courtyard_plugin_sdk::{FetchRequest, Headers, HttpResponse};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;

pub use address::{PrivateError, PrivateRule};
pub use connect::{Resolve, Resolving};
pub use error::{FetchError, FetcherError};
pub use grant::{GrantError, HostRule};

use connect::FetchConnector;
pub(crate) use connect::tls_config;
use grant::METHODS;
use request_url::RequestUrl;

/// The limits of a plugin's requests. Every limit has a key under `[plugins.limits]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// The time of a request, with its redirects and the wait for a permit.
    pub time: Duration,
    /// The time to establish a connection.
    pub connect: Duration,
    /// The bytes of the body of a request.
    pub request_bytes: usize,
    /// The bytes of the body of a response.
    pub response_bytes: usize,
    /// The bytes of all headers, of a request and of a response.
    pub header_bytes: usize,
    /// The number of redirects that are followed.
    pub redirects: usize,
    /// The number of requests at a time; others wait.
    pub requests: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(10),
            connect: Duration::from_secs(3),
            request_bytes: 1 << 20,
            response_bytes: 1 << 20,
            header_bytes: 32 << 10,
            redirects: 5,
            requests: 16,
        }
    }
}

/// The longest URL, in bytes.
const URL_BYTES: usize = 8 << 10;
/// How long an idle connection stays open.
const IDLE: Duration = Duration::from_secs(30);

/// The permissions of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The granted hosts.
    pub hosts: Vec<HostRule>,
    /// The opened addresses that aren't public.
    pub private: Vec<PrivateRule>,
    /// Files with root certificates (PEM) that are trusted besides those of the system.
    pub roots: Vec<PathBuf>,
    /// The limits of requests.
    pub limits: FetchLimits,
}

/// Headers that the client sets itself, or that affect more than one request (RFC 9110, section 7.6.1).
const WITHHELD: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];

/// Sends the requests of one plugin.
pub struct Fetcher {
    client: Client<FetchConnector, Full<Bytes>>,
    policy: Arc<Policy>,
    agent: HeaderValue,
    permits: Semaphore,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// A request in progress, which redirects change.
struct PendingRequest {
    method: Method,
    target: RequestUrl,
    headers: HeaderMap,
    body: Bytes,
}

impl Fetcher {
    /// Creates the fetcher of a plugin.
    ///
    /// # Errors
    /// When the certificates can't be used.
    pub fn new(plugin: &str, policy: Policy) -> Result<Self, FetcherError> {
        Self::resolving_with(plugin, policy, Arc::new(connect::System))
    }

    /// Creates the fetcher of a plugin, with a resolver of names.
    ///
    /// # Errors
    /// When the certificates can't be used.
    pub fn resolving_with(plugin: &str, policy: Policy, resolver: Arc<dyn Resolve>) -> Result<Self, FetcherError> {
        let agent = format!("courtyard/{} ({plugin})", env!("CARGO_PKG_VERSION"));
        let agent = HeaderValue::from_str(&agent).map_err(|_| FetcherError::Id(plugin.to_owned()))?;
        let policy = Arc::new(policy);
        let connector = FetchConnector::new(policy.clone(), resolver)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(policy.limits.requests)
            // A retry by the client would be a second request that the plugin doesn't know of.
            .retry_canceled_requests(false)
            // The smallest that hyper allows is 8 KiB.
            .http1_max_buf_size(policy.limits.header_bytes.max(8 << 10))
            .build(connector);
        Ok(Self {
            client,
            permits: Semaphore::new(policy.limits.requests),
            policy,
            agent,
        })
    }

    /// Sends a request, and returns the response. Dropping the future cancels the request.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, request: FetchRequest) -> Result<HttpResponse, FetchError> {
        let limit = self.policy.limits.time;
        let fetched = async {
            // The semaphore is never closed.
            let _permit = self.permits.acquire().await;
            let follow = request.follow;
            let mut pending = self.checked(request)?;
            for _ in 0..=self.policy.limits.redirects {
                let response = self.send(&pending).await?;
                let next = if follow { pending.redirected(&response)? } else { None };
                match next {
                    Some(next) => pending = next,
                    None => return self.read(response).await,
                }
            }
            Err(FetchError::TooManyRedirects(self.policy.limits.redirects))
        };
        let late = |_| FetchError::Timeout {
            what: "the request",
            limit,
        };
        tokio::time::timeout(limit, fetched).await.map_err(late)?
    }

    fn checked(&self, request: FetchRequest) -> Result<PendingRequest, FetchError> {
        let limits = &self.policy.limits;
        let FetchRequest {
            method,
            url,
            headers,
            body,
            ..
        } = request;
        let known = METHODS.into_iter().find(|known| known.as_str() == method);
        let too_large = |what, limit| FetchError::RequestTooLarge { what, limit };
        if body.len() > limits.request_bytes {
            return Err(too_large("bytes of the body", limits.request_bytes));
        }
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        if bytes > limits.header_bytes {
            return Err(too_large("bytes of the headers", limits.header_bytes));
        }
        Ok(PendingRequest {
            method: known.ok_or(FetchError::BadMethod(method))?,
            target: RequestUrl::parse(&url, URL_BYTES).map_err(FetchError::BadUrl)?,
            headers: self.headers(headers)?,
            body: body.into(),
        })
    }

    fn headers(&self, given: Headers) -> Result<HeaderMap, FetchError> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            let wrong = |reason| FetchError::BadHeader {
                name: name.clone(),
                reason,
            };
            let parsed: HeaderName = name.parse().map_err(|_| wrong("it is not a valid header name"))?;
            if WITHHELD.contains(&parsed) || parsed.as_str() == "keep-alive" {
                return Err(wrong("the host sets it"));
            }
            let value = HeaderValue::from_bytes(&value).map_err(|_| wrong("its value has control characters"))?;
            headers.append(parsed, value);
        }
        headers.entry(header::USER_AGENT).or_insert(self.agent.clone());
        // Bodies aren't decompressed, so that a small one can't become a large one.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(headers)
    }

    /// Sends a request to its present URL.
    async fn send(&self, pending: &PendingRequest) -> Result<Response<hyper::body::Incoming>, FetchError> {
        let granted = |rule: &HostRule| rule.covers(&pending.method, &pending.target);
        if !self.policy.hosts.iter().any(granted) {
            return Err(FetchError::NotGranted {
                method: pending.method.to_string(),
                origin: pending.target.origin().ascii_serialization(),
            });
        }
        let mut request = Request::new(Full::new(pending.body.clone()));
        *request.method_mut() = pending.method.clone();
        *request.uri_mut() = pending.target.uri().clone();
        *request.headers_mut() = pending.headers.clone();
        let failed = |error| FetchError::from_client(error, self.policy.limits.header_bytes);
        self.client.request(request).await.map_err(failed)
    }

    async fn read(&self, response: Response<hyper::body::Incoming>) -> Result<HttpResponse, FetchError> {
        let limits = &self.policy.limits;
        let (parts, body) = response.into_parts();
        let too_large = || FetchError::ResponseTooLarge {
            what: "bytes of the body",
            limit: limits.response_bytes,
        };
        let body = match Limited::new(body, limits.response_bytes).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
            Err(error) => {
                return Err(match error.downcast::<hyper::Error>() {
                    Ok(error) => FetchError::from_client(*error, limits.header_bytes),
                    Err(error) => FetchError::Closed(error.into()),
                });
            }
        };
        let header = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
        Ok(HttpResponse {
            status: parts.status.as_u16(),
            headers: parts.headers.iter().map(header).collect(),
            body: body.into(),
        })
    }
}

impl PendingRequest {
    /// Returns the request that a redirect leads to, by the Fetch standard ("HTTP-redirect fetch"); none if the response is
    /// not a redirect.
    fn redirected<B>(&self, response: &Response<B>) -> Result<Option<Self>, FetchError> {
        let (status, headers) = (response.status(), response.headers());
        let Some(location) = headers.get(header::LOCATION).filter(|_| is_redirect(status)) else {
            return Ok(None);
        };
        let location = location
            .to_str()
            .map_err(|_| FetchError::BadRedirect("its location is not text".to_owned()))?;
        let target = self.target.join(location, URL_BYTES).map_err(FetchError::BadRedirect)?;
        if self.target.is_https() && !target.is_https() {
            return Err(FetchError::InsecureRedirect);
        }
        let becomes_get = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            _ => false,
        };
        let mut next = Self {
            method: self.method.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            target,
        };
        if becomes_get {
            next.method = Method::GET;
            next.body = Bytes::new();
            for name in [
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::CONTENT_LANGUAGE,
                header::CONTENT_LOCATION,
            ] {
                next.headers.remove(name);
            }
        }
        if self.target.origin() != next.target.origin() {
            next.headers.remove(header::AUTHORIZATION);
            next.headers.remove(header::COOKIE);
        }
        Ok(Some(next))
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

#[cfg(test)]
mod tests;
