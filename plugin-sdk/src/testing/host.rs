//! The host, its state, and its services without a file of their own.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::declare::DeclaredHooks;
use crate::native::{self, PluginPanic, Services};
use crate::request::{ServiceRequest, ServiceResponse, ServiceResult};
use crate::service::{Conversation, Entries, Level, StoredMessage};
use crate::{
    Blob, Caller, Context, Error, Event, FetchRequest, HttpRequest, HttpResponse, Identity, Job, Registered,
    ServiceError,
};

/// A value, and the time at which it expires.
type Stored = (Vec<u8>, u64);

#[derive(Clone, Debug, Default)]
pub(super) struct TestState {
    pub(super) app: String,
    /// App and key.
    pub(super) keys: BTreeMap<(String, Vec<u8>), Stored>,
    /// App and address.
    pub(super) conversations: BTreeMap<(String, String), Conversation>,
    pub(super) messages: BTreeMap<String, Vec<StoredMessage>>,
    /// App and conversation of other plugins, and the members.
    pub(super) members: BTreeMap<(String, String), Vec<String>>,
    /// Conversation, number and name.
    pub(super) annotations: BTreeMap<(String, u64, String), Value>,
    /// Actors and conversations.
    pub(super) watched: BTreeSet<String>,
    /// Published events.
    pub(super) events: Vec<(String, Value)>,
    pub(super) ended: Vec<(String, Option<String>)>,
    pub(super) online: BTreeSet<String>,
    pub(super) signals: Vec<TestSignal>,
    /// Called methods of other plugins, and the results to return.
    pub(super) calls: Vec<(String, Value)>,
    pub(super) answers: BTreeMap<String, Value>,
    /// App and name; time and payload.
    pub(super) timers: BTreeMap<(String, String), (u64, Vec<u8>)>,
    pub(super) jobs: Vec<WaitingJob>,
    /// The number of jobs that were ever added.
    pub(super) added_jobs: u64,
    /// URLs and their responses.
    pub(super) responses: BTreeMap<String, HttpResponse>,
    pub(super) fetched: Vec<FetchRequest>,
    /// Id; description, bytes, and whether it is kept.
    pub(super) blobs: BTreeMap<String, (Blob, Vec<u8>, bool)>,
    /// The number of blobs that were ever begun.
    pub(super) begun: u64,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) observed: BTreeMap<String, Vec<f64>>,
    pub(super) log: Vec<(Level, String)>,
    pub(super) now_ms: u64,
    pub(super) random: u64,
}

/// A job, and the earliest time of its next attempt.
#[derive(Clone, Debug)]
pub(super) struct WaitingJob {
    pub(super) at_ms: u64,
    pub(super) job: Job,
}

thread_local! {
    pub(super) static STATE: RefCell<TestState> = RefCell::default();
}

/// A plugin in a host of its own. A thread has one at a time.
#[derive(Debug)]
pub struct TestHost<P> {
    pub(super) plugin: Arc<P>,
}

impl<P: Registered> TestHost<P> {
    /// Starts the plugin with a configuration, a JSON object. The clock stands at 1,000,000 ms.
    ///
    /// # Errors
    /// If the plugin rejects it.
    pub fn start(configuration: &str) -> Result<Self, Error> {
        STATE.with_borrow_mut(|state| {
            *state = TestState {
                app: "default".to_owned(),
                now_ms: 1_000_000,
                ..TestState::default()
            }
        });
        Ok(Self {
            plugin: Arc::new(enter(|| P::start(configuration))?),
        })
    }

    pub(super) fn hooks(&self) -> DeclaredHooks<'_, P> {
        DeclaredHooks(&*self.plugin)
    }

    /// Switches to another app.
    pub fn enter_app(&self, app: &str) {
        STATE.with_borrow_mut(|state| app.clone_into(&mut state.app));
    }

    /// Returns and clears the ended sessions: actor and credential.
    #[must_use]
    pub fn take_ended(&self) -> Vec<(String, Option<String>)> {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.ended))
    }

    /// Sets the actors with live sessions.
    pub fn set_online(&self, actors: &[&str]) {
        let actors = actors.iter().map(|actor| (*actor).to_owned());
        STATE.with_borrow_mut(|state| state.online = actors.collect());
    }

    /// Sets the result of a method of another plugin. A method without a result is unknown.
    pub fn set_answer(&self, method: &str, answer: Value) {
        STATE.with_borrow_mut(|state| state.answers.insert(method.to_owned(), answer));
    }

    /// Returns and clears the calls of methods of other plugins.
    #[must_use]
    pub fn take_calls(&self) -> Vec<(String, Value)> {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.calls))
    }

    /// Returns and clears the sent signals.
    #[must_use]
    pub fn take_signals(&self) -> Vec<TestSignal> {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.signals))
    }

    /// Returns and clears the published events: name and payload.
    #[must_use]
    pub fn take_events(&self) -> Vec<(String, Value)> {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.events))
    }

    /// Calls `event` with an event of another plugin.
    ///
    /// # Errors
    /// If the plugin wants to observe it again.
    pub fn event(&self, event: &Event) -> Result<(), Error> {
        transaction(|| self.hooks().event(&Context::default(), event))
    }

    /// Calls `http` for a caller.
    ///
    /// # Errors
    /// That of the plugin, whose writes are rolled back.
    pub fn http(&self, caller: &Caller, request: &HttpRequest) -> Result<HttpResponse, Error> {
        let cx = context(caller);
        transaction(|| self.hooks().http(&cx, request))
    }

    /// Sets the response of a URL. A URL without a response can't be reached.
    pub fn set_response(&self, url: &str, response: HttpResponse) {
        STATE.with_borrow_mut(|state| state.responses.insert(url.to_owned(), response));
    }

    /// Returns and clears the requests to other servers.
    #[must_use]
    pub fn take_fetched(&self) -> Vec<FetchRequest> {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.fetched))
    }

    /// Sets a secret.
    pub fn set_secret(&self, name: &str, secret: &str) {
        STATE.with_borrow_mut(|state| state.secrets.insert(name.to_owned(), secret.to_owned()));
    }

    /// Returns the value of a counter.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        STATE.with_borrow(|state| state.counters.get(name).copied().unwrap_or_default())
    }

    /// Returns the values of a histogram.
    #[must_use]
    pub fn observed(&self, name: &str) -> Vec<f64> {
        STATE.with_borrow(|state| state.observed.get(name).cloned().unwrap_or_default())
    }

    /// Returns and clears the logged lines.
    #[must_use]
    pub fn take_log(&self) -> Vec<(Level, String)> {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.log))
    }

    /// Calls a method by name for a caller, whose app is the current one.
    ///
    /// # Errors
    /// That of the method, whose writes are rolled back.
    pub fn call(&self, caller: &Caller, method: &str, params: &Value) -> Result<Value, Error> {
        let cx = context(caller);
        let params = params.to_string();
        let result = transaction(|| self.plugin.call(&cx, method, params.as_bytes()))?;
        serde_json::from_slice(&result).map_err(|error| Error::new("invalid_result", error.to_string()))
    }

    /// Runs `work` with the services of the plugin, in a transaction of its own: prepares or inspects its data.
    ///
    /// # Errors
    /// That of `work`, whose writes are rolled back.
    pub fn run<T>(&self, work: impl FnOnce(&Context) -> Result<T, Error>) -> Result<T, Error> {
        let app = STATE.with_borrow(|state| state.app.clone());
        let caller = Caller {
            app,
            ..Caller::default()
        };
        transaction(|| work(&Context { caller }))
    }

    /// Calls `migrate` for the current app.
    ///
    /// # Errors
    /// That of the plugin, whose writes are rolled back.
    pub fn migrate(&self, from: &str) -> Result<(), Error> {
        transaction(|| self.plugin.migrate(&Context::default(), from))
    }

    /// Calls `authenticate`.
    ///
    /// # Errors
    /// If the plugin rejects it.
    pub fn authenticate(&self, token: &str) -> Result<Option<Identity>, Error> {
        let app = STATE.with_borrow(|state| state.app.clone());
        transaction(|| self.hooks().authenticate(&Context::default(), &app, token))
    }

    /// Calls `connected` for a caller.
    pub fn connected(&self, caller: &Caller) {
        enter(|| self.hooks().connected(&context(caller)));
    }

    /// Calls `disconnected` for a caller.
    pub fn disconnected(&self, caller: &Caller) {
        enter(|| self.hooks().disconnected(&context(caller)));
    }
}

/// A signal that a plugin sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestSignal {
    /// The recipients.
    pub actors: Vec<String>,
    /// Its name.
    pub name: String,
    /// Its value.
    pub payload: Value,
}

/// Returns the context of a caller in the current app.
pub(super) fn context(caller: &Caller) -> Context {
    Context {
        caller: Caller {
            app: STATE.with_borrow(|state| state.app.clone()),
            ..caller.clone()
        },
    }
}

/// Runs `work` with the services of the test host.
pub(super) fn enter<T>(work: impl FnOnce() -> T) -> T {
    enter_with(TestServices { transact: None }, work)
}

pub(super) fn enter_with<T>(tester: TestServices, work: impl FnOnce() -> T) -> T {
    match native::enter(tester, work).1 {
        Ok(outcome) => outcome,
        // The test fails, as it would without this host.
        Err(PluginPanic(text)) => panic!("the plugin panicked: {text}"),
    }
}

/// Runs `work` in a transaction: an error rolls back its writes.
pub(super) fn transaction<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let before = STATE.with_borrow(TestState::clone);
    let outcome = enter(work);
    if outcome.is_err() {
        STATE.with_borrow_mut(|state| {
            let log = std::mem::take(&mut state.log);
            let random = state.random;
            *state = TestState { log, random, ..before };
        });
    }
    outcome
}

/// Calls the plugin's own transactions.
pub(super) type Transact = Box<dyn Fn(&str, &[u8]) -> Result<Vec<u8>, Error>>;

/// The services of the test host.
pub(super) struct TestServices {
    /// Only in the action lane.
    pub(super) transact: Option<Transact>,
}

impl Services for TestServices {
    fn handle(&mut self, request: ServiceRequest) -> ServiceResult {
        match (&request, &self.transact) {
            (ServiceRequest::Transact(name, payload), Some(transact)) => {
                return Ok(ServiceResponse::Called(transact(name, payload)));
            }
            (
                ServiceRequest::Transact(..)
                | ServiceRequest::Fetch(_)
                | ServiceRequest::ReadBlob(..)
                | ServiceRequest::WriteBlob { .. },
                None,
            ) => {
                return Err(ServiceError::Unavailable);
            }
            _ => {}
        }
        STATE.with_borrow_mut(|state| state.answer(request))
    }
}

impl TestState {
    /// Runs a service.
    fn answer(&mut self, request: ServiceRequest) -> ServiceResult {
        match request {
            ServiceRequest::Get(key) => {
                let found = self.keys.get(&(self.app.clone(), key));
                let live = found.filter(|(_, until_ms)| *until_ms > self.now_ms);
                Ok(ServiceResponse::Value(live.map(|(value, _)| value.clone())))
            }
            ServiceRequest::Set(key, value) => {
                self.keys.insert((self.app.clone(), key), (value, u64::MAX));
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::SetUntil(key, value, until_ms) => {
                self.keys.insert((self.app.clone(), key), (value, until_ms));
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Secret(name) => Ok(ServiceResponse::Text(self.secrets.get(&name).cloned())),
            ServiceRequest::Count(name, more) => {
                *self.counters.entry(name).or_default() += more;
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Observe(name, value) => {
                self.observed.entry(name).or_default().push(value);
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Delete(key) => {
                self.keys.remove(&(self.app.clone(), key));
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Scan(start, end, limit, reverse) => {
                Ok(ServiceResponse::Entries(self.scan(&start, &end, limit, reverse)))
            }
            ServiceRequest::Publish(name, payload) => {
                let payload = serde_json::from_slice(&payload).unwrap_or_default();
                self.events.push((name, payload));
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::AddJob(name, at_ms, payload) => {
                self.added_jobs += 1;
                let job = Job {
                    app: self.app.clone(),
                    id: format!("job-{}", self.added_jobs),
                    name,
                    payload,
                    attempt: 0,
                };
                self.jobs.push(WaitingJob { at_ms, job });
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Fetch(request) => {
                let response = self.responses.get(&request.url).cloned();
                self.fetched.push(request);
                let unreachable =
                    || Error::new("fetch_connect", "The test has set no response for this URL.").retryable();
                Ok(ServiceResponse::Fetched(response.ok_or_else(unreachable)))
            }
            // `TestServices` runs it, which knows the plugin.
            ServiceRequest::Transact(..) => Err(ServiceError::Unavailable),
            ServiceRequest::EndSessions(actor, credential) => {
                self.ended.push((actor, credential));
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Online(actors) => Ok(ServiceResponse::Flags(
                actors.iter().map(|actor| self.online.contains(actor)).collect(),
            )),
            ServiceRequest::Signal(actors, name, payload) => {
                let payload = serde_json::from_slice(&payload).unwrap_or_default();
                self.signals.push(TestSignal { actors, name, payload });
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Call(method, params) => {
                let params = serde_json::from_slice(&params).unwrap_or_default();
                self.calls.push((method.clone(), params));
                Ok(ServiceResponse::Called(match self.answers.get(&method) {
                    Some(answer) => Ok(answer.to_string().into_bytes()),
                    None => Err(Error::new(
                        "unknown_method",
                        "The test has set no result for this method.",
                    )),
                }))
            }
            ServiceRequest::Log(level, text) => {
                self.log.push((level, text));
                Ok(ServiceResponse::Done)
            }
            request @ (ServiceRequest::SetTimer(..)
            | ServiceRequest::CancelTimer(_)
            | ServiceRequest::NowMs
            | ServiceRequest::Random(_)) => self.answer_clock(request),
            request @ (ServiceRequest::Blob(_)
            | ServiceRequest::Blobs(..)
            | ServiceRequest::KeepBlob(_)
            | ServiceRequest::RemoveBlob(_)
            | ServiceRequest::ReadBlob(..)
            | ServiceRequest::WriteBlob { .. }) => self.answer_blobs(request),
            request => self.answer_conversations(request),
        }
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: u32, reverse: bool) -> Entries {
        let inside = self.keys.iter().filter(|((app, key), (_, until_ms))| {
            let in_range = key.as_slice() >= start && (end.is_empty() || key.as_slice() < end);
            *app == self.app && in_range && *until_ms > self.now_ms
        });
        let entry = |((_, key), (value, _)): (&(String, Vec<u8>), &Stored)| (key.clone(), value.clone());
        let limit = limit as usize;
        if reverse {
            inside.rev().take(limit).map(entry).collect()
        } else {
            inside.take(limit).map(entry).collect()
        }
    }
}
