//! A host for tests: runs a plugin's hooks and methods natively, on an in-memory key space inside a transaction.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::native::{self, Panicked, Services};
use crate::service::{Conversation, Entries, Level};
use crate::{Caller, Context, Error, Identity, Message, Registered, ServiceError, Verdict};

#[derive(Clone, Debug, Default)]
struct State {
    app: String,
    /// App and key.
    keys: BTreeMap<(String, Vec<u8>), Vec<u8>>,
    /// App and address.
    conversations: BTreeMap<(String, String), Conversation>,
    ended: Vec<(String, Option<String>)>,
    log: Vec<(Level, String)>,
    now_ms: u64,
    random: u64,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// A plugin in a host of its own. One at a time in each thread.
#[derive(Debug)]
pub struct TestHost<P> {
    plugin: P,
}

impl<P: Registered> TestHost<P> {
    /// Starts the plugin with a configuration, a JSON object. The clock stands at 1,000,000 ms.
    ///
    /// # Errors
    /// When the plugin refuses it.
    pub fn start(configuration: &str) -> Result<Self, Error> {
        STATE.with_borrow_mut(|state| {
            *state = State {
                app: "default".to_owned(),
                now_ms: 1_000_000,
                ..State::default()
            }
        });
        Ok(Self {
            plugin: enter(|| P::start(configuration))?,
        })
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
        transaction(|| self.plugin.authenticate(&Context::default(), &app, token))
    }

    /// Asks about a message.
    #[must_use]
    pub fn before_send(&self, message: &TestMessage) -> Verdict {
        let (bytes, ends) = message.pack();
        let verdict = transaction(|| {
            match self
                .plugin
                .before_send(&Context::default(), &Message::new(&bytes, ends, 0, 0))
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
            self.plugin
                .after_send(&Context::default(), &Message::new(&bytes, ends, 1, 0))
        })
    }
}

/// A message for tests.
#[derive(Clone, Debug)]
pub struct TestMessage {
    /// The kind of the conversation.
    pub conversation_kind: String,
    /// Who sends.
    pub sender: String,
    /// The other member, or empty.
    pub receiver: String,
    /// The kind of the content.
    pub kind: String,
    /// The content.
    pub content: Value,
}

impl TestMessage {
    /// Makes a text in a conversation of two.
    #[must_use]
    pub fn direct(sender: &str, receiver: &str, text: &str) -> Self {
        Self {
            conversation_kind: "direct".to_owned(),
            sender: sender.to_owned(),
            receiver: receiver.to_owned(),
            kind: "text".to_owned(),
            content: serde_json::json!({ "text": text }),
        }
    }

    fn pack(&self) -> (Vec<u8>, [u32; 8]) {
        let content = self.content.to_string();
        let texts = [
            "default",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            &self.conversation_kind,
            &self.sender,
            &self.receiver,
            &self.kind,
            "m1",
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
    match native::enter(Tester, work).1 {
        Ok(outcome) => outcome,
        // The test fails with it, as it would have without this host.
        Err(Panicked(text)) => panic!("the plugin panicked: {text}"),
    }
}

/// Keeps what `work` wrote only if it succeeds.
fn transaction<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let before = STATE.with_borrow(State::clone);
    let outcome = enter(work);
    if outcome.is_err() {
        STATE.with_borrow_mut(|state| {
            let log = std::mem::take(&mut state.log);
            let random = state.random;
            *state = State { log, random, ..before };
        });
    }
    outcome
}

/// The services of the test host.
struct Tester;

impl Services for Tester {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ServiceError> {
        STATE.with_borrow(|state| Ok(state.keys.get(&(state.app.clone(), key.to_vec())).cloned()))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), ServiceError> {
        STATE.with_borrow_mut(|state| {
            state.keys.insert((state.app.clone(), key.to_vec()), value.to_vec());
            Ok(())
        })
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), ServiceError> {
        STATE.with_borrow_mut(|state| {
            state.keys.remove(&(state.app.clone(), key.to_vec()));
            Ok(())
        })
    }

    fn scan(&mut self, start: &[u8], end: &[u8], limit: u32, reverse: bool) -> Result<Entries, ServiceError> {
        STATE.with_borrow(|state| {
            let inside = state.keys.iter().filter(|((app, key), _)| {
                *app == state.app && key.as_slice() >= start && (end.is_empty() || key.as_slice() < end)
            });
            let entry = |((_, key), value): (&(String, Vec<u8>), &Vec<u8>)| (key.clone(), value.clone());
            let limit = limit as usize;
            Ok(if reverse {
                inside.rev().take(limit).map(entry).collect()
            } else {
                inside.take(limit).map(entry).collect()
            })
        })
    }

    fn open(&mut self, address: &str, kind: &str, members: &[String]) -> Result<Conversation, ServiceError> {
        STATE.with_borrow_mut(|state| {
            let id = format!("{:026}", state.conversations.len() + 1);
            let new = Conversation {
                id,
                kind: kind.to_owned(),
                members: members.to_vec(),
            };
            Ok(state
                .conversations
                .entry((state.app.clone(), address.to_owned()))
                .or_insert(new)
                .clone())
        })
    }

    fn find(&mut self, address: &str) -> Result<Conversation, ServiceError> {
        STATE.with_borrow(|state| {
            let found = state.conversations.get(&(state.app.clone(), address.to_owned()));
            found.cloned().ok_or(ServiceError::NotFound)
        })
    }

    fn end(&mut self, actor: &str, credential: Option<&str>) {
        STATE.with_borrow_mut(|state| state.ended.push((actor.to_owned(), credential.map(str::to_owned))));
    }

    fn log(&mut self, level: Level, text: &str) {
        STATE.with_borrow_mut(|state| state.log.push((level, text.to_owned())));
    }

    fn now_ms(&mut self) -> u64 {
        STATE.with_borrow(|state| state.now_ms)
    }

    /// Returns the same bytes in every run, and others at every call (SplitMix64).
    fn random(&mut self, count: u32) -> Vec<u8> {
        STATE.with_borrow_mut(|state| {
            let next = |_| {
                state.random = state.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut mixed = state.random;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                (mixed ^ (mixed >> 31)).to_le_bytes()[0]
            };
            (0..count).map(next).collect()
        })
    }
}
