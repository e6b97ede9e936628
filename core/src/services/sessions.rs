//! The live sessions of an app.

use std::sync::Arc;

use super::{HostServices, ServiceFailure};
use crate::hooks::{Call, SessionEnd, Signal, StoreAccess};
use crate::wire::{ActorId, reply};

/// The most actors that one call may name.
const MAX_ACTORS: usize = 10_000;

/// Ends the sessions of an actor once the call is committed, all of them or those of one credential.
///
/// # Errors
/// If the call has no transaction.
pub fn end(call: &mut Call, actor: &str, credential: Option<String>) -> Result<(), ServiceFailure> {
    if call.access == StoreAccess::None {
        return Err(ServiceFailure::Unavailable);
    }
    // A malformed id has no sessions.
    if let Ok(actor) = actor.parse() {
        call.effects.ends.push(SessionEnd { actor, credential });
    }
    Ok(())
}

/// Returns for each actor whether it has a live session on this node.
///
/// # Errors
/// If the host is stopping.
pub fn online(call: &Call, host: &HostServices, actors: &[String]) -> Result<Vec<bool>, ServiceFailure> {
    let router = host.router.upgrade().ok_or(ServiceFailure::Unavailable)?;
    let is_online = |actor: &String| {
        let actor = actor.parse::<ActorId>();
        actor.is_ok_and(|actor| router.is_online(&call.app, &actor))
    };
    Ok(actors.iter().map(is_online).collect())
}

/// Sends a signal once the call is committed.
///
/// # Errors
/// If the name, the value or an actor is malformed, or the call may not write.
pub fn signal(
    call: &mut Call,
    plugin: &str,
    actors: &[String],
    name: &str,
    payload: &[u8],
) -> Result<(), ServiceFailure> {
    if call.access != StoreAccess::Write {
        return Err(ServiceFailure::Unavailable);
    }
    let payload = std::str::from_utf8(payload)
        .ok()
        .and_then(|text| serde_json::from_str::<&serde_json::value::RawValue>(text).ok());
    let (Some(payload), true) = (payload, super::is_name(name) && actors.len() <= MAX_ACTORS) else {
        let reason = "a signal has a name of 1 to 32 lower-case letters, digits and `_`, and a JSON value";
        return Err(ServiceFailure::Invalid(reason.to_owned()));
    };
    let actors: Result<Vec<ActorId>, _> = actors.iter().map(|actor| actor.parse()).collect();
    let actors: Arc<[ActorId]> = actors
        .map_err(|error| ServiceFailure::Invalid(error.to_string()))?
        .into();
    let frame = reply::signal(plugin, name, payload);
    call.effects.signals.push(Signal { actors, frame });
    Ok(())
}
