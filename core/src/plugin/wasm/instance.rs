//! One running instance of a Wasm plugin.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Store, Trap};

use super::abi::{InPlace, LiftLimitExceeded};
use super::bindings::exports::courtyard::plugin::message;
use super::convert::wit_message;
use super::engine::WasmEngine;
use super::exports::{Functions, GuestFunction, Params, Results, Start, function};
use super::state::{InstanceState, LIFTED_BYTES, PluginContext};
use super::template::Template;
use crate::hooks::{Call, CallOutcome, Failure, Message, StoreAccess};
use crate::plugin::PluginStartError;
use crate::store::Draft;

/// A started instance.
pub(super) struct Instance {
    store: Store<InstanceState>,
    functions: Functions,
    in_place: Option<InPlace<message::Verdict>>,
    /// Returned to the caller if a call should ever get lost in the state. Kept across calls, since creating one is
    /// expensive.
    fallback: Option<Box<Call>>,
}

impl Instance {
    /// Creates an instance and calls its `start`.
    ///
    /// # Errors
    /// If it can't be instantiated, fails, or returns an error.
    pub(super) fn start(
        engine: &WasmEngine,
        template: &Template,
        context: &Arc<PluginContext>,
        configuration: &str,
        deadline: Duration,
    ) -> Result<Self, PluginStartError> {
        let mut store = Store::new(engine.get(), InstanceState::new(context.clone()));
        store.limiter(|state| state);
        store.set_hostcall_fuel(LIFTED_BYTES);
        store.set_max_component_handles(1_000);
        // Applies to the start section of a core module, which runs code of the guest.
        store.set_epoch_deadline(WasmEngine::ticks_in(deadline));
        let linked = template
            .instantiate(&mut store)
            .map_err(|error| match failure(&mut store, error, deadline) {
                Failure::Trap(reason) => PluginStartError::Instantiate(reason),
                failure => PluginStartError::Failed(failure),
            })?;
        let start: Start = function(&mut store, &linked, Some(&template.exports.start))?
            .ok_or_else(|| PluginStartError::Instantiate("it does not export `start`".to_owned()))?;
        let functions = Functions::find(&mut store, &linked, &template.exports)?;
        match invoke(&mut store, &start, (configuration.to_owned(),), deadline) {
            Ok((Ok(()),)) => Ok(Self {
                in_place: template.in_place(&mut store, &linked),
                store,
                functions,
                fallback: None,
            }),
            Ok((Err(error),)) => Err(PluginStartError::Refused {
                code: error.code,
                message: error.message,
            }),
            Err(failure) => Err(PluginStartError::Failed(failure)),
        }
    }

    /// Calls a function of the guest. After a failure the instance must not be used again.
    pub(super) fn call<P: Params, R: Results>(
        &mut self,
        call: Box<Call>,
        pick: impl FnOnce(&Functions) -> Option<&GuestFunction<P, R>>,
        params: P,
        deadline: Duration,
    ) -> CallOutcome<R> {
        let Some(function) = pick(&self.functions) else {
            let missing = "it declares a hook or a method but does not export it".to_owned();
            return (call, Err(Failure::Contract(missing)));
        };
        let instance = (&mut self.store, &mut self.fallback);
        with_call(instance, call, |store| invoke(store, function, params, deadline))
    }

    /// Calls `before-send`, in place if the guest supports that. `Ok(None)` accepts the message unchanged.
    pub(super) fn before_send(
        &mut self,
        call: Box<Call>,
        message: &Message<'_>,
        deadline: Duration,
    ) -> (Box<Call>, BeforeSendResult) {
        if let Some(in_place) = &mut self.in_place {
            let instance = (&mut self.store, &mut self.fallback);
            return with_call(instance, call, |store| {
                store.set_epoch_deadline(WasmEngine::ticks_in(deadline));
                let outcome =
                    in_place.before_send(store, message.texts(), [message.seq, message.edits, message.time_ms]);
                outcome.map_err(|error| Box::new(failure(store, error, deadline)))
            });
        }
        let params = (wit_message(message.packed()),);
        let (call, answer) = self.call(call, |on| on.before_send.as_ref(), params, deadline);
        let result = match answer {
            Ok((message::Verdict::Accept,)) => Ok(None),
            Ok((verdict,)) => Ok(Some(Box::new(verdict))),
            Err(failure) => Err(Box::new(failure)),
        };
        (call, result)
    }
}

/// Result of `before-send`: `None` accepts the message, a verdict replaces or rejects it.
pub(super) type BeforeSendResult = Result<Option<Box<message::Verdict>>, Box<Failure>>;

/// Runs `work` while the services of the guest use `call`, and returns the call with the result.
///
/// Services take the call out of the state and put it back. Should one ever fail to do so, the caller gets `fallback`, a
/// call without any access, in its place.
fn with_call<T>(
    (store, fallback): (&mut Store<InstanceState>, &mut Option<Box<Call>>),
    call: Box<Call>,
    work: impl FnOnce(&mut Store<InstanceState>) -> T,
) -> (Box<Call>, T) {
    let substitute = match fallback.take() {
        Some(substitute) => substitute,
        None => Call::new(
            call.app.clone(),
            StoreAccess::None,
            Draft::new(call.draft.store().clone()),
        ),
    };
    store.data_mut().begin_call(Some(call));
    let outcome = work(store);
    let call = match store.data_mut().call.take() {
        Some(call) => {
            *fallback = Some(substitute);
            call
        }
        None => substitute,
    };
    (call, outcome)
}

fn invoke<P: Params, R: Results>(
    store: &mut Store<InstanceState>,
    function: &GuestFunction<P, R>,
    params: P,
    deadline: Duration,
) -> Result<R, Failure> {
    store.set_epoch_deadline(WasmEngine::ticks_in(deadline));
    let outcome = match function {
        GuestFunction::Component(function) => function.call(&mut *store, params),
        GuestFunction::Module(function) => function.call(store, &params),
    };
    outcome.map_err(|error| failure(store, error, deadline))
}

/// Returns a duration in whole milliseconds.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns why the engine ended a call.
pub(super) fn failure(store: &mut Store<InstanceState>, error: wasmtime::Error, deadline: Duration) -> Failure {
    let cause = store.data_mut().cause.take();
    match (error.downcast_ref::<Trap>(), cause) {
        (Some(Trap::Interrupt), _) => Failure::Timeout(milliseconds(deadline)),
        (_, Some(cause)) => cause,
        (Some(Trap::StackOverflow), None) => Failure::Limit("stack"),
        (Some(trap), None) => Failure::Trap(trap.to_string()),
        (None, None) => {
            let reason = format!("{:#}", error.root_cause());
            if error.is::<LiftLimitExceeded>() || reason.contains("fuel") {
                Failure::Limit("lifted bytes")
            } else {
                Failure::Contract(reason)
            }
        }
    }
}
