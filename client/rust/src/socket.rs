//! A WebSocket connection.

use std::sync::Arc;

use futures_util::SinkExt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;
use yawc::{Frame, OpCode, WebSocket};

use crate::Options;

/// A TCP connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to the host of a URL, with TLS for `wss` and `https`.
pub(crate) async fn connect(url: &Url, tls: Option<&Arc<ClientConfig>>) -> Result<Box<dyn Stream>, ConnectError> {
    let host = url.host_str().ok_or("the URL has no host")?.to_owned();
    let port = url.port_or_known_default().ok_or("the URL has no port")?;
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    stream.set_nodelay(true)?;
    if !matches!(url.scheme(), "wss" | "https") {
        return Ok(Box::new(stream));
    }
    let tls = match tls {
        Some(tls) => tls.clone(),
        None => system_tls()?,
    };
    let name = ServerName::try_from(host)?;
    Ok(Box::new(TlsConnector::from(tls).connect(name, stream).await?))
}

/// An established connection.
pub(crate) struct Socket(WebSocket<Box<dyn Stream>>);

/// What a connection receives.
pub(crate) enum Received {
    Text(String),
    /// Any other frame, which shows that the server is alive.
    Alive,
    /// The end of the connection, with the close code of the server if it sent one.
    Closed(Option<u16>),
}

pub(crate) type ConnectError = Box<dyn std::error::Error + Send + Sync>;

impl Socket {
    /// Establishes a connection.
    pub(crate) async fn open(options: &Options) -> Result<Self, ConnectError> {
        let url: Url = options.url.parse()?;
        let stream = connect(&url, options.tls.as_ref()).await?;
        let settings = yawc::Options::default().with_max_payload_read(16 << 20);
        Ok(Self(WebSocket::handshake(url, stream, settings).await?))
    }

    /// Sends a frame. A lost frame goes unnoticed here: the missing answer shows it.
    pub(crate) async fn send(&mut self, frame: &Value) -> Result<(), ConnectError> {
        Ok(self.0.send(Frame::text(frame.to_string())).await?)
    }

    /// Waits for the next frame. Cancel safe: dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Received {
        match self.0.next_frame().await {
            Err(_) => Received::Closed(None),
            Ok(frame) => match frame.opcode() {
                OpCode::Text => Received::Text(String::from_utf8_lossy(frame.payload()).into_owned()),
                OpCode::Close => Received::Closed(frame.close_code().map(Into::into)),
                _ => Received::Alive,
            },
        }
    }

    /// Closes the connection.
    pub(crate) async fn close(mut self) {
        // The connection may be lost already.
        let _ = self.0.send(Frame::close(yawc::close::CloseCode::Normal, "")).await;
    }
}

/// Returns a configuration that trusts the certificates that the operating system trusts.
pub(crate) fn system_tls() -> Result<Arc<ClientConfig>, ConnectError> {
    let mut roots = rustls::RootCertStore::empty();
    // Skips certificates of unsupported kinds, which many systems have.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
