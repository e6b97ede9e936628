//! Uploads and downloads of blobs, request by request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Header with the version of tus.
pub const TUS: &str = "tus-resumable: 1.0.0\r\n";
/// Header with the content type of upload parts.
pub const BYTES: &str = "content-type: application/offset+octet-stream\r\n";

/// A response of the server.
pub struct Response {
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self
            .head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
        line.map(|line| line.split_once(": ").unwrap().1)
    }

    /// Returns the error code.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// Sends a request as an actor; an empty name sends no token.
pub async fn ask(port: u16, actor: &str, method: &str, path: &str, headers: &str, body: &[u8]) -> Response {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let token = if actor.is_empty() {
        String::new()
    } else {
        format!("authorization: Bearer {actor}\r\n")
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n{token}content-length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that rejects the request may close before all is sent.
    let _ = stream.write_all(body).await;
    let mut bytes = Vec::new();
    // A server that detects damage aborts the response.
    let _ = stream.read_to_end(&mut bytes).await;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    Response {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body: bytes[end + 4..].to_vec(),
    }
}

/// Returns the value of `Upload-Metadata`.
pub fn metadata(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name} {}", STANDARD.encode(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join(",")
}

/// Starts an upload to a plugin.
pub async fn begin(port: u16, plugin: &str, actor: &str, length: usize, metadata: &str) -> Response {
    let headers = format!("{TUS}upload-length: {length}\r\nupload-metadata: {metadata}\r\n");
    ask(port, actor, "POST", &format!("/v1/blobs/{plugin}"), &headers, b"").await
}

/// Uploads in one request to a plugin.
pub async fn upload(port: u16, plugin: &str, actor: &str, metadata: &str, bytes: &[u8]) -> Response {
    let length = bytes.len();
    let headers = format!("{TUS}{BYTES}upload-length: {length}\r\nupload-metadata: {metadata}\r\n");
    ask(port, actor, "POST", &format!("/v1/blobs/{plugin}"), &headers, bytes).await
}

/// Continues an upload.
pub async fn patch(port: u16, actor: &str, path: &str, offset: usize, more: &str, bytes: &[u8]) -> Response {
    let headers = format!("{TUS}{BYTES}upload-offset: {offset}\r\n{more}");
    ask(port, actor, "PATCH", path, &headers, bytes).await
}
