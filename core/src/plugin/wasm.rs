//! A Wasm plugin: a pool of instances behind [`Guest`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use wasmtime::component::{ComponentNamedList, InstancePre, Lift, Lower, TypedFunc};

use super::PluginLimits;
use super::answers::{self, Pace};
use super::bindings::courtyard::plugin::types;
use super::bindings::exports::courtyard::plugin::{auth, message as wit};
use super::engine::WasmEngine;
use super::instance::{Exports, Instance, StartError};
use super::state::{Shared, State};
use crate::hooks::{
    Answer, Call, Caller, Failure, Guest, Identity, Message, PluginError, SessionChange, Usage, Verdict,
};

/// Ticks of the clock during a call from which on it counts as slow.
const SLOW_TICKS: u64 = 3;

/// A plugin's component with its instances.
pub(super) struct WasmPlugin {
    engine: WasmEngine,
    pre: InstancePre<State>,
    exports: Exports,
    shared: Arc<Shared>,
    configuration: String,
    limits: PluginLimits,
    /// The one that ran last is the next to run: its memory is in the processor's caches.
    #[expect(clippy::vec_box, reason = "an instance is moved for each call, and is large")]
    idle: Mutex<Vec<Box<Instance>>>,
    /// Instances that exist or are being made.
    live: AtomicUsize,
    waiting: Mutex<usize>,
    freed: Condvar,
    pace: Pace,
    /// Whether instances are given up when their call ends.
    resting: AtomicBool,
}

impl WasmPlugin {
    /// Starts the first instance, and a spare one.
    pub(super) fn start(
        engine: WasmEngine,
        pre: InstancePre<State>,
        exports: Exports,
        shared: Arc<Shared>,
        configuration: String,
        limits: PluginLimits,
    ) -> Result<Self, StartError> {
        let plugin = Self {
            engine,
            pre,
            exports,
            shared,
            configuration,
            limits,
            idle: Mutex::default(),
            live: AtomicUsize::new(0),
            waiting: Mutex::new(0),
            freed: Condvar::new(),
            pace: Pace::default(),
            resting: AtomicBool::new(false),
        };
        plugin.add_spare()?;
        if limits.instances > 1 {
            plugin.add_spare()?;
        }
        Ok(plugin)
    }

    fn instantiate(&self) -> Result<Box<Instance>, StartError> {
        let start = self.limits.start;
        Instance::start(
            &self.engine,
            &self.pre,
            &self.exports,
            &self.shared,
            &self.configuration,
            start,
        )
        .map(Box::new)
    }

    fn add_spare(&self) -> Result<(), StartError> {
        self.live.fetch_add(1, Ordering::Relaxed);
        match self.instantiate() {
            Ok(instance) => {
                self.put_back(instance);
                Ok(())
            }
            Err(error) => {
                self.live.fetch_sub(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    fn take(&self, deadline: Duration) -> Result<Box<Instance>, Failure> {
        if let Some(instance) = self.idle.lock().pop() {
            return Ok(instance);
        }
        self.resting.store(false, Ordering::Relaxed);
        let most = self.limits.instances.max(1) as usize;
        let room = |live: usize| (live < most).then_some(live + 1);
        if self
            .live
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .is_ok()
        {
            return self.instantiate().map_err(|error| {
                self.live.fetch_sub(1, Ordering::Relaxed);
                match error {
                    StartError::Failed(failure) => failure,
                    error => Failure::Trap(error.to_string()),
                }
            });
        }
        self.wait(deadline)
    }

    fn wait(&self, deadline: Duration) -> Result<Box<Instance>, Failure> {
        let until = Instant::now() + deadline;
        let mut waiting = self.waiting.lock();
        *waiting += 1;
        let instance = loop {
            if let Some(instance) = self.idle.lock().pop() {
                break Ok(instance);
            }
            if self.freed.wait_until(&mut waiting, until).timed_out() {
                break self.idle.lock().pop().ok_or(Failure::Busy);
            }
        };
        *waiting -= 1;
        instance
    }

    fn put_back(&self, instance: Box<Instance>) {
        if self.resting.load(Ordering::Relaxed) {
            self.live.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        self.idle.lock().push(instance);
        if self.live.load(Ordering::Relaxed) >= self.limits.instances as usize && *self.waiting.lock() > 0 {
            self.freed.notify_one();
        }
    }

    /// Runs one function of an instance; replaces the instance if that fails.
    fn enter<P, R>(
        &self,
        call: Box<Call>,
        deadline: Duration,
        pick: impl FnOnce(&Instance) -> Option<&TypedFunc<P, R>>,
        params: P,
    ) -> Answer<R>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
        TypedFunc<P, R>: Clone,
    {
        let mut instance = match self.take(deadline) {
            Ok(instance) => instance,
            Err(failure) => return (call, Err(failure)),
        };
        let Some(function) = pick(&instance).cloned() else {
            self.put_back(instance);
            let missing = "it declares a hook or a method that it does not export".to_owned();
            return (call, Err(Failure::Contract(missing)));
        };
        let before = self.engine.ticks();
        let (call, outcome) = instance.enter(call, &function, params, deadline);
        self.pace.note(self.engine.ticks().wrapping_sub(before) >= SLOW_TICKS);
        match outcome {
            Ok(value) => {
                self.put_back(instance);
                (call, Ok(value))
            }
            Err(failure) => {
                // A trap poisons the instance. The next call finds a spare one.
                drop(instance);
                self.live.fetch_sub(1, Ordering::Relaxed);
                if let Err(error) = self.add_spare() {
                    tracing::warn!(plugin = %self.shared.asker.id, %error, "no spare instance");
                }
                (call, Err(failure))
            }
        }
    }
}

impl Guest for WasmPlugin {
    fn authenticate(&self, call: Box<Call>, token: &str) -> Answer<Result<Option<Identity>, PluginError>> {
        let params = (call.app.as_str().to_owned(), token.to_owned());
        let (call, answer) = self.enter(
            call,
            self.limits.hook,
            |instance| instance.authenticate.as_ref(),
            params,
        );
        let identity = answer.and_then(|(answer,)| {
            let found = |identity: auth::Identity| (identity.actor, identity.credential, identity.expires_at_ms);
            answers::identity(answer.map(|known| known.map(found)).map_err(plugin_error))
        });
        (call, identity)
    }

    fn before_send(&self, call: Box<Call>, message: &Message<'_>) -> Answer<Verdict> {
        let (call, answer) = self.enter(
            call,
            self.limits.hook,
            |instance| instance.before_send.as_ref(),
            (packed(message),),
        );
        let verdict = answer.and_then(|(verdict,)| match verdict {
            wit::Verdict::Accept => Ok(Verdict::Accept),
            wit::Verdict::Replace(content) => answers::sized(content, self.limits.result_bytes).map(Verdict::Replace),
            wit::Verdict::Reject(error) => Ok(Verdict::Reject(plugin_error(error))),
        });
        (call, verdict)
    }

    fn after_send(&self, call: Box<Call>, message: &Message<'_>) -> Answer<Result<(), PluginError>> {
        let (call, answer) = self.enter(
            call,
            self.limits.hook,
            |instance| instance.after_send.as_ref(),
            (packed(message),),
        );
        (call, answer.map(|(outcome,)| outcome.map_err(plugin_error)))
    }

    fn render(
        &self,
        call: Box<Call>,
        viewer: &str,
        messages: &[Message<'_>],
    ) -> Answer<Result<Vec<Option<Bytes>>, PluginError>> {
        let params = (viewer.to_owned(), messages.iter().map(packed).collect());
        let (call, answer) = self.enter(call, self.limits.hook, |instance| instance.render.as_ref(), params);
        let most = self.limits.result_bytes;
        let contents = answer.and_then(|(answer,)| answers::contents(answer.map_err(plugin_error), most));
        (call, contents)
    }

    fn call(
        &self,
        call: Box<Call>,
        caller: Caller<'_>,
        method: &str,
        params: &str,
    ) -> Answer<Result<Bytes, PluginError>> {
        let caller = wit_caller(&call, caller);
        let params = (caller, method.to_owned(), params.as_bytes().to_vec());
        let (call, answer) = self.enter(call, self.limits.method, |instance| instance.call.as_ref(), params);
        let most = self.limits.result_bytes;
        let value = answer.and_then(|(answer,)| answers::method_result(answer.map_err(plugin_error), most));
        (call, value)
    }

    fn migrate(&self, call: Box<Call>, from: &str) -> Answer<Result<(), PluginError>> {
        if !self.exports.migrates() {
            return (call, Ok(Ok(())));
        }
        let params = (from.to_owned(),);
        let (call, answer) = self.enter(call, self.limits.method, |instance| instance.migrate.as_ref(), params);
        (call, answer.map(|(outcome,)| outcome.map_err(plugin_error)))
    }

    fn session(&self, call: Box<Call>, caller: Caller<'_>, change: SessionChange) -> Answer<()> {
        let params = (wit_caller(&call, caller),);
        self.enter(
            call,
            self.limits.hook,
            |instance| match change {
                SessionChange::Connected => instance.connected.as_ref(),
                SessionChange::Disconnected => instance.disconnected.as_ref(),
            },
            params,
        )
    }

    fn timer(&self, call: Box<Call>, name: &str, payload: &[u8]) -> Answer<Result<(), PluginError>> {
        let params = (name.to_owned(), payload.to_vec());
        let (call, answer) = self.enter(call, self.limits.method, |instance| instance.fire.as_ref(), params);
        (call, answer.map(|(outcome,)| outcome.map_err(plugin_error)))
    }

    fn rest(&self) {
        self.resting.store(true, Ordering::Relaxed);
        let idle = std::mem::take(&mut *self.idle.lock());
        self.live.fetch_sub(idle.len(), Ordering::Relaxed);
    }

    fn usage(&self) -> Usage {
        Usage {
            instances: self.live.load(Ordering::Relaxed),
            memory_bytes: self.shared.memory_used.load(Ordering::Relaxed),
            waiting: *self.waiting.lock(),
        }
    }

    fn is_slow(&self) -> bool {
        self.pace.is_slow()
    }
}

impl fmt::Debug for WasmPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmPlugin")
            .field("id", &self.shared.asker.id)
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

fn wit_caller(call: &Call, caller: Caller<'_>) -> types::Caller {
    types::Caller {
        app: call.app.as_str().to_owned(),
        actor: caller.actor.to_owned(),
        device: caller.device.to_owned(),
        credential: caller.credential.to_owned(),
        plugin: caller.plugin.to_owned(),
    }
}

fn plugin_error(error: types::Error) -> PluginError {
    PluginError {
        code: error.code,
        message: error.message,
        retry: error.retry,
    }
}

fn packed(message: &Message<'_>) -> wit::Message {
    let (bytes, ends) = joined(message);
    wit::Message {
        bytes,
        app_end: ends[0],
        conversation_end: ends[1],
        conversation_kind_end: ends[2],
        sender_end: ends[3],
        receiver_end: ends[4],
        kind_end: ends[5],
        client_id_end: ends[6],
        content_end: ends[7],
        seq: message.seq,
        time_ms: message.time_ms,
    }
}

/// Puts the texts of a message end to end, as the contract has it. Returns where each ends.
pub(super) fn joined(message: &Message<'_>) -> (Vec<u8>, [u32; 8]) {
    let texts = [
        message.app.as_bytes(),
        message.conversation.as_bytes(),
        message.conversation_kind.as_bytes(),
        message.sender.as_bytes(),
        message.receiver.as_bytes(),
        message.kind.as_bytes(),
        message.client_id.as_bytes(),
        message.content,
    ];
    let mut bytes = Vec::with_capacity(texts.iter().map(|text| text.len()).sum());
    let ends = texts.map(|text| {
        bytes.extend_from_slice(text);
        // A frame is far smaller than 4 GiB.
        u32::try_from(bytes.len()).unwrap_or(u32::MAX)
    });
    (bytes, ends)
}
