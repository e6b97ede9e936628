//! Blobs over HTTP: `/v1/blobs/PLUGIN` takes uploads, `/v1/blobs/PLUGIN/ID` is one, to read or to remove.

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
use crate::wire::Code;

use download::download;
use removal::remove;
use request::BlobRequest;

/// Answers a request to the blobs of a plugin.
pub(in crate::net) async fn answer<B>(state: &Arc<HttpState>, target: PluginPath, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let is_upload = upload::is_meant(&parts.method, &parts.headers);
    let asked = BlobRequest {
        id: target.path.trim_start_matches('/').to_owned(),
        target,
        token: bearer(&parts.headers),
    };
    let answered = match upload::method(&parts.method, &parts.headers) {
        _ if is_upload => {
            let answered = upload::answer(state, asked, &parts, body).await;
            return upload::finished(state, answered.unwrap_or_else(|refused| refused.response()));
        }
        Method::GET | Method::HEAD => download(state, asked, &parts.headers, parts.method == Method::HEAD).await,
        Method::DELETE => remove(state, asked).await,
        _ => Err(HttpError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Code::BadUpload,
            "Uploads speak tus 1.0 (Tus-Resumable: 1.0.0); see docs/reference/protocol.md.",
        )),
    };
    answered.unwrap_or_else(|refused| refused.response())
}
