//! Removal of blobs and of uploads that aren't complete.

use std::sync::Arc;

use courtyard_plugin_sdk::hook::Request as Question;
use hyper::StatusCode;

use super::request::{BlobRequest, allowed, empty, unknown};
use crate::blobs;
use crate::hooks::StoreAccess;
use crate::host::Host;
use crate::net::request::{HttpError, in_turn};
use crate::net::{HttpState, Reply};
use crate::wire::ErrorCode;

/// Removes a blob.
pub(super) async fn remove(state: &Arc<HttpState>, request: BlobRequest) -> Result<Reply, HttpError> {
    let host = state.host.clone();
    in_turn(&state.host, move || remove_blocking(&host, &request)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Removes a blob if its plugin allows it. An incomplete upload can be removed by its uploader, without the plugin.
pub(super) fn remove_blocking(host: &Arc<Host>, request: &BlobRequest) -> Result<(), HttpError> {
    let identity = request.signed_in(host)?;
    host.settlement.run(|| {
        let mut call = request.path.call(host, StoreAccess::Write, Some(&identity));
        let (name, record) = request.find(&mut call.draft)?;
        let mut outcome = Ok(());
        if record.complete {
            let question = Question::BeforeRemove(record.seen(&name));
            let answer;
            (call, answer) = host.hooks.blob(call, &request.path.plugin, question);
            let forbidden = || {
                let message = "This plugin does not allow anybody to remove blobs.";
                HttpError::new(StatusCode::FORBIDDEN, ErrorCode::Forbidden, message)
            };
            outcome = allowed(Some(answer.ok_or_else(forbidden)?));
        } else if record.uploader != identity.actor.as_str() {
            return Err(unknown());
        }
        blobs::remove(&mut call.draft, &name, &record);
        Ok((call, outcome))
    })
}
