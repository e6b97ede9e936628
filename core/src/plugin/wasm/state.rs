//! State of an instance on the host's side, and its limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::request::{ServiceRequest, ServiceResponse};
use wasmtime::ResourceLimiter;

use super::abi::GuestState;
use super::engine::TABLE_ELEMENTS;
use crate::hooks::{Call, Failure, JobTransactions};
use crate::plugin::PluginLimits;
use crate::services::{ServiceContext, ServiceFailure};

/// Bytes that one call may lift out of the guest, in all arguments and results together.
pub(super) const LIFTED_BYTES: usize = 8 << 20;

/// Shared by all instances of a plugin.
#[derive(Debug)]
pub(super) struct PluginContext {
    pub(super) services: ServiceContext,
    pub(super) memory: MemoryBudget,
}

impl PluginContext {
    pub(super) fn new(services: ServiceContext, limits: &PluginLimits) -> Self {
        Self {
            services,
            memory: MemoryBudget {
                per_instance: limits.memory_bytes,
                total: limits.total_memory_bytes,
                used: AtomicUsize::new(0),
            },
        }
    }
}

/// Linear memory of a plugin, in bytes.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    /// Limit of one instance.
    per_instance: usize,
    /// Limit of all instances together.
    total: usize,
    /// Used by all instances together.
    used: AtomicUsize,
}

impl MemoryBudget {
    /// Returns the memory that all instances together use.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Reserves `more` bytes for an instance that already uses `used`. Returns `false`, and reserves nothing, if that exceeds
    /// a limit.
    fn reserve(&self, used: usize, more: usize) -> bool {
        let total = self.used.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        let fits = used.saturating_add(more) <= self.per_instance && total <= self.total;
        if !fits {
            self.release(more);
        }
        fits
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Lane of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Synchronous and short, inside a transaction.
    Transaction,
    /// Asynchronous, outside of a transaction, up to the deadline of jobs.
    Action,
}

/// State of one instance.
pub(super) struct InstanceState {
    pub(super) context: Arc<PluginContext>,
    /// Runs transactions of the job, in the action lane.
    pub(super) transact: Option<Arc<dyn JobTransactions>>,
    /// The current call; `None` during `start` and in the action lane.
    pub(super) call: Option<Box<Call>>,
    /// State of a module without a component around it.
    pub(super) guest: GuestState,
    /// Service calls of the current call.
    host_calls: u32,
    /// Linear memory, in bytes.
    memory_used: usize,
    /// Why the host ended the call, or the limit that the guest exceeded before it trapped.
    pub(super) cause: Option<Failure>,
}

impl InstanceState {
    pub(super) fn new(context: Arc<PluginContext>) -> Self {
        Self {
            context,
            transact: None,
            call: None,
            guest: GuestState::new(LIFTED_BYTES),
            host_calls: 0,
            memory_used: 0,
            cause: None,
        }
    }

    /// Prepares the state for a call.
    pub(super) fn begin_call(&mut self, call: Option<Box<Call>>) {
        self.call = call;
        self.guest.begin_call(LIFTED_BYTES);
        self.host_calls = 0;
        self.cause = None;
    }

    /// Counts one service call against the limit.
    pub(super) fn count_host_call(&mut self) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > self.context.services.limits.host_calls {
            return Err(self.fail(Failure::Limit("host calls")));
        }
        Ok(())
    }

    /// Records why the host ends the call, and returns the error that traps the guest.
    pub(super) fn fail(&mut self, cause: Failure) -> wasmtime::Error {
        let error = wasmtime::Error::msg(cause.to_string());
        self.cause = Some(cause);
        error
    }

    /// Calls a service for the plugin; a failure of the store ends the plugin's call.
    pub(super) fn call_service(
        &mut self,
        request: ServiceRequest,
    ) -> wasmtime::Result<Result<ServiceResponse, ServiceError>> {
        self.count_host_call()?;
        let (call, answer) = self.context.services.answer(self.call.take(), request);
        self.call = call;
        match answer.map_err(ServiceFailure::for_plugin) {
            Ok(answer) => Ok(Ok(answer)),
            Err(Ok(error)) => Ok(Err(error)),
            Err(Err(reason)) => Err(self.fail(Failure::Store(reason))),
        }
    }
}

impl Drop for InstanceState {
    fn drop(&mut self) {
        self.context.memory.release(self.memory_used);
    }
}

impl ResourceLimiter for InstanceState {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if !self.context.memory.reserve(self.memory_used, more) {
            self.cause = Some(Failure::Limit("memory"));
            return Ok(false);
        }
        self.memory_used += more;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= TABLE_ELEMENTS;
        if !fits {
            self.cause = Some(Failure::Limit("table elements"));
        }
        Ok(fits)
    }
}

impl std::fmt::Debug for InstanceState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceState")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}
