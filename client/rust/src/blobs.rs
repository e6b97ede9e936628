//! The blobs of a host, uploaded to plugins and downloaded from them. See Blobs in `docs/reference/protocol.md`.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use tokio::io::{AsyncRead, AsyncSeek};
use tokio::sync::watch;
use url::Url;

use crate::http::{BlobRequest, HttpHost};
use crate::socket::system_tls;
use crate::{Download, Error, Options, Upload};

/// The blobs of a host: files that are uploaded to a plugin, which decides about them, and downloaded from it. Clones share
/// their token.
///
/// ```no_run
/// use courtyard_client::{Blobs, Options};
///
/// # async fn share(token: String, conversation: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let blobs = Blobs::new(&Options::new("wss://chat.example.com/v1/ws").token(token))?;
/// let file = tokio::fs::File::open("holiday.jpg").await?;
/// let id = blobs
///     .upload("files", file)
///     .name("holiday.jpg")
///     .media_type("image/jpeg")
///     .conversation(conversation)
///     .on_progress(|sent, size| println!("{sent} of {size} bytes"))
///     .send()
///     .await?;
/// let mut copy = tokio::fs::File::create("copy.jpg").await?;
/// blobs.download("files", &id).write_to(&mut copy).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Blobs(Arc<BlobHost>);

struct BlobHost {
    options: Options,
    /// Ends with a slash; followed by the plugin.
    base: Url,
    token: watch::Sender<Option<String>>,
}

impl fmt::Debug for Blobs {
    /// Omits the token.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Blobs").field(&self.0.base.as_str()).finish()
    }
}

impl Blobs {
    /// Uses the host, the app, the token, the certificates and the pauses of the options of a client.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the scheme of the URL is not `ws`, `wss`, `http` or `https`, or the certificates can't be used.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let mut options = options.clone();
        options.unsent.clear();
        let base = base_url(&options.url, &options.app)?;
        if base.scheme() == "https" && options.tls.is_none() {
            // Once, instead of with each connection.
            options.tls = Some(system_tls().map_err(|error| Error::Protocol(error.to_string()))?);
        }
        let token = watch::Sender::new(options.token.take());
        Ok(Self(Arc::new(BlobHost { options, base, token })))
    }

    /// Replaces the token, from the next request on. Applies to uploads and downloads in progress as well.
    pub fn set_token(&self, token: impl Into<String>) {
        self.0.token.send_replace(Some(token.into()));
    }

    /// Prepares an upload to a plugin; [`Upload::send`] performs it.
    ///
    /// The source is read from its start to its end, and parts of it again after a lost connection: it must not change
    /// meanwhile.
    pub fn upload<S>(&self, plugin: &str, source: S) -> Upload<S>
    where
        S: AsyncRead + AsyncSeek + Send + Unpin,
    {
        Upload::new(self.clone(), plugin, source)
    }

    /// Prepares the download of a blob of a plugin; [`Download::write_to`] performs it.
    pub fn download(&self, plugin: &str, id: &str) -> Download {
        Download::new(self.clone(), plugin, id)
    }

    /// Deletes a blob, if its plugin allows that, or an incomplete upload.
    ///
    /// # Errors
    /// [`Error::Offline`] without a connection, or the error of the server: `unknown_blob` if the blob doesn't exist,
    /// `forbidden` or a code of the plugin if the plugin doesn't allow it.
    pub async fn remove(&self, plugin: &str, id: &str) -> Result<(), Error> {
        let url = self.url(plugin, id);
        let request = BlobRequest {
            method: Method::DELETE,
            url: &url,
            headers: Vec::new(),
            body: Bytes::new(),
        };
        HttpHost::new(self).headers(request, &mut |_| {}).await.map(drop)
    }

    /// Returns the URL of a blob, or with an empty id the one that creates uploads.
    pub(crate) fn url(&self, plugin: &str, id: &str) -> Url {
        let mut url = self.0.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend([plugin, id].into_iter().filter(|part| !part.is_empty()));
        }
        url
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn token(&self) -> Option<String> {
        self.0.token.borrow().clone()
    }
}

/// Returns the base URL of blobs for the URL of the WebSocket.
fn base_url(socket: &str, app: &str) -> Result<Url, Error> {
    let invalid = |error: &dyn fmt::Display| Error::Protocol(format!("{socket}: {error}"));
    // `ws` becomes `http`, and `wss` `https`.
    let text = match socket.strip_prefix("ws") {
        Some(rest) => format!("http{rest}"),
        None => socket.to_owned(),
    };
    let url: Url = text.parse().map_err(|error: url::ParseError| invalid(&error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid(&"the scheme must be ws, wss, http or https"));
    }
    let mut base = url.join("blobs/").map_err(|error| invalid(&error))?;
    if app != "default"
        && let Ok(mut path) = base.path_segments_mut()
    {
        path.pop_if_empty().pop().extend(["apps", app, "blobs", ""]);
    }
    Ok(base)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_blobs_follows_from_that_of_the_web_socket() {
        let blob_url = |url: &str, app: &str, id: &str| {
            let blobs = Blobs::new(&Options::new(url).app(app)).unwrap();
            blobs.url("files", id).to_string()
        };
        for (url, app, id, expected) in [
            ("ws://a:1/v1/ws", "default", "", "http://a:1/v1/blobs/files"),
            ("ws://a/v1/ws?x=y", "default", "b", "http://a/v1/blobs/files/b"),
            (
                "http://[::1]/v1/ws",
                "shop",
                "b",
                "http://[::1]/v1/apps/shop/blobs/files/b",
            ),
            ("ws://a/chat/v1/ws", "default", "b", "http://a/chat/v1/blobs/files/b"),
            (
                "ws://a/v1/ws",
                "default",
                "a/../?b",
                "http://a/v1/blobs/files/a%2F..%2F%3Fb",
            ),
        ] {
            assert_eq!(blob_url(url, app, id), expected);
        }
        assert!(blob_url("wss://a/v1/ws", "default", "").starts_with("https://a/"));
        for invalid in ["", "chat.example.com", "ftp://a/v1/ws", "ws:"] {
            assert_eq!(
                Blobs::new(&Options::new(invalid)).unwrap_err().code(),
                "protocol",
                "{invalid}"
            );
        }
    }

    #[test]
    fn clones_share_their_token_and_no_output_shows_it() {
        let blobs = Blobs::new(&Options::new("ws://a/v1/ws").token("secret")).unwrap();
        let clone = blobs.clone();
        blobs.set_token("other secret");
        assert_eq!(clone.token().as_deref(), Some("other secret"));
        assert_eq!(format!("{clone:?}"), "Blobs(\"http://a/v1/blobs/\")");
    }
}
