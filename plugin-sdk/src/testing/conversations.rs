//! Conversations: messages, members, annotations and watches.

use serde_json::Value;

use super::host::{STATE, TestHost, TestState, transaction};
use crate::hook::PackedMessage;
use crate::request::{ServiceRequest, ServiceResponse, ServiceResult};
use crate::service::{Conversation, StoredMessage};
use crate::{Act, Change, Context, Error, Registered, ServiceError, Verdict};

impl<P: Registered> TestHost<P> {
    /// Sets the members of a conversation of another plugin, in the current app.
    pub fn set_members(&self, conversation: &str, actors: &[&str]) {
        let actors = actors.iter().map(|actor| (*actor).to_owned()).collect();
        STATE.with_borrow_mut(|state| {
            let place = (state.app.clone(), conversation.to_owned());
            state.members.insert(place, actors);
        });
    }

    /// Returns the messages that the plugin appended to a conversation.
    #[must_use]
    pub fn messages(&self, conversation: &str) -> Vec<StoredMessage> {
        STATE.with_borrow(|state| state.messages.get(conversation).cloned().unwrap_or_default())
    }

    /// Returns the plugin's annotation of a message under a name.
    #[must_use]
    pub fn annotation(&self, conversation: &str, seq: u64, name: &str) -> Option<Value> {
        let key = (conversation.to_owned(), seq, name.to_owned());
        STATE.with_borrow(|state| state.annotations.get(&key).cloned())
    }

    /// Returns whether the plugin watches an actor or a conversation.
    #[must_use]
    pub fn is_watched(&self, id: &str) -> bool {
        STATE.with_borrow(|state| state.watched.contains(id))
    }

    /// Calls `before_send`.
    #[must_use]
    pub fn before_send(&self, message: &TestMessage) -> Verdict {
        let packed = message.pack(0);
        let verdict = transaction(|| match self.hooks().before_send(&Context::default(), &packed.view()) {
            Verdict::Reject(error) => Err(error),
            verdict => Ok(verdict),
        });
        verdict.unwrap_or_else(Verdict::Reject)
    }

    /// Calls `after_send`.
    ///
    /// # Errors
    /// If the plugin wants to observe it again.
    pub fn after_send(&self, message: &TestMessage) -> Result<(), Error> {
        let packed = message.pack(message.seq);
        transaction(|| self.hooks().after_send(&Context::default(), &packed.view()))
    }

    /// Calls `push` with the members who were offline.
    ///
    /// # Errors
    /// If the plugin wants to be called again.
    pub fn push(&self, message: &TestMessage, recipients: &[String]) -> Result<(), Error> {
        let packed = message.pack(message.seq);
        transaction(|| self.hooks().push(&Context::default(), &packed.view(), recipients))
    }

    /// Calls `before_act`.
    ///
    /// # Errors
    /// If the plugin rejects it.
    pub fn before_act(&self, act: &Act) -> Result<(), Error> {
        transaction(|| self.hooks().before_act(&Context::default(), act))
    }

    /// Calls `after_act`.
    ///
    /// # Errors
    /// If the plugin wants to observe it again.
    pub fn after_act(&self, act: &Act) -> Result<(), Error> {
        transaction(|| self.hooks().after_act(&Context::default(), act))
    }

    /// Calls `before_change`.
    ///
    /// # Errors
    /// If the plugin rejects it.
    pub fn before_change(&self, change: &Change) -> Result<(), Error> {
        transaction(|| self.hooks().before_change(&Context::default(), change))
    }

    /// Calls `after_change`.
    ///
    /// # Errors
    /// If the plugin wants to observe it again.
    pub fn after_change(&self, change: &Change) -> Result<(), Error> {
        transaction(|| self.hooks().after_change(&Context::default(), change))
    }
}

/// A message for tests.
#[derive(Clone, Debug)]
pub struct TestMessage {
    /// The conversation.
    pub conversation: String,
    /// The kind of the conversation.
    pub conversation_kind: String,
    /// The sender.
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
    /// The number of the message that this one edits; 0 for a new message.
    pub edits: u64,
}

impl TestMessage {
    /// Creates a text in a conversation of two, its first message.
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

    /// Returns the message in the form of the contract, in the current app.
    fn pack(&self, seq: u64) -> PackedMessage {
        let (app, time_ms) = STATE.with_borrow(|state| (state.app.clone(), state.now_ms));
        let content = self.content.to_string();
        let texts = [
            app.as_str(),
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
        PackedMessage {
            bytes,
            ends,
            seq,
            edits: self.edits,
            time_ms,
        }
    }
}

impl TestState {
    /// Runs a service of this file.
    pub(super) fn answer_conversations(&mut self, request: ServiceRequest) -> ServiceResult {
        match request {
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
            _ => Err(ServiceError::Unavailable),
        }
    }

    fn conversation(&mut self, id: &str) -> Result<&mut Conversation, ServiceError> {
        let mut of_app = self.conversations.iter_mut().filter(|((app, _), _)| *app == self.app);
        let found = of_app.find(|(_, conversation)| conversation.id == id);
        found
            .map(|(_, conversation)| conversation)
            .ok_or(ServiceError::NotFound)
    }
}
