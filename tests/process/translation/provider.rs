//! A provider on loopback.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Returns the raw HTTP response to a path and a body.
pub(crate) type Answer = Box<dyn Fn(&str, &str) -> Vec<u8> + Send>;

/// A provider on loopback.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) port: u16,
    /// Path and body of each request.
    pub(crate) asked: Arc<Mutex<Vec<(String, String)>>>,
    pub(crate) answer: Arc<Mutex<Answer>>,
    /// True while responses are held back.
    pub(crate) held: Arc<watch::Sender<bool>>,
}

impl Provider {
    pub(crate) async fn start(answer: impl Fn(&str, &str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            port: listener.local_addr().unwrap().port(),
            asked: Arc::default(),
            answer: Arc::new(Mutex::new(Box::new(answer))),
            held: Arc::new(watch::Sender::new(false)),
        };
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let provider = serving.clone();
                tokio::spawn(async move { provider.serve(stream).await });
            }
        });
        provider
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        self.asked.lock().unwrap().push((path.clone(), body.clone()));
        let _ = self.held.subscribe().wait_for(|held| !held).await;
        let answer = self.answer.lock().unwrap()(&path, &body);
        if answer.is_empty() {
            // It accepts the request and never responds, until the client times out.
            let _ = stream.read_u8().await;
        }
        let _ = stream.write_all(&answer).await;
    }

    pub(crate) fn behave(&self, answer: impl Fn(&str, &str) -> Vec<u8> + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|(asked, _)| asked == path)
            .count()
    }

    /// Waits for this many requests.
    pub(crate) async fn was_asked(&self, path: &str, count: usize) {
        let begun = Instant::now();
        while self.count(path) < count {
            assert!(
                begun.elapsed().as_secs() < 60,
                "{count} requests of {path} did not come"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) fn response(status: &str, media_type: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn ok(value: &Value) -> Vec<u8> {
    response("200 OK", "application/json", &value.to_string())
}

/// A LibreTranslate server: it detects English, and returns every text with its target language as a prefix.
pub(crate) fn libre(path: &str, body: &str) -> Vec<u8> {
    let query: Value = serde_json::from_str(body).unwrap();
    if query["api_key"] != "k-1" {
        return response("403 Forbidden", "application/json", "{\"error\":\"Invalid API key\"}");
    }
    if path == "/detect" {
        return ok(&json!([{"confidence": 92.0, "language": "en"}]));
    }
    let target = query["target"].as_str().unwrap();
    let translate = |text: &Value| json!(format!("{target}: {}", text.as_str().unwrap()));
    let translated = match &query["q"] {
        Value::Array(texts) => Value::Array(texts.iter().map(translate).collect()),
        text => translate(text),
    };
    ok(&json!({"translatedText": translated}))
}
