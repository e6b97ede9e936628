//! HTTP/2 on the same listeners: concurrent requests over one connection, plain and over TLS.

use std::sync::Arc;

use courtyard_tests::certificate::certify;
use courtyard_tests::{Site, plugin};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

async fn talk(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> SendRequest<Full<Bytes>> {
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Sends many concurrent requests, one of them with a body.
async fn asks_at_once(sender: SendRequest<Full<Bytes>>, origin: &str) {
    let mut asked = Vec::new();
    for number in 0..40 {
        let mut sender = sender.clone();
        let actor = format!("actor{number}");
        let whoami = Request::get(format!("{origin}/v1/plugins/steward/whoami"))
            .header("authorization", format!("Bearer {actor}"))
            .body(Full::default())
            .unwrap();
        asked.push(tokio::spawn(async move {
            let response = sender.send_request(whoami).await.unwrap();
            assert_eq!(
                (response.status(), response.version()),
                (StatusCode::OK, Version::HTTP_2)
            );
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("\"{actor}\""));
        }));
    }
    for one in asked {
        one.await.unwrap();
    }
    let mut sender = sender;
    let keep = Request::post(format!("{origin}/v1/plugins/steward/keep"))
        .header("x-signature", "abc")
        .body(Full::from("note"))
        .unwrap();
    let response = sender.send_request(keep).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "abc");
}

fn steward(tls: &str) -> Site {
    let path = plugin("steward");
    Site::bare(&format!(
        "{tls}[development]\ntrust_tokens = true\n\
         [[plugins]]\nid = \"steward\"\npath = {path:?}\ngrant = [\"kv\", \"events\", \"http\"]\n"
    ))
}

#[tokio::test]
async fn one_plain_connection_carries_concurrent_requests() {
    let site = steward("");
    let server = site.start().await;
    let stream = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    asks_at_once(talk(stream).await, &format!("http://127.0.0.1:{}", site.port)).await;
    server.stop().await;
}

#[tokio::test]
async fn http_2_is_negotiated_over_tls() {
    let site = steward("tls = { certificate = \"cert.pem\", key = \"key.pem\" }\n");
    let mut config = certify(&site);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let server = site.start().await;
    let stream = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    asks_at_once(talk(stream).await, &format!("https://localhost:{}", site.port)).await;
    server.stop().await;
}

#[tokio::test]
async fn a_websocket_over_http_2_is_rejected_and_the_connection_continues() {
    let site = steward("");
    let server = site.start().await;
    let stream = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for (path, is_there) in [("/v1/ws", false), ("/health", true)] {
        let request = Request::get(format!("http://127.0.0.1:{}{path}", site.port));
        let response = sender
            .send_request(request.body(Empty::<Bytes>::new()).unwrap())
            .await
            .unwrap();
        assert_eq!(
            response.status() == StatusCode::OK,
            is_there,
            "{path}: {}",
            response.status()
        );
        assert!(!response.status().is_server_error(), "{path}: {}", response.status());
    }
    server.stop().await;
}
