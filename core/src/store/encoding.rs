//! How records are encoded.

use bytes::Bytes;
use serde::Serialize;

/// Encodes a record of the store: postcard.
pub(crate) fn encode<T: Serialize>(record: &T) -> Bytes {
    // Writing into a vector can't fail, and records have no sequences of unknown length.
    postcard::to_stdvec(record).unwrap_or_default().into()
}
