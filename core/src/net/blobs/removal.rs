//! Removal of blobs and of uploads that aren't complete.

use std::sync::Arc;

use courtyard_plugin_sdk::hook::Request as Question;
use hyper::StatusCode;

use super::request::{BlobRequest, allowed, empty, unknown};
use crate::blobs;
use crate::hooks::Access;
use crate::host::Host;
use crate::net::request::{HttpError, in_turn};
use crate::net::{HttpState, Reply};
use crate::wire::Code;

/// Removes a blob.
pub(super) async fn remove(state: &Arc<HttpState>, asked: BlobRequest) -> Result<Reply, HttpError> {
    let host = state.host.clone();
    in_turn(&state.host, move || removed(&host, &asked)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Removes a blob, if the plugin agrees; its uploader may also break an upload off.
pub(super) fn removed(host: &Arc<Host>, asked: &BlobRequest) -> Result<(), HttpError> {
    let identity = asked.signed_in(host)?;
    host.settlement.run(|| {
        let mut call = asked.target.call(host, Access::Write, Some(&identity));
        let (name, record) = asked.find(&mut call.draft)?;
        let mut outcome = Ok(());
        if record.complete {
            let question = Question::BeforeRemove(record.seen(&name));
            let answer;
            (call, answer) = host.hooks.blob(call, &asked.target.plugin, question);
            let nobody = || {
                let message = "Nobody may remove blobs of this plugin.";
                HttpError::new(StatusCode::FORBIDDEN, Code::Forbidden, message)
            };
            outcome = allowed(Some(answer.ok_or_else(nobody)?));
        } else if record.uploader != identity.actor.as_str() {
            return Err(unknown());
        }
        blobs::remove(&mut call.draft, &name, &record);
        Ok((call, outcome))
    })
}
