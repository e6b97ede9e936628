//! The connection behind a WebSocket, without the layers that HTTP had put around it.

use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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

/// Waits until the response has been sent, and takes over the connection.
///
/// # Errors
/// When the connection ended before.
pub(super) async fn take_over<S>(upgrade: OnUpgrade) -> std::result::Result<Raw<S>, TakeOverError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgraded: Upgraded = upgrade.await?;
    let parts = downcast::<TokioIo<S>>(upgraded).map_err(|_| TakeOverError::Type)?;
    Ok(Raw {
        // A copy: even an empty part of the buffer keeps all of it.
        front: Bytes::copy_from_slice(&parts.read_buf),
        stream: parts.io.into_inner(),
    })
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
