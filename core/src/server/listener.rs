//! Addresses to listen on, taken before anybody can connect.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use super::StartError;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// An address that is taken, and nobody can connect to yet.
pub(super) struct BoundListener {
    address: SocketAddr,
    socket: TcpSocket,
}

impl BoundListener {
    pub(super) fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let bound = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // Connections of a server that has just ended do not keep its address.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        match bound() {
            Ok(socket) => Ok(Self { address, socket }),
            Err(source) => Err(StartError::Listen { address, source }),
        }
    }

    /// Lets connections in, and returns the address with the port that the system chose.
    pub(super) fn open(self) -> Result<(TcpListener, SocketAddr), StartError> {
        let address = self.address;
        let opened = self.socket.listen(BACKLOG).and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        opened.map_err(|source| StartError::Listen { address, source })
    }
}
