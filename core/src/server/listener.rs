//! Listeners that are bound before they accept connections.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use super::ServerError;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A bound address that doesn't accept connections yet.
pub(super) struct BoundListener {
    address: SocketAddr,
    socket: TcpSocket,
}

impl BoundListener {
    pub(super) fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let bound = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // Closing connections of a server that has just ended don't block its address.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        match bound() {
            Ok(socket) => Ok(Self { address, socket }),
            Err(source) => Err(ServerError::Listen { address, source }),
        }
    }

    /// Starts to listen, and returns the address with the port that the system chose.
    pub(super) fn open(self) -> Result<(TcpListener, SocketAddr), ServerError> {
        let address = self.address;
        let opened = self.socket.listen(BACKLOG).and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        opened.map_err(|source| ServerError::Listen { address, source })
    }
}
