//! The interface for operators: plugins, dead letters, metrics and health, over HTTP with a bearer token.
//!
//! docs/reference/http.md lists the routes.

mod metrics;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::hooks::Settlement;
use crate::net::stopped;
use crate::plugin::{ManageError, Supervisor};
use crate::router::Router;
use crate::services::Metrics;

/// Dead letters in one answer.
const LETTERS: usize = 100;
/// Time for the headers of a request.
const HEADER: Duration = Duration::from_secs(10);

/// Where operators are listened to and what they must bear; the file `admin.json` in the data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Where.
    pub address: SocketAddr,
    /// The bearer token.
    pub token: String,
}

impl Access {
    /// Returns where it is kept in a data folder.
    #[must_use]
    pub fn file(data: &Path) -> PathBuf {
        data.join("admin.json")
    }

    /// Reads what a running server keeps in its data folder.
    ///
    /// # Errors
    /// When there is none, or it can't be read.
    pub fn read(data: &Path) -> std::io::Result<Self> {
        let json = std::fs::read(Self::file(data))?;
        serde_json::from_slice(&json).map_err(std::io::Error::other)
    }

    /// Keeps it so that only the owner of the data folder can read it.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, data: &Path) -> std::io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let (file, aside) = (Self::file(data), data.join("admin.json.new"));
        // A file that is there keeps its mode.
        if let Err(error) = std::fs::remove_file(&aside)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut options = std::fs::OpenOptions::new();
        let mut written = options.write(true).create_new(true).mode(0o600).open(&aside)?;
        written.write_all(&serde_json::to_vec(self)?)?;
        std::fs::rename(aside, file)
    }

    /// Makes a token that can't be guessed.
    #[must_use]
    pub fn make_token() -> String {
        let bytes: [u8; 24] = rand::random();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What operators work on.
#[derive(Debug)]
pub struct Admin {
    /// The plugins.
    pub supervisor: Arc<Supervisor>,
    /// Their dead letters.
    pub settlement: Arc<Settlement>,
    /// What plugins count.
    pub metrics: Metrics,
    /// The live sessions.
    pub router: Arc<Router>,
    /// What requests must bear.
    pub token: String,
}

/// Answers operators until the server stops.
pub async fn listen(admin: Arc<Admin>, listener: TcpListener, mut stopping: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stopping) => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, for instance: accepting at once again would only burn the processor.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let admin = admin.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let admin = admin.clone();
                async move { Ok::<_, Infallible>(admin.answer(&request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of an operator ended");
            }
        });
    }
}

type Answer = Response<Full<Bytes>>;

/// Why an operator does not get what was asked for.
struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

impl From<ManageError> for Refusal {
    fn from(error: ManageError) -> Self {
        let status = match &error {
            ManageError::Unknown(_) => StatusCode::NOT_FOUND,
            ManageError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::CONFLICT,
        };
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            message.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Self::new(status, error.code(), message)
    }
}

impl Admin {
    async fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> Answer {
        if request.uri().path() == "/health" {
            return json_answer(StatusCode::OK, &json!({"status": "ok"}));
        }
        if !self.may_enter(request) {
            let refusal = Refusal::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "This needs the header `authorization: Bearer TOKEN`; the token is in admin.json in the data folder.",
            );
            return refused(&refusal);
        }
        let (this, method) = (self.clone(), request.method().clone());
        let (path, query) = (
            request.uri().path().to_owned(),
            request.uri().query().unwrap_or_default().to_owned(),
        );
        // Loading a plugin and scanning the store take long.
        let answered = tokio::task::spawn_blocking(move || this.route(&method, &path, &query)).await;
        match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(refusal)) => refused(&refusal),
            Err(error) => {
                tracing::error!(%error, "an operator's request failed");
                let message = "The server has a fault.";
                refused(&Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
            }
        }
    }

    fn may_enter(&self, request: &Request<Incoming>) -> bool {
        let header = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        // Of hashes, so that the time tells nothing about how much of the token was right.
        let hash = |token: &[u8]| Sha256::digest(token);
        header
            .and_then(|header| header.strip_prefix(b"Bearer "))
            .is_some_and(|token| hash(token) == hash(self.token.as_bytes()))
    }

    fn route(&self, method: &Method, path: &str, query: &str) -> Result<Answer, Refusal> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let supervisor = &self.supervisor;
        match (method.as_str(), &parts[..]) {
            ("GET", ["metrics"]) => {
                let mut answer =
                    Response::new(Full::new(metrics::text(supervisor, &self.router, &self.metrics).into()));
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                answer.headers_mut().insert(CONTENT_TYPE, kind);
                Ok(answer)
            }
            ("GET", ["v1", "plugins"]) => Ok(json_answer(StatusCode::OK, &json!({"plugins": supervisor.status()}))),
            ("GET", ["v1", "plugins", id]) => self.status(id),
            ("POST", ["v1", "plugins"]) => {
                supervisor.reload_changed()?;
                Ok(json_answer(StatusCode::OK, &json!({"plugins": supervisor.status()})))
            }
            ("DELETE", ["v1", "plugins", id]) => {
                let remove_data = match query {
                    "" | "data=keep" => false,
                    "data=remove" => true,
                    _ => {
                        let message = "`data` is `keep` or `remove`.";
                        return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message));
                    }
                };
                supervisor.uninstall(id, remove_data)?;
                tracing::info!(plugin = id, remove_data, "an operator removed a plugin");
                Ok(json_answer(StatusCode::OK, &json!({"removed": id})))
            }
            ("GET", ["v1", "plugins", id, "dead-letters"]) => {
                supervisor.status_of(id)?;
                let letters = self
                    .settlement
                    .outbox()
                    .dead_letters(id, LETTERS)
                    .map_err(|error| storage(&error))?;
                Ok(json_answer(StatusCode::OK, &json!({"dead_letters": letters})))
            }
            ("POST", ["v1", "plugins", id, "dead-letters", rest @ ..]) if rest.len() <= 1 => {
                supervisor.status_of(id)?;
                let replayed = self.settlement.outbox().replay(id, rest.first().copied());
                counted("replayed", rest, replayed.map_err(|error| storage(&error))?)
            }
            ("DELETE", ["v1", "plugins", id, "dead-letters", rest @ ..]) if rest.len() <= 1 => {
                supervisor.status_of(id)?;
                let discarded = self.settlement.outbox().discard(id, rest.first().copied());
                counted("discarded", rest, discarded.map_err(|error| storage(&error))?)
            }
            ("POST", ["v1", "plugins", id, verb]) => {
                match *verb {
                    "reload" => supervisor.reload(id)?,
                    "rollback" => supervisor.roll_back(id)?,
                    "enable" => supervisor.enable(id)?,
                    "disable" => supervisor.disable(id)?,
                    _ => return Err(nothing_here()),
                }
                tracing::info!(plugin = id, "an operator's {verb} is done");
                self.status(id)
            }
            _ => Err(nothing_here()),
        }
    }

    fn status(&self, id: &str) -> Result<Answer, Refusal> {
        let status = self.supervisor.status_of(id)?;
        Ok(json_answer(StatusCode::OK, &json!({"plugin": status})))
    }
}

fn counted(what: &str, wanted: &[&str], count: usize) -> Result<Answer, Refusal> {
    if count == 0 && !wanted.is_empty() {
        let message = "There is no such dead letter.";
        return Err(Refusal::new(StatusCode::NOT_FOUND, "unknown_dead_letter", message));
    }
    Ok(json_answer(StatusCode::OK, &json!({ what: count })))
}

fn storage(error: &dyn std::error::Error) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "storage_failed", error.to_string())
}

fn nothing_here() -> Refusal {
    let message = "There is nothing here; docs/reference/http.md lists what there is.";
    Refusal::new(StatusCode::NOT_FOUND, "unknown_route", message)
}

fn refused(refusal: &Refusal) -> Answer {
    let Refusal { status, code, message } = refusal;
    json_answer(*status, &json!({"error": {"code": code, "message": message}}))
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(value.to_string())));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
