//! HTTP requests to a host, one after another on a connection that is established again when necessary.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use url::{Position, Url};

use crate::socket::{ConnectError, connect};
use crate::{Blobs, Error};

/// Timeout of establishing a connection, and of a connection without progress.
const PATIENCE: Duration = Duration::from_secs(45);
/// Bytes that are passed to a connection at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Limit of the body of an answer that is not a blob, in bytes.
const ANSWER_BYTES: usize = 64 << 10;

/// A request.
pub(crate) struct BlobRequest<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

/// A host, with up to one connection.
pub(crate) struct HttpHost {
    blobs: Blobs,
    connection: Option<Connection>,
}

/// An established connection, which closes when this is dropped.
struct Connection {
    sender: SendRequest<RequestBody>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    async fn open(blobs: &Blobs, url: &Url) -> Result<Self, ConnectError> {
        let stream = connect(url, blobs.options().tls.as_ref()).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // The pending request gets the error.
        let task = tokio::spawn(async { drop(connection.await) });
        Ok(Self { sender, task })
    }
}

impl HttpHost {
    pub(crate) fn new(blobs: &Blobs) -> Self {
        let blobs = blobs.clone();
        Self {
            blobs,
            connection: None,
        }
    }

    /// Sends a request and returns the headers of its answer. Calls `on_sent` with the number of bytes of the body that were
    /// passed to the connection so far.
    ///
    /// # Errors
    /// [`Error::Offline`], or the error of the server.
    pub(crate) async fn headers(
        &mut self,
        request: BlobRequest<'_>,
        on_sent: &mut (dyn FnMut(u64) + Send),
    ) -> Result<HeaderMap, Error> {
        let mut answer = self.send(request, on_sent).await?;
        let text = read_body(&mut answer).await;
        if !matches!(&text, Ok(text) if text.len() <= ANSWER_BYTES) {
            self.connection = None;
        }
        let (status, text) = (answer.status(), text.unwrap_or_default());
        if status.is_success() {
            return Ok(std::mem::take(answer.headers_mut()));
        }
        Err(answer_error(status, &text))
    }

    /// Sends a request and waits for the head of its answer. Read the body before the next request.
    pub(crate) async fn send(
        &mut self,
        request: BlobRequest<'_>,
        on_sent: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Response<Incoming>, Error> {
        let url = request.url;
        let (request, sent) = self
            .build(request)
            .map_err(|error| Error::Protocol(error.to_string()))?;
        // Not stored while in use: dropping this future in the middle of a request makes the connection useless.
        let mut connection = match self.idle_connection().await {
            Some(connection) => connection,
            None => {
                let opened = timeout(PATIENCE, Connection::open(&self.blobs, url)).await;
                opened.map_err(|_| Error::Offline)?.map_err(|_| Error::Offline)?
            }
        };
        let answer = with_progress(connection.sender.send_request(request), sent, on_sent).await;
        let answer = answer.ok_or(Error::Offline)?.map_err(|_| Error::Offline)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn idle_connection(&mut self) -> Option<Connection> {
        let mut connection = self.connection.take()?;
        let ready = timeout(PATIENCE, connection.sender.ready()).await;
        matches!(ready, Ok(Ok(()))).then_some(connection)
    }

    fn build(&self, request: BlobRequest<'_>) -> Result<(Request<RequestBody>, watch::Receiver<u64>), ConnectError> {
        let BlobRequest {
            method,
            url,
            headers,
            body,
        } = request;
        let (sent, receiver) = watch::channel(0);
        let mut request = Request::builder()
            .method(method)
            .uri(&url[Position::BeforePath..Position::AfterQuery])
            .header(HOST, &url[Position::BeforeHost..Position::AfterPort]);
        if let Some(token) = self.blobs.token() {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Ok((request.body(RequestBody { rest: body, sent })?, receiver))
    }
}

/// The body of a request, which reports how many of its bytes were passed to the connection.
struct RequestBody {
    rest: Bytes,
    sent: watch::Sender<u64>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(CHUNK_BYTES);
        let chunk = self.rest.split_to(length);
        self.sent.send_modify(|sent| *sent += length as u64);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// Waits for an answer while the request makes progress. Returns `None` after [`PATIENCE`] without any.
async fn with_progress<T>(
    answer: impl Future<Output = T>,
    mut sent: watch::Receiver<u64>,
    on_sent: &mut (dyn FnMut(u64) + Send),
) -> Option<T> {
    tokio::pin!(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return Some(answer),
            changed = sent.changed() => {
                on_sent(*sent.borrow_and_update());
                if changed.is_err() {
                    // The whole body was passed on.
                    return timeout(PATIENCE, answer).await.ok();
                }
            }
            () = sleep(PATIENCE) => return None,
        }
    }
}

/// Waits for the next bytes of an answer. Returns `None` at its end.
pub(crate) async fn next_chunk(answer: &mut Response<Incoming>) -> Result<Option<Bytes>, Error> {
    loop {
        let mut body = Pin::new(answer.body_mut());
        let frame = std::future::poll_fn(|context| body.as_mut().poll_frame(context));
        match timeout(PATIENCE, frame).await {
            Ok(None) => return Ok(None),
            Err(_) | Ok(Some(Err(_))) => return Err(Error::Offline),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads the body of an answer. Stops after more than [`ANSWER_BYTES`].
async fn read_body(answer: &mut Response<Incoming>) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    while text.len() <= ANSWER_BYTES
        && let Some(chunk) = next_chunk(answer).await?
    {
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

/// Returns the error that an answer reports.
pub(crate) async fn error_of(mut answer: Response<Incoming>) -> Error {
    let text = read_body(&mut answer).await.unwrap_or_default();
    answer_error(answer.status(), &text)
}

/// Returns the error in the body. Answers to `HEAD` and those of proxies have none: then the status decides.
fn answer_error(status: StatusCode, text: &[u8]) -> Error {
    #[derive(serde::Deserialize)]
    struct Body {
        error: BodyError,
    }
    #[derive(serde::Deserialize)]
    struct BodyError {
        code: String,
        message: String,
        retry: bool,
    }
    if let Ok(Body { error }) = serde_json::from_slice(text) {
        let BodyError { code, message, retry } = error;
        return Error::Refused { code, message, retry };
    }
    let retry =
        status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    let code = match status.as_u16() {
        401 => "unauthenticated",
        403 => "forbidden",
        404 | 410 => "unknown_blob",
        409 => "invalid_offset",
        413 => "limit_bytes",
        416 => "invalid_range",
        460 => "invalid_checksum",
        _ if retry => "internal",
        _ => "invalid_upload",
    };
    Error::Refused {
        code: code.to_owned(),
        message: format!("The server answered with the status {}.", status.as_u16()),
        retry,
    }
}

/// Returns a header as text; `None` if it is missing or not ASCII.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_code_of_the_server_or_one_for_the_status() {
        let code = |status: u16, text: &str| {
            let error = answer_error(StatusCode::from_u16(status).unwrap_or_default(), text.as_bytes());
            (error.code().to_owned(), error.is_temporary())
        };
        let body = r#"{"error":{"code":"files.quota","message":"No.","retry":false}}"#;
        assert_eq!(code(403, body), ("files.quota".to_owned(), false));
        for (status, wanted, is_temporary) in [
            (302, "invalid_upload", false),
            (401, "unauthenticated", false),
            (404, "unknown_blob", false),
            (409, "invalid_offset", false),
            (413, "limit_bytes", false),
            (429, "internal", true),
            (460, "invalid_checksum", false),
            (502, "internal", true),
        ] {
            assert_eq!(code(status, "<html>"), (wanted.to_owned(), is_temporary), "{status}");
        }
    }
}
