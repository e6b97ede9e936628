//! The records of blobs in the store.

use bytes::Bytes;
use courtyard_plugin_sdk as sdk;
use serde::{Deserialize, Serialize};

use super::BlobsError;
use crate::keys;
use crate::store::{Draft, StoreError, encode};
use crate::wire::{AppId, ConversationId};

/// Identifies a blob: by its app, the plugin that owns it, and its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobName {
    /// The tenant.
    pub app: AppId,
    /// The plugin.
    pub plugin: String,
    /// Unique in the host; sorts by the time of creation.
    pub id: u128,
}

impl BlobName {
    /// Returns a new name.
    #[must_use]
    pub fn new(app: AppId, plugin: &str) -> Self {
        Self {
            app,
            plugin: plugin.to_owned(),
            id: crate::clock::new_ulid().0,
        }
    }

    /// Returns the id as clients and plugins write it.
    #[must_use]
    pub fn text(&self) -> String {
        ulid::Ulid(self.id).to_string()
    }

    /// Parses an id as clients and plugins write it.
    #[must_use]
    pub fn parse(app: AppId, plugin: &str, id: &str) -> Option<Self> {
        // Only the spelling of `text`, so that a blob has one address.
        let parsed = ulid::Ulid::from_string(id)
            .ok()
            .filter(|parsed| parsed.to_string() == id)?;
        Some(Self {
            app,
            plugin: plugin.to_owned(),
            id: parsed.0,
        })
    }

    /// Returns the key of the record.
    #[must_use]
    pub fn key(&self) -> Bytes {
        keys::blobs::record(&self.app, &self.plugin, self.id)
    }
}

/// A part of a blob: one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobPart {
    /// The number of the part. Names the object, and begins the nonces of its segments; unique in the blob.
    pub nonce: u64,
    /// The length in bytes, before sealing.
    pub length: u32,
}

/// The record of a blob: postcard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRecord {
    /// The name of the file; may be empty.
    pub name: String,
    /// The media type by the uploader; may be empty.
    pub media_type: String,
    /// The length in bytes, once the blob is complete.
    pub length: u64,
    /// The uploading actor; empty if the plugin wrote the blob.
    pub uploader: String,
    /// The conversation of the blob.
    pub conversation: Option<u128>,
    /// The time of creation, in milliseconds since 1970.
    pub created_ms: u64,
    /// The time of expiry, in milliseconds since 1970; 0 for never.
    pub until_ms: u64,
    /// Whether all bytes were stored and the plugin accepted the blob.
    pub complete: bool,
    /// The key of its bytes, sealed under the master key.
    pub key: Vec<u8>,
    /// The parts, in order.
    pub parts: Vec<BlobPart>,
}

impl BlobRecord {
    /// Returns the number of stored bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.length)).sum()
    }

    /// Returns the conversation as clients write it; empty for none.
    #[must_use]
    pub fn conversation_text(&self) -> String {
        let text = |id| ConversationId(id).to_string();
        self.conversation.map(text).unwrap_or_default()
    }

    /// Returns the blob as plugins see it.
    #[must_use]
    pub fn seen(&self, name: &BlobName) -> sdk::Blob {
        sdk::Blob {
            app: name.app.as_str().to_owned(),
            id: name.text(),
            name: self.name.clone(),
            media_type: self.media_type.clone(),
            length: self.length,
            uploader: self.uploader.clone(),
            conversation: self.conversation_text(),
            created_ms: self.created_ms,
        }
    }

    fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Decodes a record.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlobsError> {
        postcard::from_bytes(bytes).map_err(|_| BlobsError::Damaged("the record is damaged"))
    }
}

/// Finds a blob in a transaction.
///
/// # Errors
/// When the store fails, or the record is damaged.
pub fn find(draft: &mut Draft, name: &BlobName) -> Result<Option<BlobRecord>, BlobsError> {
    let stored = draft.get(name.key())?;
    stored.map(|stored| BlobRecord::decode(&stored)).transpose()
}

/// Writes the record of a blob in a transaction; `before` is the record that it replaces.
pub fn put(draft: &mut Draft, name: &BlobName, before: Option<&BlobRecord>, now: &BlobRecord) {
    let expiry = |record: &BlobRecord| {
        (record.until_ms != 0).then(|| keys::blobs::expiry(record.until_ms, &name.app, &name.plugin, name.id))
    };
    let (was, is) = (before.and_then(expiry), expiry(now));
    if was != is {
        if let Some(was) = was {
            draft.set(was, None);
        }
        if let Some(is) = is {
            draft.set(is, Some(Bytes::new()));
        }
    }
    draft.set(name.key(), Some(now.encode()));
}

/// Removes the record of a blob in a transaction; the sweep removes the objects later.
pub fn remove(draft: &mut Draft, name: &BlobName, record: &BlobRecord) {
    if record.until_ms != 0 {
        draft.set(
            keys::blobs::expiry(record.until_ms, &name.app, &name.plugin, name.id),
            None,
        );
    }
    draft.set(name.key(), None);
    draft.set(
        keys::blobs::garbage(&name.app, &name.plugin, name.id),
        Some(Bytes::new()),
    );
}

/// Lists up to `limit` blobs of a plugin after an id, in the order of their creation.
///
/// # Errors
/// When the store fails, or a record is damaged.
pub fn list(
    draft: &mut Draft,
    app: &AppId,
    plugin: &str,
    after: Option<u128>,
    limit: usize,
) -> Result<Vec<(BlobName, BlobRecord)>, BlobsError> {
    let (first, end) = keys::blobs::records(app, plugin);
    let start = match after {
        Some(u128::MAX) => return Ok(Vec::new()),
        Some(after) => keys::blobs::record(app, plugin, after + 1),
        None => first,
    };
    let found = draft.scan(start, end, limit, false)?;
    let blob = |(key, value): (Bytes, Bytes)| {
        let id =
            keys::blobs::id_of_record(&key).ok_or(StoreError::Index("the key of a blob is too short".to_owned()))?;
        let name = BlobName {
            app: app.clone(),
            plugin: plugin.to_owned(),
            id,
        };
        Ok((name, BlobRecord::decode(&value)?))
    };
    found.into_iter().map(blob).collect()
}
