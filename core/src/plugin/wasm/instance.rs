//! One running instance of a Wasm plugin.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Store, Trap};

use super::abi::InPlace;
use super::bindings::exports::courtyard::plugin::message;
use super::convert::wit_message;
use super::engine::WasmEngine;
use super::exports::{Function, Functions, Params, Results, Start, function};
use super::state::{InstanceState, LIFTED_BYTES, PluginContext};
use super::template::Template;
use crate::hooks::{Access, Answer, Call, Failure, Message};
use crate::log::Draft;
use crate::plugin::StartError;

/// An instance with its functions looked up.
pub(super) struct Instance {
    store: Store<InstanceState>,
    functions: Functions,
    in_place: Option<InPlace>,
    /// What is handed back if the state should ever lose a call; made once, since making it takes a while.
    stand_in: Option<Box<Call>>,
}

impl Instance {
    /// Makes an instance and starts it.
    pub(super) fn start(
        engine: &WasmEngine,
        template: &Template,
        context: &Arc<PluginContext>,
        configuration: &str,
        deadline: Duration,
    ) -> Result<Self, StartError> {
        let mut store = Store::new(engine.get(), InstanceState::new(context.clone()));
        store.limiter(|state| state);
        store.set_hostcall_fuel(LIFTED_BYTES);
        store.set_max_component_handles(1_000);
        // The start section of a core module is the guest's code as well.
        store.set_epoch_deadline(WasmEngine::ticks_in(deadline));
        let made = template
            .instantiate(&mut store)
            .map_err(|error| match failure(&mut store, error, deadline) {
                Failure::Trap(reason) => StartError::Instantiate(reason),
                failure => StartError::Failed(failure),
            })?;
        let start: Start = function(&mut store, &made, Some(&template.exports.start))?
            .ok_or_else(|| StartError::Instantiate("it exports no start".to_owned()))?;
        let functions = Functions::find(&mut store, &made, &template.exports)?;
        match run(&mut store, &start, (configuration.to_owned(),), deadline) {
            Ok((Ok(()),)) => Ok(Self {
                in_place: template.in_place(&mut store, &made),
                store,
                functions,
                stand_in: None,
            }),
            Ok((Err(error),)) => Err(StartError::Refused {
                code: error.code,
                message: error.message,
            }),
            Err(failure) => Err(StartError::Failed(failure)),
        }
    }

    /// Enters the guest with a call. After a failure the instance must not be used again.
    pub(super) fn call<P: Params, R: Results>(
        &mut self,
        call: Box<Call>,
        pick: impl FnOnce(&Functions) -> Option<&Function<P, R>>,
        params: P,
        deadline: Duration,
    ) -> Answer<R> {
        let Some(function) = pick(&self.functions) else {
            let missing = "it declares a hook or a method that it does not export".to_owned();
            return (call, Err(Failure::Contract(missing)));
        };
        let entered = (&mut self.store, &mut self.stand_in);
        lend(entered, call, |store| run(store, function, params, deadline))
    }

    /// Asks the guest about a message, the shortest way that it has; none if it accepts.
    pub(super) fn before_send(
        &mut self,
        call: Box<Call>,
        message: &Message<'_>,
        deadline: Duration,
    ) -> (Box<Call>, Judgement) {
        if let Some(in_place) = &mut self.in_place {
            let entered = (&mut self.store, &mut self.stand_in);
            return lend(entered, call, |store| {
                store.set_epoch_deadline(WasmEngine::ticks_in(deadline));
                let outcome = in_place.before_send(store, message);
                outcome.map_err(|error| Box::new(failure(store, error, deadline)))
            });
        }
        let params = (wit_message(message.packed()),);
        let (call, answer) = self.call(call, |on| on.before_send.as_ref(), params, deadline);
        let judgement = match answer {
            Ok((message::Verdict::Accept,)) => Ok(None),
            Ok((verdict,)) => Ok(Some(Box::new(verdict))),
            Err(failure) => Err(Box::new(failure)),
        };
        (call, judgement)
    }
}

/// What a guest has against a message.
pub(super) type Judgement = Result<Option<Box<message::Verdict>>, Box<Failure>>;

/// Lends a call to the guest while `work` runs.
fn lend<T>(
    (store, stand_in): (&mut Store<InstanceState>, &mut Option<Box<Call>>),
    call: Box<Call>,
    work: impl FnOnce(&mut Store<InstanceState>) -> T,
) -> (Box<Call>, T) {
    let substitute = match stand_in.take() {
        Some(substitute) => substitute,
        None => Call::new(call.app.clone(), Access::None, Draft::new(call.draft.store().clone())),
    };
    store.data_mut().begin(Some(call));
    let outcome = work(store);
    let call = match store.data_mut().call.take() {
        Some(call) => {
            *stand_in = Some(substitute);
            call
        }
        None => substitute,
    };
    (call, outcome)
}

fn run<P: Params, R: Results>(
    store: &mut Store<InstanceState>,
    function: &Function<P, R>,
    params: P,
    deadline: Duration,
) -> Result<R, Failure> {
    store.set_epoch_deadline(WasmEngine::ticks_in(deadline));
    let outcome = match function {
        Function::Component(function) => function.call(&mut *store, params),
        Function::Module(function) => function.call(store, &params),
    };
    outcome.map_err(|error| failure(store, error, deadline))
}

/// Returns a duration in whole milliseconds.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Tells apart why the engine ended a call.
pub(super) fn failure(store: &mut Store<InstanceState>, error: wasmtime::Error, deadline: Duration) -> Failure {
    let cause = store.data_mut().cause.take();
    match (error.downcast_ref::<Trap>(), cause) {
        (Some(Trap::Interrupt), _) => Failure::Timeout(milliseconds(deadline)),
        (_, Some(cause)) => cause,
        (Some(Trap::StackOverflow), None) => Failure::Limit("stack"),
        (Some(trap), None) => Failure::Trap(trap.to_string()),
        (None, None) => {
            let reason = format!("{:#}", error.root_cause());
            if reason.contains("fuel") {
                Failure::Limit("lifted bytes")
            } else {
                Failure::Contract(reason)
            }
        }
    }
}
