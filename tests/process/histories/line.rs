//! A line between a device and the server that can be cut and stalled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// State of the line.
#[derive(Clone, Copy, Debug, Default)]
struct Order {
    /// Incremented to cut all existing connections.
    cuts: u32,
    /// True while frames of the server are held.
    held: bool,
}

/// The line of one device. Its port stays the same while the server restarts.
pub(crate) struct Line {
    pub(crate) port: u16,
    orders: watch::Sender<Order>,
    task: tokio::task::JoinHandle<()>,
}

impl Line {
    /// Opens a line to a server. While `down`, it accepts no connection: the server isn't running, and its port may belong to
    /// another process.
    pub(crate) async fn open(server: u16, down: Arc<AtomicBool>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let orders = watch::Sender::new(Order::default());
        let given = orders.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if !down.load(Ordering::Relaxed) {
                    tokio::spawn(carry(stream, server, given.subscribe()));
                }
            }
        });
        Self { port, orders, task }
    }

    /// Cuts it, possibly in the middle of a frame.
    pub(crate) fn cut(&self) {
        self.orders.send_modify(|order| order.cuts += 1);
    }

    /// Holds frames of the server, or releases them.
    pub(crate) fn hold(&self, held: bool) {
        self.orders.send_modify(|order| order.held = held);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut device: TcpStream, server: u16, mut orders: watch::Receiver<Order>) {
    let cuts = orders.borrow().cuts;
    let socket = TcpSocket::new_v4().unwrap();
    // Small buffers, so that the server notices a stalled line soon.
    socket.set_recv_buffer_size(4_096).unwrap();
    let Ok(mut server) = socket.connect(([127, 0, 0, 1], server).into()).await else {
        return;
    };
    let (mut from_device, mut to_device) = device.split();
    let (mut from_server, mut to_server) = server.split();
    let mut held = orders.clone();
    let down = async {
        let mut bytes = [0; 4_096];
        while held.wait_for(|order| !order.held).await.is_ok() {
            let Ok(count @ 1..) = from_server.read(&mut bytes).await else {
                return;
            };
            if to_device.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from_device, &mut to_server) => {}
        () = down => {}
        _ = orders.wait_for(|order| order.cuts != cuts) => {}
    }
}
