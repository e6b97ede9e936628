//! A Wasm plugin: a pool of instances behind [`Guest`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use courtyard_plugin_sdk as sdk;
use courtyard_plugin_sdk::hook::{PackedMessage, Reply, Request};
use crossbeam_utils::atomic::AtomicCell;
use parking_lot::{Condvar, Mutex};

use super::PluginLimits;
use super::action::Actions;
use super::answers::{self, Pace};
use super::bindings::courtyard::plugin::types;
use super::bindings::exports::courtyard::plugin as exports;
use super::bindings::exports::courtyard::plugin::{auth, message as wit};
use super::engine::WasmEngine;
use super::instance::{Function, Functions, Instance, Params, Results, StartError, Template};
use super::state::Shared;
use crate::hooks::{
    Acting, Answer, Call, Failure, Guest, Judged, Message, Objection, PluginError, Transact, Usage, Verdict,
};

/// Ticks of the clock during a call from which on it counts as slow.
const SLOW_TICKS: u64 = 3;

/// A plugin's code with its instances.
pub(super) struct WasmPlugin {
    engine: WasmEngine,
    template: Template,
    shared: Arc<Shared>,
    configuration: String,
    limits: PluginLimits,
    /// The one that ran last, which is the next to run: its memory is in the processor's caches.
    hot: AtomicCell<Option<Box<Instance>>>,
    /// The others.
    #[expect(clippy::vec_box, reason = "an instance is moved for each call, and is large")]
    idle: Mutex<Vec<Box<Instance>>>,
    /// Instances that exist or are being made.
    live: AtomicUsize,
    waiting: Mutex<usize>,
    freed: Condvar,
    pace: Pace,
    /// Whether instances are given up when their call ends.
    resting: AtomicBool,
    /// Only for plugins that do jobs.
    actions: Option<Arc<Actions>>,
}

impl WasmPlugin {
    /// Starts the first instance, and a spare one.
    pub(super) fn start(
        engine: WasmEngine,
        template: Template,
        shared: Arc<Shared>,
        configuration: String,
        limits: PluginLimits,
        actions: Option<Arc<Actions>>,
    ) -> Result<Self, StartError> {
        let plugin = Self {
            engine,
            template,
            shared,
            configuration,
            limits,
            hot: AtomicCell::new(None),
            idle: Mutex::default(),
            live: AtomicUsize::new(0),
            waiting: Mutex::new(0),
            freed: Condvar::new(),
            pace: Pace::default(),
            resting: AtomicBool::new(false),
            actions,
        };
        plugin.add_spare()?;
        if limits.instances > 1 {
            plugin.add_spare()?;
        }
        Ok(plugin)
    }

    fn instantiate(&self) -> Result<Box<Instance>, StartError> {
        let start = self.limits.start;
        Instance::start(&self.engine, &self.template, &self.shared, &self.configuration, start).map(Box::new)
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
        if let Some(instance) = self.idle_one() {
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

    fn idle_one(&self) -> Option<Box<Instance>> {
        self.hot.take().or_else(|| self.idle.lock().pop())
    }

    fn wait(&self, deadline: Duration) -> Result<Box<Instance>, Failure> {
        let until = Instant::now() + deadline;
        let mut waiting = self.waiting.lock();
        *waiting += 1;
        let instance = loop {
            if let Some(instance) = self.idle_one() {
                break Ok(instance);
            }
            if self.freed.wait_until(&mut waiting, until).timed_out() {
                break self.idle_one().ok_or(Failure::Busy);
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
        if let Some(colder) = self.hot.swap(Some(instance)) {
            self.idle.lock().push(colder);
        }
        if self.live.load(Ordering::Relaxed) >= self.limits.instances as usize && *self.waiting.lock() > 0 {
            self.freed.notify_one();
        }
    }

    /// Enters one function of an instance.
    fn enter<P: Params, R: Results>(
        &self,
        call: Box<Call>,
        deadline: Duration,
        pick: impl FnOnce(&Functions) -> Option<&Function<P, R>>,
        params: P,
    ) -> Answer<R> {
        self.with_instance(call, deadline, |instance, call| {
            instance.enter(call, pick, params, deadline)
        })
    }

    /// Has an instance do something; replaces it if that fails.
    fn with_instance<T, F: From<Failure>>(
        &self,
        call: Box<Call>,
        deadline: Duration,
        work: impl FnOnce(&mut Instance, Box<Call>) -> (Box<Call>, Result<T, F>),
    ) -> (Box<Call>, Result<T, F>) {
        let mut instance = match self.take(deadline) {
            Ok(instance) => instance,
            Err(failure) => return (call, Err(failure.into())),
        };
        let (call, outcome) = work(&mut instance, call);
        if outcome.is_ok() {
            self.put_back(instance);
        } else {
            // A trap poisons the instance. The next call finds a spare one.
            drop(instance);
            self.live.fetch_sub(1, Ordering::Relaxed);
            if let Err(error) = self.add_spare() {
                tracing::warn!(plugin = %self.shared.asker.id, %error, "no spare instance");
            }
        }
        (call, outcome)
    }
}

impl Guest for WasmPlugin {
    fn serve(&self, call: Box<Call>, request: Request) -> Answer<Reply> {
        let deadline = answers::deadline(&self.limits, request.hook());
        let (call, reply) = self.ask(call, deadline, request);
        let checked = |reply| answers::checked(reply, self.limits.result_bytes);
        (call, reply.and_then(checked))
    }

    fn before_send(&self, call: Box<Call>, message: &Message<'_>) -> Judged {
        let (before, deadline) = (self.engine.ticks(), self.limits.hook);
        let (call, judgement) = self.with_instance(call, deadline, |instance, call| {
            instance.before_send(call, message, deadline)
        });
        // Only this hook runs on threads that others wait for; what methods take says nothing about it.
        self.pace.note(self.engine.ticks().wrapping_sub(before) >= SLOW_TICKS);
        let verdict = match judgement {
            Ok(None) => return (call, Ok(())),
            Ok(Some(verdict)) => answers::checked_verdict(plain(*verdict), self.limits.result_bytes),
            Err(failure) => Err(*failure),
        };
        (call, Objection::of(verdict))
    }

    fn act(self: Arc<Self>, request: Request, transact: Arc<dyn Transact>) -> Acting {
        match &self.actions {
            Some(actions) => Box::pin(actions.clone().act(request, transact)),
            None => Box::pin(async { Err(Failure::Contract("it has no action lane".to_owned())) }),
        }
    }

    fn actions(&self) -> usize {
        self.actions.as_ref().map_or(0, |_| self.limits.actions)
    }

    fn job_attempts(&self) -> u32 {
        self.limits.job_attempts
    }

    fn rest(&self) {
        self.resting.store(true, Ordering::Relaxed);
        let (hot, idle) = (self.hot.take(), std::mem::take(&mut *self.idle.lock()));
        self.live
            .fetch_sub(idle.len() + usize::from(hot.is_some()), Ordering::Relaxed);
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

impl WasmPlugin {
    /// Calls the function that a request names.
    fn ask(&self, call: Box<Call>, deadline: Duration, request: Request) -> Answer<Reply> {
        match request {
            Request::BeforeSend(message) => {
                let params = (wit_message(message),);
                let (call, answer) = self.enter(call, deadline, |on| on.before_send.as_ref(), params);
                (call, answer.map(|(verdict,)| Reply::Verdict(plain(verdict))))
            }
            Request::AfterSend(message) => {
                let params = (wit_message(message),);
                done(self.enter(call, deadline, |on| on.after_send.as_ref(), params))
            }
            Request::Render { viewer, messages } => {
                let params = (viewer, messages.into_iter().map(wit_message).collect());
                let (call, answer) = self.enter(call, deadline, |on| on.render.as_ref(), params);
                (
                    call,
                    answer.map(|(contents,)| Reply::Contents(contents.map_err(plugin_error))),
                )
            }
            Request::Authenticate { app, token } => {
                let (call, answer) = self.enter(call, deadline, |on| on.authenticate.as_ref(), (app, token));
                let known = |identity: auth::Identity| sdk::Identity {
                    actor: identity.actor,
                    credential: identity.credential,
                    expires_at_ms: identity.expires_at_ms,
                };
                let reply = |(answer,): (Result<Option<auth::Identity>, types::Error>,)| {
                    Reply::Identity(answer.map(|found| found.map(known)).map_err(plugin_error))
                };
                (call, answer.map(reply))
            }
            Request::Method { name, params } => {
                let params = (wit_caller(&call), name, params);
                let (call, answer) = self.enter(call, deadline, |on| on.call.as_ref(), params);
                (call, answer.map(|(value,)| Reply::Value(value.map_err(plugin_error))))
            }
            Request::Migrate { .. } if self.template.exports.migrate.is_none() => (call, Ok(Reply::Done(Ok(())))),
            Request::Migrate { from } => done(self.enter(call, deadline, |on| on.migrate.as_ref(), (from,))),
            Request::Timer { name, payload } => {
                done(self.enter(call, deadline, |on| on.timer.as_ref(), (name, payload)))
            }
            Request::BeforeAct(act) => done(self.enter(call, deadline, |on| on.before_act.as_ref(), (wit_act(act),))),
            Request::AfterAct(act) => done(self.enter(call, deadline, |on| on.after_act.as_ref(), (wit_act(act),))),
            Request::BeforeChange(change) => {
                let params = (wit_change(change),);
                done(self.enter(call, deadline, |on| on.before_change.as_ref(), params))
            }
            Request::AfterChange(change) => {
                let params = (wit_change(change),);
                done(self.enter(call, deadline, |on| on.after_change.as_ref(), params))
            }
            Request::Push { message, recipients } => {
                let params = (wit_message(message), recipients);
                done(self.enter(call, deadline, |on| on.push.as_ref(), params))
            }
            Request::Event(event) => {
                let params = (exports::event::Event {
                    app: event.app,
                    plugin: event.plugin,
                    name: event.name,
                    actor: event.actor,
                    payload: event.payload,
                    time_ms: event.time_ms,
                },);
                done(self.enter(call, deadline, |on| on.event.as_ref(), params))
            }
            Request::Http(request) => {
                let header = |(name, value)| exports::http::Header { name, value };
                let request = exports::http::Request {
                    method: request.method,
                    path: request.path,
                    query: request.query,
                    headers: request.headers.into_iter().map(header).collect(),
                    body: request.body,
                };
                let params = (wit_caller(&call), request);
                let (call, answer) = self.enter(call, deadline, |on| on.http.as_ref(), params);
                let response = |response: exports::http::Response| sdk::HttpResponse {
                    status: response.status,
                    headers: response
                        .headers
                        .into_iter()
                        .map(|header| (header.name, header.value))
                        .collect(),
                    body: response.body,
                };
                let reply = |(answer,): (Result<exports::http::Response, types::Error>,)| {
                    Reply::Response(answer.map(response).map_err(plugin_error))
                };
                (call, answer.map(reply))
            }
            Request::BeforeUpload { blob, is_member } => {
                let params = (wit_caller(&call), wit_blob(blob), is_member);
                done(self.enter(call, deadline, |on| on.before_upload.as_ref(), params))
            }
            Request::CompleteUpload(blob) => {
                let params = (wit_caller(&call), wit_blob(blob));
                done(self.enter(call, deadline, |on| on.complete_upload.as_ref(), params))
            }
            Request::BeforeDownload { blob, is_member } => {
                let params = (wit_caller(&call), wit_blob(blob), is_member);
                done(self.enter(call, deadline, |on| on.before_download.as_ref(), params))
            }
            Request::BeforeRemove(blob) => {
                let params = (wit_caller(&call), wit_blob(blob));
                done(self.enter(call, deadline, |on| on.before_remove.as_ref(), params))
            }
            Request::Transaction { name, payload } => {
                let (call, answer) = self.enter(call, deadline, |on| on.transaction.as_ref(), (name, payload));
                (call, answer.map(|(bytes,)| Reply::Bytes(bytes.map_err(plugin_error))))
            }
            Request::Action(_) => (call, Err(Failure::Contract("jobs are for the action lane".to_owned()))),
            Request::Connected => {
                let params = (wit_caller(&call),);
                told(self.enter(call, deadline, |on| on.connected.as_ref(), params))
            }
            Request::Disconnected => {
                let params = (wit_caller(&call),);
                told(self.enter(call, deadline, |on| on.disconnected.as_ref(), params))
            }
        }
    }
}

fn done((call, answer): Answer<(Result<(), types::Error>,)>) -> Answer<Reply> {
    (call, answer.map(|(done,)| Reply::Done(done.map_err(plugin_error))))
}

fn told((call, answer): Answer<()>) -> Answer<Reply> {
    (call, answer.map(|()| Reply::Done(Ok(()))))
}

fn plain(verdict: wit::Verdict) -> Verdict {
    match verdict {
        wit::Verdict::Accept => Verdict::Accept,
        wit::Verdict::Replace(content) => Verdict::Replace(content),
        wit::Verdict::Reject(error) => Verdict::Reject(plugin_error(error)),
    }
}

fn wit_caller(call: &Call) -> types::Caller {
    let sdk::Caller {
        app,
        actor,
        device,
        credential,
        plugin,
    } = call.caller();
    types::Caller {
        app,
        actor,
        device,
        credential,
        plugin,
    }
}

pub(super) fn plugin_error(error: types::Error) -> PluginError {
    PluginError {
        code: error.code,
        message: error.message,
        retry: error.retry,
    }
}

pub(super) fn wit_blob(blob: sdk::Blob) -> types::Blob {
    types::Blob {
        app: blob.app,
        id: blob.id,
        name: blob.name,
        media_type: blob.media_type,
        length: blob.length,
        uploader: blob.uploader,
        conversation: blob.conversation,
        created_ms: blob.created_ms,
    }
}

fn wit_act(act: sdk::Act) -> wit::Act {
    wit::Act {
        name: act.name,
        app: act.app,
        conversation: act.conversation,
        conversation_kind: act.conversation_kind,
        actor: act.actor,
        target: act.target,
        target_sender: act.target_sender,
        target_kind: act.target_kind,
        value: act.value,
        time_ms: act.time_ms,
    }
}

fn wit_change(change: sdk::Change) -> exports::conversation::Change {
    exports::conversation::Change {
        app: change.app,
        conversation: change.conversation,
        kind: change.kind,
        owner: change.owner,
        actor: change.actor,
        created: change.created,
        joined: change.joined,
        left: change.left,
    }
}

pub(super) fn wit_message(message: PackedMessage) -> wit::Message {
    let ends = message.ends;
    wit::Message {
        bytes: message.bytes,
        app_end: ends[0],
        conversation_end: ends[1],
        conversation_kind_end: ends[2],
        sender_end: ends[3],
        receiver_end: ends[4],
        kind_end: ends[5],
        client_id_end: ends[6],
        content_end: ends[7],
        seq: message.seq,
        edits: message.edits,
        time_ms: message.time_ms,
    }
}
