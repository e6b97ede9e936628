//! What a plugin wants to observe.

use super::ServiceFailure;
use crate::hooks::{Access, Call};
use crate::log::Watches;
use crate::wire::{ActorId, ConversationId};

/// Watches a conversation, or stops to.
pub(super) fn conversation(call: &mut Call, plugin: &str, id: &str, on: bool) -> Result<(), ServiceFailure> {
    let id: ConversationId = id
        .parse()
        .map_err(|_| ServiceFailure::Invalid("this is no id of a conversation".to_owned()))?;
    writable(call)?;
    Watches::set_conversation(&mut call.draft, &call.app, plugin, id, on);
    Ok(())
}

/// Watches all conversations of an actor, or stops to.
pub(super) fn actor(call: &mut Call, plugin: &str, actor: &str, on: bool) -> Result<(), ServiceFailure> {
    let actor: ActorId = actor
        .parse()
        .map_err(|_| ServiceFailure::Invalid("this is no id of an actor".to_owned()))?;
    writable(call)?;
    Watches::set_actor(&mut call.draft, &call.app, plugin, &actor, on);
    Ok(())
}

fn writable(call: &Call) -> Result<(), ServiceFailure> {
    match call.access {
        Access::Write => Ok(()),
        _ => Err(ServiceFailure::Unavailable),
    }
}
