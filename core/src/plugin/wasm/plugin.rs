//! A Wasm plugin as the hooks call it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use courtyard_plugin_sdk as sdk;
use courtyard_plugin_sdk::hook::{Reply, Request};

use super::bindings::courtyard::plugin::types;
use super::bindings::exports::courtyard::plugin as exports;
use super::bindings::exports::courtyard::plugin::auth;
use super::convert::{plugin_error, verdict, wit_act, wit_blob, wit_caller, wit_change, wit_message};
use super::engine::WasmEngine;
use super::lane::JobRunner;
use super::pool::InstancePool;
use super::state::PluginContext;
use super::template::Template;
use crate::hooks::{
    Call, CallOutcome, Deviation, Failure, JobFuture, JobTransactions, Message, PluginBackend, SendOutcome, Usage,
};
use crate::plugin::output_limits::{self, SlowCalls};
use crate::plugin::{PluginLimits, PluginStartError};

/// Ticks of the clock during a call from which on the call counts as slow.
const SLOW_TICKS: u64 = 3;

/// A plugin's code with its instances.
pub(in crate::plugin) struct WasmPlugin {
    engine: WasmEngine,
    pool: InstancePool,
    context: Arc<PluginContext>,
    limits: PluginLimits,
    slow_calls: SlowCalls,
    /// `None` for plugins that declare no jobs.
    jobs: Option<Arc<JobRunner>>,
}

impl WasmPlugin {
    /// Starts the first instance, and a spare one.
    pub(super) fn start(
        engine: WasmEngine,
        template: Template,
        context: Arc<PluginContext>,
        configuration: String,
        limits: PluginLimits,
        jobs: Option<Arc<JobRunner>>,
    ) -> Result<Self, PluginStartError> {
        let pool = InstancePool::start(engine.clone(), template, context.clone(), configuration, limits)?;
        Ok(Self {
            engine,
            pool,
            context,
            limits,
            slow_calls: SlowCalls::default(),
            jobs,
        })
    }
}

impl PluginBackend for WasmPlugin {
    fn serve(&self, call: Box<Call>, request: Request) -> CallOutcome<Reply> {
        let deadline = output_limits::deadline(&self.limits, request.hook());
        let (call, reply) = self.dispatch(call, deadline, request);
        let checked = |reply| output_limits::checked(reply, self.limits.result_bytes);
        (call, reply.and_then(checked))
    }

    fn before_send(&self, call: Box<Call>, message: &Message<'_>) -> SendOutcome {
        let (before, deadline) = (self.engine.ticks(), self.limits.hook);
        let (call, outcome) = self.pool.with_instance(call, deadline, |instance, call| {
            instance.before_send(call, message, deadline)
        });
        // Only this hook runs on threads that others wait for. How long methods run doesn't count.
        self.slow_calls
            .record(self.engine.ticks().wrapping_sub(before) >= SLOW_TICKS);
        let verdict = match outcome {
            Ok(None) => return (call, Ok(())),
            Ok(Some(answer)) => output_limits::checked_verdict(verdict(*answer), self.limits.result_bytes),
            Err(failure) => Err(*failure),
        };
        (call, Deviation::from_verdict(verdict))
    }

    fn run_job(self: Arc<Self>, request: Request, transact: Arc<dyn JobTransactions>) -> JobFuture {
        match &self.jobs {
            Some(jobs) => Box::pin(jobs.clone().run(request, transact)),
            None => Box::pin(async { Err(Failure::Contract("the plugin declares no jobs".to_owned())) }),
        }
    }

    fn max_jobs(&self) -> usize {
        self.jobs.as_ref().map_or(0, |_| self.limits.actions)
    }

    fn job_attempts(&self) -> u32 {
        self.limits.job_attempts
    }

    fn shrink_idle(&self) {
        self.pool.drain();
    }

    fn usage(&self) -> Usage {
        self.pool.usage()
    }

    fn is_slow(&self) -> bool {
        self.slow_calls.is_slow()
    }
}

impl fmt::Debug for WasmPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmPlugin")
            .field("id", &self.context.services.id)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl WasmPlugin {
    /// Calls the function for a request.
    fn dispatch(&self, call: Box<Call>, deadline: Duration, request: Request) -> CallOutcome<Reply> {
        match request {
            Request::BeforeSend(message) => {
                let params = (wit_message(message),);
                let (call, answer) = self.pool.call(call, deadline, |on| on.before_send.as_ref(), params);
                (call, answer.map(|(answer,)| Reply::Verdict(verdict(answer))))
            }
            Request::AfterSend(message) => {
                let params = (wit_message(message),);
                done(self.pool.call(call, deadline, |on| on.after_send.as_ref(), params))
            }
            Request::Render { viewer, messages } => {
                let params = (viewer, messages.into_iter().map(wit_message).collect());
                let (call, answer) = self.pool.call(call, deadline, |on| on.render.as_ref(), params);
                (
                    call,
                    answer.map(|(contents,)| Reply::Contents(contents.map_err(plugin_error))),
                )
            }
            Request::Authenticate { app, token } => {
                let (call, answer) = self
                    .pool
                    .call(call, deadline, |on| on.authenticate.as_ref(), (app, token));
                let convert = |identity: auth::Identity| sdk::Identity {
                    actor: identity.actor,
                    credential: identity.credential,
                    expires_at_ms: identity.expires_at_ms,
                };
                let reply = |(answer,): (Result<Option<auth::Identity>, types::Error>,)| {
                    Reply::Identity(answer.map(|found| found.map(convert)).map_err(plugin_error))
                };
                (call, answer.map(reply))
            }
            Request::Method { name, params } => {
                let params = (wit_caller(&call), name, params);
                let (call, answer) = self.pool.call(call, deadline, |on| on.call.as_ref(), params);
                (call, answer.map(|(value,)| Reply::Value(value.map_err(plugin_error))))
            }
            Request::Migrate { .. } if self.pool.template().exports.migrate.is_none() => {
                (call, Ok(Reply::Done(Ok(()))))
            }
            Request::Migrate { from } => done(self.pool.call(call, deadline, |on| on.migrate.as_ref(), (from,))),
            Request::Timer { name, payload } => {
                done(self.pool.call(call, deadline, |on| on.timer.as_ref(), (name, payload)))
            }
            Request::BeforeAct(act) => {
                done(
                    self.pool
                        .call(call, deadline, |on| on.before_act.as_ref(), (wit_act(act),)),
                )
            }
            Request::AfterAct(act) => done(
                self.pool
                    .call(call, deadline, |on| on.after_act.as_ref(), (wit_act(act),)),
            ),
            Request::BeforeChange(change) => {
                let params = (wit_change(change),);
                done(self.pool.call(call, deadline, |on| on.before_change.as_ref(), params))
            }
            Request::AfterChange(change) => {
                let params = (wit_change(change),);
                done(self.pool.call(call, deadline, |on| on.after_change.as_ref(), params))
            }
            Request::Push { message, recipients } => {
                let params = (wit_message(message), recipients);
                done(self.pool.call(call, deadline, |on| on.push.as_ref(), params))
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
                done(self.pool.call(call, deadline, |on| on.event.as_ref(), params))
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
                let (call, answer) = self.pool.call(call, deadline, |on| on.http.as_ref(), params);
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
                done(self.pool.call(call, deadline, |on| on.before_upload.as_ref(), params))
            }
            Request::CompleteUpload(blob) => {
                let params = (wit_caller(&call), wit_blob(blob));
                done(self.pool.call(call, deadline, |on| on.complete_upload.as_ref(), params))
            }
            Request::BeforeDownload { blob, is_member } => {
                let params = (wit_caller(&call), wit_blob(blob), is_member);
                done(self.pool.call(call, deadline, |on| on.before_download.as_ref(), params))
            }
            Request::BeforeRemove(blob) => {
                let params = (wit_caller(&call), wit_blob(blob));
                done(self.pool.call(call, deadline, |on| on.before_remove.as_ref(), params))
            }
            Request::Transaction { name, payload } => {
                let (call, answer) = self
                    .pool
                    .call(call, deadline, |on| on.transaction.as_ref(), (name, payload));
                (call, answer.map(|(bytes,)| Reply::Bytes(bytes.map_err(plugin_error))))
            }
            Request::Action(_) => (
                call,
                Err(Failure::Contract("jobs run in the action lane only".to_owned())),
            ),
            Request::Connected => {
                let params = (wit_caller(&call),);
                unit(self.pool.call(call, deadline, |on| on.connected.as_ref(), params))
            }
            Request::Disconnected => {
                let params = (wit_caller(&call),);
                unit(self.pool.call(call, deadline, |on| on.disconnected.as_ref(), params))
            }
        }
    }
}

fn done((call, answer): CallOutcome<(Result<(), types::Error>,)>) -> CallOutcome<Reply> {
    (call, answer.map(|(done,)| Reply::Done(done.map_err(plugin_error))))
}

fn unit((call, answer): CallOutcome<()>) -> CallOutcome<Reply> {
    (call, answer.map(|()| Reply::Done(Ok(()))))
}
