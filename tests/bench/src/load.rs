//! The load generator: connections that write prepared bytes and parse as little as possible of the answers, so that they
//! measure the server and not themselves.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Mask of the frames of clients, which RFC 6455 requires. A constant one costs the server as much as a random one.
const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x88];
/// Hexadecimal digits of the number of a message.
pub(super) const DIGITS: usize = 16;

/// A WebSocket connection on the level of bytes.
pub(crate) struct Connection {
    pub(super) stream: TcpStream,
    /// Received bytes; those before `start` are consumed.
    bytes: Vec<u8>,
    start: usize,
}

impl Connection {
    /// Opens a connection.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        Self {
            stream,
            bytes: Vec::new(),
            start: 0,
        }
    }

    /// Sends one text frame.
    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(&masked(text.as_bytes())).await.unwrap();
    }

    /// Returns the next text frame.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            if let Some((frame, _)) = self.pop_frame() {
                return String::from_utf8(frame.to_vec()).unwrap();
            }
            self.read().await;
        }
    }

    /// Sends a request and returns its answer.
    pub(crate) async fn request(&mut self, request: &Value) -> Value {
        self.send(&request.to_string()).await;
        loop {
            let answer: Value = serde_json::from_str(&self.next().await).unwrap();
            if answer["id"] == request["id"] || answer["type"] == "welcome" {
                assert_ne!(answer["type"], "error", "{answer}");
                return answer;
            }
        }
    }

    /// Returns the next complete text frame of the received bytes, with its first byte. Skips pings.
    pub(super) fn pop_frame(&mut self) -> Option<(&[u8], u8)> {
        loop {
            let bytes = &self.bytes[self.start..];
            let (&opcode, length) = (bytes.first()?, bytes.get(1)?);
            let (head, length) = match length {
                126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()))),
                127 => {
                    let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap());
                    (10, usize::try_from(length).unwrap())
                }
                length => (2, usize::from(*length)),
            };
            if bytes.len() < head + length {
                return None;
            }
            let begin = self.start + head;
            self.start = begin + length;
            match opcode {
                0x81 => return Some((&self.bytes[begin..begin + length], opcode)),
                0x89 => {}
                _ => panic!("the server ended the connection (frame {opcode:#x})"),
            }
        }
    }

    pub(super) async fn read(&mut self) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.reserve(32 << 10);
        let count = self.stream.read_buf(&mut self.bytes).await.unwrap();
        assert_ne!(count, 0, "the server ended the connection");
    }
}

/// Returns a masked text frame.
fn masked(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(text.len()).unwrap() {
        short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap()),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(text.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A sender and the receiver of its messages.
pub(crate) struct Pair {
    pub(crate) sender: Connection,
    pub(crate) receiver: Connection,
    /// Id of the conversation.
    pub(crate) conversation: String,
}

/// A prepared frame, into which the number of a message is written.
pub(super) struct MessageTemplate {
    frame: Vec<u8>,
    digits: usize,
}

impl MessageTemplate {
    /// Prepares a message with a text of 200 bytes.
    pub(super) fn new(conversation: &str) -> Self {
        let id = "#".repeat(DIGITS);
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(5);
        let frame = format!(
            r#"{{"type":"send","id":"{id}","conversation":"{conversation}","kind":"text","content":{{"text":"{}"}}}}"#,
            &text[..200]
        );
        let at = frame.find('#').unwrap();
        let frame = masked(frame.as_bytes());
        let head = 8;
        Self {
            digits: head + at,
            frame,
        }
    }

    pub(super) fn write(&mut self, number: u64, bytes: &mut Vec<u8>) {
        let mut rest = number;
        for index in (0..DIGITS).rev() {
            let digit = b"0123456789abcdef"[usize::try_from(rest % 16).unwrap()];
            rest /= 16;
            self.frame[self.digits + index] = digit ^ MASK[(self.digits - 8 + index) % 4];
        }
        bytes.extend_from_slice(&self.frame);
    }
}

/// Returns a number that no earlier run with the same data used.
pub(super) fn first_number() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(now.as_micros()).unwrap() << 8
}

/// Aborts the tasks. If one panicked, panics.
pub(super) async fn end(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.abort();
        match task.await {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => {}
        }
    }
}

/// Returns `true` if a frame delivers a message.
pub(super) fn is_event(frame: &[u8]) -> bool {
    frame.starts_with(br#"{"type":"event""#) || frame.starts_with(br#"{"type":"send""#)
}

/// Returns `true` if a frame acknowledges a message.
pub(super) fn is_ack(frame: &[u8]) -> bool {
    frame == b"ok" || frame.starts_with(br#"{"type":"ack""#)
}
