//! Why a request failed.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why a [`Fetcher`](super::Fetcher) can't be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetcherError {
    /// The id of the plugin can't be part of a header.
    #[error("the plugin id {0:?} can't be part of a header")]
    Id(String),
    /// A file of root certificates can't be read or contains none.
    #[error("the root certificates in {path} can't be used: {reason}")]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An https grant exists, but no root certificate.
    #[error("the system has no root certificates, which https needs; install them (ca-certificates) or name a file")]
    NoRoots,
    /// The TLS library rejects its configuration.
    #[error("TLS can't be set up")]
    Tls(#[from] rustls::Error),
}

/// Why a request failed. [`code`](Self::code) is stable. No message contains a path, a query or a body, which may contain
/// secrets.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The URL can't be requested.
    #[error("the URL can't be requested: {0}")]
    BadUrl(String),
    /// The method is unknown.
    #[error("{0:?} is not a method; use GET, HEAD, POST, PUT, PATCH or DELETE")]
    BadMethod(String),
    /// A header can't be sent.
    #[error("the header {name:?} can't be sent: {reason}")]
    BadHeader {
        /// The name of the header.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// The operator doesn't grant the request.
    #[error("{method} to {origin} is not granted, or not for this path")]
    NotGranted {
        /// The method.
        method: String,
        /// Scheme, host and port.
        origin: String,
    },
    /// The host resolves to an address that isn't public. The message omits the address, since plugins needn't know it.
    #[error("{host:?} resolves to an address that isn't public; the operator must open it")]
    PrivateAddress {
        /// The name or the address in the URL.
        host: String,
        /// The first such address.
        address: IpAddr,
    },
    /// The body or the headers of the request exceed a limit.
    #[error("the {what} of the request exceed {limit}")]
    RequestTooLarge {
        /// The limited quantity.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The body or the headers of the response exceed a limit.
    #[error("the {what} of the response exceed {limit}")]
    ResponseTooLarge {
        /// The limited quantity.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The request or the connection took too long.
    #[error("{what} took longer than {limit:?}")]
    Timeout {
        /// What took too long.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The name does not resolve.
    #[error("{host:?} does not resolve")]
    Dns {
        /// The name.
        host: String,
        /// The error of the resolver, if any.
        source: Option<Arc<io::Error>>,
    },
    /// None of the addresses accepts a connection.
    #[error("{host:?} accepts no connection")]
    Connect {
        /// The name or the address.
        host: String,
        /// The error of the last attempt.
        source: Arc<io::Error>,
    },
    /// The TLS handshake failed, for instance because of the certificate.
    #[error("the TLS handshake with {host:?} failed")]
    Tls {
        /// The name or the address.
        host: String,
        /// Why.
        source: Arc<rustls::Error>,
    },
    /// The connection ended before the response was complete.
    #[error("the connection ended before the response was complete")]
    Closed(#[source] Arc<dyn Error + Send + Sync>),
    /// The host violates HTTP.
    #[error("the response violates HTTP")]
    Protocol(#[source] Arc<dyn Error + Send + Sync>),
    /// More redirects than the limit.
    #[error("more than {0} redirects")]
    TooManyRedirects(usize),
    /// The location of a redirect is not a valid URL.
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

    /// Returns whether the same request may succeed later. After a timeout or an ended connection, the host may have processed
    /// the request already.
    #[must_use]
    pub fn retry(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. } | Self::Dns { .. } | Self::Connect { .. } | Self::Closed(_)
        )
    }

    /// Converts an error of the client library.
    pub(super) fn from_client(error: impl Error + Send + Sync + 'static, header_bytes: usize) -> Self {
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
