//! The plugins of a host, and the chain of each hook.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use courtyard_plugin_sdk::hook::{Reply, Request};
use courtyard_plugin_sdk::manifest::{Class, HookName, Manifest};

use super::chains::namespaced;
use super::meter::CallTimer;
use super::reply::{self, ReplyResult};
use super::{
    Call, CallOutcome, Deviation, Failure, Health, HealthPolicy, JobTransactions, Message, Meter, OriginId,
    PluginBackend, PluginError, Quarantine, SendOutcome, Usage,
};
use crate::log::{Conversation, EventType, Watches};
use crate::wire::{AppId, ErrorCode, RequestError};

/// A change of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// A client signed in.
    Connected,
    /// Its connection ended.
    Disconnected,
}

/// What happens to messages when a plugin could not be loaded and its manifest is unknown, so that it might be a guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenMissing {
    /// Reject messages.
    #[default]
    Reject,
    /// Accept messages: the operator states that the plugin guards nothing.
    Skip,
}

/// One generation of a plugin, running or not.
#[derive(Debug)]
pub struct Plugin {
    /// The id in the configuration.
    pub id: Arc<str>,
    /// Its manifest; none when it could not be read.
    manifest: Option<Manifest>,
    backend: Option<Arc<dyn PluginBackend>>,
    health: Health,
    meter: Arc<Meter>,
    when_missing: WhenMissing,
    /// The number of calls that are in the plugin now.
    entered: AtomicUsize,
}

impl Plugin {
    /// Creates a running plugin.
    #[must_use]
    pub fn running(
        manifest: Manifest,
        backend: Arc<dyn PluginBackend>,
        policy: HealthPolicy,
        meter: Arc<Meter>,
    ) -> Self {
        Self {
            id: manifest.id.as_str().into(),
            manifest: Some(manifest),
            backend: Some(backend),
            health: Health::new(policy),
            meter,
            when_missing: WhenMissing::Reject,
            entered: AtomicUsize::new(0),
        }
    }

    /// Creates a plugin that does not run: it could not be loaded, or an operator disabled it. If its manifest is known,
    /// its guards reject; if not, `when_missing` decides.
    #[must_use]
    pub fn missing(id: &str, manifest: Option<Manifest>, when_missing: WhenMissing, meter: Arc<Meter>) -> Self {
        Self {
            id: id.into(),
            manifest,
            backend: None,
            health: Health::new(HealthPolicy::default()),
            meter,
            when_missing,
            entered: AtomicUsize::new(0),
        }
    }

    /// Returns the same generation with an empty failure history.
    #[must_use]
    pub fn renewed(&self, policy: HealthPolicy) -> Self {
        Self {
            id: self.id.clone(),
            manifest: self.manifest.clone(),
            backend: self.backend.clone(),
            health: Health::new(policy),
            meter: self.meter.clone(),
            when_missing: self.when_missing,
            entered: AtomicUsize::new(0),
        }
    }

    /// Returns the backend, if the plugin runs.
    #[must_use]
    pub fn backend(&self) -> Option<Arc<dyn PluginBackend>> {
        self.backend.clone()
    }

    /// Returns the manifest, if it could be read.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Returns whether it declares a hook.
    #[must_use]
    pub fn declares(&self, wanted: HookName) -> bool {
        let manifest = self.manifest.as_ref();
        manifest.is_some_and(|manifest| manifest.hooks.iter().any(|hook| hook.hook == wanted))
    }

    /// Returns whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.backend.is_some()
    }

    /// Returns whether it is quarantined for all callers, since it failed too often.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.health.is_quarantined()
    }

    /// Returns the number of calls that are in it now.
    #[must_use]
    pub fn entered(&self) -> usize {
        self.entered.load(Ordering::Relaxed)
    }

    /// Returns the meter of its calls.
    #[must_use]
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Returns the resources in use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.backend.as_ref().map(|guest| guest.usage()).unwrap_or_default()
    }

    /// Releases idle instances; the next call takes longer.
    pub fn shrink_idle(&self) {
        if let Some(guest) = &self.backend {
            guest.shrink_idle();
        }
    }

    pub(super) fn is_slow(&self) -> bool {
        self.backend.as_ref().is_some_and(|guest| guest.is_slow())
    }

    /// Calls `migrate`: the plugin converts its keys of one app from those of version `from`.
    pub fn migrate(&self, call: Box<Call>, from: &str) -> CallOutcome<Result<(), PluginError>> {
        self.enter(call, Request::Migrate { from: from.to_owned() }, reply::done)
    }

    /// Calls `connected` or `disconnected` for a session.
    pub fn session(&self, call: Box<Call>, change: SessionChange) -> CallOutcome<Result<(), PluginError>> {
        let request = match change {
            SessionChange::Connected => Request::Connected,
            SessionChange::Disconnected => Request::Disconnected,
        };
        self.enter(call, request, reply::done)
    }

    /// Calls the plugin unless it is quarantined, converts the reply, and records the outcome in its health and meter.
    pub(crate) fn enter<T>(
        &self,
        call: Box<Call>,
        request: Request,
        convert: impl FnOnce(Reply) -> ReplyResult<T>,
    ) -> CallOutcome<T> {
        let hook = request.hook();
        let entry = match self.begin(hook, &call) {
            Ok(entry) => entry,
            Err(failure) => return (call, Err(failure)),
        };
        let (call, reply) = entry.backend.serve(call, request);
        let outcome = reply.and_then(convert);
        self.end(entry, &call, outcome.as_ref().err());
        (call, outcome)
    }

    /// Calls `before_send` unless the plugin is quarantined, applies `check` to a deviation, and records the outcome in its
    /// health and meter.
    pub(super) fn before_send(
        &self,
        call: Box<Call>,
        message: &Message<'_>,
        check: impl FnOnce(Box<Deviation>) -> Box<Deviation>,
    ) -> SendOutcome {
        let entry = match self.begin(HookName::BeforeSend, &call) {
            Ok(entry) => entry,
            Err(failure) => return (call, Deviation::from_verdict(Err(failure))),
        };
        let (call, outcome) = entry.backend.before_send(call, message);
        let outcome = outcome.map_err(check);
        let failure = outcome.as_ref().err().and_then(|deviation| deviation.failure());
        self.end(entry, &call, failure);
        (call, outcome)
    }

    /// Begins a call unless the plugin is quarantined or not running.
    #[inline]
    fn begin(&self, hook: HookName, call: &Call) -> Result<EnteredCall<'_>, Failure> {
        let timer = self.meter.begin(hook);
        let admitted = self.health.admit(|| call.origin());
        let refused = match (&self.backend, admitted) {
            (Some(guest), Ok(())) => {
                self.entered.fetch_add(1, Ordering::Relaxed);
                return Ok(EnteredCall {
                    hook,
                    timer,
                    backend: &**guest,
                });
            }
            (None, _) => Failure::NotRunning,
            // A call that never entered the plugin doesn't affect its health.
            (_, Err(failure)) => failure,
        };
        self.meter.end(hook, &timer, Some(&refused));
        Err(refused)
    }

    /// Records the outcome of a call.
    #[inline]
    fn end(&self, entry: EnteredCall<'_>, call: &Call, failure: Option<&Failure>) {
        self.entered.fetch_sub(1, Ordering::Relaxed);
        self.meter.end(entry.hook, &entry.timer, failure);
        match failure {
            None => self.health.succeeded(|| call.origin()),
            Some(failure) => self.blame(entry.hook, call.origin(), failure),
        }
    }

    /// Runs a job in the action lane, and records the outcome in the plugin's health and meter. Failures count against the
    /// jobs of this name in this app before they count against the plugin.
    pub(crate) async fn run_job(
        &self,
        app: &AppId,
        job: &str,
        request: Request,
        transactions: Arc<dyn JobTransactions>,
    ) -> Result<Result<(), PluginError>, Failure> {
        let (hook, origin) = (request.hook(), super::origin(app, job));
        let timer = self.meter.begin(hook);
        let outcome = match (&self.backend, self.health.admit(|| origin)) {
            (None, _) => Err(Failure::NotRunning),
            (_, Err(failure)) => Err(failure),
            (Some(guest), Ok(())) => guest.clone().run_job(request, transactions).await.and_then(reply::done),
        };
        self.meter.end(hook, &timer, outcome.as_ref().err());
        match &outcome {
            Ok(_) => self.health.succeeded(|| origin),
            // A call that never entered the plugin doesn't affect its health.
            Err(Failure::NotRunning | Failure::Quarantined) => {}
            Err(failure) => self.blame(hook, origin, failure),
        }
        outcome
    }

    /// Returns how many jobs may run at a time.
    pub(crate) fn max_jobs(&self) -> usize {
        self.backend.as_ref().map_or(0, |guest| guest.max_jobs())
    }

    /// Returns how often a job is attempted before it becomes a dead letter.
    pub(crate) fn job_attempts(&self) -> u32 {
        self.backend.as_ref().map_or(1, |guest| guest.job_attempts())
    }

    /// Records a failure in the plugin's health, and logs it.
    fn blame(&self, hook: HookName, origin: OriginId, failure: &Failure) {
        tracing::warn!(plugin = %self.id, hook = hook.name(), %failure, "a plugin failed");
        match self.health.failed(origin, failure) {
            None => {}
            Some(Quarantine::Origin(length)) => tracing::warn!(
                plugin = %self.id,
                seconds = length.as_secs_f32(),
                "a plugin is quarantined for one origin: it failed on that origin's requests only"
            ),
            Some(Quarantine::Plugin(length)) => {
                tracing::error!(plugin = %self.id, seconds = length.as_secs_f32(), "a plugin is quarantined");
            }
        }
    }

    /// Converts a guard's outcome: `Ok(())` lets the request continue.
    pub(super) fn allowed(
        &self,
        hook: &str,
        outcome: Result<Result<(), PluginError>, Failure>,
    ) -> Result<(), RequestError> {
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.error(error)),
            Err(failure) => Err(self.failure(hook, &failure)),
        }
    }

    /// Converts an error of the plugin for a client.
    pub(super) fn error(&self, error: PluginError) -> RequestError {
        namespaced(&self.id, error)
    }

    /// Converts a failure of the plugin for a client. `hook` is the hook or the method.
    pub(super) fn failure(&self, hook: &str, failure: &Failure) -> RequestError {
        let id = &self.id;
        match failure {
            Failure::Quarantined | Failure::NotRunning | Failure::Busy => {
                let message = format!("The plugin {id} is unavailable ({hook}): {failure}.");
                RequestError::new(ErrorCode::Unavailable, message)
            }
            Failure::Store(_) => RequestError::new(ErrorCode::Unavailable, "The server can't read its data."),
            _ => RequestError::new(ErrorCode::Internal, format!("The plugin {id} failed ({hook}).")),
        }
    }
}

/// A call that is in a plugin.
struct EnteredCall<'a> {
    hook: HookName,
    timer: CallTimer,
    backend: &'a dyn PluginBackend,
}

/// Moves each plugin after those of its manifest's `after`, and keeps the order otherwise. Plugins in a cycle keep their
/// order.
fn ordered(mut waiting: Vec<Arc<Plugin>>) -> Vec<Arc<Plugin>> {
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let is_free = |plugin: &Arc<Plugin>| {
            let after = plugin.manifest.as_ref().map_or(&[][..], |manifest| &manifest.after);
            let waits_for = |id: &String| waiting.iter().any(|other| *other.id == **id && other.id != plugin.id);
            !after.iter().any(waits_for)
        };
        let next = waiting.iter().position(is_free).unwrap_or_else(|| {
            tracing::warn!(plugin = %waiting[0].id, "plugins declare to come after each other; they keep the order of the configuration");
            0
        });
        ordered.push(waiting.remove(next));
    }
    ordered
}

/// A plugin in the chain of a hook, with the filters of its manifest.
#[derive(Debug)]
pub(super) struct ChainEntry {
    pub(super) plugin: Arc<Plugin>,
    /// Whether a failure skips only this plugin, and the chain continues.
    pub(super) fails_open: bool,
    conversation_kinds: Vec<String>,
    content_kinds: Vec<String>,
    events: Vec<String>,
    /// Whether it is called only for conversations that it watches.
    watched: bool,
}

impl ChainEntry {
    /// Returns whether the filters match a kind of conversation.
    pub(super) fn wants_conversation(&self, kind: &str) -> bool {
        self.conversation_kinds.is_empty() || self.conversation_kinds.iter().any(|listed| listed == kind)
    }

    /// Returns whether the plugin watches the conversation, or is called without watching. The transaction depends on the
    /// result.
    pub(super) fn applies_to(&self, call: &mut Call, conversation: &Conversation) -> bool {
        // If the store can't be read, calling a guard too often is safe; the commit will probably fail as well.
        !self.watched || Watches::includes_and_depend(&mut call.draft, &self.plugin.id, conversation).unwrap_or(true)
    }

    /// Returns whether the filters match a kind of conversation and a kind of content.
    pub(super) fn matches(&self, conversation_kind: &str, content_kind: &str) -> bool {
        let any_or = |list: &[String], kind: &str| list.is_empty() || list.iter().any(|listed| listed == kind);
        any_or(&self.conversation_kinds, conversation_kind) && any_or(&self.content_kinds, content_kind)
    }
}

/// The plugins, in the order of the configuration, and the chain of each hook.
#[derive(Debug, Default)]
pub struct Registry {
    plugins: Vec<Arc<Plugin>>,
    pub(super) authenticate: Vec<Arc<Plugin>>,
    pub(super) before_send: Vec<ChainEntry>,
    pub(super) after_send: Vec<ChainEntry>,
    pub(super) render: Vec<ChainEntry>,
    pub(super) connected: Vec<Arc<Plugin>>,
    pub(super) disconnected: Vec<Arc<Plugin>>,
    pub(super) before_act: Vec<ChainEntry>,
    pub(super) before_change: Vec<ChainEntry>,
    after_act: Vec<ChainEntry>,
    after_change: Vec<ChainEntry>,
    push: Vec<ChainEntry>,
    event: Vec<ChainEntry>,
    /// Plugins without a known manifest that might be guards.
    pub(super) unknown: Vec<Arc<Plugin>>,
    /// Plugins that observe commits.
    observing: Vec<Arc<Plugin>>,
    /// Plugins that run jobs.
    job_runners: Vec<Arc<Plugin>>,
}

impl Registry {
    /// Adds plugins to the chains of the hooks that they declare: in the given order, but each after those of its
    /// manifest's `after`.
    #[must_use]
    pub fn new(plugins: impl IntoIterator<Item = Arc<Plugin>>) -> Self {
        let mut registry = Self::default();
        for plugin in ordered(plugins.into_iter().collect()) {
            registry.add(&plugin);
            registry.plugins.push(plugin);
        }
        registry
    }

    fn add(&mut self, plugin: &Arc<Plugin>) {
        let Some(manifest) = &plugin.manifest else {
            if plugin.when_missing == WhenMissing::Reject {
                // It might be any guard.
                for chain in [&mut self.before_send, &mut self.before_act, &mut self.before_change] {
                    chain.push(ChainEntry {
                        plugin: plugin.clone(),
                        fails_open: false,
                        conversation_kinds: Vec::new(),
                        content_kinds: Vec::new(),
                        events: Vec::new(),
                        watched: false,
                    });
                }
                self.unknown.push(plugin.clone());
            }
            return;
        };
        for hook in &manifest.hooks {
            let entry = ChainEntry {
                plugin: plugin.clone(),
                fails_open: hook.class == Some(Class::Transform),
                conversation_kinds: hook.conversation_kinds.clone(),
                content_kinds: hook.content_kinds.clone(),
                events: hook.events.clone(),
                watched: hook.watched,
            };
            if hook.hook.is_observed() && !self.observing.iter().any(|known| known.id == plugin.id) {
                self.observing.push(plugin.clone());
            }
            match hook.hook {
                HookName::Authenticate => self.authenticate.push(plugin.clone()),
                HookName::BeforeSend => self.before_send.push(entry),
                HookName::AfterSend => self.after_send.push(entry),
                HookName::Render => self.render.push(entry),
                HookName::BeforeAct => self.before_act.push(entry),
                HookName::AfterAct => self.after_act.push(entry),
                HookName::BeforeChange => self.before_change.push(entry),
                HookName::AfterChange => self.after_change.push(entry),
                HookName::Push => self.push.push(entry),
                HookName::Event => self.event.push(entry),
                HookName::Action => self.job_runners.push(plugin.clone()),
                // The caller names the plugin; no chain exists.
                HookName::Timer
                | HookName::Http
                | HookName::BeforeUpload
                | HookName::CompleteUpload
                | HookName::BeforeDownload
                | HookName::BeforeRemove
                | HookName::Transaction
                | HookName::Method
                | HookName::Migrate => {}
                HookName::Connected => self.connected.push(plugin.clone()),
                HookName::Disconnected => self.disconnected.push(plugin.clone()),
            }
        }
    }

    /// Returns the plugins in order.
    #[must_use]
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// Finds a plugin by its id.
    #[must_use]
    pub fn plugin(&self, id: &str) -> Option<&Arc<Plugin>> {
        self.plugins.iter().find(|plugin| &*plugin.id == id)
    }

    /// Returns the plugins that observe commits.
    pub(crate) fn observing(&self) -> &[Arc<Plugin>] {
        &self.observing
    }

    /// Returns the plugins that run jobs.
    pub(crate) fn job_runners(&self) -> &[Arc<Plugin>] {
        &self.job_runners
    }

    /// Returns the observing plugins of an event of the log, with the hook; and whether the plugin must watch the
    /// conversation.
    pub(crate) fn observers<'a>(
        &'a self,
        event: EventType,
        conversation_kind: &'a str,
        kind: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<Plugin>, HookName, bool)> {
        let (observing, pushed): (&[ChainEntry], &[ChainEntry]) = match event {
            EventType::Message => (&self.after_send, &self.push),
            EventType::Edit => (&self.after_send, &[]),
            EventType::Recall | EventType::Reaction => (&self.after_act, &[]),
            EventType::Annotation | EventType::Members => (&[], &[]),
        };
        let hook = match event {
            EventType::Message | EventType::Edit => HookName::AfterSend,
            _ => HookName::AfterAct,
        };
        let observing = observing.iter().map(move |entry| (entry, hook));
        let pushed = pushed.iter().map(|entry| (entry, HookName::Push));
        observing
            .chain(pushed)
            .filter(move |(entry, _)| entry.matches(conversation_kind, kind))
            .map(|(entry, hook)| (&entry.plugin, hook, entry.watched))
    }

    /// Returns the plugins that observe changes of conversations of a kind.
    pub(crate) fn change_observers<'a>(&'a self, conversation_kind: &'a str) -> impl Iterator<Item = &'a Arc<Plugin>> {
        let wanted = self
            .after_change
            .iter()
            .filter(|entry| entry.wants_conversation(conversation_kind));
        wanted.map(|entry| &entry.plugin)
    }

    /// Returns the plugins that observe an event of another plugin.
    pub(crate) fn event_observers<'a>(
        &'a self,
        plugin: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Plugin>> {
        let named = |wanted: &String| wanted.split_once('.') == Some((plugin, name));
        let wanted = self.event.iter().filter(move |entry| {
            *entry.plugin.id != *plugin && (entry.events.is_empty() || entry.events.iter().any(named))
        });
        wanted.map(|entry| &entry.plugin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(plugins: &[(&str, &[&str])]) -> String {
        let plugin = |(id, after): &(&str, &[&str])| {
            let manifest = serde_json::json!({
                "manifest": 1, "id": id, "version": "1", "contract": "1.0.0", "after": after,
            });
            let manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
            Arc::new(Plugin::missing(id, Some(manifest), WhenMissing::Reject, Arc::default()))
        };
        let registry = Registry::new(plugins.iter().map(plugin));
        registry.plugins().iter().map(|plugin| &*plugin.id).collect()
    }

    #[test]
    fn plugins_keep_the_order_of_the_configuration_but_come_after_those_that_they_declare() {
        assert_eq!(order(&[("a", &[]), ("b", &[]), ("c", &[])]), "abc");
        assert_eq!(order(&[("a", &["c"]), ("b", &[]), ("c", &[])]), "bca");
        assert_eq!(order(&[("a", &["b"]), ("b", &["c"]), ("c", &[])]), "cba");
        assert_eq!(order(&[("a", &["absent", "a"]), ("b", &[])]), "ab");
    }

    #[test]
    fn plugins_in_a_cycle_keep_their_order() {
        assert_eq!(order(&[("a", &["b"]), ("b", &["a"]), ("c", &["a"])]), "abc");
    }
}
