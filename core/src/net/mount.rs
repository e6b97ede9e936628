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

/// The WebSocket endpoint, the HTTP endpoints of plugins and the static files of a host, as a tower service for another
/// server, such as axum. That server must allow connection upgrades.
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

    /// Answers requests under a path only, such as `/chat`, and removes it from the path. For servers that don't strip the
    /// path of nested services themselves.
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
            let Some(uri) = strip_prefix(request.uri(), &self.prefix) else {
                return text(StatusCode::NOT_FOUND, "Not found.\n");
            };
            *request.uri_mut() = uri;
        }
        route::<Any, B>(&self.state, request, None, alive).await
    }
}

/// Removes a prefix from a path. Returns `None` if the path doesn't begin with its segments.
fn strip_prefix(uri: &Uri, prefix: &str) -> Option<Uri> {
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
    fn only_prefixes_of_whole_segments_are_removed() {
        let strip_prefix = |path: &str| strip_prefix(&path.parse().unwrap(), "/chat").map(|uri| uri.to_string());
        assert_eq!(strip_prefix("/chat/v1/ws?x=1").as_deref(), Some("/v1/ws?x=1"));
        assert_eq!(strip_prefix("/chat").as_deref(), Some("/"));
        assert_eq!(strip_prefix("/chatter"), None);
        assert_eq!(strip_prefix("/v1/ws"), None);
    }
}
