//! The services, as instances import them.

use courtyard_plugin_sdk::request::{ServiceRequest, ServiceResponse};
use courtyard_plugin_sdk::{Level, ServiceError, StoredMessage};

use super::async_services;
use super::bindings::courtyard::plugin as wit;
use super::convert::{wit_blob, wit_error};
use super::state::{InstanceState, Lane};
use crate::hooks::Failure;
use crate::services::{self, ServiceFailure, kv};

impl wit::types::Host for InstanceState {}

/// Never happens: each service returns its own kind of answer.
fn unexpected_answer() -> wasmtime::Error {
    wasmtime::Error::msg("the host returned the answer of another service")
}

fn kv_failure(error: &ServiceError) -> wit::kv::Failure {
    match error {
        ServiceError::TooLarge => wit::kv::Failure::TooLarge,
        ServiceError::Quota => wit::kv::Failure::Quota,
        _ => wit::kv::Failure::Unavailable,
    }
}

fn conversations_failure(error: ServiceError) -> wit::conversations::Failure {
    match error {
        ServiceError::NotFound => wit::conversations::Failure::NotFound,
        ServiceError::Invalid(reason) => wit::conversations::Failure::Invalid(reason),
        ServiceError::Refused(error) => wit::conversations::Failure::Refused(wit_error(error)),
        _ => wit::conversations::Failure::Unavailable,
    }
}

impl wit::kv::Host for InstanceState {
    fn get(&mut self, key: Vec<u8>) -> wasmtime::Result<Result<Option<Vec<u8>>, wit::kv::Failure>> {
        // Short path: guards read keys for each message.
        self.count_host_call()?;
        let Some(call) = &mut self.call else {
            return Ok(Err(wit::kv::Failure::Unavailable));
        };
        let services = &self.context.services;
        match kv::get(call, &services.id, &services.limits, &key) {
            Ok(value) => Ok(Ok(value.map(Vec::from))),
            Err(error) => match ServiceFailure::from(error).for_plugin() {
                Ok(error) => Ok(Err(kv_failure(&error))),
                Err(reason) => Err(self.fail(Failure::Store(reason))),
            },
        }
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) -> wasmtime::Result<Result<(), wit::kv::Failure>> {
        let done = self.call_service(ServiceRequest::Set(key, value))?;
        Ok(done.map(drop).map_err(|error| kv_failure(&error)))
    }

    fn set_until(
        &mut self,
        key: Vec<u8>,
        value: Vec<u8>,
        until_ms: u64,
    ) -> wasmtime::Result<Result<(), wit::kv::Failure>> {
        let done = self.call_service(ServiceRequest::SetUntil(key, value, until_ms))?;
        Ok(done.map(drop).map_err(|error| kv_failure(&error)))
    }

    fn delete(&mut self, key: Vec<u8>) -> wasmtime::Result<Result<(), wit::kv::Failure>> {
        let done = self.call_service(ServiceRequest::Delete(key))?;
        Ok(done.map(drop).map_err(|error| kv_failure(&error)))
    }

    fn scan(
        &mut self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: u32,
        reverse: bool,
    ) -> wasmtime::Result<Result<Vec<wit::kv::Entry>, wit::kv::Failure>> {
        match self.call_service(ServiceRequest::Scan(start, end, limit, reverse))? {
            Ok(ServiceResponse::Entries(entries)) => {
                let entry = |(key, value)| wit::kv::Entry { key, value };
                Ok(Ok(entries.into_iter().map(entry).collect()))
            }
            Ok(_) => Err(unexpected_answer()),
            Err(error) => Ok(Err(kv_failure(&error))),
        }
    }
}

type Refusable<T> = wasmtime::Result<Result<T, wit::conversations::Failure>>;

impl InstanceState {
    fn conversation(&mut self, request: ServiceRequest) -> Refusable<wit::conversations::Conversation> {
        match self.call_service(request)? {
            Ok(ServiceResponse::Conversation(found)) => Ok(Ok(wit::conversations::Conversation {
                id: found.id,
                kind: found.kind,
                members: found.members,
            })),
            Ok(_) => Err(unexpected_answer()),
            Err(error) => Ok(Err(conversations_failure(error))),
        }
    }

    fn conversations_done(&mut self, request: ServiceRequest) -> Refusable<()> {
        Ok(self.call_service(request)?.map(drop).map_err(conversations_failure))
    }
}

impl wit::conversations::Host for InstanceState {
    fn open(
        &mut self,
        address: String,
        kind: String,
        members: Vec<String>,
    ) -> Refusable<wit::conversations::Conversation> {
        self.conversation(ServiceRequest::Open(address, kind, members))
    }

    fn find(&mut self, address: String) -> Refusable<wit::conversations::Conversation> {
        self.conversation(ServiceRequest::Find(address))
    }

    fn get(&mut self, id: String) -> Refusable<wit::conversations::Conversation> {
        self.conversation(ServiceRequest::Conversation(id))
    }

    fn add_members(&mut self, id: String, members: Vec<String>) -> Refusable<()> {
        self.conversations_done(ServiceRequest::AddMembers(id, members))
    }

    fn remove_members(&mut self, id: String, members: Vec<String>) -> Refusable<()> {
        self.conversations_done(ServiceRequest::RemoveMembers(id, members))
    }

    fn append(&mut self, conversation: String, sender: String, kind: String, content: Vec<u8>) -> Refusable<()> {
        self.conversations_done(ServiceRequest::Append {
            conversation,
            sender,
            kind,
            content,
        })
    }

    fn recall(&mut self, id: String, seq: u64, actor: String) -> Refusable<()> {
        self.conversations_done(ServiceRequest::Recall(id, seq, actor))
    }

    fn read(&mut self, id: String, after: u64, limit: u32) -> Refusable<Vec<wit::conversations::Stored>> {
        match self.call_service(ServiceRequest::Read(id, after, limit))? {
            Ok(ServiceResponse::Messages(messages)) => {
                let stored = |message: StoredMessage| wit::conversations::Stored {
                    seq: message.seq,
                    time_ms: message.time_ms,
                    sender: message.sender,
                    kind: message.kind,
                    content: message.content,
                };
                Ok(Ok(messages.into_iter().map(stored).collect()))
            }
            Ok(_) => Err(unexpected_answer()),
            Err(error) => Ok(Err(conversations_failure(error))),
        }
    }
}

impl wit::memberships::Host for InstanceState {
    fn is_member(
        &mut self,
        conversation: String,
        actor: String,
    ) -> wasmtime::Result<Result<bool, wit::memberships::Failure>> {
        match self.call_service(ServiceRequest::IsMember(conversation, actor))? {
            Ok(ServiceResponse::Flags(flags)) => Ok(Ok(flags.first() == Some(&true))),
            Ok(_) => Err(unexpected_answer()),
            Err(_) => Ok(Err(wit::memberships::Failure::Unavailable)),
        }
    }
}

impl wit::annotations::Host for InstanceState {
    fn set(
        &mut self,
        conversation: String,
        seq: u64,
        name: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), wit::annotations::Failure>> {
        let done = self.call_service(ServiceRequest::Annotate(conversation, seq, name, value))?;
        Ok(done.map(drop).map_err(|error| match error {
            ServiceError::NotFound => wit::annotations::Failure::NotFound,
            ServiceError::Invalid(reason) => wit::annotations::Failure::Invalid(reason),
            _ => wit::annotations::Failure::Unavailable,
        }))
    }
}

impl wit::watches::Host for InstanceState {
    fn conversation(&mut self, id: String, on: bool) -> wasmtime::Result<Result<(), wit::watches::Failure>> {
        let done = self.call_service(ServiceRequest::WatchConversation(id, on))?;
        Ok(done.map(drop).map_err(watches_failure))
    }

    fn actor(&mut self, actor: String, on: bool) -> wasmtime::Result<Result<(), wit::watches::Failure>> {
        let done = self.call_service(ServiceRequest::WatchActor(actor, on))?;
        Ok(done.map(drop).map_err(watches_failure))
    }
}

fn watches_failure(error: ServiceError) -> wit::watches::Failure {
    match error {
        ServiceError::Invalid(reason) => wit::watches::Failure::Invalid(reason),
        _ => wit::watches::Failure::Unavailable,
    }
}

impl wit::events::Host for InstanceState {
    fn publish(&mut self, name: String, payload: Vec<u8>) -> wasmtime::Result<Result<(), wit::events::Failure>> {
        let done = self.call_service(ServiceRequest::Publish(name, payload))?;
        Ok(done.map(drop).map_err(|error| match error {
            ServiceError::Invalid(reason) => wit::events::Failure::Invalid(reason),
            _ => wit::events::Failure::Unavailable,
        }))
    }
}

impl wit::jobs::Host for InstanceState {
    fn add(&mut self, name: String, at_ms: u64, payload: Vec<u8>) -> wasmtime::Result<Result<(), wit::jobs::Failure>> {
        let done = self.call_service(ServiceRequest::AddJob(name, at_ms, payload))?;
        Ok(done.map(drop).map_err(|error| match error {
            ServiceError::TooLarge => wit::jobs::Failure::TooLarge,
            ServiceError::Quota => wit::jobs::Failure::Quota,
            _ => wit::jobs::Failure::Unavailable,
        }))
    }
}

fn only_for_jobs() -> wit::types::Error {
    wit::types::Error {
        code: "unavailable".to_owned(),
        message: "Only a job can use this service.".to_owned(),
        retry: false,
    }
}

// These return `unavailable` in the transaction lane; in the action lane, `async_services` is linked instead.

impl wit::transactions::Host for InstanceState {
    fn run(&mut self, _name: String, _payload: Vec<u8>) -> wasmtime::Result<Result<Vec<u8>, wit::types::Error>> {
        self.count_host_call()?;
        Ok(Err(only_for_jobs()))
    }
}

impl wit::fetch::Host for InstanceState {
    fn send(
        &mut self,
        _request: wit::fetch::Request,
    ) -> wasmtime::Result<Result<wit::fetch::Response, wit::types::Error>> {
        self.count_host_call()?;
        Ok(Err(only_for_jobs()))
    }
}

impl wit::contents::Host for InstanceState {
    fn read(
        &mut self,
        _id: String,
        _offset: u64,
        _length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, wit::types::Error>> {
        self.count_host_call()?;
        Ok(Err(only_for_jobs()))
    }

    fn write(
        &mut self,
        _name: String,
        _media_type: String,
        _conversation: String,
        _bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<String, wit::types::Error>> {
        self.count_host_call()?;
        Ok(Err(only_for_jobs()))
    }
}

fn blobs_failure(error: &ServiceError) -> wit::blobs::Failure {
    match error {
        ServiceError::NotFound => wit::blobs::Failure::NotFound,
        _ => wit::blobs::Failure::Unavailable,
    }
}

impl InstanceState {
    fn blobs(
        &mut self,
        request: ServiceRequest,
    ) -> wasmtime::Result<Result<Vec<wit::types::Blob>, wit::blobs::Failure>> {
        match self.call_service(request)? {
            Ok(ServiceResponse::Blobs(blobs)) => Ok(Ok(blobs.into_iter().map(wit_blob).collect())),
            Ok(_) => Err(unexpected_answer()),
            Err(error) => Ok(Err(blobs_failure(&error))),
        }
    }
}

impl wit::blobs::Host for InstanceState {
    fn get(&mut self, id: String) -> wasmtime::Result<Result<wit::types::Blob, wit::blobs::Failure>> {
        let found = self.blobs(ServiceRequest::Blob(id))?;
        Ok(found.and_then(|blobs| blobs.into_iter().next().ok_or(wit::blobs::Failure::NotFound)))
    }

    fn list(
        &mut self,
        after: String,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<wit::types::Blob>, wit::blobs::Failure>> {
        self.blobs(ServiceRequest::Blobs(after, limit))
    }

    fn keep(&mut self, id: String) -> wasmtime::Result<Result<(), wit::blobs::Failure>> {
        let done = self.call_service(ServiceRequest::KeepBlob(id))?;
        Ok(done.map(drop).map_err(|error| blobs_failure(&error)))
    }

    fn remove(&mut self, id: String) -> wasmtime::Result<Result<(), wit::blobs::Failure>> {
        let done = self.call_service(ServiceRequest::RemoveBlob(id))?;
        Ok(done.map(drop).map_err(|error| blobs_failure(&error)))
    }
}

impl wit::sessions::Host for InstanceState {
    fn end(&mut self, actor: String, credential: Option<String>) -> wasmtime::Result<()> {
        // WIT gives `end` no error: without permission, no session ends.
        self.call_service(ServiceRequest::EndSessions(actor, credential))
            .map(drop)
    }

    fn online(&mut self, actors: Vec<String>) -> wasmtime::Result<Vec<bool>> {
        let count = actors.len();
        match self.call_service(ServiceRequest::Online(actors))? {
            Ok(ServiceResponse::Flags(flags)) => Ok(flags),
            _ => Ok(vec![false; count]),
        }
    }

    fn signal(&mut self, actors: Vec<String>, name: String, payload: Vec<u8>) -> wasmtime::Result<bool> {
        Ok(self
            .call_service(ServiceRequest::Signal(actors, name, payload))?
            .is_ok())
    }
}

impl wit::methods::Host for InstanceState {
    fn call(&mut self, method: String, params: Vec<u8>) -> wasmtime::Result<Result<Vec<u8>, wit::types::Error>> {
        let called = match self.call_service(ServiceRequest::Call(method, params))? {
            Ok(ServiceResponse::Called(called)) => called,
            Ok(_) => return Err(unexpected_answer()),
            Err(error) => Err(error.into()),
        };
        Ok(called.map_err(wit_error))
    }
}

fn timers_failure(error: &ServiceError) -> wit::timers::Failure {
    match error {
        ServiceError::TooLarge => wit::timers::Failure::TooLarge,
        _ => wit::timers::Failure::Unavailable,
    }
}

impl wit::timers::Host for InstanceState {
    fn set(
        &mut self,
        name: String,
        at_ms: u64,
        payload: Vec<u8>,
    ) -> wasmtime::Result<Result<(), wit::timers::Failure>> {
        let done = self.call_service(ServiceRequest::SetTimer(name, at_ms, payload))?;
        Ok(done.map(drop).map_err(|error| timers_failure(&error)))
    }

    fn cancel(&mut self, name: String) -> wasmtime::Result<Result<bool, wit::timers::Failure>> {
        match self.call_service(ServiceRequest::CancelTimer(name))? {
            Ok(ServiceResponse::Flags(flags)) => Ok(Ok(flags.first() == Some(&true))),
            Ok(_) => Err(unexpected_answer()),
            Err(error) => Ok(Err(timers_failure(&error))),
        }
    }
}

impl wit::secrets::Host for InstanceState {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        match self.call_service(ServiceRequest::Secret(name))? {
            Ok(ServiceResponse::Text(text)) => Ok(text),
            _ => Ok(None),
        }
    }
}

impl wit::metrics::Host for InstanceState {
    fn count(&mut self, name: String, more: u64) -> wasmtime::Result<()> {
        self.call_service(ServiceRequest::Count(name, more)).map(drop)
    }

    fn observe(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        self.call_service(ServiceRequest::Observe(name, value)).map(drop)
    }
}

impl wit::clock::Host for InstanceState {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        match self.call_service(ServiceRequest::NowMs)? {
            Ok(ServiceResponse::NowMs(now)) => Ok(now),
            _ => Err(unexpected_answer()),
        }
    }
}

impl wit::random::Host for InstanceState {
    fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        match self.call_service(ServiceRequest::Random(count))? {
            Ok(ServiceResponse::Bytes(bytes)) => Ok(bytes),
            _ => Err(unexpected_answer()),
        }
    }
}

impl wit::log::Host for InstanceState {
    fn write(&mut self, level: wit::log::Level, text: String) -> wasmtime::Result<()> {
        let level = match level {
            wit::log::Level::Error => Level::Error,
            wit::log::Level::Warn => Level::Warn,
            wit::log::Level::Info => Level::Info,
            wit::log::Level::Debug => Level::Debug,
        };
        self.call_service(ServiceRequest::Log(level, text)).map(drop)
    }
}

/// Links the granted services. The others are not linked, so importing one fails.
pub(super) fn link(
    linker: &mut wasmtime::component::Linker<InstanceState>,
    lane: Lane,
    granted: impl Fn(&str) -> bool,
) -> wasmtime::Result<()> {
    type Own = wasmtime::component::HasSelf<InstanceState>;
    wit::types::add_to_linker::<_, Own>(linker, |state| state)?;
    for capability in services::CAPABILITIES
        .into_iter()
        .filter(|capability| granted(capability))
    {
        match capability {
            "kv" => wit::kv::add_to_linker::<_, Own>(linker, |state| state)?,
            "conversations" => wit::conversations::add_to_linker::<_, Own>(linker, |state| state)?,
            "memberships" => wit::memberships::add_to_linker::<_, Own>(linker, |state| state)?,
            "sessions" => wit::sessions::add_to_linker::<_, Own>(linker, |state| state)?,
            "methods" => wit::methods::add_to_linker::<_, Own>(linker, |state| state)?,
            "timers" => wit::timers::add_to_linker::<_, Own>(linker, |state| state)?,
            "secrets" => wit::secrets::add_to_linker::<_, Own>(linker, |state| state)?,
            "metrics" => wit::metrics::add_to_linker::<_, Own>(linker, |state| state)?,
            "events" => wit::events::add_to_linker::<_, Own>(linker, |state| state)?,
            "annotations" => wit::annotations::add_to_linker::<_, Own>(linker, |state| state)?,
            "watches" => wit::watches::add_to_linker::<_, Own>(linker, |state| state)?,
            // This capability grants routes on the HTTP server, and has no imports.
            "http" => {}
            "jobs" => {
                wit::jobs::add_to_linker::<_, Own>(linker, |state| state)?;
                match lane {
                    Lane::Transaction => wit::transactions::add_to_linker::<_, Own>(linker, |state| state)?,
                    Lane::Action => async_services::link_transactions(linker)?,
                }
            }
            "fetch" => match lane {
                Lane::Transaction => wit::fetch::add_to_linker::<_, Own>(linker, |state| state)?,
                Lane::Action => async_services::link_fetch(linker)?,
            },
            "blobs" => {
                wit::blobs::add_to_linker::<_, Own>(linker, |state| state)?;
                match lane {
                    Lane::Transaction => wit::contents::add_to_linker::<_, Own>(linker, |state| state)?,
                    Lane::Action => async_services::link_contents(linker)?,
                }
            }
            "clock" => wit::clock::add_to_linker::<_, Own>(linker, |state| state)?,
            "random" => wit::random::add_to_linker::<_, Own>(linker, |state| state)?,
            _ => wit::log::add_to_linker::<_, Own>(linker, |state| state)?,
        }
    }
    Ok(())
}
