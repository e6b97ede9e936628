//! Holds calls back while the keys of a plugin are changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use courtyard_plugin_sdk::hook::{Reply, Request};
use parking_lot::{Condvar, Mutex};

use crate::hooks::{Acting, Answer, Call, Failure, Guest, Transact};
use crate::log::key;

/// A guest that lets calls wait until it is known which generation they go to.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<State>);

#[derive(Debug)]
struct State {
    /// Who ran until now.
    old: Arc<dyn Guest>,
    /// Who takes over, once its keys are there.
    next: Arc<dyn Guest>,
    /// Who the calls go to, once that is known.
    target: Mutex<Option<Arc<dyn Guest>>>,
    opened: Condvar,
    patience: Duration,
    id: Arc<str>,
    next_version: String,
}

impl Gate {
    /// Makes a closed gate; a call that waits longer than `patience` is told that the plugin is busy.
    pub(super) fn new(
        (id, next_version): (Arc<str>, String),
        old: Arc<dyn Guest>,
        next: Arc<dyn Guest>,
        patience: Duration,
    ) -> Self {
        Self(Arc::new(State {
            old,
            next,
            target: Mutex::new(None),
            opened: Condvar::new(),
            patience,
            id,
            next_version,
        }))
    }

    /// Lets all calls through to a generation.
    pub(super) fn open(&self, target: Arc<dyn Guest>) {
        *self.0.target.lock() = Some(target);
        self.0.opened.notify_all();
    }

    fn wait(&self) -> Result<Arc<dyn Guest>, Failure> {
        let until = Instant::now() + self.0.patience;
        let mut target = self.0.target.lock();
        loop {
            if let Some(guest) = &*target {
                return Ok(guest.clone());
            }
            if self.0.opened.wait_until(&mut target, until).timed_out() {
                return Err(Failure::Busy);
            }
        }
    }

    /// Finds whose keys there are now. Inside the committer, where the change of keys is committed as well, that does not
    /// change during the call.
    fn now(&self, call: &mut Call) -> Result<Arc<dyn Guest>, Failure> {
        if let Some(guest) = &*self.0.target.lock() {
            return Ok(guest.clone());
        }
        let version = call.draft.get(key::version(&call.app, &self.0.id));
        let version = version.map_err(|error| Failure::Store(error.to_string()))?;
        let changed = version.as_deref() == Some(self.0.next_version.as_bytes());
        Ok(if changed { &self.0.next } else { &self.0.old }.clone())
    }
}

impl Guest for Gate {
    fn serve(&self, mut call: Box<Call>, request: Request) -> Answer<Reply> {
        let guest = if call.patient { self.wait() } else { self.now(&mut call) };
        match guest {
            Ok(guest) => guest.serve(call, request),
            Err(failure) => (call, Err(failure)),
        }
    }

    /// A job can wait better than this can.
    fn act(self: Arc<Self>, _request: Request, _transact: Arc<dyn Transact>) -> Acting {
        Box::pin(async { Err(Failure::Busy) })
    }

    /// Waiting is slow.
    fn is_slow(&self) -> bool {
        true
    }
}
