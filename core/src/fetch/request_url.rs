//! URLs that a request may go to.

use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use url::{Host, Origin, Url};

/// A URL of http or https with a host, a port, no credentials and no fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestUrl {
    url: Url,
    uri: Uri,
}

impl RequestUrl {
    /// Reads and normalises a URL. The error is a sentence.
    pub(super) fn parse(text: &str, limit: usize) -> Result<Self, String> {
        Self::check(text, limit)?;
        Self::new(Url::parse(text).map_err(|error| error.to_string())?, limit)
    }

    /// Reads the URL that a redirect leads to.
    pub(super) fn join(&self, text: &str, limit: usize) -> Result<Self, String> {
        Self::check(text, limit)?;
        Self::new(self.url.join(text).map_err(|error| error.to_string())?, limit)
    }

    fn check(text: &str, limit: usize) -> Result<(), String> {
        if text.len() > limit {
            return Err(format!("it has more than {limit} bytes"));
        }
        // The URL standard drops some of them, which nobody who wrote a filter expects.
        if text.contains(|c: char| c.is_control()) || text.trim() != text {
            return Err("it has control characters, or spaces around it".to_owned());
        }
        Ok(())
    }

    fn new(mut url: Url, limit: usize) -> Result<Self, String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("its scheme is neither https nor http".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it contains credentials; send them in a header".to_owned());
        }
        if url.port() == Some(0) {
            return Err("the port can't be 0".to_owned());
        }
        url.set_fragment(None);
        if let Some(name) = url.domain().and_then(|name| name.strip_suffix('.')).map(str::to_owned) {
            url.set_host(Some(&name)).map_err(|error| error.to_string())?;
        }
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() || host.split('.').any(str::is_empty) || host.len() > 255 {
            return Err("its host is empty, too long or has an empty label".to_owned());
        }
        // Built from the checked parts instead of parsed again: two parsers might see two hosts.
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        if path.len() > limit {
            return Err(format!("it has more than {limit} bytes"));
        }
        let path: PathAndQuery = path.parse().map_err(|_| "its path has unusual characters".to_owned())?;
        let uri = Uri::builder().scheme(url.scheme()).authority(authority);
        let uri = uri.path_and_query(path).build();
        let uri = uri.map_err(|_| "its host has unusual characters".to_owned())?;
        Ok(Self { url, uri })
    }

    pub(super) fn host(&self) -> Host<&str> {
        // `new` refuses URLs without one, and the empty name is never granted.
        self.url.host().unwrap_or(Host::Domain(""))
    }

    pub(super) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    pub(super) fn path(&self) -> &str {
        self.url.path()
    }

    pub(super) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub(super) fn origin(&self) -> Origin {
        self.url.origin()
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }
}
