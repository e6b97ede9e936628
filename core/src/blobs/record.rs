//! What the store knows about a blob.

use bytes::Bytes;
use courtyard_plugin_sdk as sdk;
use serde::{Deserialize, Serialize};

use super::BlobsError;
use crate::log::{Draft, key};
use crate::store::StoreError;
use crate::wire::{AppId, ConversationId};

/// Names a blob: its app, the plugin that it belongs to, and its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobName {
    /// The tenant.
    pub app: AppId,
    /// The plugin.
    pub plugin: String,
    /// Unique in the host; sorts by when it was begun.
    pub id: u128,
}

impl BlobName {
    /// Names a blob that begins now.
    #[must_use]
    pub fn new(app: AppId, plugin: &str) -> Self {
        Self {
            app,
            plugin: plugin.to_owned(),
            id: ulid::Ulid::from_parts(crate::clock::now_ms(), rand::random()).0,
        }
    }

    /// Returns the id as clients and plugins write it.
    #[must_use]
    pub fn text(&self) -> String {
        ulid::Ulid(self.id).to_string()
    }

    /// Reads an id as clients and plugins write it.
    #[must_use]
    pub fn parse(app: AppId, plugin: &str, id: &str) -> Option<Self> {
        // The one spelling that `text` gives, so that a blob has one address.
        let parsed = ulid::Ulid::from_string(id)
            .ok()
            .filter(|parsed| parsed.to_string() == id)?;
        Some(Self {
            app,
            plugin: plugin.to_owned(),
            id: parsed.0,
        })
    }

    /// Returns where the record is.
    #[must_use]
    pub fn key(&self) -> Bytes {
        key::blob(&self.app, &self.plugin, self.id)
    }
}

/// Some of the bytes of a blob: one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Names the object, and is what its nonces begin with: no two parts of a blob have the same.
    pub nonce: u64,
    /// How many bytes, before they are sealed.
    pub length: u32,
}

/// What is known about a blob: postcard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The name of the file; may be empty.
    pub name: String,
    /// As whoever uploads it says; may be empty.
    pub media_type: String,
    /// How many bytes it has, or will have.
    pub length: u64,
    /// The actor who uploads it; empty for one that the plugin wrote.
    pub uploader: String,
    /// The conversation that it is for.
    pub conversation: Option<u128>,
    /// When it was begun, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it is removed, in milliseconds since 1970; 0 for never.
    pub until_ms: u64,
    /// Whether all bytes are there and the plugin took it.
    pub complete: bool,
    /// The key of its bytes, under the master key.
    pub key: Vec<u8>,
    /// Where its bytes are, in order.
    pub parts: Vec<Part>,
}

impl Record {
    /// Returns how many bytes are there.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.length)).sum()
    }

    /// Returns the conversation that it is for, as clients write it; empty for none.
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
        // Writing into a vector has no way to fail.
        postcard::to_stdvec(self).unwrap_or_default().into()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlobsError> {
        postcard::from_bytes(bytes).map_err(|_| BlobsError::Damaged("the record can't be read"))
    }
}

/// Finds a blob in a transaction.
///
/// # Errors
/// When the store fails, or the record is damaged.
pub fn find(draft: &mut Draft, name: &BlobName) -> Result<Option<Record>, BlobsError> {
    let stored = draft.get(name.key())?;
    stored.map(|stored| Record::decode(&stored)).transpose()
}

/// Writes what is known about a blob in a transaction; `before` is what was known.
pub fn put(draft: &mut Draft, name: &BlobName, before: Option<&Record>, now: &Record) {
    let expiry = |record: &Record| {
        (record.until_ms != 0).then(|| key::blob_expiry(record.until_ms, &name.app, &name.plugin, name.id))
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

/// Removes a blob in a transaction; its objects are removed afterwards.
pub fn remove(draft: &mut Draft, name: &BlobName, record: &Record) {
    if record.until_ms != 0 {
        draft.set(
            key::blob_expiry(record.until_ms, &name.app, &name.plugin, name.id),
            None,
        );
    }
    draft.set(name.key(), None);
    draft.set(key::garbage(&name.app, &name.plugin, name.id), Some(Bytes::new()));
}

/// Lists up to `limit` blobs of a plugin behind an id, in the order in which they were begun.
///
/// # Errors
/// When the store fails, or a record is damaged.
pub fn list(
    draft: &mut Draft,
    app: &AppId,
    plugin: &str,
    after: Option<u128>,
    limit: usize,
) -> Result<Vec<(BlobName, Record)>, BlobsError> {
    let (first, end) = key::blobs(app, plugin);
    let start = match after {
        Some(u128::MAX) => return Ok(Vec::new()),
        Some(after) => key::blob(app, plugin, after + 1),
        None => first,
    };
    let found = draft.scan(start, end, limit, false)?;
    let blob = |(key, value): (Bytes, Bytes)| {
        let id = key::id_of_blob(&key).ok_or(StoreError::Index("a key of a blob is too short".to_owned()))?;
        let name = BlobName {
            app: app.clone(),
            plugin: plugin.to_owned(),
            id,
        };
        Ok((name, Record::decode(&value)?))
    };
    found.into_iter().map(blob).collect()
}
