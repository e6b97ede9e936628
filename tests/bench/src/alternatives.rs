//! Alternatives to a hook in Wasm: a child process over pipes, and an HTTP webhook on loopback.
//!
//! Both get the message as JSON, compare sender and receiver, and accept.

use std::convert::Infallible;
use std::io::{BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout};

use bytes::Bytes;
use courtyard::internals::hooks::Message;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::process::{Process, piped};

fn request_json(message: &Message<'_>) -> String {
    let content: Value = serde_json::from_slice(message.content).unwrap();
    json!({
        "app": message.app,
        "conversation": message.conversation,
        "conversation_kind": message.conversation_kind,
        "sender": message.sender,
        "receiver": message.receiver,
        "kind": message.kind,
        "client_id": message.client_id,
        "content": content,
        "time_ms": message.time_ms,
    })
    .to_string()
}

fn verdict_json(request: &[u8]) -> String {
    let request: Value = serde_json::from_slice(request).unwrap();
    let verdict = if request["sender"] == request["receiver"] {
        "reject"
    } else {
        "accept"
    };
    json!({ "verdict": verdict }).to_string()
}

fn accepted(answer: &[u8]) -> bool {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    answer["verdict"] == "accept"
}

/// Answers requests from standard input on standard output, until the input ends.
pub(crate) fn answer_pipe() {
    let (mut input, mut output) = (
        BufReader::new(std::io::stdin().lock()),
        BufWriter::new(std::io::stdout().lock()),
    );
    while let Some(request) = read(&mut input) {
        write(&mut output, verdict_json(&request).as_bytes());
    }
}

fn read(input: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    input.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    input.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn write(output: &mut impl Write, bytes: &[u8]) {
    output
        .write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes())
        .unwrap();
    output.write_all(bytes).unwrap();
    output.flush().unwrap();
}

/// A hook in a child process.
pub(crate) struct ChildHook {
    child: Child,
    /// `None` once the process is to end.
    input: Option<BufWriter<ChildStdin>>,
    output: BufReader<ChildStdout>,
}

impl ChildHook {
    pub(crate) fn start() -> Self {
        let mut child = piped("answer-pipe");
        Self {
            input: child.stdin.take().map(BufWriter::new),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    pub(crate) fn call(&mut self, message: &Message<'_>) -> bool {
        write(self.input.as_mut().unwrap(), request_json(message).as_bytes());
        accepted(&read(&mut self.output).unwrap())
    }
}

impl Drop for ChildHook {
    fn drop(&mut self) {
        self.input = None;
        // The process ends when its input is closed.
        let _ = self.child.wait();
    }
}

/// Answers webhooks until the process is killed.
pub(crate) fn answer_http() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("listening on http://{}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = hyper::service::service_fn(|request: Request<Incoming>| async {
                let request = request.into_body().collect().await.unwrap().to_bytes();
                let body = Full::new(Bytes::from(verdict_json(&request)));
                Ok::<_, Infallible>(Response::new(body))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}

/// A hook behind HTTP, over one persistent connection.
pub(crate) struct Webhook {
    runtime: tokio::runtime::Runtime,
    sender: SendRequest<Full<Bytes>>,
    _server: Process,
}

impl Webhook {
    pub(crate) fn start() -> Self {
        let server = Process::webhook();
        let runtime = runtime();
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(server.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .unwrap();
            tokio::spawn(connection);
            sender
        });
        Self {
            runtime,
            sender,
            _server: server,
        }
    }

    pub(crate) fn call(&mut self, message: &Message<'_>) -> bool {
        self.runtime.block_on(async {
            let request = Request::post("/before_send")
                .header("host", "hooks.example")
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(request_json(message))))
                .unwrap();
            let response = self.sender.send_request(request).await.unwrap();
            accepted(&response.into_body().collect().await.unwrap().to_bytes())
        })
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
