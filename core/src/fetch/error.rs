//! Why a request has no response.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a [`Fetcher`](super::Fetcher) can't be made of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetcherError {
    /// The id of the plugin can't be part of a header.
    #[error("the plugin id {0:?} can't be part of a header")]
    Id(String),
    /// A file of root certificates can't be read, or has none.
    #[error("the root certificates in {path} can't be used: {reason}")]
    Roots {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is an https grant, and no certificate authority to trust.
    #[error("the system has no root certificates, which https needs; install them (ca-certificates) or name a file")]
    NoRoots,
    /// The TLS library refuses its configuration.
    #[error("TLS can't be set up")]
    Tls(#[from] rustls::Error),
}

/// Why a request has no response. [`code`](Self::code) is stable; none of the texts holds a path, a query or a body, where
/// secrets may be.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The URL can't be requested.
    #[error("the URL can't be requested: {0}")]
    BadUrl(String),
    /// There is no such method.
    #[error("{0:?} is no method; there are GET, HEAD, POST, PUT, PATCH and DELETE")]
    BadMethod(String),
    /// A header can't be sent.
    #[error("the header {name:?} can't be sent: {reason}")]
    BadHeader {
        /// Its name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// The operator grants no such request.
    #[error("{method} to {origin} is not granted, or not for this path")]
    NotGranted {
        /// The method.
        method: String,
        /// Scheme, host and port.
        origin: String,
    },
    /// The host leads to an address that is not public. The text leaves the address out: plugins need not know it.
    #[error("{host:?} leads to an address that is not public, which the operator has to open separately")]
    PrivateAddress {
        /// The name or the address in the URL.
        host: String,
        /// The first such address.
        address: IpAddr,
    },
    /// The body or the headers of the request are over a limit.
    #[error("the {what} of the request are over {limit}")]
    RequestTooLarge {
        /// Which limit.
        what: &'static str,
        /// Its value.
        limit: usize,
    },
    /// The body or the headers of the response are over a limit.
    #[error("the {what} of the response are over {limit}")]
    ResponseTooLarge {
        /// Which limit.
        what: &'static str,
        /// Its value.
        limit: usize,
    },
    /// It took too long.
    #[error("{what} took longer than {limit:?}")]
    Timeout {
        /// The request or the connection.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The name does not resolve.
    #[error("{host:?} does not resolve")]
    Dns {
        /// The name.
        host: String,
        /// Why, if the resolver said so.
        source: Option<Arc<io::Error>>,
    },
    /// None of the addresses accepts a connection.
    #[error("{host:?} accepts no connection")]
    Connect {
        /// The name or the address.
        host: String,
        /// What the last attempt ended with.
        source: Arc<io::Error>,
    },
    /// The TLS handshake failed, for instance because of the certificate.
    #[error("there is no secure connection to {host:?}")]
    Tls {
        /// The name or the address.
        host: String,
        /// Why.
        source: Arc<rustls::Error>,
    },
    /// The connection ended before the response did.
    #[error("the connection ended before the response did")]
    Closed(#[source] Arc<dyn Error + Send + Sync>),
    /// The host does not keep to HTTP.
    #[error("the host does not keep to HTTP")]
    Protocol(#[source] Arc<dyn Error + Send + Sync>),
    /// One redirect follows the other.
    #[error("there are more than {0} redirects")]
    TooManyRedirects(usize),
    /// A redirect leads to no URL.
    #[error("a redirect can't be followed: {0}")]
    BadRedirect(String),
    /// A redirect leads from https to http.
    #[error("a redirect leads from https to http")]
    InsecureRedirect,
}

impl FetchError {
    /// Returns the stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadUrl(_) => "fetch_bad_url",
            Self::BadMethod(_) => "fetch_bad_method",
            Self::BadHeader { .. } => "fetch_bad_header",
            Self::NotGranted { .. } => "fetch_not_granted",
            Self::PrivateAddress { .. } => "fetch_private_address",
            Self::RequestTooLarge { .. } => "fetch_request_too_large",
            Self::ResponseTooLarge { .. } => "fetch_response_too_large",
            Self::Timeout { .. } => "fetch_timeout",
            Self::Dns { .. } => "fetch_dns",
            Self::Connect { .. } => "fetch_connect",
            Self::Tls { .. } => "fetch_tls",
            Self::Closed(_) => "fetch_closed",
            Self::Protocol(_) => "fetch_protocol",
            Self::TooManyRedirects(_) => "fetch_too_many_redirects",
            Self::BadRedirect(_) => "fetch_bad_redirect",
            Self::InsecureRedirect => "fetch_insecure_redirect",
        }
    }

    /// Whether the same request may succeed later. It may also have been carried out already: with a timeout or an ended
    /// connection, only the host knows.
    #[must_use]
    pub fn retry(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. } | Self::Dns { .. } | Self::Connect { .. } | Self::Closed(_)
        )
    }

    /// Tells what the client library ended with.
    pub(super) fn of(error: impl Error + Send + Sync + 'static, header_bytes: usize) -> Self {
        let mut next: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(cause) = next {
            if let Some(own) = cause.downcast_ref::<Self>() {
                return own.clone();
            }
            if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
                if hyper.is_parse_too_large() {
                    return Self::ResponseTooLarge {
                        what: "bytes of the headers",
                        limit: header_bytes,
                    };
                }
                if hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled() || hyper.is_timeout() {
                    return Self::Closed(Arc::new(error));
                }
            }
            if cause.is::<io::Error>() {
                return Self::Closed(Arc::new(error));
            }
            next = cause.source();
        }
        Self::Protocol(Arc::new(error))
    }
}
