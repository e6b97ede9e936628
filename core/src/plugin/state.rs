//! The host's side of one instance: services as the guest imports them, and what it may use up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngCore;
use wasmtime::ResourceLimiter;

use super::bindings::courtyard::plugin as wit;
use crate::hooks::{Call, Failure, SessionEnd};
use crate::log::LogError;
use crate::services::{
    self, ConversationsError, KvError, Level, LogBudget, Opened, ServiceLimits, conversations, kv, now_ms,
};

/// What all instances of a plugin share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: Arc<str>,
    pub(super) limits: ServiceLimits,
    /// Linear memory of one instance.
    pub(super) memory_bytes: usize,
    /// Linear memory of all instances.
    pub(super) total_memory_bytes: usize,
    pub(super) memory_used: AtomicUsize,
    pub(super) log: LogBudget,
}

/// What one instance has while it runs.
#[derive(Debug)]
pub(super) struct State {
    shared: Arc<Shared>,
    /// The call that the instance is in; none during `start`.
    pub(super) call: Option<Box<Call>>,
    host_calls: u32,
    memory_used: usize,
    /// Why the host ended the call, or what the guest did not get before it trapped.
    pub(super) cause: Option<Failure>,
}

impl State {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            call: None,
            host_calls: 0,
            memory_used: 0,
            cause: None,
        }
    }

    /// Makes the instance ready for a call.
    pub(super) fn begin(&mut self, call: Option<Box<Call>>) {
        self.call = call;
        self.host_calls = 0;
        self.cause = None;
    }

    fn count(&mut self) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > self.shared.limits.host_calls {
            return Err(self.end(Failure::Limit("host calls")));
        }
        Ok(())
    }

    /// Ends the call of the guest with a trap.
    fn end(&mut self, cause: Failure) -> wasmtime::Error {
        let error = wasmtime::Error::msg(cause.to_string());
        self.cause = Some(cause);
        error
    }

    fn kv_outcome<T>(&mut self, outcome: Result<T, KvError>) -> wasmtime::Result<Result<T, wit::kv::Failure>> {
        match outcome {
            Ok(value) => Ok(Ok(value)),
            Err(KvError::TooLarge) => Ok(Err(wit::kv::Failure::TooLarge)),
            Err(KvError::Unavailable) => Ok(Err(wit::kv::Failure::Unavailable)),
            Err(KvError::Store(error)) => Err(self.end(Failure::Store(error.to_string()))),
        }
    }

    fn conversation(
        &mut self,
        outcome: Result<Opened, ConversationsError>,
    ) -> wasmtime::Result<Result<wit::conversations::Conversation, wit::conversations::Failure>> {
        use wit::conversations::Failure as Refusal;
        match outcome {
            Ok(Opened { id, kind, members }) => Ok(Ok(wit::conversations::Conversation {
                id: id.to_string(),
                kind,
                members,
            })),
            Err(ConversationsError::NotFound) => Ok(Err(Refusal::NotFound)),
            Err(ConversationsError::Invalid(reason)) => Ok(Err(Refusal::Invalid(reason))),
            Err(ConversationsError::Unavailable) => Ok(Err(Refusal::Unavailable)),
            Err(ConversationsError::Log(LogError::Store(error))) => Err(self.end(Failure::Store(error.to_string()))),
            Err(ConversationsError::Log(error)) => Err(self.end(Failure::Store(error.to_string()))),
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.shared.memory_used.fetch_sub(self.memory_used, Ordering::Relaxed);
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let total = self
            .shared
            .memory_used
            .fetch_add(more, Ordering::Relaxed)
            .saturating_add(more);
        if desired > self.shared.memory_bytes || total > self.shared.total_memory_bytes {
            self.shared.memory_used.fetch_sub(more, Ordering::Relaxed);
            self.cause = Some(Failure::Limit("memory"));
            return Ok(false);
        }
        self.memory_used += more;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= 20_000;
        if !fits {
            self.cause = Some(Failure::Limit("table elements"));
        }
        Ok(fits)
    }
}

impl wit::types::Host for State {}

impl wit::kv::Host for State {
    fn get(&mut self, key: Vec<u8>) -> wasmtime::Result<Result<Option<Vec<u8>>, wit::kv::Failure>> {
        self.count()?;
        let Some(call) = &mut self.call else {
            return Ok(Err(wit::kv::Failure::Unavailable));
        };
        let outcome = kv::get(call, &self.shared.id, &self.shared.limits, &key);
        self.kv_outcome(outcome.map(|value| value.map(Vec::from)))
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) -> wasmtime::Result<Result<(), wit::kv::Failure>> {
        self.count()?;
        let Some(call) = &mut self.call else {
            return Ok(Err(wit::kv::Failure::Unavailable));
        };
        let outcome = kv::set(call, &self.shared.id, &self.shared.limits, &key, Some(value));
        self.kv_outcome(outcome)
    }

    fn delete(&mut self, key: Vec<u8>) -> wasmtime::Result<Result<(), wit::kv::Failure>> {
        self.count()?;
        let Some(call) = &mut self.call else {
            return Ok(Err(wit::kv::Failure::Unavailable));
        };
        let outcome = kv::set(call, &self.shared.id, &self.shared.limits, &key, None);
        self.kv_outcome(outcome)
    }

    fn scan(
        &mut self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: u32,
        reverse: bool,
    ) -> wasmtime::Result<Result<Vec<wit::kv::Entry>, wit::kv::Failure>> {
        self.count()?;
        let Some(call) = &mut self.call else {
            return Ok(Err(wit::kv::Failure::Unavailable));
        };
        let outcome = kv::scan(
            call,
            &self.shared.id,
            &self.shared.limits,
            (&start, &end),
            limit,
            reverse,
        );
        let entry = |(key, value): (bytes::Bytes, bytes::Bytes)| wit::kv::Entry {
            key: key.into(),
            value: value.into(),
        };
        self.kv_outcome(outcome.map(|entries| entries.into_iter().map(entry).collect()))
    }
}

impl wit::conversations::Host for State {
    fn open(
        &mut self,
        address: String,
        kind: String,
        members: Vec<String>,
    ) -> wasmtime::Result<Result<wit::conversations::Conversation, wit::conversations::Failure>> {
        self.count()?;
        let Some(call) = &mut self.call else {
            return Ok(Err(wit::conversations::Failure::Unavailable));
        };
        let outcome = conversations::open(call, &self.shared.id, &address, &kind, members);
        self.conversation(outcome)
    }

    fn find(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<wit::conversations::Conversation, wit::conversations::Failure>> {
        self.count()?;
        let Some(call) = &mut self.call else {
            return Ok(Err(wit::conversations::Failure::Unavailable));
        };
        let outcome = conversations::find(call, &self.shared.id, &address);
        self.conversation(outcome)
    }
}

impl wit::sessions::Host for State {
    fn end(&mut self, actor: String, credential: Option<String>) -> wasmtime::Result<()> {
        self.count()?;
        // An id that no actor can have has no sessions.
        if let (Some(call), Ok(actor)) = (&mut self.call, actor.parse()) {
            call.ends.push(SessionEnd { actor, credential });
        }
        Ok(())
    }
}

impl wit::clock::Host for State {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        self.count()?;
        Ok(now_ms())
    }
}

impl wit::random::Host for State {
    fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        self.count()?;
        let mut bytes = vec![0; count.min(1_024) as usize];
        rand::rngs::ThreadRng::default().fill_bytes(&mut bytes);
        Ok(bytes)
    }
}

impl wit::log::Host for State {
    fn write(&mut self, level: wit::log::Level, text: String) -> wasmtime::Result<()> {
        self.count()?;
        let level = match level {
            wit::log::Level::Error => Level::Error,
            wit::log::Level::Warn => Level::Warn,
            wit::log::Level::Info => Level::Info,
            wit::log::Level::Debug => Level::Debug,
        };
        self.shared
            .log
            .write(&self.shared.id, &self.shared.limits, level, &text);
        Ok(())
    }
}

/// Adds the services that are granted to a linker; the others are not even there.
pub(super) fn link(
    linker: &mut wasmtime::component::Linker<State>,
    granted: impl Fn(&str) -> bool,
) -> wasmtime::Result<()> {
    type Own = wasmtime::component::HasSelf<State>;
    wit::types::add_to_linker::<_, Own>(linker, |state| state)?;
    for capability in services::CAPABILITIES
        .into_iter()
        .filter(|capability| granted(capability))
    {
        match capability {
            "kv" => wit::kv::add_to_linker::<_, Own>(linker, |state| state)?,
            "conversations" => wit::conversations::add_to_linker::<_, Own>(linker, |state| state)?,
            "sessions" => wit::sessions::add_to_linker::<_, Own>(linker, |state| state)?,
            "clock" => wit::clock::add_to_linker::<_, Own>(linker, |state| state)?,
            "random" => wit::random::add_to_linker::<_, Own>(linker, |state| state)?,
            _ => wit::log::add_to_linker::<_, Own>(linker, |state| state)?,
        }
    }
    Ok(())
}
