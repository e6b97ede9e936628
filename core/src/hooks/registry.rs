//! The plugins of a host, sorted by what they want to be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use courtyard_plugin_sdk::hook::{Reply, Request};
use courtyard_plugin_sdk::manifest::{Class, HookName, Manifest};

use super::guest::{self, Judged, Objection, Taken, Transact};
use super::meter::Measured;
use super::{
    Answer, Call, Failure, Guest, Health, HealthPolicy, Message, Meter, PluginError, Quarantine, Usage, namespaced,
};
use crate::log::{Conversation, EventType, Watches};
use crate::wire::{AppId, ErrorCode, RequestError};

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// A client has signed in.
    Connected,
    /// Its connection has ended.
    Disconnected,
}

/// What becomes of messages when a plugin could not be loaded and nobody knows what it would have guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenMissing {
    /// Messages are refused: the plugin might have been a guard.
    #[default]
    Reject,
    /// Messages pass: the operator says that the plugin guards nothing.
    Skip,
}

/// One generation of a plugin, running or not.
#[derive(Debug)]
pub struct Plugin {
    /// The id in the configuration.
    pub id: Arc<str>,
    /// What it declares; none when it could not be read.
    manifest: Option<Manifest>,
    guest: Option<Arc<dyn Guest>>,
    health: Health,
    meter: Arc<Meter>,
    when_missing: WhenMissing,
    /// Calls that are in the plugin now.
    entered: AtomicUsize,
}

impl Plugin {
    /// Makes a plugin that runs.
    #[must_use]
    pub fn running(manifest: Manifest, guest: Arc<dyn Guest>, policy: HealthPolicy, meter: Arc<Meter>) -> Self {
        Self {
            id: manifest.id.as_str().into(),
            manifest: Some(manifest),
            guest: Some(guest),
            health: Health::new(policy),
            meter,
            when_missing: WhenMissing::Reject,
            entered: AtomicUsize::new(0),
        }
    }

    /// Makes a plugin that does not run: it could not be loaded, or an operator disabled it. If its manifest is known,
    /// its guards reject; if not, `when_missing` decides.
    #[must_use]
    pub fn missing(id: &str, manifest: Option<Manifest>, when_missing: WhenMissing, meter: Arc<Meter>) -> Self {
        Self {
            id: id.into(),
            manifest,
            guest: None,
            health: Health::new(HealthPolicy::default()),
            meter,
            when_missing,
            entered: AtomicUsize::new(0),
        }
    }

    /// Returns the same generation without its strikes.
    #[must_use]
    pub fn renewed(&self, policy: HealthPolicy) -> Self {
        Self {
            id: self.id.clone(),
            manifest: self.manifest.clone(),
            guest: self.guest.clone(),
            health: Health::new(policy),
            meter: self.meter.clone(),
            when_missing: self.when_missing,
            entered: AtomicUsize::new(0),
        }
    }

    /// Returns what can be entered, if it runs.
    #[must_use]
    pub fn guest(&self) -> Option<Arc<dyn Guest>> {
        self.guest.clone()
    }

    /// Returns what it declares, if that could be read.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Whether it declares a hook.
    #[must_use]
    pub fn declares(&self, wanted: HookName) -> bool {
        let manifest = self.manifest.as_ref();
        manifest.is_some_and(|manifest| manifest.hooks.iter().any(|hook| hook.hook == wanted))
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.guest.is_some()
    }

    /// Whether it is left alone for everybody, since it broke down too often.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.health.is_quarantined()
    }

    /// Returns how many calls are in it now.
    #[must_use]
    pub fn entered(&self) -> usize {
        self.entered.load(Ordering::Relaxed)
    }

    /// Returns what counts its calls.
    #[must_use]
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Returns what it takes up.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.guest.as_ref().map(|guest| guest.usage()).unwrap_or_default()
    }

    /// Gives back what it holds for calls to come.
    pub fn rest(&self) {
        if let Some(guest) = &self.guest {
            guest.rest();
        }
    }

    pub(super) fn is_slow(&self) -> bool {
        self.guest.as_ref().is_some_and(|guest| guest.is_slow())
    }

    /// Lets the plugin change the keys of one app from what another version left.
    pub fn migrate(&self, call: Box<Call>, from: &str) -> Answer<Result<(), PluginError>> {
        self.enter(call, Request::Migrate { from: from.to_owned() }, guest::done)
    }

    /// Tells the plugin that a session has begun, or that it has ended.
    pub fn session(&self, call: Box<Call>, change: SessionChange) -> Answer<Result<(), PluginError>> {
        let request = match change {
            SessionChange::Connected => Request::Connected,
            SessionChange::Disconnected => Request::Disconnected,
        };
        self.enter(call, request, guest::done)
    }

    /// Asks the plugin if it is fit, takes out of its reply what was asked for, and notes how that ended.
    pub(super) fn enter<T>(
        &self,
        call: Box<Call>,
        request: Request,
        take: impl FnOnce(Reply) -> Taken<T>,
    ) -> Answer<T> {
        let hook = request.hook();
        let entry = match self.begin(hook, &call) {
            Ok(entry) => entry,
            Err(failure) => return (call, Err(failure)),
        };
        let (call, reply) = entry.guest.serve(call, request);
        let outcome = reply.and_then(take);
        self.end(entry, &call, outcome.as_ref().err());
        (call, outcome)
    }

    /// Asks the plugin about a message if it is fit, holds its objection against what it may object, and notes how that ended.
    pub(super) fn before_send(
        &self,
        call: Box<Call>,
        message: &Message<'_>,
        check: impl FnOnce(Box<Objection>) -> Box<Objection>,
    ) -> Judged {
        let entry = match self.begin(HookName::BeforeSend, &call) {
            Ok(entry) => entry,
            Err(failure) => return (call, Objection::of(Err(failure))),
        };
        let (call, judgement) = entry.guest.before_send(call, message);
        let judgement = judgement.map_err(check);
        let failure = judgement.as_ref().err().and_then(|objection| objection.failure());
        self.end(entry, &call, failure);
        (call, judgement)
    }

    /// Begins to enter the plugin, if it is fit.
    #[inline]
    fn begin(&self, hook: HookName, call: &Call) -> Result<Entry<'_>, Failure> {
        let measured = self.meter.begin(hook);
        let admitted = self.health.admit(|| call.origin());
        let refused = match (&self.guest, admitted) {
            (Some(guest), Ok(())) => {
                self.entered.fetch_add(1, Ordering::Relaxed);
                return Ok(Entry {
                    hook,
                    measured,
                    guest: &**guest,
                });
            }
            (None, _) => Failure::NotRunning,
            // What was not even entered says nothing new.
            (_, Err(failure)) => failure,
        };
        self.meter.end(hook, &measured, Some(&refused));
        Err(refused)
    }

    /// Notes how entering the plugin ended.
    #[inline]
    fn end(&self, entry: Entry<'_>, call: &Call, failure: Option<&Failure>) {
        self.entered.fetch_sub(1, Ordering::Relaxed);
        self.meter.end(entry.hook, &entry.measured, failure);
        match failure {
            None => self.health.succeeded(|| call.origin()),
            Some(failure) => self.blame(entry.hook, call.origin(), failure),
        }
    }

    /// Asks the plugin to do a job in the action lane, and notes how that ended. Failures are held against the jobs of this
    /// name before they are held against the plugin.
    pub(super) async fn act(
        &self,
        app: &AppId,
        job: &str,
        request: Request,
        transact: Arc<dyn Transact>,
    ) -> Result<Result<(), PluginError>, Failure> {
        let (hook, origin) = (request.hook(), super::origin(app, job));
        let measured = self.meter.begin(hook);
        let outcome = match (&self.guest, self.health.admit(|| origin)) {
            (None, _) => Err(Failure::NotRunning),
            (_, Err(failure)) => Err(failure),
            (Some(guest), Ok(())) => guest.clone().act(request, transact).await.and_then(guest::done),
        };
        self.meter.end(hook, &measured, outcome.as_ref().err());
        match &outcome {
            Ok(_) => self.health.succeeded(|| origin),
            // What was not even entered says nothing new.
            Err(Failure::NotRunning | Failure::Quarantined) => {}
            Err(failure) => self.blame(hook, origin, failure),
        }
        outcome
    }

    /// Returns how many jobs it may do at a time.
    pub(super) fn actions(&self) -> usize {
        self.guest.as_ref().map_or(0, |guest| guest.actions())
    }

    /// Returns how often a job may fail before it is given up.
    pub(super) fn job_attempts(&self) -> u32 {
        self.guest.as_ref().map_or(1, |guest| guest.job_attempts())
    }

    /// Notes a failure and tells the operator.
    fn blame(&self, hook: HookName, origin: u64, failure: &Failure) {
        tracing::warn!(plugin = %self.id, hook = hook.name(), %failure, "a plugin failed");
        match self.health.failed(origin, failure) {
            None => {}
            Some(Quarantine::Actor(length)) => tracing::warn!(
                plugin = %self.id,
                seconds = length.as_secs_f32(),
                "an actor is quarantined: the plugin fails on all of that actor's requests"
            ),
            Some(Quarantine::Plugin(length)) => {
                tracing::error!(plugin = %self.id, seconds = length.as_secs_f32(), "a plugin is quarantined");
            }
        }
    }

    /// Makes of a guard's answer whether the request goes on.
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

    /// Makes the answer to a client whose request the plugin refused.
    pub(super) fn error(&self, error: PluginError) -> RequestError {
        namespaced(&self.id, error)
    }

    /// Makes the answer to a client whose request needed the plugin. `hook` is the hook or the method.
    pub(super) fn failure(&self, hook: &str, failure: &Failure) -> RequestError {
        let id = &self.id;
        match failure {
            Failure::Quarantined | Failure::NotRunning | Failure::Busy => {
                let message = format!("The plugin {id} can't be asked ({hook}): {failure}.");
                RequestError::new(ErrorCode::Unavailable, message)
            }
            Failure::Store(_) => RequestError::new(ErrorCode::Unavailable, "The server can't read its data."),
            _ => RequestError::new(ErrorCode::Internal, format!("The plugin {id} broke down ({hook}).")),
        }
    }
}

/// A plugin that is being entered.
struct Entry<'a> {
    hook: HookName,
    measured: Measured,
    guest: &'a dyn Guest,
}

/// Puts each plugin behind those that it declares to come after, and leaves the order as it is otherwise. Those that wait
/// for each other stay in their order.
fn ordered(mut waiting: Vec<Arc<Plugin>>) -> Vec<Arc<Plugin>> {
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let is_free = |plugin: &Arc<Plugin>| {
            let after = plugin.manifest.as_ref().map_or(&[][..], |manifest| &manifest.after);
            let waits_for = |id: &String| waiting.iter().any(|other| *other.id == **id && other.id != plugin.id);
            !after.iter().any(waits_for)
        };
        let next = waiting.iter().position(is_free).unwrap_or_else(|| {
            tracing::warn!(plugin = %waiting[0].id, "plugins declare to come after each other; they stay in their order");
            0
        });
        ordered.push(waiting.remove(next));
    }
    ordered
}

/// A plugin at a hook, with the filters that its manifest declares.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) plugin: Arc<Plugin>,
    /// Whether a failure skips this plugin alone.
    pub(super) fails_open: bool,
    conversation_kinds: Vec<String>,
    content_kinds: Vec<String>,
    events: Vec<String>,
    /// Whether only conversations that it watches are for it.
    watched: bool,
}

impl Link {
    /// Whether the plugin asked for such conversations.
    pub(super) fn wants_conversation(&self, kind: &str) -> bool {
        self.conversation_kinds.is_empty() || self.conversation_kinds.iter().any(|listed| listed == kind)
    }

    /// Whether a call is about a conversation that the plugin watches, or the plugin need not watch it to be asked.
    pub(super) fn is_for(&self, call: &mut Call, conversation: &Conversation) -> bool {
        // A store that can't be read commits nothing either; if it does, a guard is better asked once too often.
        !self.watched || Watches::relied_on(&mut call.draft, &self.plugin.id, conversation).unwrap_or(true)
    }

    /// Whether the plugin asked for such messages.
    pub(super) fn matches(&self, conversation_kind: &str, content_kind: &str) -> bool {
        let any_or = |list: &[String], kind: &str| list.is_empty() || list.iter().any(|listed| listed == kind);
        any_or(&self.conversation_kinds, conversation_kind) && any_or(&self.content_kinds, content_kind)
    }
}

/// The plugins, in the order of the configuration, and the chains of each hook.
#[derive(Debug, Default)]
pub struct Registry {
    plugins: Vec<Arc<Plugin>>,
    pub(super) authenticate: Vec<Arc<Plugin>>,
    pub(super) before_send: Vec<Link>,
    pub(super) after_send: Vec<Link>,
    pub(super) render: Vec<Link>,
    pub(super) connected: Vec<Arc<Plugin>>,
    pub(super) disconnected: Vec<Arc<Plugin>>,
    pub(super) before_act: Vec<Link>,
    pub(super) before_change: Vec<Link>,
    after_act: Vec<Link>,
    after_change: Vec<Link>,
    push: Vec<Link>,
    event: Vec<Link>,
    /// Those of which nobody knows what they declare.
    pub(super) unknown: Vec<Arc<Plugin>>,
    /// Those that are shown something after its commit.
    observing: Vec<Arc<Plugin>>,
    /// Those that do jobs.
    acting: Vec<Arc<Plugin>>,
}

impl Registry {
    /// Sorts plugins into the chains of the hooks that they declare: in the given order, but each behind those that it
    /// declares to come after.
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
                // It may have been any guard.
                for chain in [&mut self.before_send, &mut self.before_act, &mut self.before_change] {
                    chain.push(Link {
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
            let link = Link {
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
                HookName::BeforeSend => self.before_send.push(link),
                HookName::AfterSend => self.after_send.push(link),
                HookName::Render => self.render.push(link),
                HookName::BeforeAct => self.before_act.push(link),
                HookName::AfterAct => self.after_act.push(link),
                HookName::BeforeChange => self.before_change.push(link),
                HookName::AfterChange => self.after_change.push(link),
                HookName::Push => self.push.push(link),
                HookName::Event => self.event.push(link),
                HookName::Action => self.acting.push(plugin.clone()),
                // Whoever asks names the plugin.
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

    /// Returns the plugins that are shown something after its commit.
    pub(super) fn observing(&self) -> &[Arc<Plugin>] {
        &self.observing
    }

    /// Returns the plugins that do jobs.
    pub(super) fn acting(&self) -> &[Arc<Plugin>] {
        &self.acting
    }

    /// Returns the hooks that want to see such an event of the log; and whether only if the plugin watches the conversation.
    pub(super) fn observers<'a>(
        &'a self,
        event: EventType,
        conversation_kind: &'a str,
        kind: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<Plugin>, HookName, bool)> {
        let (shown, pushed): (&[Link], &[Link]) = match event {
            EventType::Message => (&self.after_send, &self.push),
            EventType::Edit => (&self.after_send, &[]),
            EventType::Recall | EventType::Reaction => (&self.after_act, &[]),
            EventType::Annotation | EventType::Members => (&[], &[]),
        };
        let hook = match event {
            EventType::Message | EventType::Edit => HookName::AfterSend,
            _ => HookName::AfterAct,
        };
        let shown = shown.iter().map(move |link| (link, hook));
        let pushed = pushed.iter().map(|link| (link, HookName::Push));
        shown
            .chain(pushed)
            .filter(move |(link, _)| link.matches(conversation_kind, kind))
            .map(|(link, hook)| (&link.plugin, hook, link.watched))
    }

    /// Returns the plugins that want to see a change of such a conversation.
    pub(super) fn change_observers<'a>(&'a self, conversation_kind: &'a str) -> impl Iterator<Item = &'a Arc<Plugin>> {
        let wanted = self
            .after_change
            .iter()
            .filter(|link| link.wants_conversation(conversation_kind));
        wanted.map(|link| &link.plugin)
    }

    /// Returns the plugins that want to see an event of another plugin.
    pub(super) fn event_observers<'a>(
        &'a self,
        plugin: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Plugin>> {
        let named = |wanted: &String| wanted.split_once('.') == Some((plugin, name));
        let wanted = self.event.iter().filter(move |link| {
            *link.plugin.id != *plugin && (link.events.is_empty() || link.events.iter().any(named))
        });
        wanted.map(|link| &link.plugin)
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
    fn plugins_stand_in_the_order_of_the_configuration_but_behind_those_that_they_come_after() {
        assert_eq!(order(&[("a", &[]), ("b", &[]), ("c", &[])]), "abc");
        assert_eq!(order(&[("a", &["c"]), ("b", &[]), ("c", &[])]), "bca");
        assert_eq!(order(&[("a", &["b"]), ("b", &["c"]), ("c", &[])]), "cba");
        assert_eq!(order(&[("a", &["absent", "a"]), ("b", &[])]), "ab");
    }

    #[test]
    fn plugins_that_wait_for_each_other_stay_in_their_order() {
        assert_eq!(order(&[("a", &["b"]), ("b", &["a"]), ("c", &["a"])]), "abc");
    }
}
