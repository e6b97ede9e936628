//! Blobs over HTTP: uploads to `/v1/blobs/PLUGIN`, downloads and removals at `/v1/blobs/PLUGIN/ID`.

mod download;
mod removal;
mod request;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Method, Request, StatusCode};

use super::request::{HttpError, PluginPath, bearer};
use super::{HttpState, Reply};
use crate::wire::ErrorCode;

use download::download;
use removal::remove;
use request::BlobRequest;

/// Answers a request to the blobs of a plugin.
pub(in crate::net) async fn answer<B>(state: &Arc<HttpState>, path: PluginPath, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let is_upload = upload::is_upload(&parts.method, &parts.headers);
    let blob = BlobRequest {
        id: path.rest.trim_start_matches('/').to_owned(),
        path,
        token: bearer(&parts.headers),
    };
    let answer = match upload::method(&parts.method, &parts.headers) {
        _ if is_upload => {
            let answer = upload::answer(state, blob, &parts, body).await;
            return upload::with_tus_headers(state, answer.unwrap_or_else(|error| error.response()));
        }
        Method::GET | Method::HEAD => download(state, blob, &parts.headers, parts.method == Method::HEAD).await,
        Method::DELETE => remove(state, blob).await,
        _ => Err(HttpError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorCode::InvalidUpload,
            "Upload with tus 1.0 (Tus-Resumable: 1.0.0); see docs/reference/protocol.md.",
        )),
    };
    answer.unwrap_or_else(|error| error.response())
}
