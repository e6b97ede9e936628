//! The blobs of a host: what is uploaded to plugins and downloaded from them. `docs/reference/protocol.md`, Blobs.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use tokio::io::{AsyncRead, AsyncSeek};
use tokio::sync::watch;
use url::Url;

use crate::line::{Ask, Line};
use crate::link::trust_the_system;
use crate::{Download, Error, Options, Upload};

/// The blobs of a host: files that are uploaded to a plugin, which says what becomes of them, and are downloaded from it.
/// Clones share their token.
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
pub struct Blobs(Arc<Host>);

/// Where blobs are, and how to get there.
struct Host {
    options: Options,
    /// Ends with a slash; the plugin comes behind it.
    base: Url,
    token: watch::Sender<Option<String>>,
}

impl fmt::Debug for Blobs {
    /// Leaves the token out.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Blobs").field(&self.0.base.as_str()).finish()
    }
}

impl Blobs {
    /// Takes the host, the app, the token, the certificates and the pauses of the options of a client.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the URL is not one of `ws`, `wss`, `http` or `https`, or the certificates can't be used.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let mut options = options.clone();
        options.unsent.clear();
        let base = base(&options.url, &options.app)?;
        if base.scheme() == "https" && options.tls.is_none() {
            // Not with each connection.
            options.tls = Some(trust_the_system().map_err(|error| Error::Protocol(error.to_string()))?);
        }
        let token = watch::Sender::new(options.token.take());
        Ok(Self(Arc::new(Host { options, base, token })))
    }

    /// Uses another token from the next request on, in uploads and downloads that are under way as well.
    pub fn set_token(&self, token: impl Into<String>) {
        self.0.token.send_replace(Some(token.into()));
    }

    /// Describes an upload to a plugin; [`Upload::send`] carries it out.
    ///
    /// The source is read from its beginning to its end, and again where a connection broke: it must not change meanwhile.
    pub fn upload<S>(&self, plugin: &str, source: S) -> Upload<S>
    where
        S: AsyncRead + AsyncSeek + Send + Unpin,
    {
        Upload::new(self.clone(), plugin, source)
    }

    /// Describes a download of a blob of a plugin; [`Download::write_to`] carries it out.
    pub fn download(&self, plugin: &str, id: &str) -> Download {
        Download::new(self.clone(), plugin, id)
    }

    /// Removes a blob, if its plugin allows that, or what there is of an upload that is not complete.
    ///
    /// # Errors
    /// [`Error::Offline`] without a connection, or what the server answers: `unknown_blob` if there is no such blob,
    /// `forbidden` or a code of the plugin if it does not allow it.
    pub async fn remove(&self, plugin: &str, id: &str) -> Result<(), Error> {
        let url = self.place(plugin, id);
        let ask = Ask {
            method: Method::DELETE,
            url: &url,
            headers: Vec::new(),
            body: Bytes::new(),
        };
        Line::to(self).ask(ask, &mut |_| {}).await.map(drop)
    }

    /// Returns where a blob is, or with an empty id where uploads begin.
    pub(crate) fn place(&self, plugin: &str, id: &str) -> Url {
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

/// Finds the place of blobs beside that of the WebSocket.
fn base(socket: &str, app: &str) -> Result<Url, Error> {
    let wrong = |error: &dyn fmt::Display| Error::Protocol(format!("{socket}: {error}"));
    // `ws` becomes `http`, and `wss` `https`.
    let text = match socket.strip_prefix("ws") {
        Some(rest) => format!("http{rest}"),
        None => socket.to_owned(),
    };
    let url: Url = text.parse().map_err(|error: url::ParseError| wrong(&error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(&"this is no URL of a host"));
    }
    let mut base = url.join("blobs/").map_err(|error| wrong(&error))?;
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
    fn blobs_are_beside_the_web_socket() {
        let place = |url: &str, app: &str, id: &str| {
            let blobs = Blobs::new(&Options::new(url).app(app)).unwrap();
            blobs.place("files", id).to_string()
        };
        for (url, app, id, place_of_it) in [
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
            assert_eq!(place(url, app, id), place_of_it);
        }
        assert!(place("wss://a/v1/ws", "default", "").starts_with("https://a/"));
        for wrong in ["", "chat.example.com", "ftp://a/v1/ws", "ws:"] {
            assert_eq!(
                Blobs::new(&Options::new(wrong)).unwrap_err().code(),
                "protocol",
                "{wrong}"
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
