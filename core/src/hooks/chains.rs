//! The chains of plugins at the hooks, and how the outcomes of a chain are folded.

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use courtyard_plugin_sdk::hook::Request;
use courtyard_plugin_sdk::manifest::HookName;
use courtyard_plugin_sdk::{Act, Change, HttpRequest, HttpResponse};

use super::registry::ChainEntry;
use super::{Call, Deviation, Failure, Identity, Message, Plugin, PluginError, Registry, SessionChange, reply};
use crate::log::Conversation;
use crate::wire::{ErrorCode, RequestError, content};

/// The plugins of a host at their hook points.
#[derive(Debug)]
pub struct Hooks {
    registry: ArcSwap<Registry>,
}

/// A message that passed the `before_send` chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedMessage {
    /// The new content, if a plugin replaced it.
    pub content: Option<Bytes>,
}

impl Hooks {
    /// Creates the hook points of a set of plugins.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self {
            registry: ArcSwap::from_pointee(registry),
        }
    }

    /// Returns the present set of plugins.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    /// Replaces the set of plugins. Calls in flight finish on the plugins that they began with.
    pub fn replace(&self, registry: Registry) {
        self.registry.store(Arc::new(registry));
    }

    /// Returns whether `before_send` of a message calls plugins that are too slow for a thread that others wait for.
    #[must_use]
    pub fn before_send_is_slow(&self, conversation_kind: &str, kind: &str) -> bool {
        let registry = self.registry.load();
        registry
            .before_send
            .iter()
            .any(|entry| entry.matches(conversation_kind, kind) && entry.plugin.is_slow())
    }

    /// Calls `before_send` of the plugins, in order. The first rejection ends the chain.
    ///
    /// # Errors
    /// The rejection of a plugin; or `internal` or `unavailable` when a guard failed.
    pub fn before_send(
        &self,
        mut call: Box<Call>,
        conversation: &Conversation,
        message: &Message<'_>,
    ) -> (Box<Call>, Result<AcceptedMessage, RequestError>) {
        let registry = self.registry.load();
        let mut replaced: Option<Bytes> = None;
        for entry in &registry.before_send {
            if !entry.matches(message.conversation_kind, message.kind) || !entry.applies_to(&mut call, conversation) {
                continue;
            }
            let current = Message {
                content: replaced.as_deref().unwrap_or(message.content),
                ..*message
            };
            let mark = entry.fails_open.then(|| call.mark());
            let outcome;
            (call, outcome) = entry
                .plugin
                .before_send(call, &current, |deviation| checked(deviation, entry, message.kind));
            match outcome.map_err(|deviation| *deviation) {
                Ok(()) => {}
                Err(Deviation::Replace(content)) => replaced = Some(content.into()),
                Err(Deviation::Reject(error)) => return (call, Err(entry.plugin.error(error))),
                Err(Deviation::Failed(failure)) => match mark {
                    Some(mark) => call.roll_back(mark),
                    None => return (call, Err(entry.plugin.failure("before_send", &failure))),
                },
            }
        }
        (call, Ok(AcceptedMessage { content: replaced }))
    }

    /// Calls `authenticate` of the plugins, in order, until one knows the token.
    ///
    /// # Errors
    /// `unauthenticated` when no plugin knows the token, with the message of the plugin that refuses it; or
    /// `internal` and `unavailable`.
    pub fn authenticate(&self, mut call: Box<Call>, token: &str) -> (Box<Call>, Result<Identity, RequestError>) {
        let (registry, call_app) = (self.registry.load(), call.app.clone());
        let request = || Request::Authenticate {
            app: call_app.as_str().to_owned(),
            token: token.to_owned(),
        };
        for plugin in &registry.authenticate {
            let outcome;
            (call, outcome) = plugin.enter(call, request(), reply::identity);
            match outcome {
                Ok(Ok(Some(identity))) => return (call, Ok(identity)),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    let message = error.message;
                    return (call, Err(RequestError::new(ErrorCode::Unauthenticated, message)));
                }
                Err(failure) => return (call, Err(plugin.failure("authenticate", &failure))),
            }
        }
        let error = match registry.unknown.first() {
            // The missing plugin might know the token.
            Some(plugin) => plugin.failure("authenticate", &Failure::NotRunning),
            None => RequestError::new(ErrorCode::Unauthenticated, "The token is unknown."),
        };
        (call, Err(error))
    }

    /// Calls a method, `PLUGIN.NAME`, with a JSON value.
    ///
    /// # Errors
    /// `unknown_method`, `unauthenticated`, the plugin's own error, `internal` or `unavailable`.
    pub fn call(&self, call: Box<Call>, method: &str, params: &str) -> (Box<Call>, Result<Bytes, RequestError>) {
        let unknown = || {
            let shown: String = method.chars().take(100).collect();
            RequestError::new(ErrorCode::UnknownMethod, format!("There is no method {shown:?}."))
        };
        let registry = self.registry.load();
        let Some((plugin, name)) = method
            .split_once('.')
            .and_then(|(id, name)| Some((registry.plugin(id)?, name)))
        else {
            return (call, Err(unknown()));
        };
        if let Some(manifest) = plugin.manifest() {
            match manifest.methods.iter().find(|method| method.name == name) {
                None => return (call, Err(unknown())),
                Some(method) if call.caller.actor.is_none() && !method.anonymous => {
                    return (
                        call,
                        Err(RequestError::new(ErrorCode::Unauthenticated, "Sign in first.")),
                    );
                }
                Some(_) => {}
            }
        }
        let request = Request::Method {
            name: name.to_owned(),
            params: params.as_bytes().to_vec(),
        };
        let (call, outcome) = plugin.enter(call, request, reply::value);
        let outcome = match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(plugin.error(error)),
            Err(failure) => Err(plugin.failure(name, &failure)),
        };
        (call, outcome)
    }

    /// Calls a method for `plugin`, which is in the call, on behalf of the caller.
    ///
    /// # Errors
    /// As [`Hooks::call`], and `methods.cycle` when the called plugin is in the call already. The writes of the called
    /// plugin are then rolled back.
    pub fn call_between(
        &self,
        mut call: Box<Call>,
        plugin: &Arc<str>,
        method: &str,
        params: &str,
    ) -> (Box<Call>, Result<Bytes, RequestError>) {
        let wanted = method.split_once('.').map_or(method, |(id, _)| id);
        call.waiting_plugins.push(plugin.clone());
        if call.waiting_plugins.iter().any(|waiting| &**waiting == wanted) {
            let path: Vec<&str> = call.waiting_plugins.iter().map(|waiting| &**waiting).collect();
            let message = format!(
                "The plugin {wanted:?} is in the call already: {} → {wanted}.",
                path.join(" → ")
            );
            call.waiting_plugins.pop();
            let error = RequestError {
                code: Cow::Borrowed("methods.cycle"),
                message: Cow::Owned(message),
                retry: false,
            };
            return (call, Err(error));
        }
        let mark = call.mark();
        let (back, outcome) = self.call(call, method, params);
        call = back;
        call.waiting_plugins.pop();
        if outcome.is_err() {
            call.roll_back(mark);
        }
        (call, outcome)
    }

    /// Calls `before_act` of the plugins, in order. The first refusal ends the chain.
    ///
    /// # Errors
    /// The refusal of a plugin; or `internal` or `unavailable` when one failed.
    pub fn before_act(
        &self,
        mut call: Box<Call>,
        conversation: &Conversation,
        act: &Act,
    ) -> (Box<Call>, Result<(), RequestError>) {
        let registry = self.registry.load();
        for entry in &registry.before_act {
            if !entry.matches(&act.conversation_kind, &act.target_kind) || !entry.applies_to(&mut call, conversation) {
                continue;
            }
            let outcome;
            (call, outcome) = entry.plugin.enter(call, Request::BeforeAct(act.clone()), reply::done);
            if let Err(error) = entry.plugin.allowed("before_act", outcome) {
                return (call, Err(error));
            }
        }
        (call, Ok(()))
    }

    /// Returns whether some plugin guards acts without a target message in conversations of a kind.
    #[must_use]
    pub fn decides_about_acts(&self, conversation_kind: &str) -> bool {
        let registry = self.registry.load();
        registry
            .before_act
            .iter()
            .any(|entry| entry.matches(conversation_kind, ""))
    }

    /// Calls `before_change` of the plugins, in order, for a change of a conversation that `plugin` made in a call. Neither
    /// that plugin nor those that wait in the call are called. The first refusal ends the chain.
    ///
    /// # Errors
    /// As [`Hooks::before_act`].
    pub fn before_change(
        &self,
        mut call: Box<Call>,
        plugin: &Arc<str>,
        change: &Change,
    ) -> (Box<Call>, Result<(), RequestError>) {
        let registry = self.registry.load();
        call.waiting_plugins.push(plugin.clone());
        let mut outcome = Ok(());
        for entry in &registry.before_change {
            let waits = call.waiting_plugins.contains(&entry.plugin.id);
            if waits || !entry.wants_conversation(&change.kind) {
                continue;
            }
            let result;
            (call, result) = entry
                .plugin
                .enter(call, Request::BeforeChange(change.clone()), reply::done);
            outcome = entry.plugin.allowed("before_change", result);
            if outcome.is_err() {
                break;
            }
        }
        call.waiting_plugins.pop();
        (call, outcome)
    }

    /// Calls `http` of a plugin; none if it doesn't serve HTTP.
    ///
    /// # Errors
    /// `internal` or `unavailable`; the plugin's own error is inside.
    #[expect(clippy::type_complexity, reason = "an error of the plugin is not a failure")]
    pub fn http(
        &self,
        call: Box<Call>,
        plugin: &str,
        request: HttpRequest,
    ) -> (
        Box<Call>,
        Option<Result<Result<HttpResponse, RequestError>, RequestError>>,
    ) {
        let registry = self.registry.load();
        let Some(plugin) = registry.plugin(plugin).filter(|plugin| plugin.declares(HookName::Http)) else {
            return (call, None);
        };
        let (call, outcome) = plugin.enter(call, Request::Http(request), reply::response);
        let outcome = match outcome {
            Ok(answer) => Ok(answer.map_err(|error| plugin.error(error))),
            Err(failure) => Err(plugin.failure("http", &failure)),
        };
        (call, Some(outcome))
    }

    /// Calls a hook of a plugin for one of its blobs; none if it doesn't declare the hook.
    ///
    /// # Errors
    /// The refusal of the plugin; or `internal` or `unavailable` when it failed.
    pub fn blob(
        &self,
        call: Box<Call>,
        plugin: &str,
        request: Request,
    ) -> (Box<Call>, Option<Result<(), RequestError>>) {
        let (registry, hook) = (self.registry.load(), request.hook());
        let Some(plugin) = registry.plugin(plugin).filter(|plugin| plugin.declares(hook)) else {
            return (call, None);
        };
        let (call, outcome) = plugin.enter(call, request, reply::done);
        let outcome = plugin.allowed(hook.name(), outcome);
        (call, Some(outcome))
    }

    /// Returns the plugins that observe a change of a session.
    #[must_use]
    pub fn session_observers(&self, change: SessionChange) -> Vec<Arc<Plugin>> {
        let registry = self.registry.load();
        match change {
            SessionChange::Connected => registry.connected.clone(),
            SessionChange::Disconnected => registry.disconnected.clone(),
        }
    }

    /// Returns whether some plugin declares `render`.
    #[must_use]
    pub fn renders(&self) -> bool {
        !self.registry.load().render.is_empty()
    }

    /// Calls `render` of the plugins, in order, for the messages that a viewer reads. A plugin that fails is skipped. Returns
    /// the new content of each message; none leaves it as it is.
    pub fn render(
        &self,
        mut call: Box<Call>,
        viewer: &str,
        messages: &[Message<'_>],
    ) -> (Box<Call>, Vec<Option<Bytes>>) {
        let registry = self.registry.load();
        let mut contents: Vec<Option<Bytes>> = vec![None; messages.len()];
        for entry in &registry.render {
            let wanted: Vec<usize> = (0..messages.len())
                .filter(|index| entry.matches(messages[*index].conversation_kind, messages[*index].kind))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let batch: Vec<Message<'_>> = wanted
                .iter()
                .map(|index| Message {
                    content: contents[*index].as_deref().unwrap_or(messages[*index].content),
                    ..messages[*index]
                })
                .collect();
            let request = Request::Render {
                viewer: viewer.to_owned(),
                messages: batch.iter().map(Message::packed).collect(),
            };
            let outcome;
            (call, outcome) = entry.plugin.enter(call, request, |reply| {
                reply::contents(reply).and_then(|rendered| checked_rendering(rendered, &batch))
            });
            match outcome {
                Ok(Ok(rendered)) => {
                    for (index, content) in wanted.into_iter().zip(rendered) {
                        contents[index] = content.map(Bytes::from).or(contents[index].take());
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(plugin = %entry.plugin.id, code = error.code, "a plugin returned an error from render; it is skipped");
                }
                Err(_) => {}
            }
        }
        (call, contents)
    }
}

/// Turns a deviation that the class of the hook or the kind of the content doesn't allow into a failure.
fn checked(deviation: Box<Deviation>, entry: &ChainEntry, kind: &str) -> Box<Deviation> {
    let violation = match &*deviation {
        Deviation::Replace(content) => check_content(kind, content).err(),
        Deviation::Reject(_) if entry.fails_open => Some("a transform can't reject; only a guard can".to_owned()),
        Deviation::Reject(_) | Deviation::Failed(_) => None,
    };
    match violation {
        None => deviation,
        Some(reason) => Box::new(Deviation::Failed(Failure::Contract(reason))),
    }
}

type Rendering = Result<Vec<Option<Vec<u8>>>, PluginError>;

/// Fails when a rendering doesn't fit the messages.
fn checked_rendering(rendering: Rendering, messages: &[Message<'_>]) -> Result<Rendering, Failure> {
    if let Ok(contents) = &rendering {
        if contents.len() != messages.len() {
            return Err(Failure::Contract(
                "render returned a wrong number of messages".to_owned(),
            ));
        }
        for (content, message) in contents.iter().zip(messages) {
            if let Some(content) = content {
                check_content(message.kind, content).map_err(Failure::Contract)?;
            }
        }
    }
    Ok(rendering)
}

fn check_content(kind: &str, json: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(json).map_err(|_| "the new content is not UTF-8".to_owned())?;
    // Content of a plugin's own kind must at least be JSON, so that it can't break the frame around it.
    serde_json::from_str::<&serde_json::value::RawValue>(text).map_err(|error| format!("the new content: {error}"))?;
    content::check(kind, text.trim_start()).map_err(|error| error.to_string())
}

/// Prefixes the code with the plugin's id, and limits the length of code and message.
pub(super) fn namespaced(plugin: &str, error: PluginError) -> RequestError {
    // Dots are allowed: the plugin may pass on a code of another plugin.
    let well_formed = (1..=64).contains(&error.code.len())
        && error
            .code
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'));
    let code = if well_formed { error.code } else { "error".to_owned() };
    let mut message = error.message;
    if message.len() > 1_024 {
        let end = (0..=1_024)
            .rev()
            .find(|end| message.is_char_boundary(*end))
            .unwrap_or(0);
        message.truncate(end);
    }
    RequestError {
        code: Cow::Owned(format!("{plugin}.{code}")),
        message: Cow::Owned(message),
        retry: error.retry,
    }
}
