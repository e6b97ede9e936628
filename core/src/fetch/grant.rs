//! Grants of the operator: methods, an origin and a path.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Method;
use url::{Host, Url};

use super::address::{Scope, scope};
use super::request_url::RequestUrl;

/// All supported methods.
pub(super) const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// Grants requests to a host: `[METHODS ]SCHEME://HOST[:PORT][/PATH]`.
///
/// - `https://api.example.com`: every method, every path, port 443.
/// - `https://*.example.com:8443`: every name under `example.com`, at any depth, but not `example.com`.
/// - `GET,POST https://api.example.com/v1`: only these methods, only `/v1` and paths beneath it, but not `/v10`; with a
///   slash at the end, only paths beneath.
/// - `http://127.0.0.1:9999`: an address. Only this form opens an address that is not public; a name never does, see
///   [`PrivateRule`](super::PrivateRule).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    text: String,
    methods: Vec<Method>,
    https: bool,
    host: GrantedHost,
    port: u16,
    /// `None` for all paths.
    path: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum GrantedHost {
    Name(String),
    Under(String),
    Address(IpAddr),
}

/// Why a text is not a [`HostRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The text has other parts than methods and a URL.
    #[error("a grant is a URL, or methods and a URL, as in \"GET,POST https://api.example.com/v1\"")]
    Form,
    /// An unknown method.
    #[error("{0:?} is not a method; use GET, HEAD, POST, PUT, PATCH and DELETE, separated by commas")]
    Method(String),
    /// The scheme is missing or unknown.
    #[error("the URL doesn't begin with \"https://\" or \"http://\"")]
    Scheme,
    /// The URL is invalid.
    #[error("not a valid URL: {0}")]
    Url(#[from] url::ParseError),
    /// A name and a password in front of the host.
    #[error("a grant can't contain credentials")]
    Credentials,
    /// A query or a fragment.
    #[error("a grant ends with the path; it can't have a query or a fragment")]
    Query,
    /// The port 0.
    #[error("the port can't be 0")]
    Port,
    /// A star that isn't the first label of a name.
    #[error("a star is only possible in front of a name, as in \"https://*.example.com\"")]
    Star,
    /// A star in front of a whole top-level domain.
    #[error("\"*.{0}\" is too wide; name at least two labels, as in \"https://*.example.com\"")]
    TooWide(String),
    /// An address in an unusual spelling.
    #[error("unusual spelling of an address; write {0}")]
    Spelling(IpAddr),
    /// The address is multicast, broadcast or unspecified.
    #[error("{0} is a multicast, broadcast or unspecified address, which can't be granted")]
    Never(IpAddr),
}

impl FromStr for HostRule {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split(' ').collect();
        let (methods, url) = match words[..] {
            [url] => (METHODS.to_vec(), url),
            [methods, url] => (parse_methods(methods)?, url),
            _ => return Err(GrantError::Form),
        };
        let Some((scheme @ ("http" | "https"), rest)) = url.split_once("://") else {
            return Err(GrantError::Scheme);
        };
        let (star, rest) = rest.strip_prefix("*.").map_or((false, rest), |rest| (true, rest));
        if rest.contains('*') {
            return Err(GrantError::Star);
        }
        let url = Url::parse(&format!("{scheme}://{rest}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(GrantError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(GrantError::Query);
        }
        Ok(Self {
            text: text.to_owned(),
            methods,
            https: scheme == "https",
            port: url
                .port_or_known_default()
                .filter(|port| *port > 0)
                .ok_or(GrantError::Port)?,
            path: Some(url.path()).filter(|path| *path != "/").map(str::to_owned),
            host: parse_host(url.host(), star, rest)?,
        })
    }
}

fn parse_methods(text: &str) -> Result<Vec<Method>, GrantError> {
    let known = |name: &str| METHODS.into_iter().find(|method| method.as_str() == name);
    text.split(',')
        .map(|name| known(name).ok_or_else(|| GrantError::Method(name.to_owned())))
        .collect()
}

fn parse_host(host: Option<Host<&str>>, star: bool, rest: &str) -> Result<GrantedHost, GrantError> {
    let address = match host {
        None => return Err(url::ParseError::EmptyHost.into()),
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_owned();
            return match star {
                false => Ok(GrantedHost::Name(name)),
                true if !name.contains('.') => Err(GrantError::TooWide(name)),
                true => Ok(GrantedHost::Under(name)),
            };
        }
        Some(Host::Ipv4(address)) if !star && rest.split([':', '/']).next() != Some(&address.to_string()) => {
            return Err(GrantError::Spelling(address.into()));
        }
        Some(Host::Ipv4(address)) => IpAddr::from(address),
        Some(Host::Ipv6(address)) => IpAddr::from(address).to_canonical(),
    };
    match scope(address) {
        _ if star => Err(GrantError::Star),
        Scope::Never => Err(GrantError::Never(address)),
        _ => Ok(GrantedHost::Address(address)),
    }
}

impl HostRule {
    /// Returns whether this grants a request.
    pub(super) fn covers(&self, method: &Method, target: &RequestUrl) -> bool {
        let host = match (&self.host, target.host()) {
            (GrantedHost::Name(granted), Host::Domain(name)) => granted == name,
            (GrantedHost::Under(granted), Host::Domain(name)) => name
                .strip_suffix(granted.as_str())
                .and_then(|name| name.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty()),
            (GrantedHost::Address(granted), Host::Ipv4(address)) => *granted == address,
            (GrantedHost::Address(granted), Host::Ipv6(address)) => *granted == IpAddr::from(address).to_canonical(),
            _ => false,
        };
        host && self.https == target.is_https()
            && self.port == target.port()
            && self.methods.contains(method)
            && self.path.as_deref().is_none_or(|path| is_beneath(path, target.path()))
    }

    /// Returns whether this grants an address by itself, not by a name.
    pub(super) fn names(&self, https: bool, address: IpAddr, port: u16) -> bool {
        self.https == https && self.port == port && self.host == GrantedHost::Address(address.to_canonical())
    }

    /// Returns whether this needs TLS.
    pub(super) fn is_https(&self) -> bool {
        self.https
    }
}

/// Returns whether a path is the granted one or beneath it, also for servers that decode more than the URL standard does.
fn is_beneath(granted: &str, path: &str) -> bool {
    let beneath = path.strip_prefix(granted);
    let at_boundary = |rest: &str| rest.is_empty() || granted.ends_with('/') || rest.starts_with('/');
    beneath.is_some_and(at_boundary) && !has_dot_segment(path)
}

/// Returns whether a server that decodes `%2f`, `%5c`, `%2e`, even repeatedly, or removes parameters of segments, sees a
/// `.` or `..` segment.
fn has_dot_segment(path: &str) -> bool {
    let mut path = path.as_bytes().to_vec();
    loop {
        let has_dot_segment = |segment: &[u8]| {
            let name = segment.split(|byte| *byte == b';').next();
            name.is_some_and(|name| name == b"." || name == b"..")
        };
        if path.split(|byte| matches!(byte, b'/' | b'\\')).any(has_dot_segment) {
            return true;
        }
        let decoded = decode_percent(&path);
        if decoded.len() == path.len() {
            return false;
        }
        path = decoded;
    }
}

fn decode_percent(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        let pair = match after {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match pair {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &after[2..];
            }
            None => decoded.push(*first),
        }
    }
    decoded
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
