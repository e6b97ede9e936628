//! Who joins and who leaves: few at once, many by jobs.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Translation, reader};

/// The most that are noted in one transaction.
const AT_ONCE: usize = 50;

/// A part of a change.
#[derive(Serialize, Deserialize)]
pub(crate) struct Part {
    conversation: String,
    joined: Vec<String>,
    left: Vec<String>,
    time_ms: u64,
}

impl Translation {
    /// Notes a change of members.
    pub(crate) fn changed(&self, cx: &Context, change: &Change) -> Result<(), Error> {
        let part = |joined: &[String], left: &[String]| Part {
            conversation: change.conversation.clone(),
            joined: joined.to_vec(),
            left: left.to_vec(),
            time_ms: cx.now_ms(),
        };
        if change.joined.len() + change.left.len() <= AT_ONCE {
            return self.members(cx, &part(&change.joined, &change.left));
        }
        let joined = change.joined.chunks(AT_ONCE).map(|actors| part(actors, &[]));
        let left = change.left.chunks(AT_ONCE).map(|actors| part(&[], actors));
        for part in joined.chain(left) {
            cx.jobs().add("members", &part)?;
        }
        Ok(())
    }

    pub(crate) fn members(&self, cx: &Context, part: &Part) -> Result<(), Error> {
        for actor in &part.left {
            reader::is_gone(cx, &part.conversation, actor, part.time_ms)?;
        }
        for actor in &part.joined {
            let most = self.settings.user_conversations;
            reader::is_there(cx, &part.conversation, actor, part.time_ms, most)?;
        }
        Ok(())
    }
}
