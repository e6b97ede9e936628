//! Hook points: which plugins are asked, in which order, and what their answers add up to. Knows nothing of what a
//! plugin is made of.

mod guest;
mod health;
mod jobs;
mod meter;
mod observers;
mod outbox;
mod registry;
mod settlement;
mod timers;

pub use guest::{
    Access, Acting, Answer, Call, CallMark, CallerName, Effects, Failure, Guest, Identity, Judged, Message, Objection,
    PluginError, PluginEvent, SessionEnd, Signal, Transact, Usage, Verdict, origin,
};
pub use health::{Health, HealthPolicy, Quarantine};
pub use jobs::{Jobs, add_job};
pub use meter::{BUCKETS_NS, HookCounts, Meter};
pub use observers::Observers;
pub use outbox::{Audience, DeadLetter, DeadMessage, Outbox};
pub use registry::{Plugin, Registry, SessionChange, WhenMissing};
pub(crate) use settlement::ATTEMPTS;
pub use settlement::{Sealed, Settlement};
pub use timers::{Timer, Timers, cancel_timer, set_timer};

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use courtyard_plugin_sdk::hook::Request;
use courtyard_plugin_sdk::manifest::HookName;
use courtyard_plugin_sdk::{Act, Change, HttpRequest, HttpResponse};

use crate::log::Conversation;
use crate::wire::{ErrorCode, RequestError, content};
use registry::Link;

/// The plugins of a host at their hook points.
#[derive(Debug)]
pub struct Hooks {
    registry: ArcSwap<Registry>,
}

/// What the `before_send` chain made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The content, if a plugin replaced it.
    pub content: Option<Bytes>,
}

impl Hooks {
    /// Makes the hook points of a set of plugins.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self {
            registry: ArcSwap::from_pointee(registry),
        }
    }

    /// Returns the plugins as they are now.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    /// Puts another set of plugins in place. Calls in flight end on the plugins that they began with.
    pub fn replace(&self, registry: Registry) {
        self.registry.store(Arc::new(registry));
    }

    /// Whether a message goes past plugins that should not run on a thread that others wait for.
    #[must_use]
    pub fn before_send_is_slow(&self, conversation_kind: &str, kind: &str) -> bool {
        let registry = self.registry.load();
        registry
            .before_send
            .iter()
            .any(|link| link.matches(conversation_kind, kind) && link.plugin.is_slow())
    }

    /// Asks the plugins about a message, in order. The first rejection ends the chain.
    ///
    /// # Errors
    /// The rejection of a plugin; or `internal` or `unavailable` when a guard could not decide.
    pub fn before_send(
        &self,
        mut call: Box<Call>,
        conversation: &Conversation,
        message: &Message<'_>,
    ) -> (Box<Call>, Result<Passed, RequestError>) {
        let registry = self.registry.load();
        let mut replaced: Option<Bytes> = None;
        for link in &registry.before_send {
            if !link.matches(message.conversation_kind, message.kind) || !link.is_for(&mut call, conversation) {
                continue;
            }
            let current = Message {
                content: replaced.as_deref().unwrap_or(message.content),
                ..*message
            };
            let mark = link.fails_open.then(|| call.mark());
            let judgement;
            (call, judgement) = link
                .plugin
                .before_send(call, &current, |objection| checked(objection, link, message.kind));
            match judgement.map_err(|objection| *objection) {
                Ok(()) => {}
                Err(Objection::Replace(content)) => replaced = Some(content.into()),
                Err(Objection::Reject(error)) => return (call, Err(link.plugin.error(error))),
                Err(Objection::Failed(failure)) => match mark {
                    Some(mark) => call.roll_back(mark),
                    None => return (call, Err(link.plugin.failure("before_send", &failure))),
                },
            }
        }
        (call, Ok(Passed { content: replaced }))
    }

    /// Asks the auth plugins, in order, who a token stands for.
    ///
    /// # Errors
    /// `unauthenticated` when no plugin knows the token, the answer of the plugin that refuses it, or
    /// `internal` and `unavailable`.
    pub fn authenticate(&self, mut call: Box<Call>, token: &str) -> (Box<Call>, Result<Identity, RequestError>) {
        let (registry, call_app) = (self.registry.load(), call.app.clone());
        let request = || Request::Authenticate {
            app: call_app.as_str().to_owned(),
            token: token.to_owned(),
        };
        for plugin in &registry.authenticate {
            let outcome;
            (call, outcome) = plugin.enter(call, request(), guest::identity);
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
            // The token may be one of its own.
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
        let (call, outcome) = plugin.enter(call, request, guest::value);
        let outcome = match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(plugin.error(error)),
            Err(failure) => Err(plugin.failure(name, &failure)),
        };
        (call, outcome)
    }

    /// Calls a method on behalf of the caller of a call, for the plugin that is in it.
    ///
    /// # Errors
    /// As [`Hooks::call`], and `methods.cycle` when that plugin is in the call already. Nothing is left then of what the
    /// other plugin wrote.
    pub fn call_between(
        &self,
        mut call: Box<Call>,
        plugin: &Arc<str>,
        method: &str,
        params: &str,
    ) -> (Box<Call>, Result<Bytes, RequestError>) {
        let wanted = method.split_once('.').map_or(method, |(id, _)| id);
        call.asking.push(plugin.clone());
        if call.asking.iter().any(|asking| &**asking == wanted) {
            let path: Vec<&str> = call.asking.iter().map(|asking| &**asking).collect();
            let message = format!("{} asked for {wanted:?}, which is in the call.", path.join(" → "));
            call.asking.pop();
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
        call.asking.pop();
        if outcome.is_err() {
            call.roll_back(mark);
        }
        (call, outcome)
    }

    /// Asks the plugins about an act on a message, in order. The first refusal ends the chain.
    ///
    /// # Errors
    /// The refusal of a plugin; or `internal` or `unavailable` when one could not decide.
    pub fn before_act(
        &self,
        mut call: Box<Call>,
        conversation: &Conversation,
        act: &Act,
    ) -> (Box<Call>, Result<(), RequestError>) {
        let registry = self.registry.load();
        for link in &registry.before_act {
            if !link.matches(&act.conversation_kind, &act.target_kind) || !link.is_for(&mut call, conversation) {
                continue;
            }
            let outcome;
            (call, outcome) = link.plugin.enter(call, Request::BeforeAct(act.clone()), guest::done);
            if let Err(error) = link.plugin.allowed("before_act", outcome) {
                return (call, Err(error));
            }
        }
        (call, Ok(()))
    }

    /// Whether some plugin decides about acts in conversations of a kind that are about no message.
    #[must_use]
    pub fn decides_about_acts(&self, conversation_kind: &str) -> bool {
        let registry = self.registry.load();
        registry
            .before_act
            .iter()
            .any(|link| link.matches(conversation_kind, ""))
    }

    /// Asks the plugins about a change of a conversation that a plugin has made in a call, in order. Neither that plugin nor
    /// those that wait in the call are asked. The first refusal ends the chain.
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
        call.asking.push(plugin.clone());
        let mut outcome = Ok(());
        for link in &registry.before_change {
            let waits = call.asking.contains(&link.plugin.id);
            if waits || !link.wants_conversation(&change.kind) {
                continue;
            }
            let answer;
            (call, answer) = link
                .plugin
                .enter(call, Request::BeforeChange(change.clone()), guest::done);
            outcome = link.plugin.allowed("before_change", answer);
            if outcome.is_err() {
                break;
            }
        }
        call.asking.pop();
        (call, outcome)
    }

    /// Lets a plugin answer a request of HTTP to its own part of the interface; none if it has none.
    ///
    /// # Errors
    /// `internal` or `unavailable`; the plugin's own error is inside.
    #[expect(clippy::type_complexity, reason = "the plugin's own error is no failure")]
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
        let (call, outcome) = plugin.enter(call, Request::Http(request), guest::response);
        let outcome = match outcome {
            Ok(answer) => Ok(answer.map_err(|error| plugin.error(error))),
            Err(failure) => Err(plugin.failure("http", &failure)),
        };
        (call, Some(outcome))
    }

    /// Asks a plugin about a blob of its own; none if it does not decide about that.
    ///
    /// # Errors
    /// The refusal of the plugin; or `internal` or `unavailable` when it could not decide.
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
        let (call, outcome) = plugin.enter(call, request, guest::done);
        let outcome = plugin.allowed(hook.name(), outcome);
        (call, Some(outcome))
    }

    /// Returns the plugins that are to hear of a change of a session.
    #[must_use]
    pub fn session_observers(&self, change: SessionChange) -> Vec<Arc<Plugin>> {
        let registry = self.registry.load();
        match change {
            SessionChange::Connected => registry.connected.clone(),
            SessionChange::Disconnected => registry.disconnected.clone(),
        }
    }

    /// Whether some plugin changes what viewers see.
    #[must_use]
    pub fn renders(&self) -> bool {
        !self.registry.load().render.is_empty()
    }

    /// Asks the plugins what a viewer sees of some messages. A plugin that fails is skipped. Returns new contents.
    pub fn render(
        &self,
        mut call: Box<Call>,
        viewer: &str,
        messages: &[Message<'_>],
    ) -> (Box<Call>, Vec<Option<Bytes>>) {
        let registry = self.registry.load();
        let mut contents: Vec<Option<Bytes>> = vec![None; messages.len()];
        for link in &registry.render {
            let wanted: Vec<usize> = (0..messages.len())
                .filter(|index| link.matches(messages[*index].conversation_kind, messages[*index].kind))
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
            (call, outcome) = link.plugin.enter(call, request, |reply| {
                guest::contents(reply).and_then(|rendered| checked_rendering(rendered, &batch))
            });
            match outcome {
                Ok(Ok(rendered)) => {
                    for (index, content) in wanted.into_iter().zip(rendered) {
                        contents[index] = content.map(Bytes::from).or(contents[index].take());
                    }
                }
                Ok(Err(error)) => tracing::warn!(plugin = %link.plugin.id, code = error.code, "render refused"),
                Err(_) => {}
            }
        }
        (call, contents)
    }
}

/// Holds an objection against what the class of the hook allows.
fn checked(objection: Box<Objection>, link: &Link, kind: &str) -> Box<Objection> {
    let wrong = match &*objection {
        Objection::Replace(content) => check_content(kind, content).err(),
        Objection::Reject(_) if link.fails_open => Some("a transform can't reject; that is for a guard".to_owned()),
        Objection::Reject(_) | Objection::Failed(_) => None,
    };
    match wrong {
        None => objection,
        Some(reason) => Box::new(Objection::Failed(Failure::Contract(reason))),
    }
}

type Rendering = Result<Vec<Option<Vec<u8>>>, PluginError>;

/// Holds new contents against the messages that they are for.
fn checked_rendering(rendering: Rendering, messages: &[Message<'_>]) -> Result<Rendering, Failure> {
    if let Ok(contents) = &rendering {
        if contents.len() != messages.len() {
            return Err(Failure::Contract(
                "render returned another number of messages".to_owned(),
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
    // Kinds of the plugins' own are not checked any further, but must not break the frame that they are put into.
    serde_json::from_str::<&serde_json::value::RawValue>(text).map_err(|error| format!("the new content: {error}"))?;
    content::check(kind, text.trim_start()).map_err(|error| error.to_string())
}

/// Puts the plugin's id in front of its code, and keeps both in bounds.
fn namespaced(plugin: &str, error: PluginError) -> RequestError {
    // With dots, since it may be one that the plugin had from another.
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
