//! The operator interface: plugins, dead letters, metrics and health, over HTTP with a bearer token.
//!
//! docs/reference/http.md lists the routes.

mod metrics;

pub use metrics::PluginCollector;

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
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::effects::Settlement;
use crate::net::stopped;
use crate::plugin::{ManageError, Supervisor};
use crate::wire::ErrorCode;

/// Upper bound of the dead letters in one answer.
const MAX_DEAD_LETTERS: usize = 100;
/// Time for the headers of a request.
const HEADER: Duration = Duration::from_secs(10);

/// The address and the token of the operator interface, as in the file `admin.json` in the data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminEndpoint {
    /// The address.
    pub address: SocketAddr,
    /// The bearer token.
    pub token: String,
}

impl AdminEndpoint {
    /// Returns the path of the file in a data folder.
    #[must_use]
    pub fn file(data: &Path) -> PathBuf {
        data.join("admin.json")
    }

    /// Reads the file that a running server wrote.
    ///
    /// # Errors
    /// When the file doesn't exist or can't be read.
    pub fn read(data: &Path) -> std::io::Result<Self> {
        let json = std::fs::read(Self::file(data))?;
        serde_json::from_slice(&json).map_err(std::io::Error::other)
    }

    /// Writes the file, readable only for the owner of the data folder.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, data: &Path) -> std::io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let (file, aside) = (Self::file(data), data.join("admin.json.new"));
        // An existing file would keep its mode.
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

    /// Generates a random token of 192 bits.
    #[must_use]
    pub fn generate_token() -> String {
        let bytes: [u8; 24] = rand::random();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What the operator interface works on.
#[derive(Debug)]
pub struct AdminState {
    /// The plugins.
    pub supervisor: Arc<Supervisor>,
    /// The outbox with their dead letters.
    pub settlement: Arc<Settlement>,
    /// The metrics of the host.
    pub registry: Registry,
    /// The token that requests must have.
    pub token: String,
}

/// Serves the operator interface until the server stops.
pub async fn listen(admin: Arc<AdminState>, listener: TcpListener, mut stopping: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stopping) => return,
        };
        let Ok((stream, _)) = accepted else {
            // Without free file descriptors, for instance, accepting again at once would be a busy loop.
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

type AdminResponse = Response<Full<Bytes>>;

/// An error of the operator interface.
struct AdminError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl AdminError {
    fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.as_str(),
            message: message.into(),
        }
    }
}

impl From<ManageError> for AdminError {
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
        Self {
            status,
            code: error.code(),
            message,
        }
    }
}

impl AdminState {
    async fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> AdminResponse {
        if request.uri().path() == "/health" {
            return json_answer(StatusCode::OK, &json!({"status": "ok"}));
        }
        if !self.is_authorized(request) {
            let error = AdminError::new(
                StatusCode::UNAUTHORIZED,
                ErrorCode::Unauthenticated,
                "The header `authorization: Bearer TOKEN` is required; admin.json in the data folder has the token.",
            );
            return error_answer(&error);
        }
        let (this, method) = (self.clone(), request.method().clone());
        let (path, query) = (
            request.uri().path().to_owned(),
            request.uri().query().unwrap_or_default().to_owned(),
        );
        // Blocking: it may load a plugin or scan the store.
        let answered = tokio::task::spawn_blocking(move || this.route(&method, &path, &query)).await;
        match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => error_answer(&error),
            Err(error) => {
                tracing::error!(%error, "an operator's request failed");
                let message = "The server has a fault.";
                error_answer(&AdminError::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    ErrorCode::Internal,
                    message,
                ))
            }
        }
    }

    fn is_authorized(&self, request: &Request<Incoming>) -> bool {
        let header = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        // Hashes are compared, so that the time doesn't depend on how much of the token is right.
        let hash = |token: &[u8]| Sha256::digest(token);
        header
            .and_then(|header| header.strip_prefix(b"Bearer "))
            .is_some_and(|token| hash(token) == hash(self.token.as_bytes()))
    }

    fn route(&self, method: &Method, path: &str, query: &str) -> Result<AdminResponse, AdminError> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let supervisor = &self.supervisor;
        match (method.as_str(), &parts[..]) {
            ("GET", ["metrics"]) => {
                let mut answer = Response::new(Full::new(metrics::text(&self.registry).into()));
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
                        let message = "`data` must be `keep` or `remove`.";
                        return Err(AdminError::new(
                            StatusCode::BAD_REQUEST,
                            ErrorCode::InvalidRequest,
                            message,
                        ));
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
                    .dead_letters(id, MAX_DEAD_LETTERS)
                    .map_err(|error| store_failed(&error))?;
                Ok(json_answer(StatusCode::OK, &json!({"dead_letters": letters})))
            }
            ("POST", ["v1", "plugins", id, "dead-letters", rest @ ..]) if rest.len() <= 1 => {
                supervisor.status_of(id)?;
                let replayed = self.settlement.outbox().replay(id, rest.first().copied());
                count_answer("replayed", rest, replayed.map_err(|error| store_failed(&error))?)
            }
            ("DELETE", ["v1", "plugins", id, "dead-letters", rest @ ..]) if rest.len() <= 1 => {
                supervisor.status_of(id)?;
                let discarded = self.settlement.outbox().discard(id, rest.first().copied());
                count_answer("discarded", rest, discarded.map_err(|error| store_failed(&error))?)
            }
            ("POST", ["v1", "plugins", id, verb]) => {
                match *verb {
                    "reload" => supervisor.reload(id)?,
                    "rollback" => supervisor.roll_back(id)?,
                    "enable" => supervisor.enable(id)?,
                    "disable" => supervisor.disable(id)?,
                    _ => return Err(unknown_route()),
                }
                tracing::info!(plugin = id, "operator command completed: {verb}");
                self.status(id)
            }
            _ => Err(unknown_route()),
        }
    }

    fn status(&self, id: &str) -> Result<AdminResponse, AdminError> {
        let status = self.supervisor.status_of(id)?;
        Ok(json_answer(StatusCode::OK, &json!({"plugin": status})))
    }
}

fn count_answer(key: &str, filter: &[&str], count: usize) -> Result<AdminResponse, AdminError> {
    if count == 0 && !filter.is_empty() {
        let message = "The dead letter does not exist.";
        return Err(AdminError::new(
            StatusCode::NOT_FOUND,
            ErrorCode::UnknownDeadLetter,
            message,
        ));
    }
    Ok(json_answer(StatusCode::OK, &json!({ key: count })))
}

fn store_failed(error: &dyn std::error::Error) -> AdminError {
    AdminError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Unavailable,
        error.to_string(),
    )
}

fn unknown_route() -> AdminError {
    let message = "The route does not exist; docs/reference/http.md lists all routes.";
    AdminError::new(StatusCode::NOT_FOUND, ErrorCode::UnknownRoute, message)
}

fn error_answer(error: &AdminError) -> AdminResponse {
    let AdminError { status, code, message } = error;
    json_answer(*status, &json!({"error": {"code": code, "message": message}}))
}

fn json_answer(status: StatusCode, value: &Value) -> AdminResponse {
    let mut answer = Response::new(Full::new(Bytes::from(value.to_string())));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
