//! Jobs in the store.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::{new_ulid, now_ms};
use crate::hooks::Call;
use crate::keys;
use crate::store::{Draft, encode};
use crate::wire::AppId;

/// A job in the store: postcard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JobRecord {
    /// The number of failed attempts.
    pub(super) failures: u32,
    pub(super) name: String,
    pub(super) payload: Vec<u8>,
}

impl JobRecord {
    pub(super) fn encode(&self) -> Bytes {
        encode(self)
    }
}

/// Adds a job of a plugin in a call's transaction.
pub fn add_job(call: &mut Call, plugin: &str, name: &str, at_ms: u64, payload: Vec<u8>) {
    enqueue(&mut call.draft, plugin, &call.app, new_ulid().0, name, at_ms, payload);
    call.effects.jobs = true;
}

/// Enqueues a job without failures in a transaction. It is due at `at_ms`, or now if that is earlier.
pub(super) fn enqueue(
    draft: &mut Draft,
    plugin: &str,
    app: &AppId,
    id: u128,
    name: &str,
    at_ms: u64,
    payload: Vec<u8>,
) {
    let record = JobRecord {
        failures: 0,
        name: name.to_owned(),
        payload,
    };
    draft.set(
        keys::jobs::job(plugin, at_ms.max(now_ms()), app, id),
        Some(record.encode()),
    );
}
