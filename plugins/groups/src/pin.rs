//! Pinned messages.

use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::{ServiceError, StoredMessage};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Groups;
use crate::error;
use crate::group::GroupContext;
use crate::params::{GroupParams, MessageParams, Nothing};
use crate::rights::Permission;

/// A pinned message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    pub(crate) group: String,
    pub(crate) seq: u64,
    pub(crate) by: String,
    pub(crate) at_ms: u64,
}

table! {
    Pin in "pins", key (group: String, seq: u64);
}

record! {
    /// A pinned message.
    pub(crate) struct PinInfo { seq: u64, by: String, at_ms: u64 }
}
record! {
    /// The pinned messages of a group.
    pub(crate) struct Pins { pins: Vec<PinInfo> }
}

/// Reads a message of a group.
pub(crate) fn read_message(cx: &Context, group: &str, seq: u64) -> Result<StoredMessage, Error> {
    let unknown = || Error::new(error::UNKNOWN_MESSAGE, "This message doesn't exist or was recalled.");
    let before = seq.checked_sub(1).ok_or_else(unknown)?;
    let found = cx.conversations().read(group, before, 1)?.pop();
    found.filter(|message| message.seq == seq).ok_or_else(unknown)
}

/// Deletes the pin of a recalled message.
pub(crate) fn delete(cx: &Context, group: &str, seq: u64) -> Result<(), Error> {
    cx.table::<Pin>().remove((group, seq))?;
    Ok(())
}

/// Annotates the message with its state.
fn annotate(cx: &Context, group: &str, seq: u64, pinned: bool) -> Result<(), Error> {
    let value = json!({"pinned": pinned, "by": cx.caller.actor});
    match cx.annotations().set(group, seq, "pin", &value) {
        // A recalled message has no annotations.
        Err(ServiceError::NotFound) if !pinned => Ok(()),
        done => Ok(done?),
    }
}

impl Groups {
    pub(crate) fn pin(&self, cx: &Context, params: MessageParams) -> Result<Nothing, Error> {
        let (group, _) = GroupContext::find_permitted(cx, &params.group, Permission::Pin)?;
        read_message(cx, &group.id, params.seq)?;
        let table = cx.table::<Pin>();
        let most = self.settings.pins as usize;
        let is_new = !table.contains((&*group.id, params.seq))?;
        if is_new && table.scan((&*group.id,)).count(most)? >= most {
            return Err(Error::new(
                error::LIMIT_PINS,
                "The group has reached the limit of pins. Unpin a message first.",
            ));
        }
        table.put(&Pin {
            group: group.id.clone(),
            seq: params.seq,
            by: cx.caller.actor.clone(),
            at_ms: cx.now_ms(),
        })?;
        annotate(cx, &group.id, params.seq, true)?;
        Ok(Nothing {})
    }

    pub(crate) fn unpin(&self, cx: &Context, params: MessageParams) -> Result<Nothing, Error> {
        let (group, _) = GroupContext::find_permitted(cx, &params.group, Permission::Pin)?;
        let pin = cx.table::<Pin>().remove((&*group.id, params.seq))?;
        pin.ok_or_else(|| Error::new(error::UNKNOWN_PIN, "This message is not pinned."))?;
        annotate(cx, &group.id, params.seq, false)?;
        Ok(Nothing {})
    }

    pub(crate) fn pins(&self, cx: &Context, params: GroupParams) -> Result<Pins, Error> {
        let (group, _) = GroupContext::find_own(cx, &params.group)?;
        let mut pins = Vec::new();
        for pin in cx.table::<Pin>().scan((&*group.id,)) {
            let Pin { seq, by, at_ms, .. } = pin?;
            pins.push(PinInfo { seq, by, at_ms });
        }
        Ok(Pins { pins })
    }
}
