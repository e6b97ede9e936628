//! A host for tests: runs a plugin's hooks and methods natively, on an in-memory key space inside a transaction.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::declare::DeclaredHooks;
use crate::native::{self, PluginPanic, Services};
use crate::request::{ServiceRequest, ServiceResponse, ServiceResult};
use crate::service::{Conversation, Entries, Level, StoredMessage};
use crate::{
    Act, Blob, Caller, Change, Context, Error, Event, FetchRequest, HttpRequest, HttpResponse, Identity, Job, Message,
    Registered, ServiceError, Verdict,
};

/// A value, and until when it is there.
type Stored = (Vec<u8>, u64);

#[derive(Clone, Debug, Default)]
struct TestState {
    app: String,
    /// App and key.
    keys: BTreeMap<(String, Vec<u8>), Stored>,
    /// App and address.
    conversations: BTreeMap<(String, String), Conversation>,
    messages: BTreeMap<String, Vec<StoredMessage>>,
    /// App and conversation of other plugins, and who takes part.
    members: BTreeMap<(String, String), Vec<String>>,
    /// Conversation, number and name.
    annotations: BTreeMap<(String, u64, String), Value>,
    /// Actors and conversations.
    watched: BTreeSet<String>,
    /// Events that were published.
    events: Vec<(String, Value)>,
    ended: Vec<(String, Option<String>)>,
    online: BTreeSet<String>,
    signals: Vec<TestSignal>,
    /// Methods of other plugins that were called, and what they answer.
    calls: Vec<(String, Value)>,
    answers: BTreeMap<String, Value>,
    /// App and name; time and payload.
    timers: BTreeMap<(String, String), (u64, Vec<u8>)>,
    /// App, time, name and payload.
    jobs: Vec<(String, u64, String, Vec<u8>)>,
    /// URLs and what they answer.
    responses: BTreeMap<String, HttpResponse>,
    fetched: Vec<FetchRequest>,
    /// Id; what is known, the bytes, and whether it is kept.
    blobs: BTreeMap<String, (Blob, Vec<u8>, bool)>,
    /// How many blobs there have been.
    begun: u64,
    secrets: BTreeMap<String, String>,
    counters: BTreeMap<String, u64>,
    observed: BTreeMap<String, Vec<f64>>,
    log: Vec<(Level, String)>,
    now_ms: u64,
    random: u64,
}

thread_local! {
    static STATE: RefCell<TestState> = RefCell::default();
}

/// A plugin in a host of its own. One at a time in each thread.
#[derive(Debug)]
pub struct TestHost<P> {
    plugin: Arc<P>,
}

impl<P: Registered> TestHost<P> {
    /// Starts the plugin with a configuration, a JSON object. The clock stands at 1,000,000 ms.
    ///
    /// # Errors
    /// When the plugin refuses it.
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

    fn hooks(&self) -> DeclaredHooks<'_, P> {
        DeclaredHooks(&*self.plugin)
    }

    /// Goes on in another app.
    pub fn enter_app(&self, app: &str) {
        STATE.with_borrow_mut(|state| app.clone_into(&mut state.app));
    }

    /// Sets the clock, in milliseconds since 1970.
    pub fn set_clock(&self, now_ms: u64) {
        STATE.with_borrow_mut(|state| state.now_ms = now_ms);
    }

    /// Takes the sessions that were ended: actor and credential.
    #[must_use]
    pub fn take_ended(&self) -> Vec<(String, Option<String>)> {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.ended))
    }

    /// Sets who takes part in a conversation of another plugin, in the current app.
    pub fn set_members(&self, conversation: &str, actors: &[&str]) {
        let actors = actors.iter().map(|actor| (*actor).to_owned()).collect();
        STATE.with_borrow_mut(|state| {
            let place = (state.app.clone(), conversation.to_owned());
            state.members.insert(place, actors);
        });
    }

    /// Sets who has live sessions.
    pub fn set_online(&self, actors: &[&str]) {
        let actors = actors.iter().map(|actor| (*actor).to_owned());
        STATE.with_borrow_mut(|state| state.online = actors.collect());
    }

    /// Sets what a method of another plugin answers; those without an answer are unknown.
    pub fn set_answer(&self, method: &str, answer: Value) {
        STATE.with_borrow_mut(|state| state.answers.insert(method.to_owned(), answer));
    }

    /// Takes the calls of methods of other plugins.
    #[must_use]
    pub fn take_calls(&self) -> Vec<(String, Value)> {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.calls))
    }

    /// Takes the signals that were sent.
    #[must_use]
    pub fn take_signals(&self) -> Vec<TestSignal> {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.signals))
    }

    /// Returns the messages that the plugin appended to a conversation.
    #[must_use]
    pub fn messages(&self, conversation: &str) -> Vec<StoredMessage> {
        STATE.with_borrow(|state| state.messages.get(conversation).cloned().unwrap_or_default())
    }

    /// Returns what the plugin says about a message under a name.
    #[must_use]
    pub fn annotation(&self, conversation: &str, seq: u64, name: &str) -> Option<Value> {
        let key = (conversation.to_owned(), seq, name.to_owned());
        STATE.with_borrow(|state| state.annotations.get(&key).cloned())
    }

    /// Whether the plugin watches an actor or a conversation.
    #[must_use]
    pub fn is_watched(&self, id: &str) -> bool {
        STATE.with_borrow(|state| state.watched.contains(id))
    }

    /// Takes the events that were published: name and payload.
    #[must_use]
    pub fn take_events(&self) -> Vec<(String, Value)> {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.events))
    }

    /// Asks about something that is done to a message.
    ///
    /// # Errors
    /// When the plugin refuses it.
    pub fn before_act(&self, act: &Act) -> Result<(), Error> {
        transaction(|| self.hooks().before_act(&Context::default(), act))
    }

    /// Shows an act that is in the log.
    ///
    /// # Errors
    /// When the plugin wants to see it again.
    pub fn after_act(&self, act: &Act) -> Result<(), Error> {
        transaction(|| self.hooks().after_act(&Context::default(), act))
    }

    /// Asks about a change of a conversation.
    ///
    /// # Errors
    /// When the plugin refuses it.
    pub fn before_change(&self, change: &Change) -> Result<(), Error> {
        transaction(|| self.hooks().before_change(&Context::default(), change))
    }

    /// Shows a change of a conversation that is committed.
    ///
    /// # Errors
    /// When the plugin wants to see it again.
    pub fn after_change(&self, change: &Change) -> Result<(), Error> {
        transaction(|| self.hooks().after_change(&Context::default(), change))
    }

    /// Shows an event of another plugin.
    ///
    /// # Errors
    /// When the plugin wants to see it again.
    pub fn event(&self, event: &Event) -> Result<(), Error> {
        transaction(|| self.hooks().event(&Context::default(), event))
    }

    /// Tells the plugin who was offline when a message was shown.
    ///
    /// # Errors
    /// When the plugin wants to be told again.
    pub fn push(&self, message: &TestMessage, recipients: &[String]) -> Result<(), Error> {
        let (bytes, ends) = message.pack();
        let message = Message::new(&bytes, ends, message.seq, 0, 0);
        transaction(|| self.hooks().push(&Context::default(), &message, recipients))
    }

    /// Sends a request to the plugin's part of the HTTP interface as a caller.
    ///
    /// # Errors
    /// The plugin's own; nothing that it wrote is left then.
    pub fn http(&self, caller: &Caller, request: &HttpRequest) -> Result<HttpResponse, Error> {
        let cx = Context { caller: caller.clone() };
        transaction(|| self.hooks().http(&cx, request))
    }

    /// Uploads a blob as a caller: asks about its beginning and about its end. Returns its id.
    ///
    /// # Errors
    /// The plugin's own; there is no blob then.
    pub fn upload(
        &self,
        caller: &Caller,
        name: &str,
        media_type: &str,
        conversation: Option<(&str, bool)>,
        bytes: &[u8],
    ) -> Result<String, Error> {
        let cx = Context { caller: caller.clone() };
        let (conversation, is_member) = conversation.unwrap_or_default();
        let id = STATE.with_borrow_mut(|state| state.add_blob(name, media_type, conversation, bytes));
        let blob = STATE.with_borrow_mut(|state| {
            let blob = &mut state.blobs.entry(id.clone()).or_default().0;
            caller.actor.clone_into(&mut blob.uploader);
            blob.clone()
        });
        let begun = transaction(|| self.hooks().before_upload(&cx, &blob, is_member));
        let complete = begun.and_then(|()| transaction(|| self.hooks().complete_upload(&cx, &blob)));
        STATE.with_borrow_mut(|state| match &complete {
            Ok(()) => drop(state.blobs.entry(id.clone()).and_modify(|blob| blob.2 = true)),
            Err(_) => drop(state.blobs.remove(&id)),
        });
        complete.map(|()| id)
    }

    /// Downloads a blob as a caller.
    ///
    /// # Errors
    /// The plugin's own, or `blob_not_found`.
    pub fn download(&self, caller: &Caller, id: &str, is_member: bool) -> Result<Vec<u8>, Error> {
        let cx = Context { caller: caller.clone() };
        let (blob, bytes, _) = STATE.with_borrow(|state| state.found_blob(id))?;
        transaction(|| self.hooks().before_download(&cx, &blob, is_member))?;
        Ok(bytes)
    }

    /// Asks to remove a blob as a caller.
    ///
    /// # Errors
    /// The plugin's own, or `blob_not_found`; the blob stays then.
    pub fn remove_blob(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let cx = Context { caller: caller.clone() };
        let (blob, ..) = STATE.with_borrow(|state| state.found_blob(id))?;
        transaction(|| self.hooks().before_remove(&cx, &blob))?;
        STATE.with_borrow_mut(|state| drop(state.blobs.remove(id)));
        Ok(())
    }

    /// Returns the bytes of the blobs that are kept, by id.
    #[must_use]
    pub fn blobs(&self) -> BTreeMap<String, Vec<u8>> {
        STATE.with_borrow(|state| {
            let kept = state.blobs.iter().filter(|(_, (_, _, kept))| *kept);
            kept.map(|(id, (_, bytes, _))| (id.clone(), bytes.clone())).collect()
        })
    }

    /// Sets what a URL answers; those without an answer can't be reached.
    pub fn set_response(&self, url: &str, response: HttpResponse) {
        STATE.with_borrow_mut(|state| state.responses.insert(url.to_owned(), response));
    }

    /// Takes the requests that were sent to other servers.
    #[must_use]
    pub fn take_fetched(&self) -> Vec<FetchRequest> {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.fetched))
    }

    /// Does the jobs of the current app that are due at the time of the clock, in the order in which they were added. One
    /// that fails stays.
    ///
    /// # Errors
    /// The first failure.
    pub fn run_jobs(&self) -> Result<(), Error> {
        let mut attempt = 0;
        loop {
            let due = STATE.with_borrow(|state| {
                let mine = |(app, at, ..): &(String, u64, String, Vec<u8>)| *app == state.app && *at <= state.now_ms;
                state
                    .jobs
                    .iter()
                    .position(mine)
                    .map(|place| (place, state.jobs[place].clone()))
            });
            let Some((place, (app, _, name, payload))) = due else {
                return Ok(());
            };
            attempt += 1;
            let job = Job {
                app,
                id: format!("job-{attempt}"),
                name,
                payload,
                attempt: 1,
            };
            let plugin = self.plugin.clone();
            let transact =
                move |name: &str, payload: &[u8]| transaction(|| plugin.transact(&Context::default(), name, payload));
            let tester = TestServices {
                transact: Some(Box::new(transact)),
            };
            enter_with(tester, || self.hooks().action(&Context::default(), &job))?;
            STATE.with_borrow_mut(|state| state.jobs.remove(place));
        }
    }

    /// Sets a secret.
    pub fn set_secret(&self, name: &str, secret: &str) {
        STATE.with_borrow_mut(|state| state.secrets.insert(name.to_owned(), secret.to_owned()));
    }

    /// Returns what was added to a counter.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        STATE.with_borrow(|state| state.counters.get(name).copied().unwrap_or_default())
    }

    /// Returns the values that were put into a histogram.
    #[must_use]
    pub fn observed(&self, name: &str) -> Vec<f64> {
        STATE.with_borrow(|state| state.observed.get(name).cloned().unwrap_or_default())
    }

    /// Takes the lines that were logged.
    #[must_use]
    pub fn take_log(&self) -> Vec<(Level, String)> {
        STATE.with_borrow_mut(|state| std::mem::take(&mut state.log))
    }

    /// Calls a method by name as a caller.
    ///
    /// # Errors
    /// The method's own; nothing that it wrote is left then.
    pub fn call(&self, caller: &Caller, method: &str, params: &Value) -> Result<Value, Error> {
        let cx = Context {
            caller: Caller {
                app: STATE.with_borrow(|state| state.app.clone()),
                ..caller.clone()
            },
        };
        let params = params.to_string();
        let result = transaction(|| self.plugin.call(&cx, method, params.as_bytes()))?;
        serde_json::from_slice(&result).map_err(|error| Error::new("bad_result", error.to_string()))
    }

    /// Does something that the plugin could do, in a transaction of its own: prepares or looks at what it keeps.
    ///
    /// # Errors
    /// Those of `work`; nothing that it wrote is left then.
    pub fn run<T>(&self, work: impl FnOnce(&Context) -> Result<T, Error>) -> Result<T, Error> {
        let app = STATE.with_borrow(|state| state.app.clone());
        let caller = Caller {
            app,
            ..Caller::default()
        };
        transaction(|| work(&Context { caller }))
    }

    /// Lets the plugin change the keys of the current app from what another version left.
    ///
    /// # Errors
    /// The plugin's own; nothing that it wrote is left then.
    pub fn migrate(&self, from: &str) -> Result<(), Error> {
        transaction(|| self.plugin.migrate(&Context::default(), from))
    }

    /// Asks who a token stands for.
    ///
    /// # Errors
    /// When the plugin refuses it.
    pub fn authenticate(&self, token: &str) -> Result<Option<Identity>, Error> {
        let app = STATE.with_borrow(|state| state.app.clone());
        transaction(|| self.hooks().authenticate(&Context::default(), &app, token))
    }

    /// Tells the plugin that a caller has signed in.
    pub fn connected(&self, caller: &Caller) {
        enter(|| self.hooks().connected(&Context { caller: caller.clone() }));
    }

    /// Tells the plugin that a connection of a caller has ended.
    pub fn disconnected(&self, caller: &Caller) {
        enter(|| self.hooks().disconnected(&Context { caller: caller.clone() }));
    }

    /// Fires the timers of the current app that are due at the time of the clock, the earliest first. One whose hook fails
    /// stays.
    ///
    /// # Errors
    /// The first failure.
    pub fn fire_timers(&self) -> Result<(), Error> {
        loop {
            let due = STATE.with_borrow(|state| {
                let mine = state
                    .timers
                    .iter()
                    .filter(|((app, _), (at, _))| *app == state.app && *at <= state.now_ms);
                mine.min_by_key(|(_, (at, _))| *at)
                    .map(|(key, value)| (key.clone(), value.clone()))
            });
            let Some((key, (_, payload))) = due else { return Ok(()) };
            transaction(|| {
                STATE.with_borrow_mut(|state| state.timers.remove(&key));
                self.hooks().timer(&Context::default(), &key.1, &payload)
            })?;
        }
    }

    /// Asks about a message.
    #[must_use]
    pub fn before_send(&self, message: &TestMessage) -> Verdict {
        let (bytes, ends) = message.pack();
        let verdict = transaction(|| {
            match self
                .hooks()
                .before_send(&Context::default(), &Message::new(&bytes, ends, 0, message.edits, 0))
            {
                Verdict::Reject(error) => Err(error),
                verdict => Ok(verdict),
            }
        });
        verdict.unwrap_or_else(Verdict::Reject)
    }

    /// Shows a message that is in the log.
    ///
    /// # Errors
    /// When the plugin wants to see it again.
    pub fn after_send(&self, message: &TestMessage) -> Result<(), Error> {
        let (bytes, ends) = message.pack();
        transaction(|| {
            self.hooks().after_send(
                &Context::default(),
                &Message::new(&bytes, ends, message.seq, message.edits, 0),
            )
        })
    }
}

/// A signal that a plugin sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestSignal {
    /// To whom.
    pub actors: Vec<String>,
    /// Its name.
    pub name: String,
    /// Its value.
    pub payload: Value,
}

/// A message for tests.
#[derive(Clone, Debug)]
pub struct TestMessage {
    /// The conversation.
    pub conversation: String,
    /// The kind of the conversation.
    pub conversation_kind: String,
    /// Who sends.
    pub sender: String,
    /// The other member, or empty.
    pub receiver: String,
    /// The kind of the content.
    pub kind: String,
    /// Unique for the sender.
    pub client_id: String,
    /// The content.
    pub content: Value,
    /// Its number once it is in the log.
    pub seq: u64,
    /// The number of the message that this one gives another content; 0 for a new message.
    pub edits: u64,
}

impl TestMessage {
    /// Makes a text in a conversation of two, its first.
    #[must_use]
    pub fn direct(sender: &str, receiver: &str, text: &str) -> Self {
        Self {
            conversation: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
            conversation_kind: "direct".to_owned(),
            sender: sender.to_owned(),
            receiver: receiver.to_owned(),
            kind: "text".to_owned(),
            client_id: "m1".to_owned(),
            content: serde_json::json!({ "text": text }),
            seq: 1,
            edits: 0,
        }
    }

    fn pack(&self) -> (Vec<u8>, [u32; 8]) {
        let content = self.content.to_string();
        let texts = [
            "default",
            &self.conversation,
            &self.conversation_kind,
            &self.sender,
            &self.receiver,
            &self.kind,
            &self.client_id,
            &content,
        ];
        let mut bytes = Vec::new();
        let ends = texts.map(|text| {
            bytes.extend_from_slice(text.as_bytes());
            u32::try_from(bytes.len()).unwrap_or(u32::MAX)
        });
        (bytes, ends)
    }
}

/// Lends the plugin the services of the test host.
fn enter<T>(work: impl FnOnce() -> T) -> T {
    enter_with(TestServices { transact: None }, work)
}

fn enter_with<T>(tester: TestServices, work: impl FnOnce() -> T) -> T {
    match native::enter(tester, work).1 {
        Ok(outcome) => outcome,
        // The test fails with it, as it would have without this host.
        Err(PluginPanic(text)) => panic!("the plugin panicked: {text}"),
    }
}

/// Keeps what `work` wrote only if it succeeds.
fn transaction<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
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
type Transact = Box<dyn Fn(&str, &[u8]) -> Result<Vec<u8>, Error>>;

/// The services of the test host.
struct TestServices {
    /// Only in the action lane.
    transact: Option<Transact>,
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
            ServiceRequest::Open(address, kind, members) => {
                let id = format!("{:026}", self.conversations.len() + 1);
                let key = (self.app.clone(), address);
                let new = Conversation { id, kind, members };
                Ok(ServiceResponse::Conversation(
                    self.conversations.entry(key).or_insert(new).clone(),
                ))
            }
            ServiceRequest::Find(address) => {
                let found = self.conversations.get(&(self.app.clone(), address));
                found
                    .cloned()
                    .map(ServiceResponse::Conversation)
                    .ok_or(ServiceError::NotFound)
            }
            ServiceRequest::Conversation(id) => Ok(ServiceResponse::Conversation(self.conversation(&id)?.clone())),
            ServiceRequest::AddMembers(id, members) => {
                let known = &mut self.conversation(&id)?.members;
                for member in members {
                    if !known.contains(&member) {
                        known.push(member);
                    }
                }
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::RemoveMembers(id, members) => {
                self.conversation(&id)?
                    .members
                    .retain(|member| !members.contains(member));
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Append {
                conversation,
                sender,
                kind,
                content,
            } => {
                self.conversation(&conversation)?;
                let time_ms = self.now_ms;
                let log = self.messages.entry(conversation).or_default();
                log.push(StoredMessage {
                    seq: log.len() as u64 + 1,
                    time_ms,
                    sender,
                    kind,
                    content,
                });
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Read(id, after, limit) => {
                self.conversation(&id)?;
                let log = self.messages.get(&id).into_iter().flatten();
                let wanted = log.filter(|message| message.seq > after).take(limit as usize);
                Ok(ServiceResponse::Messages(wanted.cloned().collect()))
            }
            ServiceRequest::Recall(id, seq, _) => {
                self.conversation(&id)?;
                let log = self.messages.entry(id).or_default();
                let found = log.iter_mut().find(|message| message.seq == seq);
                found.ok_or(ServiceError::NotFound)?.content = b"{}".to_vec();
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Annotate(conversation, seq, name, value) => {
                let value = serde_json::from_slice(&value).unwrap_or_default();
                self.annotations.insert((conversation, seq, name), value);
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::WatchConversation(id, on) | ServiceRequest::WatchActor(id, on) => {
                if on {
                    self.watched.insert(id);
                } else {
                    self.watched.remove(&id);
                }
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::IsMember(id, actor) => {
                let own = self.conversation(&id).is_ok_and(|found| found.members.contains(&actor));
                let others = self.members.get(&(self.app.clone(), id));
                let is_there = own || others.is_some_and(|members| members.contains(&actor));
                Ok(ServiceResponse::Flags(vec![is_there]))
            }
            ServiceRequest::Publish(name, payload) => {
                let payload = serde_json::from_slice(&payload).unwrap_or_default();
                self.events.push((name, payload));
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::AddJob(name, at_ms, payload) => {
                self.jobs.push((self.app.clone(), at_ms, name, payload));
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Fetch(request) => {
                let response = self.responses.get(&request.url).cloned();
                self.fetched.push(request);
                let unreachable = || Error::new("fetch_connect", "The test has no answer for this URL.").retryable();
                Ok(ServiceResponse::Fetched(response.ok_or_else(unreachable)))
            }
            ServiceRequest::Blob(id) => {
                let found = self.blobs.get(&id).map(|(blob, ..)| blob.clone());
                Ok(ServiceResponse::Blobs(vec![found.ok_or(ServiceError::NotFound)?]))
            }
            ServiceRequest::Blobs(after, limit) => {
                let behind = self
                    .blobs
                    .iter()
                    .filter(|(id, (blob, ..))| **id > after && blob.app == self.app);
                let blobs = behind.map(|(_, (blob, ..))| blob.clone());
                Ok(ServiceResponse::Blobs(blobs.take(limit as usize).collect()))
            }
            ServiceRequest::KeepBlob(id) => {
                self.blobs.get_mut(&id).ok_or(ServiceError::NotFound)?.2 = true;
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::RemoveBlob(id) => {
                self.blobs.remove(&id).ok_or(ServiceError::NotFound)?;
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::ReadBlob(id, offset, length) => {
                Ok(ServiceResponse::Called(self.found_blob(&id).map(|(_, bytes, _)| {
                    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                    let end = start.saturating_add(length as usize).min(bytes.len());
                    bytes[start..end].to_vec()
                })))
            }
            ServiceRequest::WriteBlob {
                name,
                media_type,
                conversation,
                bytes,
            } => Ok(ServiceResponse::Wrote(Ok(self.add_blob(
                &name,
                &media_type,
                &conversation,
                &bytes,
            )))),
            // It is answered with the plugin at hand.
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
                    None => Err(Error::new("unknown_method", "The test has no answer for this method.")),
                }))
            }
            ServiceRequest::SetTimer(name, at_ms, payload) => {
                self.timers.insert((self.app.clone(), name), (at_ms, payload));
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::CancelTimer(name) => {
                let found = self.timers.remove(&(self.app.clone(), name));
                Ok(ServiceResponse::Flags(vec![found.is_some()]))
            }
            ServiceRequest::Log(level, text) => {
                self.log.push((level, text));
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::NowMs => Ok(ServiceResponse::NowMs(self.now_ms)),
            ServiceRequest::Random(count) => {
                Ok(ServiceResponse::Bytes((0..count).map(|_| self.next_random()).collect()))
            }
        }
    }

    fn add_blob(&mut self, name: &str, media_type: &str, conversation: &str, bytes: &[u8]) -> String {
        self.begun += 1;
        let id = format!("{:026}", self.begun);
        let blob = Blob {
            app: self.app.clone(),
            id: id.clone(),
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            length: bytes.len() as u64,
            conversation: conversation.to_owned(),
            created_ms: self.now_ms,
            ..Blob::default()
        };
        self.blobs.insert(id.clone(), (blob, bytes.to_vec(), false));
        id
    }

    fn found_blob(&self, id: &str) -> Result<(Blob, Vec<u8>, bool), Error> {
        let found = self.blobs.get(id).cloned();
        found.ok_or_else(|| Error::new("blob_not_found", "There is no such blob."))
    }

    fn conversation(&mut self, id: &str) -> Result<&mut Conversation, ServiceError> {
        let mut of_app = self.conversations.iter_mut().filter(|((app, _), _)| *app == self.app);
        let found = of_app.find(|(_, conversation)| conversation.id == id);
        found
            .map(|(_, conversation)| conversation)
            .ok_or(ServiceError::NotFound)
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

    /// Returns the same bytes in every run (SplitMix64).
    fn next_random(&mut self) -> u8 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)).to_le_bytes()[0]
    }
}
