//! The connection under a WebSocket, without the layers that the HTTP server put around it.

use std::io::Result;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection, with the bytes that the HTTP server had already read behind the request.
pub(super) struct UpgradedConnection<S> {
    front: Bytes,
    stream: S,
}

/// Why a connection can't be upgraded.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error("it ended before the response was sent: {0}")]
    Ended(#[from] hyper::Error),
    #[error("it is of another type than it was accepted as")]
    Type,
}

/// The type of connections that a server accepts, and thus of upgraded ones.
pub(super) trait UpgradeIo: 'static {
    /// The connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits until the response has been sent, and returns the connection.
    fn upgraded_io(upgrade: OnUpgrade) -> impl Future<Output = std::result::Result<Self::Io, UpgradeError>> + Send;
}

/// The server of this crate, which accepted connections of a known type.
pub(super) struct ConcreteIo<S>(PhantomData<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> UpgradeIo for ConcreteIo<S> {
    type Io = UpgradedConnection<S>;

    async fn upgraded_io(upgrade: OnUpgrade) -> std::result::Result<UpgradedConnection<S>, UpgradeError> {
        upgraded_io(upgrade).await
    }
}

/// A server of the embedding service, with connections of any type.
pub(super) struct Any;

/// Any connection that can be upgraded.
pub(super) trait AnyIo: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> AnyIo for S {}

impl UpgradeIo for Any {
    type Io = Box<dyn AnyIo>;

    async fn upgraded_io(upgrade: OnUpgrade) -> std::result::Result<Box<dyn AnyIo>, UpgradeError> {
        let upgraded: Upgraded = upgrade.await?;
        Ok(match downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => Box::new(UpgradedConnection::new(&parts.read_buf, parts.io.into_inner())),
            Err(upgraded) => Box::new(TokioIo::new(upgraded)),
        })
    }
}

/// Waits until the response has been sent, and returns the connection.
///
/// # Errors
/// When the connection ended before, or has another type.
async fn upgraded_io<S>(upgrade: OnUpgrade) -> std::result::Result<UpgradedConnection<S>, UpgradeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgraded: Upgraded = upgrade.await?;
    let parts = downcast::<TokioIo<S>>(upgraded).map_err(|_| UpgradeError::Type)?;
    Ok(UpgradedConnection::new(&parts.read_buf, parts.io.into_inner()))
}

impl<S> UpgradedConnection<S> {
    fn new(front: &[u8], stream: S) -> Self {
        Self {
            // Copied: even an empty slice would keep the whole buffer alive.
            front: Bytes::copy_from_slice(front),
            stream,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for UpgradedConnection<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.front.has_remaining() {
            let count = self.front.len().min(buffer.remaining());
            buffer.put_slice(&self.front.split_to(count));
            if self.front.is_empty() {
                // A slice would keep the whole buffer alive.
                self.front = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for UpgradedConnection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
