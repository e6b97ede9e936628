//! Events for other plugins.

use courtyard_plugin_sdk::Event;

use super::{ServiceFailure, ServiceLimits};
use crate::hooks::{Call, StoreAccess};

/// The most events that one call may publish.
const MAX_EVENTS: usize = 1_000;

/// Publishes an event with the call's commit.
///
/// # Errors
/// If the name or the payload is malformed or too large, or the call may not write.
pub fn publish(
    call: &mut Call,
    plugin: &str,
    limits: &ServiceLimits,
    name: String,
    payload: Vec<u8>,
) -> Result<(), ServiceFailure> {
    if call.access != StoreAccess::Write {
        return Err(ServiceFailure::Unavailable);
    }
    let is_json = serde_json::from_slice::<&serde_json::value::RawValue>(&payload).is_ok();
    if !super::is_name(&name) || payload.len() > limits.value_bytes || !is_json {
        let reason =
            "an event has a name of 1 to 32 lower-case letters, digits and `_`, and a JSON value within `value_bytes`";
        return Err(ServiceFailure::Invalid(reason.to_owned()));
    }
    if call.effects.published.len() >= MAX_EVENTS {
        return Err(ServiceFailure::Invalid(format!(
            "a call can publish at most {MAX_EVENTS} events"
        )));
    }
    call.effects.published.push(Event {
        app: call.app.as_str().to_owned(),
        plugin: plugin.to_owned(),
        name,
        actor: call.caller.actor.as_ref().map(ToString::to_string).unwrap_or_default(),
        payload,
        time_ms: crate::clock::now_ms(),
    });
    Ok(())
}
