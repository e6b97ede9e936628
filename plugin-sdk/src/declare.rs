//! Compile-time checks of what [`register!`](crate::register!) declares.

use crate::manifest::{Class, HookName};
use crate::{
    Act, Blob, Change, Context, Error, Event, HttpRequest, HttpResponse, Identity, Job, Message, Plugin, Verdict,
};

/// The hooks that a plugin declares: [`Context`] for each of them, and [`NotDeclared`] for the others.
/// [`register!`](crate::register!) implements it.
///
/// The hooks of [`Plugin`](crate::Plugin) take these types. So a hook that is implemented with `&Context`, but not
/// declared, doesn't compile.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not registered as a plugin",
    note = "declare it with `register!`, which lists its hooks"
)]
pub trait Declared {
    /// Context of [`Plugin::authenticate`](crate::Plugin::authenticate).
    type Authenticate: HookContext;
    /// Context of [`Plugin::before_send`](crate::Plugin::before_send).
    type BeforeSend: HookContext;
    /// Context of [`Plugin::after_send`](crate::Plugin::after_send).
    type AfterSend: HookContext;
    /// Context of [`Plugin::render`](crate::Plugin::render).
    type Render: HookContext;
    /// Context of [`Plugin::timer`](crate::Plugin::timer).
    type Timer: HookContext;
    /// Context of [`Plugin::connected`](crate::Plugin::connected).
    type Connected: HookContext;
    /// Context of [`Plugin::disconnected`](crate::Plugin::disconnected).
    type Disconnected: HookContext;
    /// Context of [`Plugin::before_act`](crate::Plugin::before_act).
    type BeforeAct: HookContext;
    /// Context of [`Plugin::after_act`](crate::Plugin::after_act).
    type AfterAct: HookContext;
    /// Context of [`Plugin::before_change`](crate::Plugin::before_change).
    type BeforeChange: HookContext;
    /// Context of [`Plugin::after_change`](crate::Plugin::after_change).
    type AfterChange: HookContext;
    /// Context of [`Plugin::push`](crate::Plugin::push).
    type Push: HookContext;
    /// Context of [`Plugin::event`](crate::Plugin::event).
    type Event: HookContext;
    /// Context of [`Plugin::http`](crate::Plugin::http).
    type Http: HookContext;
    /// Context of [`Plugin::before_upload`](crate::Plugin::before_upload).
    type BeforeUpload: HookContext;
    /// Context of [`Plugin::complete_upload`](crate::Plugin::complete_upload).
    type CompleteUpload: HookContext;
    /// Context of [`Plugin::before_download`](crate::Plugin::before_download).
    type BeforeDownload: HookContext;
    /// Context of [`Plugin::before_remove`](crate::Plugin::before_remove).
    type BeforeRemove: HookContext;
    /// Context of [`Plugin::action`](crate::Plugin::action).
    type Action: HookContext;
}

/// What a hook gets as its context: [`Context`], or [`NotDeclared`] if the host never calls it.
pub trait HookContext: sealed::Sealed {
    #[doc(hidden)]
    fn of(cx: &Context) -> Option<&Self>;
}

/// The context of a hook that [`register!`](crate::register!) doesn't declare. It has no values, since the host doesn't call
/// such a hook.
#[derive(Debug)]
pub enum NotDeclared {}

impl HookContext for Context {
    fn of(cx: &Context) -> Option<&Self> {
        Some(cx)
    }
}

impl HookContext for NotDeclared {
    fn of(_cx: &Context) -> Option<&Self> {
        None
    }
}

/// The hooks of a plugin as the host calls them: those that it doesn't declare do nothing.
#[derive(Debug)]
pub(crate) struct DeclaredHooks<'a, P>(pub(crate) &'a P);

fn declared<C: HookContext>(cx: &Context) -> Option<&C> {
    C::of(cx)
}

impl<P: Plugin> DeclaredHooks<'_, P> {
    pub(crate) fn authenticate(&self, cx: &Context, app: &str, token: &str) -> Result<Option<Identity>, Error> {
        declared(cx).map_or(Ok(None), |cx| self.0.authenticate(cx, app, token))
    }

    pub(crate) fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        declared(cx).map_or(Verdict::Accept, |cx| self.0.before_send(cx, message))
    }

    pub(crate) fn after_send(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.after_send(cx, message))
    }

    pub(crate) fn render(
        &self,
        cx: &Context,
        viewer: &str,
        messages: &[Message<'_>],
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        match declared(cx) {
            Some(cx) => self.0.render(cx, viewer, messages),
            None => Ok(vec![None; messages.len()]),
        }
    }

    pub(crate) fn timer(&self, cx: &Context, name: &str, payload: &[u8]) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.timer(cx, name, payload))
    }

    pub(crate) fn connected(&self, cx: &Context) {
        if let Some(cx) = declared(cx) {
            self.0.connected(cx);
        }
    }

    pub(crate) fn disconnected(&self, cx: &Context) {
        if let Some(cx) = declared(cx) {
            self.0.disconnected(cx);
        }
    }

    pub(crate) fn before_act(&self, cx: &Context, act: &Act) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.before_act(cx, act))
    }

    pub(crate) fn after_act(&self, cx: &Context, act: &Act) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.after_act(cx, act))
    }

    pub(crate) fn before_change(&self, cx: &Context, change: &Change) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.before_change(cx, change))
    }

    pub(crate) fn after_change(&self, cx: &Context, change: &Change) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.after_change(cx, change))
    }

    pub(crate) fn push(&self, cx: &Context, message: &Message<'_>, recipients: &[String]) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.push(cx, message, recipients))
    }

    pub(crate) fn event(&self, cx: &Context, event: &Event) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.event(cx, event))
    }

    pub(crate) fn http(&self, cx: &Context, request: &HttpRequest) -> Result<HttpResponse, Error> {
        match declared(cx) {
            Some(cx) => self.0.http(cx, request),
            None => Ok(not_found()),
        }
    }

    pub(crate) fn before_upload(&self, cx: &Context, blob: &Blob, is_member: bool) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.before_upload(cx, blob, is_member))
    }

    pub(crate) fn complete_upload(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.complete_upload(cx, blob))
    }

    pub(crate) fn before_download(&self, cx: &Context, blob: &Blob, is_member: bool) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.before_download(cx, blob, is_member))
    }

    pub(crate) fn before_remove(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.before_remove(cx, blob))
    }

    pub(crate) fn action(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        declared(cx).map_or(Ok(()), |cx| self.0.action(cx, job))
    }
}

/// Returns the response of a plugin without the hook `http`.
pub(crate) fn not_found() -> HttpResponse {
    HttpResponse::new(
        404,
        "text/plain",
        "There is nothing here.
",
    )
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::Context {}
    impl Sealed for super::NotDeclared {}
}

/// Chooses the context of a hook by whether it is declared.
#[doc(hidden)]
#[derive(Debug)]
pub enum Choice<const DECLARED: bool> {}

#[doc(hidden)]
pub trait Chosen {
    type Context: HookContext;
}

impl Chosen for Choice<true> {
    type Context = Context;
}

impl Chosen for Choice<false> {
    type Context = NotDeclared;
}

/// A hook with its class and filters in [`register!`](crate::register!).
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    pub hook: HookName,
    pub class: Option<Class>,
    /// The names of its filters.
    pub filters: &'static [&'static str],
    /// The values of each filter, if it is `events`.
    pub events: &'static [&'static [&'static str]],
}

/// Returns whether a hook is declared.
#[doc(hidden)]
#[must_use]
pub const fn declares(hooks: &[HookName], hook: HookName) -> bool {
    let mut at = 0;
    while at < hooks.len() {
        if hooks[at] as usize == hook as usize {
            return true;
        }
        at += 1;
    }
    false
}

/// Stops the compiler where a declaration breaks a rule that hosts check.
///
/// # Panics
/// At the first rule that it breaks.
#[doc(hidden)]
pub const fn check(id: &str, after: &[&str], capabilities: &[&str], hooks: &[Declaration], methods: &[&str]) {
    assert!(
        is_name(id, true),
        "`id` must be 1 to 32 of a-z 0-9 _ -, with a letter first"
    );
    let mut at = 0;
    while at < after.len() {
        assert!(
            is_name(after[at], true),
            "`after` takes ids of plugins: 1 to 32 of a-z 0-9 _ -, with a letter first"
        );
        at += 1;
    }
    at = 0;
    while at < methods.len() {
        assert!(
            is_name(methods[at], false),
            "the name of a method must be 1 to 32 of a-z 0-9 _, with a letter first"
        );
        assert!(!contains(methods, at, methods[at]), "a method is declared twice");
        at += 1;
    }
    at = 0;
    while at < hooks.len() {
        check_hook(hooks[at], capabilities);
        let mut other = 0;
        while other < at {
            assert!(
                hooks[at].hook as usize != hooks[other].hook as usize,
                "a hook is declared twice"
            );
            other += 1;
        }
        at += 1;
    }
}

const fn check_hook(declaration: Declaration, capabilities: &[&str]) {
    let hook = declaration.hook;
    assert!(
        hook.is_declared(),
        "`transaction`, `method` and `migrate` are not listed among the hooks"
    );
    assert!(
        matches!(hook, HookName::BeforeSend) == declaration.class.is_some(),
        "`before_send` needs a class, `(guard)` or `(transform)`, and no other hook takes one"
    );
    if let Some(capability) = hook.capability() {
        assert!(
            contains(capabilities, capabilities.len(), capability),
            "a hook needs a capability: `timer` timers, `event` events, `http` http, `action` jobs, hooks of blobs blobs"
        );
    }
    let filters = declaration.filters;
    if contains(filters, filters.len(), "watched") {
        assert!(
            hook.can_be_watched(),
            "`watched` is a filter of `before_send`, `after_send`, `before_act`, `after_act` and `push` alone"
        );
        assert!(
            contains(capabilities, capabilities.len(), "watches"),
            "the filter `watched` needs the capability `watches`"
        );
    }
    assert!(
        !contains(filters, filters.len(), "events") || matches!(hook, HookName::Event),
        "`events` is a filter of `event` alone"
    );
    let mut filter = 0;
    while filter < declaration.events.len() {
        let events = declaration.events[filter];
        let mut at = 0;
        while at < events.len() {
            assert!(is_event(events[at]), "the filter `events` takes `PLUGIN.NAME`");
            at += 1;
        }
        filter += 1;
    }
}

/// Returns whether one of the first `count` texts is `wanted`.
const fn contains(texts: &[&str], count: usize, wanted: &str) -> bool {
    let mut at = 0;
    while at < count {
        if is_equal(texts[at].as_bytes(), wanted.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

const fn is_name(name: &str, hyphens: bool) -> bool {
    is_name_between(name.as_bytes(), 0, name.len(), hyphens)
}

const fn is_name_between(bytes: &[u8], start: usize, end: usize, hyphens: bool) -> bool {
    if start >= end || end - start > 32 || !bytes[start].is_ascii_lowercase() {
        return false;
    }
    let mut at = start;
    while at < end {
        match bytes[at] {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => {}
            b'-' if hyphens => {}
            _ => return false,
        }
        at += 1;
    }
    true
}

/// Returns whether a text is the id of a plugin, a dot, and the name of an event.
const fn is_event(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut dot = 0;
    while dot < bytes.len() && bytes[dot] != b'.' {
        dot += 1;
    }
    dot + 1 < bytes.len() && is_name_between(bytes, 0, dot, true)
}
