//! Holds calls back while the keys of a plugin are migrated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use courtyard_plugin_sdk::hook::{Reply, Request};
use parking_lot::{Condvar, Mutex};

use crate::hooks::{Call, CallOutcome, Failure, JobFuture, JobTransactions, PluginBackend};
use crate::keys;

/// A backend whose calls wait until it is decided which generation serves them.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<GateState>);

#[derive(Debug)]
struct GateState {
    /// The generation that has run until now.
    old: Arc<dyn PluginBackend>,
    /// The generation that takes over once its keys are migrated.
    next: Arc<dyn PluginBackend>,
    /// The generation that serves all calls, once that is decided.
    serving: Mutex<Option<Arc<dyn PluginBackend>>>,
    opened: Condvar,
    patience: Duration,
    id: Arc<str>,
    next_version: String,
}

impl Gate {
    /// Creates a closed gate. A call that waits longer than `patience` fails with [`Failure::Busy`].
    pub(super) fn new(
        (id, next_version): (Arc<str>, String),
        old: Arc<dyn PluginBackend>,
        next: Arc<dyn PluginBackend>,
        patience: Duration,
    ) -> Self {
        Self(Arc::new(GateState {
            old,
            next,
            serving: Mutex::new(None),
            opened: Condvar::new(),
            patience,
            id,
            next_version,
        }))
    }

    /// Lets all calls through to a generation.
    pub(super) fn open(&self, serving: Arc<dyn PluginBackend>) {
        *self.0.serving.lock() = Some(serving);
        self.0.opened.notify_all();
    }

    fn wait(&self) -> Result<Arc<dyn PluginBackend>, Failure> {
        let until = Instant::now() + self.0.patience;
        let mut serving = self.0.serving.lock();
        loop {
            if let Some(guest) = &*serving {
                return Ok(guest.clone());
            }
            if self.0.opened.wait_until(&mut serving, until).timed_out() {
                return Err(Failure::Busy);
            }
        }
    }

    /// Returns the generation whose keys the store has now. Calls inside the committer use it: the migration commits there
    /// as well, so the answer stays the same during the call.
    fn now(&self, call: &mut Call) -> Result<Arc<dyn PluginBackend>, Failure> {
        if let Some(guest) = &*self.0.serving.lock() {
            return Ok(guest.clone());
        }
        let version = call.draft.get(keys::plugins::version(&call.app, &self.0.id));
        let version = version.map_err(|error| Failure::Store(error.to_string()))?;
        let migrated = version.as_deref() == Some(self.0.next_version.as_bytes());
        Ok(if migrated { &self.0.next } else { &self.0.old }.clone())
    }
}

impl PluginBackend for Gate {
    fn serve(&self, mut call: Box<Call>, request: Request) -> CallOutcome<Reply> {
        let guest = if call.may_block {
            self.wait()
        } else {
            self.now(&mut call)
        };
        match guest {
            Ok(guest) => guest.serve(call, request),
            Err(failure) => (call, Err(failure)),
        }
    }

    /// Fails with [`Failure::Busy`]: a job is retried later.
    fn run_job(self: Arc<Self>, _request: Request, _transact: Arc<dyn JobTransactions>) -> JobFuture {
        Box::pin(async { Err(Failure::Busy) })
    }

    /// Returns `true`, since calls wait.
    fn is_slow(&self) -> bool {
        true
    }
}
