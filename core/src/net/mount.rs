//! The host as a service inside another HTTP server.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Request, StatusCode, Uri};
use tokio::sync::mpsc;
use tower_service::Service;

use super::websocket_io::Any;
use super::{HttpState, Reply, route, text};

/// The WebSocket endpoint, the plugins' own parts of the HTTP interface and the static files of a host, for a server of
/// somebody else: axum, or anything else that takes a tower service. The other server must allow upgrades of connections.
#[derive(Clone, Debug)]
pub struct Mounted {
    state: Arc<HttpState>,
    prefix: Arc<str>,
    alive: mpsc::WeakSender<()>,
}

impl Mounted {
    pub(crate) fn new(state: Arc<HttpState>, alive: mpsc::WeakSender<()>) -> Self {
        Self {
            state,
            prefix: "".into(),
            alive,
        }
    }

    /// Answers only under a path, such as `/chat`, which it takes off; for a server that does not do that itself.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        Self {
            prefix: prefix.trim_end_matches('/').into(),
            ..self
        }
    }

    async fn answer<B>(self, mut request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Some(alive) = self.alive.upgrade() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
        };
        if !self.prefix.is_empty() {
            let Some(uri) = without(request.uri(), &self.prefix) else {
                return text(StatusCode::NOT_FOUND, "There is nothing here.\n");
            };
            *request.uri_mut() = uri;
        }
        route::<Any, B>(&self.state, request, None, alive).await
    }
}

/// Takes a prefix off a path; none if the path is another.
fn without(uri: &Uri, prefix: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix)?;
    match rest.as_bytes().first() {
        None | Some(b'?') => format!("/{rest}").parse().ok(),
        Some(b'/') => rest.parse().ok(),
        Some(_) => None,
    }
}

impl<B> Service<Request<B>> for Mounted
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.answer(request).await) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_off_whole_segments_only() {
        let without = |path: &str| without(&path.parse().unwrap(), "/chat").map(|uri| uri.to_string());
        assert_eq!(without("/chat/v1/ws?x=1").as_deref(), Some("/v1/ws?x=1"));
        assert_eq!(without("/chat").as_deref(), Some("/"));
        assert_eq!(without("/chatter"), None);
        assert_eq!(without("/v1/ws"), None);
    }
}
