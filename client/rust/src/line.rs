//! HTTP requests to a host, one after the other on a connection that is opened anew where it has to be.

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

use crate::link::{Failure, connect};
use crate::{Blobs, Error};

/// How long opening a connection may take, and how long nothing may move on one.
const PATIENCE: Duration = Duration::from_secs(45);
/// Bytes that are handed to a connection at a time.
const PIECE: usize = 64 << 10;
/// The longest body that is read of an answer which has no bytes of a blob.
const ANSWER_BYTES: usize = 64 << 10;

/// What a request says.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

/// A way to a host, with up to one connection.
pub(crate) struct Line {
    blobs: Blobs,
    open: Option<Open>,
}

/// An open connection, which ends when this is dropped.
struct Open {
    sender: SendRequest<Pieces>,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Open {
    async fn to(blobs: &Blobs, url: &Url) -> Result<Self, Failure> {
        let stream = connect(url, blobs.options().tls.as_ref()).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // How it ends is told to whoever waits for an answer.
        let task = tokio::spawn(async { drop(connection.await) });
        Ok(Self { sender, task })
    }
}

impl Line {
    pub(crate) fn to(blobs: &Blobs) -> Self {
        let blobs = blobs.clone();
        Self { blobs, open: None }
    }

    /// Sends a request and waits for its answer, of which only the headers are wanted; tells how many bytes of the body were
    /// handed to the connection.
    ///
    /// # Errors
    /// [`Error::Offline`], or what the server answers.
    pub(crate) async fn ask(&mut self, ask: Ask<'_>, told: &mut (dyn FnMut(u64) + Send)) -> Result<HeaderMap, Error> {
        let mut answer = self.request(ask, told).await?;
        let text = rest(&mut answer).await;
        if !matches!(&text, Ok(text) if text.len() <= ANSWER_BYTES) {
            self.open = None;
        }
        let (status, text) = (answer.status(), text.unwrap_or_default());
        if status.is_success() {
            return Ok(std::mem::take(answer.headers_mut()));
        }
        Err(refusal(status, &text))
    }

    /// Sends a request and waits for the head of its answer. The rest of it has to be read before the next request.
    pub(crate) async fn request(
        &mut self,
        ask: Ask<'_>,
        told: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Response<Incoming>, Error> {
        let url = ask.url;
        let (request, moved) = self.built(ask).map_err(|error| Error::Protocol(error.to_string()))?;
        // Not kept while it is in use: one that is dropped in the middle of a request is of no use any more.
        let mut open = match self.reusable().await {
            Some(open) => open,
            None => {
                let opened = timeout(PATIENCE, Open::to(&self.blobs, url)).await;
                opened.map_err(|_| Error::Offline)?.map_err(|_| Error::Offline)?
            }
        };
        let answer = watched(open.sender.send_request(request), moved, told).await;
        let answer = answer.ok_or(Error::Offline)?.map_err(|_| Error::Offline)?;
        self.open = Some(open);
        Ok(answer)
    }

    async fn reusable(&mut self) -> Option<Open> {
        let mut open = self.open.take()?;
        let ready = timeout(PATIENCE, open.sender.ready()).await;
        matches!(ready, Ok(Ok(()))).then_some(open)
    }

    fn built(&self, ask: Ask<'_>) -> Result<(Request<Pieces>, watch::Receiver<u64>), Failure> {
        let Ask {
            method,
            url,
            headers,
            body,
        } = ask;
        let (told, moved) = watch::channel(0);
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
        Ok((request.body(Pieces { left: body, told })?, moved))
    }
}

/// The body of a request, which tells how much of it was handed to the connection.
struct Pieces {
    left: Bytes,
    told: watch::Sender<u64>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.left.len().min(PIECE);
        let piece = self.left.split_to(length);
        self.told.send_modify(|told| *told += length as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// Waits for an answer for as long as the request moves; none when nothing does.
async fn watched<T>(
    answer: impl Future<Output = T>,
    mut moved: watch::Receiver<u64>,
    told: &mut (dyn FnMut(u64) + Send),
) -> Option<T> {
    tokio::pin!(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return Some(answer),
            changed = moved.changed() => {
                told(*moved.borrow_and_update());
                if changed.is_err() {
                    // All of it is on its way.
                    return timeout(PATIENCE, answer).await.ok();
                }
            }
            () = sleep(PATIENCE) => return None,
        }
    }
}

/// Waits for the next bytes of an answer; none at its end.
pub(crate) async fn next_piece(answer: &mut Response<Incoming>) -> Result<Option<Bytes>, Error> {
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

/// Reads the rest of an answer, or a little more of it than is wanted.
async fn rest(answer: &mut Response<Incoming>) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    while text.len() <= ANSWER_BYTES
        && let Some(piece) = next_piece(answer).await?
    {
        text.extend_from_slice(&piece);
    }
    Ok(text)
}

/// Makes of an answer why it is none.
pub(crate) async fn refused(mut answer: Response<Incoming>) -> Error {
    let text = rest(&mut answer).await.unwrap_or_default();
    refusal(answer.status(), &text)
}

/// Returns the server's reason; where there is none, as in answers to `HEAD` and in those of proxies, what the status says.
fn refusal(status: StatusCode, text: &[u8]) -> Error {
    #[derive(serde::Deserialize)]
    struct Body {
        error: Reason,
    }
    #[derive(serde::Deserialize)]
    struct Reason {
        code: String,
        message: String,
        retry: bool,
    }
    if let Ok(Body { error }) = serde_json::from_slice(text) {
        let Reason { code, message, retry } = error;
        return Error::Refused { code, message, retry };
    }
    let retry =
        status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    let code = match status.as_u16() {
        401 => "unauthenticated",
        403 => "forbidden",
        404 | 410 => "unknown_blob",
        409 => "upload_conflict",
        416 => "bad_range",
        460 => "checksum_mismatch",
        _ if retry => "internal",
        _ => "bad_upload",
    };
    Error::Refused {
        code: code.to_owned(),
        message: format!("The server answers {}.", status.as_u16()),
        retry,
    }
}

/// Returns a header as text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_code_of_the_server_or_what_its_status_says() {
        let code = |status: u16, text: &str| {
            let error = refusal(StatusCode::from_u16(status).unwrap_or_default(), text.as_bytes());
            (error.code().to_owned(), error.is_temporary())
        };
        let told = r#"{"error":{"code":"files.limit_storage","message":"No.","retry":false}}"#;
        assert_eq!(code(403, told), ("files.limit_storage".to_owned(), false));
        for (status, wanted, is_temporary) in [
            (302, "bad_upload", false),
            (401, "unauthenticated", false),
            (404, "unknown_blob", false),
            (409, "upload_conflict", false),
            (413, "bad_upload", false),
            (429, "internal", true),
            (460, "checksum_mismatch", false),
            (502, "internal", true),
        ] {
            assert_eq!(code(status, "<html>"), (wanted.to_owned(), is_temporary), "{status}");
        }
    }
}
