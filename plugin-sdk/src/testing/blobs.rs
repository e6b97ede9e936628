//! Blobs: uploads, downloads, and the bytes that jobs read and write.

use std::collections::BTreeMap;

use super::host::{STATE, TestHost, TestState, context, transaction};
use crate::request::{ServiceRequest, ServiceResponse, ServiceResult};
use crate::{Blob, Caller, Error, Registered, ServiceError};

impl<P: Registered> TestHost<P> {
    /// Uploads a blob for a caller: calls `before_upload` and `complete_upload`. Returns its id.
    ///
    /// # Errors
    /// That of the plugin; the blob doesn't exist then.
    pub fn upload(
        &self,
        caller: &Caller,
        name: &str,
        media_type: &str,
        conversation: Option<(&str, bool)>,
        bytes: &[u8],
    ) -> Result<String, Error> {
        let cx = context(caller);
        let (conversation, is_member) = conversation.unwrap_or_default();
        let id = STATE.with_borrow_mut(|state| state.add_blob(name, media_type, conversation, bytes));
        let blob = STATE.with_borrow_mut(|state| {
            let blob = &mut state.blobs.entry(id.clone()).or_default().0;
            caller.actor.clone_into(&mut blob.uploader);
            blob.clone()
        });
        let begun = transaction(|| self.hooks().before_upload(&cx, &blob, is_member));
        let complete = begun.and_then(|()| transaction(|| self.hooks().complete_upload(&cx, &blob)));
        STATE.with_borrow_mut(|state| match &complete {
            Ok(()) => drop(state.blobs.entry(id.clone()).and_modify(|blob| blob.2 = true)),
            Err(_) => drop(state.blobs.remove(&id)),
        });
        complete.map(|()| id)
    }

    /// Downloads a blob for a caller: calls `before_download`.
    ///
    /// # Errors
    /// That of the plugin, or `blob_not_found`.
    pub fn download(&self, caller: &Caller, id: &str, is_member: bool) -> Result<Vec<u8>, Error> {
        let cx = context(caller);
        let (blob, bytes, _) = STATE.with_borrow(|state| state.found_blob(id))?;
        transaction(|| self.hooks().before_download(&cx, &blob, is_member))?;
        Ok(bytes)
    }

    /// Removes a blob for a caller: calls `before_remove`.
    ///
    /// # Errors
    /// That of the plugin, or `blob_not_found`; the blob then stays.
    pub fn remove_blob(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let cx = context(caller);
        let (blob, ..) = STATE.with_borrow(|state| state.found_blob(id))?;
        transaction(|| self.hooks().before_remove(&cx, &blob))?;
        STATE.with_borrow_mut(|state| drop(state.blobs.remove(id)));
        Ok(())
    }

    /// Returns the bytes of the kept blobs, by id.
    #[must_use]
    pub fn blobs(&self) -> BTreeMap<String, Vec<u8>> {
        STATE.with_borrow(|state| {
            let kept = state.blobs.iter().filter(|(_, (_, _, kept))| *kept);
            kept.map(|(id, (_, bytes, _))| (id.clone(), bytes.clone())).collect()
        })
    }
}

impl TestState {
    /// Runs a service of this file.
    pub(super) fn answer_blobs(&mut self, request: ServiceRequest) -> ServiceResult {
        match request {
            ServiceRequest::Blob(id) => {
                let found = self.blobs.get(&id).map(|(blob, ..)| blob.clone());
                Ok(ServiceResponse::Blobs(vec![found.ok_or(ServiceError::NotFound)?]))
            }
            ServiceRequest::Blobs(after, limit) => {
                let behind = self
                    .blobs
                    .iter()
                    .filter(|(id, (blob, ..))| **id > after && blob.app == self.app);
                let blobs = behind.map(|(_, (blob, ..))| blob.clone());
                Ok(ServiceResponse::Blobs(blobs.take(limit as usize).collect()))
            }
            ServiceRequest::KeepBlob(id) => {
                self.blobs.get_mut(&id).ok_or(ServiceError::NotFound)?.2 = true;
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::RemoveBlob(id) => {
                self.blobs.remove(&id).ok_or(ServiceError::NotFound)?;
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::ReadBlob(id, offset, length) => {
                Ok(ServiceResponse::Called(self.found_blob(&id).map(|(_, bytes, _)| {
                    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                    let end = start.saturating_add(length as usize).min(bytes.len());
                    bytes[start..end].to_vec()
                })))
            }
            ServiceRequest::WriteBlob {
                name,
                media_type,
                conversation,
                bytes,
            } => Ok(ServiceResponse::Wrote(Ok(self.add_blob(
                &name,
                &media_type,
                &conversation,
                &bytes,
            )))),
            _ => Err(ServiceError::Unavailable),
        }
    }

    fn add_blob(&mut self, name: &str, media_type: &str, conversation: &str, bytes: &[u8]) -> String {
        self.begun += 1;
        let id = format!("{:026}", self.begun);
        let blob = Blob {
            app: self.app.clone(),
            id: id.clone(),
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            length: bytes.len() as u64,
            conversation: conversation.to_owned(),
            created_ms: self.now_ms,
            ..Blob::default()
        };
        self.blobs.insert(id.clone(), (blob, bytes.to_vec(), false));
        id
    }

    fn found_blob(&self, id: &str) -> Result<(Blob, Vec<u8>, bool), Error> {
        let found = self.blobs.get(id).cloned();
        found.ok_or_else(|| Error::new("blob_not_found", "There is no such blob."))
    }
}
