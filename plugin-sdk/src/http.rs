//! HTTP requests and responses, as plugins see them.

use serde::{Deserialize, Serialize};

/// Names in lower case with their values.
pub type Headers = Vec<(String, Vec<u8>)>;

/// A request to the plugin's own part of the host's HTTP interface, `/v1/plugins/ID/…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// In upper case.
    pub method: String,
    /// The path after the plugin's own part, with its leading slash.
    pub path: String,
    /// The text after the question mark; may be empty.
    pub query: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// Returns the value of the first header of a name, in lower case, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// The response of a plugin, or of another server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// The status, such as 200.
    pub status: u16,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// Creates a response with a body of a media type.
    #[must_use]
    pub fn new(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), media_type.as_bytes().to_vec())],
            body: body.into(),
        }
    }

    /// Creates a response with a JSON value. The body is empty if the value can't be written as JSON.
    #[must_use]
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        Self::new(
            status,
            "application/json",
            serde_json::to_vec(value).unwrap_or_default(),
        )
    }

    /// Returns the value of the first header of a name, in lower case, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// A request to another server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// In upper case.
    pub method: String,
    /// `http` or `https`.
    pub url: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// Whether the host follows redirects; it checks each target like the first URL.
    pub follow: bool,
}

impl FetchRequest {
    /// Creates a request without a body that follows redirects.
    #[must_use]
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            url: url.into(),
            follow: true,
            ..Self::default()
        }
    }

    /// Creates a `GET`.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// Creates a `POST` of a JSON value. The body is empty if the value can't be written as JSON.
    #[must_use]
    pub fn post_json(url: impl Into<String>, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self {
            body,
            ..Self::new("POST", url)
        }
        .header("content-type", "application/json")
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| known == name)?;
    std::str::from_utf8(&found.1).ok()
}
