//! What the host keeps for one instance, and what the instance may use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::request::{ServiceRequest, ServiceResponse};
use wasmtime::ResourceLimiter;

use super::abi::Guest;
use crate::hooks::{Call, Failure, Transact};
use crate::plugin::PluginLimits;
use crate::services::{ServiceContext, ServiceFailure};

/// Bytes that one call may lift out of the guest, over all arguments and results.
pub(super) const LIFTED_BYTES: usize = 8 << 20;

/// What all instances of a plugin share.
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

    /// Reserves more memory for an instance that uses `used`. `false` if that exceeds a limit.
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

/// Where an instance runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Inside a transaction, for a short time.
    Transaction,
    /// Without one, for as long as it takes.
    Action,
}

/// What one instance has while it runs.
pub(super) struct InstanceState {
    pub(super) context: Arc<PluginContext>,
    /// What carries out its transactions, in the action lane.
    pub(super) transact: Option<Arc<dyn Transact>>,
    /// The call that the instance is in; none during `start`.
    pub(super) call: Option<Box<Call>>,
    /// The memory of the instance and its allocator, if it is a module without a component around it.
    pub(super) guest: Option<Guest>,
    /// Whether the guest may ask for services now.
    pub(super) may_ask: bool,
    /// Bytes that the call may still lift out of the guest.
    pub(super) liftable: usize,
    host_calls: u32,
    memory_used: usize,
    /// Why the host ended the call, or what the guest did not get before it trapped.
    pub(super) cause: Option<Failure>,
}

impl InstanceState {
    pub(super) fn new(context: Arc<PluginContext>) -> Self {
        Self {
            context,
            transact: None,
            call: None,
            guest: None,
            may_ask: true,
            liftable: LIFTED_BYTES,
            host_calls: 0,
            memory_used: 0,
            cause: None,
        }
    }

    /// Makes the instance ready for a call.
    pub(super) fn begin(&mut self, call: Option<Box<Call>>) {
        self.call = call;
        self.liftable = LIFTED_BYTES;
        self.host_calls = 0;
        self.cause = None;
    }

    /// Returns what the host uses of the guest.
    ///
    /// # Errors
    /// When the guest runs before it is there.
    pub(super) fn guest(&self) -> wasmtime::Result<Guest> {
        self.guest
            .ok_or_else(|| wasmtime::Error::msg("it asked for a service before it was there"))
    }

    pub(super) fn count(&mut self) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > self.context.services.limits.host_calls {
            return Err(self.end(Failure::Limit("host calls")));
        }
        Ok(())
    }

    /// Ends the call of the guest with a trap.
    pub(super) fn end(&mut self, cause: Failure) -> wasmtime::Error {
        let error = wasmtime::Error::msg(cause.to_string());
        self.cause = Some(cause);
        error
    }

    /// Calls a service for the plugin; a failure of the store ends the plugin's call.
    pub(super) fn call_service(
        &mut self,
        request: ServiceRequest,
    ) -> wasmtime::Result<Result<ServiceResponse, ServiceError>> {
        self.count()?;
        let (call, answer) = self.context.services.answer(self.call.take(), request);
        self.call = call;
        match answer.map_err(ServiceFailure::for_plugin) {
            Ok(answer) => Ok(Ok(answer)),
            Err(Ok(error)) => Ok(Err(error)),
            Err(Err(reason)) => Err(self.end(Failure::Store(reason))),
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
        let fits = desired <= 20_000;
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
