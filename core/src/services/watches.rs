//! The conversations that a plugin's `watched` hooks see.

use super::ServiceFailure;
use crate::hooks::{Call, StoreAccess};
use crate::log::Watches;
use crate::wire::{ActorId, ConversationId};

/// Starts to watch a conversation, or stops it if `on` is false.
pub(super) fn conversation(call: &mut Call, plugin: &str, id: &str, on: bool) -> Result<(), ServiceFailure> {
    let id: ConversationId = id
        .parse()
        .map_err(|_| ServiceFailure::Invalid(format!("not a conversation id: {id:?}")))?;
    writable(call)?;
    Watches::set_conversation(&mut call.draft, &call.app, plugin, id, on);
    Ok(())
}

/// Starts to watch all conversations of an actor, or stops it if `on` is false.
pub(super) fn actor(call: &mut Call, plugin: &str, actor: &str, on: bool) -> Result<(), ServiceFailure> {
    let actor: ActorId = actor
        .parse()
        .map_err(|_| ServiceFailure::Invalid(format!("not an actor id: {actor:?}")))?;
    writable(call)?;
    Watches::set_actor(&mut call.draft, &call.app, plugin, &actor, on);
    Ok(())
}

fn writable(call: &Call) -> Result<(), ServiceFailure> {
    match call.access {
        StoreAccess::Write => Ok(()),
        _ => Err(ServiceFailure::Unavailable),
    }
}
