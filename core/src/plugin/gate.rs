//! Holds calls back while the keys of a plugin are changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::hooks::{Answer, Call, Caller, Failure, Guest, Identity, Message, PluginError, SessionChange, Verdict};
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

    fn pass<T>(&self, mut call: Box<Call>, enter: impl FnOnce(&dyn Guest, Box<Call>) -> Answer<T>) -> Answer<T> {
        let guest = if call.patient { self.wait() } else { self.now(&mut call) };
        match guest {
            Ok(guest) => enter(&*guest, call),
            Err(failure) => (call, Err(failure)),
        }
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
    fn authenticate(&self, call: Box<Call>, token: &str) -> Answer<Result<Option<Identity>, PluginError>> {
        self.pass(call, |guest, call| guest.authenticate(call, token))
    }

    fn before_send(&self, call: Box<Call>, message: &Message<'_>) -> Answer<Verdict> {
        self.pass(call, |guest, call| guest.before_send(call, message))
    }

    fn after_send(&self, call: Box<Call>, message: &Message<'_>) -> Answer<Result<(), PluginError>> {
        self.pass(call, |guest, call| guest.after_send(call, message))
    }

    fn render(
        &self,
        call: Box<Call>,
        viewer: &str,
        messages: &[Message<'_>],
    ) -> Answer<Result<Vec<Option<Bytes>>, PluginError>> {
        self.pass(call, |guest, call| guest.render(call, viewer, messages))
    }

    fn call(
        &self,
        call: Box<Call>,
        caller: Caller<'_>,
        method: &str,
        params: &str,
    ) -> Answer<Result<Bytes, PluginError>> {
        self.pass(call, |guest, call| guest.call(call, caller, method, params))
    }

    fn migrate(&self, call: Box<Call>, from: &str) -> Answer<Result<(), PluginError>> {
        self.pass(call, |guest, call| guest.migrate(call, from))
    }

    fn session(&self, call: Box<Call>, caller: Caller<'_>, change: SessionChange) -> Answer<()> {
        self.pass(call, |guest, call| guest.session(call, caller, change))
    }

    fn timer(&self, call: Box<Call>, name: &str, payload: &[u8]) -> Answer<Result<(), PluginError>> {
        self.pass(call, |guest, call| guest.timer(call, name, payload))
    }

    /// Waiting is slow.
    fn is_slow(&self) -> bool {
        true
    }
}
