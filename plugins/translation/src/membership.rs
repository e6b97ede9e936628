//! Changes of members: small ones are applied at once, large ones by jobs.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Translation, preferences};

/// Most members that one transaction processes.
const BATCH: usize = 50;

/// A batch of a change.
#[derive(Serialize, Deserialize)]
pub(crate) struct MemberBatch {
    conversation: String,
    joined: Vec<String>,
    left: Vec<String>,
    time_ms: u64,
}

impl Translation {
    /// Applies a change of members, or enqueues a job for each batch of it.
    pub(crate) fn apply_change(&self, cx: &Context, change: &Change) -> Result<(), Error> {
        let batch = |joined: &[String], left: &[String]| MemberBatch {
            conversation: change.conversation.clone(),
            joined: joined.to_vec(),
            left: left.to_vec(),
            time_ms: cx.now_ms(),
        };
        if change.joined.len() + change.left.len() <= BATCH {
            return self.apply_batch(cx, &batch(&change.joined, &change.left));
        }
        let joined = change.joined.chunks(BATCH).map(|actors| batch(actors, &[]));
        let left = change.left.chunks(BATCH).map(|actors| batch(&[], actors));
        for batch in joined.chain(left) {
            cx.jobs().add("members", &batch)?;
        }
        Ok(())
    }

    pub(crate) fn apply_batch(&self, cx: &Context, batch: &MemberBatch) -> Result<(), Error> {
        for actor in &batch.left {
            preferences::left(cx, &batch.conversation, actor, batch.time_ms)?;
        }
        for actor in &batch.joined {
            let most = self.settings.user_conversations;
            preferences::joined(cx, &batch.conversation, actor, batch.time_ms, most)?;
        }
        Ok(())
    }
}
