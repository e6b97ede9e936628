//! Connections, only to checked addresses.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::address::{Scope, scope};
use super::{FetchError, FetcherError, Policy};

/// Finds the addresses of a name.
pub trait Resolve: Send + Sync {
    /// Returns all addresses of a name, with this port.
    fn resolve(&self, name: String, port: u16) -> Resolving;
}

/// The pending addresses of a name.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// The resolver of the operating system.
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: String, port: u16) -> Resolving {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
    }
}

/// A stream of bytes in both directions.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection, plain or TLS.
pub(super) struct FetchConnection(TokioIo<Box<dyn Stream>>);

impl Connection for FetchConnection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for FetchConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for FetchConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Establishes connections within a policy.
#[derive(Clone)]
pub(super) struct FetchConnector {
    policy: Arc<Policy>,
    resolver: Arc<dyn Resolve>,
    /// None if no grant needs https.
    tls: Option<TlsConnector>,
}

impl FetchConnector {
    pub(super) fn new(policy: Arc<Policy>, resolver: Arc<dyn Resolve>) -> Result<Self, FetcherError> {
        let needs_tls = policy.hosts.iter().any(super::HostRule::is_https);
        let tls = needs_tls.then(|| tls_config(&policy.roots)).transpose()?;
        let tls = tls.map(|config| TlsConnector::from(Arc::new(config)));
        Ok(Self { policy, resolver, tls })
    }

    async fn connect(self, uri: Uri) -> Result<FetchConnection, FetchError> {
        let https = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().to_owned();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let limit = self.policy.limits.connect;
        let connecting = async {
            let addresses = self.addresses(&host, https, port).await?;
            let stream = open(&host, &addresses).await?;
            match &self.tls {
                Some(tls) if https => secure(tls, &host, stream).await,
                _ => Ok(FetchConnection(TokioIo::new(Box::new(stream)))),
            }
        };
        let late = |_| timeout(limit);
        tokio::time::timeout(limit, connecting).await.map_err(late)?
    }

    /// Returns the addresses of a host. Fails unless all of them are allowed.
    async fn addresses(&self, host: &str, https: bool, port: u16) -> Result<Vec<SocketAddr>, FetchError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let literal: Option<IpAddr> = bare.unwrap_or(host).parse().ok();
        let found = match literal {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => {
                let dns = |source: Option<io::Error>| FetchError::Dns {
                    host: host.to_owned(),
                    source: source.map(Arc::new),
                };
                let found = self.resolver.resolve(host.to_owned(), port).await;
                let found = found.map_err(|error| dns(Some(error)))?;
                if found.is_empty() {
                    return Err(dns(None));
                }
                found
            }
        };
        let allowed = |address: &SocketAddr| {
            let named = literal.is_some()
                && self
                    .policy
                    .hosts
                    .iter()
                    .any(|rule| rule.names(https, address.ip(), port));
            let opened = self.policy.private.iter().any(|rule| rule.opens(host, *address));
            scope(address.ip()) == Scope::Public || named || opened
        };
        // One forbidden address among allowed ones is an attack or a mistake.
        match found.iter().find(|address| !allowed(address)) {
            Some(address) => Err(FetchError::PrivateAddress {
                host: host.to_owned(),
                address: address.ip(),
            }),
            None => Ok(found),
        }
    }
}

fn timeout(limit: Duration) -> FetchError {
    FetchError::Timeout {
        what: "the connection",
        limit,
    }
}

/// Connects to the first address that accepts it.
async fn open(host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, FetchError> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are written in one piece; Nagle's algorithm would delay their ends.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(FetchError::Connect {
        host: host.to_owned(),
        source: Arc::new(last),
    })
}

async fn secure(tls: &TlsConnector, host: &str, stream: TcpStream) -> Result<FetchConnection, FetchError> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let name = ServerName::try_from(bare.unwrap_or(host).to_owned());
    let name = name.map_err(|error| FetchError::BadUrl(error.to_string()))?;
    let failed = |error: io::Error| {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(tls) => FetchError::Tls {
                host: host.to_owned(),
                source: Arc::new(tls.clone()),
            },
            None => FetchError::Connect {
                host: host.to_owned(),
                source: Arc::new(error),
            },
        }
    };
    let stream = tls.connect(name, stream).await.map_err(failed)?;
    Ok(FetchConnection(TokioIo::new(Box::new(stream))))
}

/// Configures TLS with the root certificates of the system and those of some files.
///
/// # Errors
/// When a file can't be used, or no certificate exists at all.
pub(crate) fn tls_config(files: &[PathBuf]) -> Result<ClientConfig, FetcherError> {
    let mut roots = RootCertStore::empty();
    // Unreadable or malformed certificates of the system are skipped.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for path in files {
        add_roots(&mut roots, path)?;
    }
    if roots.is_empty() {
        return Err(FetcherError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), FetcherError> {
    let failed = |reason: String| FetcherError::Roots {
        path: path.to_owned(),
        reason,
    };
    let mut any = false;
    let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    for certificate in found {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        any = true;
    }
    if any {
        Ok(())
    } else {
        Err(failed("it contains no certificate".to_owned()))
    }
}

impl Service<Uri> for FetchConnector {
    type Response = FetchConnection;
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<FetchConnection, FetchError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), FetchError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
