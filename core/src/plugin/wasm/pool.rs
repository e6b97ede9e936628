//! The instances of one plugin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::atomic::AtomicCell;
use parking_lot::{Condvar, Mutex};

use super::engine::WasmEngine;
use super::exports::{Functions, GuestFunction, Params, Results};
use super::instance::Instance;
use super::state::PluginContext;
use super::template::Template;
use crate::hooks::{Call, CallOutcome, Failure, Usage};
use crate::plugin::{PluginLimits, PluginStartError};

/// Up to [`PluginLimits::instances`] instances. A caller that finds none free waits for one until its deadline.
pub(super) struct InstancePool {
    engine: WasmEngine,
    template: Template,
    context: Arc<PluginContext>,
    configuration: String,
    limits: PluginLimits,
    /// The instance that ran last and runs next: its memory is in the processor's caches.
    hot: AtomicCell<Option<Box<Instance>>>,
    /// The other free instances.
    #[expect(clippy::vec_box, reason = "an instance is moved for each call, and is large")]
    idle: Mutex<Vec<Box<Instance>>>,
    /// Instances that exist or are being started.
    live: AtomicUsize,
    /// Callers that wait for an instance.
    waiting: Mutex<usize>,
    freed: Condvar,
    /// Whether instances are dropped when their call ends, until the next call finds none free.
    discards: AtomicBool,
}

impl InstancePool {
    /// Starts the first instance, and a spare one.
    pub(super) fn start(
        engine: WasmEngine,
        template: Template,
        context: Arc<PluginContext>,
        configuration: String,
        limits: PluginLimits,
    ) -> Result<Self, PluginStartError> {
        let pool = Self {
            engine,
            template,
            context,
            configuration,
            limits,
            hot: AtomicCell::new(None),
            idle: Mutex::default(),
            live: AtomicUsize::new(0),
            waiting: Mutex::new(0),
            freed: Condvar::new(),
            discards: AtomicBool::new(false),
        };
        pool.add_spare()?;
        if limits.instances > 1 {
            pool.add_spare()?;
        }
        Ok(pool)
    }

    pub(super) fn template(&self) -> &Template {
        &self.template
    }

    fn instantiate(&self) -> Result<Box<Instance>, PluginStartError> {
        let start = self.limits.start;
        Instance::start(&self.engine, &self.template, &self.context, &self.configuration, start).map(Box::new)
    }

    fn add_spare(&self) -> Result<(), PluginStartError> {
        self.live.fetch_add(1, Ordering::Relaxed);
        match self.instantiate() {
            Ok(instance) => {
                self.release(instance);
                Ok(())
            }
            Err(error) => {
                self.live.fetch_sub(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Returns a free instance, starts another one below the limit, or waits until the deadline.
    fn acquire(&self, deadline: Duration) -> Result<Box<Instance>, Failure> {
        if let Some(instance) = self.pop_free() {
            return Ok(instance);
        }
        self.discards.store(false, Ordering::Relaxed);
        let limit = self.limits.instances.max(1) as usize;
        let next = |live: usize| (live < limit).then_some(live + 1);
        if self
            .live
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
        {
            return self.instantiate().map_err(|error| {
                self.live.fetch_sub(1, Ordering::Relaxed);
                match error {
                    PluginStartError::Failed(failure) => failure,
                    error => Failure::Trap(error.to_string()),
                }
            });
        }
        self.wait(deadline)
    }

    fn pop_free(&self) -> Option<Box<Instance>> {
        self.hot.take().or_else(|| self.idle.lock().pop())
    }

    fn wait(&self, deadline: Duration) -> Result<Box<Instance>, Failure> {
        let until = Instant::now() + deadline;
        let mut waiting = self.waiting.lock();
        *waiting += 1;
        let instance = loop {
            if let Some(instance) = self.pop_free() {
                break Ok(instance);
            }
            if self.freed.wait_until(&mut waiting, until).timed_out() {
                break self.pop_free().ok_or(Failure::Busy);
            }
        };
        *waiting -= 1;
        instance
    }

    fn release(&self, instance: Box<Instance>) {
        if self.discards.load(Ordering::Relaxed) {
            self.live.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        if let Some(colder) = self.hot.swap(Some(instance)) {
            self.idle.lock().push(colder);
        }
        if self.live.load(Ordering::Relaxed) >= self.limits.instances as usize && *self.waiting.lock() > 0 {
            self.freed.notify_one();
        }
    }

    /// Calls one function of an instance.
    pub(super) fn call<P: Params, R: Results>(
        &self,
        call: Box<Call>,
        deadline: Duration,
        pick: impl FnOnce(&Functions) -> Option<&GuestFunction<P, R>>,
        params: P,
    ) -> CallOutcome<R> {
        self.with_instance(call, deadline, |instance, call| {
            instance.call(call, pick, params, deadline)
        })
    }

    /// Runs `work` with an instance. If it fails, the instance is dropped and a spare one is started.
    pub(super) fn with_instance<T, F: From<Failure>>(
        &self,
        call: Box<Call>,
        deadline: Duration,
        work: impl FnOnce(&mut Instance, Box<Call>) -> (Box<Call>, Result<T, F>),
    ) -> (Box<Call>, Result<T, F>) {
        let mut instance = match self.acquire(deadline) {
            Ok(instance) => instance,
            Err(failure) => return (call, Err(failure.into())),
        };
        let (call, outcome) = work(&mut instance, call);
        if outcome.is_ok() {
            self.release(instance);
        } else {
            // A trap poisons the instance. The next call finds a spare one.
            drop(instance);
            self.live.fetch_sub(1, Ordering::Relaxed);
            if let Err(error) = self.add_spare() {
                tracing::warn!(plugin = %self.context.services.id, %error, "no spare instance could be started");
            }
        }
        (call, outcome)
    }

    /// Drops the free instances, and the others when their calls end. A later call starts new ones.
    pub(super) fn drain(&self) {
        self.discards.store(true, Ordering::Relaxed);
        let (hot, idle) = (self.hot.take(), std::mem::take(&mut *self.idle.lock()));
        self.live
            .fetch_sub(idle.len() + usize::from(hot.is_some()), Ordering::Relaxed);
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            instances: self.live.load(Ordering::Relaxed),
            memory_bytes: self.context.memory.used(),
            waiting: *self.waiting.lock(),
        }
    }
}

impl std::fmt::Debug for InstancePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstancePool")
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}
