//! The plugins of a host, sorted by what they want to be asked.

use std::sync::Arc;

use courtyard_plugin_sdk::manifest::{Class, HookName, Manifest};

use super::{Answer, Call, Failure, Guest, Health, HealthPolicy, PluginError, namespaced};
use crate::wire::{Code, RequestError};

/// What becomes of messages when a plugin could not be loaded and nobody knows what it would have guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenMissing {
    /// Messages are refused: the plugin might have been a guard.
    #[default]
    Reject,
    /// Messages pass: the operator says that the plugin guards nothing.
    Skip,
}

/// A plugin of the configuration, running or not.
#[derive(Debug)]
pub struct Plugin {
    /// The id in the configuration.
    pub id: Arc<str>,
    /// What it declares; none when it could not be read.
    manifest: Option<Manifest>,
    guest: Option<Box<dyn Guest>>,
    health: Health,
    when_missing: WhenMissing,
}

impl Plugin {
    /// Makes a plugin that runs.
    #[must_use]
    pub fn running(manifest: Manifest, guest: Box<dyn Guest>, policy: HealthPolicy) -> Self {
        Self {
            id: manifest.id.as_str().into(),
            manifest: Some(manifest),
            guest: Some(guest),
            health: Health::new(policy),
            when_missing: WhenMissing::Reject,
        }
    }

    /// Makes a plugin that could not be loaded. If its manifest could be read, its guards reject; if not,
    /// `when_missing` decides.
    #[must_use]
    pub fn missing(id: &str, manifest: Option<Manifest>, when_missing: WhenMissing) -> Self {
        Self {
            id: id.into(),
            manifest,
            guest: None,
            health: Health::new(HealthPolicy::default()),
            when_missing,
        }
    }

    /// Returns what it declares, if that could be read.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.guest.is_some()
    }

    pub(super) fn is_slow(&self) -> bool {
        self.guest.as_ref().is_some_and(|guest| guest.is_slow())
    }

    /// Enters the plugin if it is fit, and notes how that ended.
    pub(super) fn enter<T>(
        &self,
        hook: &str,
        call: Box<Call>,
        enter: impl FnOnce(&dyn Guest, Box<Call>) -> Answer<T>,
    ) -> Answer<T> {
        let Some(guest) = &self.guest else {
            return (call, Err(Failure::NotRunning));
        };
        if let Err(failure) = self.health.admit() {
            return (call, Err(failure));
        }
        let (call, outcome) = enter(&**guest, call);
        match &outcome {
            Ok(_) => {
                self.health.report(None);
            }
            Err(failure) => self.blame(hook, failure),
        }
        (call, outcome)
    }

    /// Notes a failure and tells the operator.
    fn blame(&self, hook: &str, failure: &Failure) {
        tracing::warn!(plugin = %self.id, hook, %failure, "a plugin failed");
        if let Some(length) = self.health.report(Some(failure)) {
            tracing::error!(plugin = %self.id, seconds = length.as_secs_f32(), "a plugin is quarantined");
        }
    }

    /// Makes the answer to a client whose request the plugin refused.
    pub(super) fn error(&self, error: PluginError) -> RequestError {
        namespaced(&self.id, error)
    }

    /// Makes the answer to a client whose request needed the plugin.
    pub(super) fn failure(&self, hook: &str, failure: &Failure) -> RequestError {
        let id = &self.id;
        match failure {
            Failure::Quarantined | Failure::NotRunning | Failure::Busy => {
                let message = format!("The plugin {id} can't be asked ({hook}): {failure}.");
                RequestError::new(Code::PluginUnavailable, message)
            }
            Failure::Store(_) => RequestError::new(Code::StorageFailed, "The server can't read its data."),
            _ => RequestError::new(Code::PluginFailed, format!("The plugin {id} broke down ({hook}).")),
        }
    }
}

/// A plugin at a hook, with the filters that its manifest declares.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) plugin: Arc<Plugin>,
    /// Whether a failure skips this plugin alone.
    pub(super) fails_open: bool,
    conversation_kinds: Vec<String>,
    content_kinds: Vec<String>,
}

impl Link {
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
}

impl Registry {
    /// Sorts plugins into the chains of the hooks that they declare.
    #[must_use]
    pub fn new(plugins: Vec<Plugin>) -> Self {
        let mut registry = Self::default();
        for plugin in plugins.into_iter().map(Arc::new) {
            registry.add(&plugin);
            registry.plugins.push(plugin);
        }
        registry
    }

    fn add(&mut self, plugin: &Arc<Plugin>) {
        let Some(manifest) = &plugin.manifest else {
            if plugin.when_missing == WhenMissing::Reject {
                self.before_send.push(Link {
                    plugin: plugin.clone(),
                    fails_open: false,
                    conversation_kinds: Vec::new(),
                    content_kinds: Vec::new(),
                });
            }
            return;
        };
        for hook in &manifest.hooks {
            let link = Link {
                plugin: plugin.clone(),
                fails_open: hook.class == Some(Class::Transform),
                conversation_kinds: hook.conversation_kinds.clone(),
                content_kinds: hook.content_kinds.clone(),
            };
            match hook.hook {
                HookName::Authenticate => self.authenticate.push(plugin.clone()),
                HookName::BeforeSend => self.before_send.push(link),
                HookName::AfterSend => self.after_send.push(link),
                HookName::Render => self.render.push(link),
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

    /// Returns the observers that want such a message.
    pub(crate) fn observers<'a>(
        &'a self,
        conversation_kind: &'a str,
        kind: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Plugin>> {
        self.after_send
            .iter()
            .filter(move |link| link.matches(conversation_kind, kind))
            .map(|link| &link.plugin)
    }
}
