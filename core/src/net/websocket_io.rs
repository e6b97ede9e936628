//! The connection behind a WebSocket, without the layers that HTTP had put around it.

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

/// A connection, with what came right behind the request.
pub(super) struct Raw<S> {
    front: Bytes,
    stream: S,
}

/// Why a connection can't be taken over.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakeOverError {
    #[error("it ended before: {0}")]
    Ended(#[from] hyper::Error),
    #[error("it is of another type than it was accepted as")]
    Type,
}

/// What connections a server accepts, and thus what is behind an upgraded one.
pub(super) trait UpgradeIo: 'static {
    /// The connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits until the response has been sent, and takes over the connection.
    fn take_over(upgrade: OnUpgrade) -> impl Future<Output = std::result::Result<Self::Io, TakeOverError>> + Send;
}

/// A server of ours, which accepted this type.
pub(super) struct ConcreteIo<S>(PhantomData<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> UpgradeIo for ConcreteIo<S> {
    type Io = Raw<S>;

    async fn take_over(upgrade: OnUpgrade) -> std::result::Result<Raw<S>, TakeOverError> {
        take_over(upgrade).await
    }
}

/// A server of somebody else.
pub(super) struct Any;

/// What both types of connections behind [`Any`] are.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}

impl UpgradeIo for Any {
    type Io = Box<dyn Io>;

    async fn take_over(upgrade: OnUpgrade) -> std::result::Result<Box<dyn Io>, TakeOverError> {
        let upgraded: Upgraded = upgrade.await?;
        Ok(match downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => Box::new(Raw::new(&parts.read_buf, parts.io.into_inner())),
            Err(upgraded) => Box::new(TokioIo::new(upgraded)),
        })
    }
}

/// Waits until the response has been sent, and takes over the connection.
///
/// # Errors
/// When the connection ended before.
async fn take_over<S>(upgrade: OnUpgrade) -> std::result::Result<Raw<S>, TakeOverError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgraded: Upgraded = upgrade.await?;
    let parts = downcast::<TokioIo<S>>(upgraded).map_err(|_| TakeOverError::Type)?;
    Ok(Raw::new(&parts.read_buf, parts.io.into_inner()))
}

impl<S> Raw<S> {
    fn new(front: &[u8], stream: S) -> Self {
        Self {
            // A copy: even an empty part of the buffer keeps all of it.
            front: Bytes::copy_from_slice(front),
            stream,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Raw<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.front.has_remaining() {
            let count = self.front.len().min(buffer.remaining());
            buffer.put_slice(&self.front.split_to(count));
            if self.front.is_empty() {
                // A part of a buffer keeps all of it.
                self.front = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Raw<S> {
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
