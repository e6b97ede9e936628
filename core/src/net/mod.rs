//! Listeners, TLS and HTTP routes.

mod blobs;
mod files;
mod mount;
mod plugins;
mod request;
mod tls;
mod websocket_io;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{Either, Full};
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use yawc::{Options, Role, WebSocket};

use crate::blobs::{Blobs, BlobsError};
use crate::host::Host;
use crate::session;

use websocket_io::{ConcreteIo, UpgradeIo};

pub(crate) use files::MAX_FILE_BYTES;
pub use files::{Files, StaticFolder};
pub use mount::Mounted;
pub use tls::{TlsError, TlsFiles, TlsIdentity};

/// The body of a response: complete, or a stream.
pub type ReplyBody = Either<Full<Bytes>, UnsyncBoxBody<Bytes, BlobsError>>;

/// A response.
pub type Reply = Response<ReplyBody>;

/// Limits of connections. Every one has a key under `[limits]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetLimits {
    /// Simultaneous connections over all listeners.
    pub connections: usize,
    /// Time for the headers of a request, and for a TLS handshake.
    pub header: Duration,
    /// Bytes of the body of a request to a plugin's HTTP endpoint.
    pub body_bytes: usize,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            header: Duration::from_secs(10),
            body_bytes: 1 << 20,
        }
    }
}

/// What all HTTP connections of a host share.
#[derive(Debug)]
pub struct HttpState {
    /// The host behind the WebSockets.
    pub host: Arc<Host>,
    /// Origins of pages that may connect, besides the host itself; `*` for any.
    pub origins: Vec<String>,
    /// Folders whose files are served, the longest path first.
    pub folders: Vec<StaticFolder>,
    /// Limits of connections.
    pub limits: NetLimits,
    /// Permits for connections.
    pub connections: Arc<Semaphore>,
    /// The object store of blobs.
    pub blobs: Arc<Blobs>,
    /// Permits for uploads.
    pub uploads: Arc<Semaphore>,
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

/// Waits until the server stops.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // A dropped sender also means that the server stops.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Accepts connections until the server stops. `alive` is dropped when the last one has ended.
pub async fn listen(state: Arc<HttpState>, listener: TcpListener, tls: Option<TlsIdentity>, alive: mpsc::Sender<()>) {
    let mut stopping = state.stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stopping) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(permit) = state.connections.clone().try_acquire_owned() else {
                    tracing::warn!(%peer, "refused a connection: the limit `connections` is reached");
                    continue;
                };
                let (state, tls, alive) = (state.clone(), tls.clone(), alive.clone());
                tokio::spawn(async move {
                    serve(state, stream, peer, tls, &alive).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Without free file descriptors, for instance, accepting again at once would be a busy loop.
                tracing::error!(%error, "a connection can't be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(
    state: Arc<HttpState>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsIdentity>,
    alive: &mpsc::Sender<()>,
) {
    // Frames are small, and sessions batch them.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve_http(state, stream, false, alive).await,
        Some(tls) => match tokio::time::timeout(state.limits.header, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => serve_http(state, stream, true, alive).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "the TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
        },
    }
}

async fn serve_http<S>(state: Arc<HttpState>, stream: S, secure: bool, alive: &mpsc::Sender<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(state.limits.header)
        .max_buf_size(16 << 10);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(100);
    let mut stopping = state.stopping.clone();
    let alive = alive.clone();
    let service = hyper::service::service_fn(move |request| {
        let (state, alive) = (state.clone(), alive.clone());
        async move { Ok::<_, Infallible>(route::<ConcreteIo<S>, _>(&state, request, Some(secure), alive).await) }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// Answers a request. `secure` says whether it came over TLS; `None` if unknown.
async fn route<C: UpgradeIo, B>(
    state: &Arc<HttpState>,
    mut request: Request<B>,
    secure: Option<bool>,
    alive: mpsc::Sender<()>,
) -> Reply
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Rare paths: boxed, so their large futures aren't stored inline in every connection.
    if let Some(target) = request::PluginPath::parse(request.uri().path(), "plugins") {
        return Box::pin(plugins::answer(state, target, request)).await;
    }
    if let Some(target) = request::PluginPath::parse(request.uri().path(), "blobs") {
        return Box::pin(blobs::answer(state, target, request)).await;
    }
    match request.uri().path() {
        "/v1/ws" => upgrade::<C, B>(state, &mut request, secure, alive),
        "/health" => text(StatusCode::OK, "ok\n"),
        "/ready" if *state.stopping.borrow() => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        "/ready" => text(StatusCode::OK, "ready\n"),
        path if matches!(*request.method(), Method::GET | Method::HEAD) => {
            for folder in &state.folders {
                if let Some(response) = folder.serve(path, request.headers()).await {
                    return response;
                }
            }
            text(StatusCode::NOT_FOUND, "Not found.\n")
        }
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are allowed.\n"),
    }
}

/// Upgrades a request to a WebSocket, and serves a session on it.
fn upgrade<C: UpgradeIo, B>(
    state: &Arc<HttpState>,
    request: &mut Request<B>,
    secure: Option<bool>,
    alive: mpsc::Sender<()>,
) -> Reply {
    if !origin_allowed(state, request, secure) {
        return text(
            StatusCode::FORBIDDEN,
            "This origin is not allowed to connect; see `origins` in the configuration.\n",
        );
    }
    let limit = state.host.limits.frame_bytes;
    let options = Options::default()
        // The session closes with a code on frames over its own limit; this only bounds how much is read before that.
        .with_max_payload_read(4 * limit)
        .with_max_read_buffer(4 * limit)
        .with_read_buffer_capacity(2 << 10)
        .with_write_buffer_capacity(1 << 10)
        .with_backpressure_boundary(64 << 10)
        .without_compression()
        .with_no_delay();
    // The WebSocket crate also takes the upgrade out of the request, for the handshake.
    let connection = hyper::upgrade::on(&mut *request);
    request.extensions_mut().insert(connection.clone());
    match WebSocket::upgrade_with_options(request, options.clone()) {
        Ok((response, _)) => {
            let (host, stopping) = (state.host.clone(), state.stopping.clone());
            tokio::spawn(async move {
                match C::upgraded_io(connection).await {
                    Ok(raw) => match WebSocket::from_stream(raw, Role::Server, options) {
                        // Boxed after the handshake, so that the task doesn't hold both futures at once.
                        Ok(socket) => Box::pin(session::serve(host, socket, stopping)).await,
                        Err(error) => tracing::error!(%error, "a WebSocket can't be created"),
                    },
                    Err(error) => tracing::debug!(%error, "a WebSocket handshake was not finished"),
                }
                drop(alive);
            });
            response.map(|_| ReplyBody::Left(Full::default()))
        }
        Err(error) => {
            tracing::debug!(%error, "not a WebSocket handshake");
            text(
                StatusCode::BAD_REQUEST,
                "This is the WebSocket endpoint; see docs/reference/protocol.md.\n",
            )
        }
    }
}

/// Whether the page that connects may do so. A page of another site must not act as its visitor.
fn origin_allowed<B>(state: &HttpState, request: &Request<B>, secure: Option<bool>) -> bool {
    let Some(origin) = request.headers().get(ORIGIN).map(HeaderValue::as_bytes) else {
        return true;
    };
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let own = |scheme: &str| origin == format!("{scheme}://{host}").as_bytes();
    (secure != Some(true) && own("http"))
        || (secure != Some(false) && own("https"))
        || state
            .origins
            .iter()
            .any(|allowed| allowed == "*" || allowed.as_bytes() == origin)
}

fn text(status: StatusCode, body: &'static str) -> Reply {
    let mut response = Response::new(ReplyBody::Left(Full::new(Bytes::from_static(body.as_bytes()))));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
