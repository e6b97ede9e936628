//! The plugin as a Wasm module: what the contract exports, and imports.

#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    reason = "generated code"
)]

use std::marker::PhantomData;

use crate::declare::DeclaredHooks;
use crate::{Act, Blob, Caller, Change, Context, Error, Event, HttpRequest, Job, Message, Registered, Verdict};

wit_bindgen::generate!({
    path: "wit",
    world: "plugin",
    pub_export_macro: true,
    default_bindings_module: "courtyard_plugin_sdk::wasm",
});

use courtyard::plugin::types;
use exports::courtyard::plugin as hooks;

/// Joins a registered plugin with the contract.
pub struct Adapter<P>(PhantomData<P>);

/// Copies a text into an array, for a custom section.
#[must_use]
pub const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = text.as_bytes()[at];
        at += 1;
    }
    bytes
}

pub(crate) fn plugin<P: Registered>() -> &'static P {
    match P::cell().get() {
        Some(plugin) => plugin,
        None => unreachable!("the host starts an instance before anything else"),
    }
}

fn declared_hooks<P: Registered>() -> DeclaredHooks<'static, P> {
    DeclaredHooks(plugin::<P>())
}

fn error(error: Error) -> types::Error {
    types::Error {
        code: error.code,
        message: error.message,
        retry: error.retry,
    }
}

fn view(message: &hooks::message::Message) -> Message<'_> {
    let ends = [
        message.app_end,
        message.conversation_end,
        message.conversation_kind_end,
        message.sender_end,
        message.receiver_end,
        message.kind_end,
        message.client_id_end,
        message.content_end,
    ];
    Message::new(&message.bytes, ends, message.seq, message.edits, message.time_ms)
}

impl<P: Registered> hooks::lifecycle::Guest for Adapter<P> {
    fn start(configuration: String) -> Result<(), types::Error> {
        let plugin = P::start(&configuration).map_err(error)?;
        let _ = P::cell().set(plugin);
        Ok(())
    }
}

impl<P: Registered> hooks::migration::Guest for Adapter<P> {
    fn migrate(from: String) -> Result<(), types::Error> {
        plugin::<P>().migrate(&Context::default(), &from).map_err(error)
    }
}

impl<P: Registered> hooks::auth::Guest for Adapter<P> {
    fn authenticate(app: String, token: String) -> Result<Option<hooks::auth::Identity>, types::Error> {
        let identity = declared_hooks::<P>()
            .authenticate(&Context::default(), &app, &token)
            .map_err(error)?;
        Ok(identity.map(|identity| hooks::auth::Identity {
            actor: identity.actor,
            credential: identity.credential,
            expires_at_ms: identity.expires_at_ms,
        }))
    }
}

impl<P: Registered> hooks::message::Guest for Adapter<P> {
    fn before_send(message: hooks::message::Message) -> hooks::message::Verdict {
        match declared_hooks::<P>().before_send(&Context::default(), &view(&message)) {
            Verdict::Accept => hooks::message::Verdict::Accept,
            Verdict::Replace(content) => hooks::message::Verdict::Replace(content),
            Verdict::Reject(refusal) => hooks::message::Verdict::Reject(error(refusal)),
        }
    }

    fn after_send(message: hooks::message::Message) -> Result<(), types::Error> {
        declared_hooks::<P>()
            .after_send(&Context::default(), &view(&message))
            .map_err(error)
    }

    fn before_act(done: hooks::message::Act) -> Result<(), types::Error> {
        declared_hooks::<P>()
            .before_act(&Context::default(), &act(done))
            .map_err(error)
    }

    fn after_act(done: hooks::message::Act) -> Result<(), types::Error> {
        declared_hooks::<P>()
            .after_act(&Context::default(), &act(done))
            .map_err(error)
    }

    fn render(viewer: String, messages: Vec<hooks::message::Message>) -> Result<Vec<Option<Vec<u8>>>, types::Error> {
        let views: Vec<Message<'_>> = messages.iter().map(view).collect();
        declared_hooks::<P>()
            .render(&Context::default(), &viewer, &views)
            .map_err(error)
    }
}

fn act(act: hooks::message::Act) -> Act {
    Act {
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

fn change(change: hooks::conversation::Change) -> Change {
    Change {
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

impl<P: Registered> hooks::conversation::Guest for Adapter<P> {
    fn before_change(changed: hooks::conversation::Change) -> Result<(), types::Error> {
        declared_hooks::<P>()
            .before_change(&Context::default(), &change(changed))
            .map_err(error)
    }

    fn after_change(changed: hooks::conversation::Change) -> Result<(), types::Error> {
        declared_hooks::<P>()
            .after_change(&Context::default(), &change(changed))
            .map_err(error)
    }
}

impl<P: Registered> hooks::push::Guest for Adapter<P> {
    fn deliver(message: hooks::message::Message, recipients: Vec<String>) -> Result<(), types::Error> {
        declared_hooks::<P>()
            .push(&Context::default(), &view(&message), &recipients)
            .map_err(error)
    }
}

impl<P: Registered> hooks::event::Guest for Adapter<P> {
    fn receive(event: hooks::event::Event) -> Result<(), types::Error> {
        let event = Event {
            app: event.app,
            plugin: event.plugin,
            name: event.name,
            actor: event.actor,
            payload: event.payload,
            time_ms: event.time_ms,
        };
        declared_hooks::<P>().event(&Context::default(), &event).map_err(error)
    }
}

impl<P: Registered> hooks::http::Guest for Adapter<P> {
    fn handle(caller: types::Caller, request: hooks::http::Request) -> Result<hooks::http::Response, types::Error> {
        let request = HttpRequest {
            method: request.method,
            path: request.path,
            query: request.query,
            headers: request
                .headers
                .into_iter()
                .map(|header| (header.name, header.value))
                .collect(),
            body: request.body,
        };
        let response = declared_hooks::<P>().http(&context(caller), &request).map_err(error)?;
        let header = |(name, value)| hooks::http::Header { name, value };
        Ok(hooks::http::Response {
            status: response.status,
            headers: response.headers.into_iter().map(header).collect(),
            body: response.body,
        })
    }
}

fn blob(blob: types::Blob) -> Blob {
    Blob {
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

impl<P: Registered> hooks::blob::Guest for Adapter<P> {
    fn before_upload(caller: types::Caller, begun: types::Blob, is_member: bool) -> Result<(), types::Error> {
        declared_hooks::<P>()
            .before_upload(&context(caller), &blob(begun), is_member)
            .map_err(error)
    }

    fn complete_upload(caller: types::Caller, complete: types::Blob) -> Result<(), types::Error> {
        declared_hooks::<P>()
            .complete_upload(&context(caller), &blob(complete))
            .map_err(error)
    }

    fn before_download(caller: types::Caller, wanted: types::Blob, is_member: bool) -> Result<(), types::Error> {
        declared_hooks::<P>()
            .before_download(&context(caller), &blob(wanted), is_member)
            .map_err(error)
    }

    fn before_remove(caller: types::Caller, doomed: types::Blob) -> Result<(), types::Error> {
        declared_hooks::<P>()
            .before_remove(&context(caller), &blob(doomed))
            .map_err(error)
    }
}

impl<P: Registered> hooks::action::Guest for Adapter<P> {
    fn run(job: hooks::action::Job) -> Result<(), types::Error> {
        let job = Job {
            app: job.app,
            id: job.id,
            name: job.name,
            payload: job.payload,
            attempt: job.attempt,
        };
        declared_hooks::<P>().action(&Context::default(), &job).map_err(error)
    }
}

impl<P: Registered> hooks::transaction::Guest for Adapter<P> {
    fn run(name: String, payload: Vec<u8>) -> Result<Vec<u8>, types::Error> {
        plugin::<P>()
            .transact(&Context::default(), &name, &payload)
            .map_err(error)
    }
}

impl<P: Registered> hooks::method::Guest for Adapter<P> {
    fn call(caller: types::Caller, name: String, params: Vec<u8>) -> Result<Vec<u8>, types::Error> {
        let cx = context(caller);
        plugin::<P>().call(&cx, &name, &params).map_err(error)
    }
}

fn context(caller: types::Caller) -> Context {
    let types::Caller {
        app,
        actor,
        device,
        credential,
        plugin,
    } = caller;
    Context {
        caller: Caller {
            app,
            actor,
            device,
            credential,
            plugin,
        },
    }
}

impl<P: Registered> hooks::session::Guest for Adapter<P> {
    fn connected(caller: types::Caller) {
        declared_hooks::<P>().connected(&context(caller));
    }

    fn disconnected(caller: types::Caller) {
        declared_hooks::<P>().disconnected(&context(caller));
    }
}

impl<P: Registered> hooks::timer::Guest for Adapter<P> {
    fn fire(name: String, payload: Vec<u8>) -> Result<(), types::Error> {
        declared_hooks::<P>()
            .timer(&Context::default(), &name, &payload)
            .map_err(error)
    }
}

/// The services as imports.
pub(crate) mod service {
    use super::courtyard::plugin as wit;
    use crate::ServiceError;
    use crate::service::{Conversation, Entries, Level, StoredMessage};

    fn kv(failure: wit::kv::Failure) -> ServiceError {
        match failure {
            wit::kv::Failure::TooLarge => ServiceError::TooLarge,
            wit::kv::Failure::Quota => ServiceError::Quota,
            wit::kv::Failure::Unavailable => ServiceError::Unavailable,
        }
    }

    fn conversations(failure: wit::conversations::Failure) -> ServiceError {
        match failure {
            wit::conversations::Failure::NotFound => ServiceError::NotFound,
            wit::conversations::Failure::Invalid(reason) => ServiceError::Invalid(reason),
            wit::conversations::Failure::Refused(error) => ServiceError::Refused(foreseen(error)),
            wit::conversations::Failure::Unavailable => ServiceError::Unavailable,
        }
    }

    fn foreseen(error: wit::types::Error) -> crate::Error {
        crate::Error {
            code: error.code,
            message: error.message,
            retry: error.retry,
        }
    }

    pub(crate) fn add_job(name: &str, at_ms: u64, payload: &[u8]) -> Result<(), ServiceError> {
        wit::jobs::add(name, at_ms, payload).map_err(|failure| match failure {
            wit::jobs::Failure::TooLarge => ServiceError::TooLarge,
            wit::jobs::Failure::Quota => ServiceError::Quota,
            wit::jobs::Failure::Unavailable => ServiceError::Unavailable,
        })
    }

    pub(crate) fn transact(name: &str, payload: &[u8]) -> Result<Vec<u8>, crate::Error> {
        wit::transactions::run(name, payload).map_err(foreseen)
    }

    pub(crate) fn fetch(request: &crate::FetchRequest) -> Result<crate::HttpResponse, crate::Error> {
        let header = |(name, value): &(String, Vec<u8>)| wit::fetch::Header {
            name: name.clone(),
            value: value.clone(),
        };
        let request = wit::fetch::Request {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.iter().map(header).collect(),
            body: request.body.clone(),
            follow: request.follow,
        };
        let response = wit::fetch::send(&request).map_err(foreseen)?;
        Ok(crate::HttpResponse {
            status: response.status,
            headers: response
                .headers
                .into_iter()
                .map(|header| (header.name, header.value))
                .collect(),
            body: response.body,
        })
    }

    fn blobs_failure(failure: wit::blobs::Failure) -> ServiceError {
        match failure {
            wit::blobs::Failure::NotFound => ServiceError::NotFound,
            wit::blobs::Failure::Unavailable => ServiceError::Unavailable,
        }
    }

    pub(crate) fn blob(id: &str) -> Result<crate::Blob, ServiceError> {
        wit::blobs::get(id).map(super::blob).map_err(blobs_failure)
    }

    pub(crate) fn blobs(after: &str, limit: u32) -> Result<Vec<crate::Blob>, ServiceError> {
        let found = wit::blobs::list(after, limit).map_err(blobs_failure)?;
        Ok(found.into_iter().map(super::blob).collect())
    }

    pub(crate) fn keep_blob(id: &str) -> Result<(), ServiceError> {
        wit::blobs::keep(id).map_err(blobs_failure)
    }

    pub(crate) fn remove_blob(id: &str) -> Result<(), ServiceError> {
        wit::blobs::remove(id).map_err(blobs_failure)
    }

    pub(crate) fn read_blob(id: &str, offset: u64, length: u32) -> Result<Vec<u8>, crate::Error> {
        wit::contents::read(id, offset, length).map_err(foreseen)
    }

    pub(crate) fn write_blob(
        name: &str,
        media_type: &str,
        conversation: &str,
        bytes: &[u8],
    ) -> Result<String, crate::Error> {
        wit::contents::write(name, media_type, conversation, bytes).map_err(foreseen)
    }

    pub(crate) fn recall(id: &str, seq: u64, actor: &str) -> Result<(), ServiceError> {
        wit::conversations::recall(id, seq, actor).map_err(conversations)
    }

    pub(crate) fn is_member(conversation: &str, actor: &str) -> Result<bool, ServiceError> {
        wit::memberships::is_member(conversation, actor)
            .map_err(|wit::memberships::Failure::Unavailable| ServiceError::Unavailable)
    }

    pub(crate) fn annotate(conversation: &str, seq: u64, name: &str, value: &[u8]) -> Result<(), ServiceError> {
        wit::annotations::set(conversation, seq, name, value).map_err(|failure| match failure {
            wit::annotations::Failure::NotFound => ServiceError::NotFound,
            wit::annotations::Failure::Invalid(reason) => ServiceError::Invalid(reason),
            wit::annotations::Failure::Unavailable => ServiceError::Unavailable,
        })
    }

    pub(crate) fn watch_conversation(id: &str, on: bool) -> Result<(), ServiceError> {
        wit::watches::conversation(id, on).map_err(watches)
    }

    pub(crate) fn watch_actor(actor: &str, on: bool) -> Result<(), ServiceError> {
        wit::watches::actor(actor, on).map_err(watches)
    }

    fn watches(failure: wit::watches::Failure) -> ServiceError {
        match failure {
            wit::watches::Failure::Invalid(reason) => ServiceError::Invalid(reason),
            wit::watches::Failure::Unavailable => ServiceError::Unavailable,
        }
    }

    pub(crate) fn publish(name: &str, payload: &[u8]) -> Result<(), ServiceError> {
        wit::events::publish(name, payload).map_err(|failure| match failure {
            wit::events::Failure::Invalid(reason) => ServiceError::Invalid(reason),
            wit::events::Failure::Unavailable => ServiceError::Unavailable,
        })
    }

    fn conversation(found: wit::conversations::Conversation) -> Conversation {
        Conversation {
            id: found.id,
            kind: found.kind,
            members: found.members,
        }
    }

    pub(crate) fn get(key: &[u8]) -> Result<Option<Vec<u8>>, ServiceError> {
        wit::kv::get(key).map_err(kv)
    }

    pub(crate) fn set(key: &[u8], value: &[u8]) -> Result<(), ServiceError> {
        wit::kv::set(key, value).map_err(kv)
    }

    pub(crate) fn set_until(key: &[u8], value: &[u8], until_ms: u64) -> Result<(), ServiceError> {
        wit::kv::set_until(key, value, until_ms).map_err(kv)
    }

    pub(crate) fn count(name: &str, more: u64) {
        wit::metrics::count(name, more);
    }

    pub(crate) fn observe(name: &str, value: f64) {
        wit::metrics::observe(name, value);
    }

    pub(crate) fn secret(name: &str) -> Option<String> {
        wit::secrets::get(name)
    }

    pub(crate) fn delete(key: &[u8]) -> Result<(), ServiceError> {
        wit::kv::delete(key).map_err(kv)
    }

    pub(crate) fn scan(start: &[u8], end: &[u8], limit: u32, reverse: bool) -> Result<Entries, ServiceError> {
        let entries = wit::kv::scan(start, end, limit, reverse).map_err(kv)?;
        Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
    }

    pub(crate) fn open(address: &str, kind: &str, members: &[String]) -> Result<Conversation, ServiceError> {
        wit::conversations::open(address, kind, members)
            .map(conversation)
            .map_err(conversations)
    }

    pub(crate) fn find(address: &str) -> Result<Conversation, ServiceError> {
        wit::conversations::find(address)
            .map(conversation)
            .map_err(conversations)
    }

    pub(crate) fn conversation_of(id: &str) -> Result<Conversation, ServiceError> {
        wit::conversations::get(id).map(conversation).map_err(conversations)
    }

    pub(crate) fn add_members(id: &str, members: &[String]) -> Result<(), ServiceError> {
        wit::conversations::add_members(id, members).map_err(conversations)
    }

    pub(crate) fn remove_members(id: &str, members: &[String]) -> Result<(), ServiceError> {
        wit::conversations::remove_members(id, members).map_err(conversations)
    }

    pub(crate) fn append(id: &str, sender: &str, kind: &str, content: &[u8]) -> Result<(), ServiceError> {
        wit::conversations::append(id, sender, kind, content).map_err(conversations)
    }

    pub(crate) fn read(id: &str, after: u64, limit: u32) -> Result<Vec<StoredMessage>, ServiceError> {
        let stored = wit::conversations::read(id, after, limit).map_err(conversations)?;
        let message = |stored: wit::conversations::Stored| StoredMessage {
            seq: stored.seq,
            time_ms: stored.time_ms,
            sender: stored.sender,
            kind: stored.kind,
            content: stored.content,
        };
        Ok(stored.into_iter().map(message).collect())
    }

    pub(crate) fn end(actor: &str, credential: Option<&str>) {
        wit::sessions::end(actor, credential);
    }

    pub(crate) fn online(actors: &[String]) -> Vec<bool> {
        wit::sessions::online(actors)
    }

    pub(crate) fn signal(actors: &[String], name: &str, payload: &[u8]) -> Result<(), ServiceError> {
        if wit::sessions::signal(actors, name, payload) {
            Ok(())
        } else {
            Err(ServiceError::Invalid(
                "the signal's name or value is malformed".to_owned(),
            ))
        }
    }

    pub(crate) fn call(method: &str, params: &[u8]) -> Result<Vec<u8>, crate::Error> {
        wit::methods::call(method, params).map_err(foreseen)
    }

    fn timers(failure: wit::timers::Failure) -> ServiceError {
        match failure {
            wit::timers::Failure::TooLarge => ServiceError::TooLarge,
            wit::timers::Failure::Unavailable => ServiceError::Unavailable,
        }
    }

    pub(crate) fn set_timer(name: &str, at_ms: u64, payload: &[u8]) -> Result<(), ServiceError> {
        wit::timers::set(name, at_ms, payload).map_err(timers)
    }

    pub(crate) fn cancel_timer(name: &str) -> Result<bool, ServiceError> {
        wit::timers::cancel(name).map_err(timers)
    }

    pub(crate) fn log(level: Level, text: &str) {
        let level = match level {
            Level::Error => wit::log::Level::Error,
            Level::Warn => wit::log::Level::Warn,
            Level::Info => wit::log::Level::Info,
            Level::Debug => wit::log::Level::Debug,
        };
        wit::log::write(level, text);
    }

    pub(crate) fn now_ms() -> u64 {
        wit::clock::now_ms()
    }

    pub(crate) fn random(count: u32) -> Vec<u8> {
        wit::random::bytes(count)
    }
}
