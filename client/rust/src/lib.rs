//! A client for Courtyard. It connects, reconnects, resends messages until the server acknowledges them, and delivers every
//! event once and in the order of its conversation. `docs/reference/protocol.md` describes the protocol.
//!
//! ```no_run
//! use courtyard_client::{Client, Event, Options};
//! use serde_json::json;
//!
//! # async fn chat(token: String) -> Result<(), courtyard_client::Error> {
//! let options = Options::new("wss://chat.example.com/v1/ws").device("phone").token(token);
//! let (client, mut events) = Client::connect(options);
//! let sent = client.send("01J7…", "text", json!({"text": "Hello"}));
//! tokio::spawn(async move {
//!     while let Some(event) = events.next().await {
//!         if let Event::Message(message) = event {
//!             println!("{}: {}", message.sender, message.content);
//!         }
//!     }
//! });
//! let ack = sent.await?;
//! println!("stored with the number {}", ack.seq);
//! # Ok(())
//! # }
//! ```
//!
//! [`Blobs`] uploads and downloads files over HTTP, independent of the connection of a client.

mod blobs;
mod download;
mod driver;
mod error;
mod frame;
mod http;
mod marks;
mod messages;
mod options;
mod socket;
mod timeline;
mod upload;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub use blobs::Blobs;
pub use download::Download;
pub use error::Error;
pub use frame::{Ack, Action, Annotation, Conversation, History, Limits, LogEvent, Reaction, Signal, Unsent, Welcome};
pub use marks::{Marks, Receipt};
pub use messages::MessageList;
pub use options::Options;
pub use upload::Upload;

use driver::{Command, Driver, RECEIPTS_PER_PAGE};

/// A connection that reconnects by itself. Clones share it. It ends when the last clone is dropped, or with
/// [`Client::close`].
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
}

/// An event of a [`Client`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The session is established, for an actor or anonymous.
    Online(Welcome),
    /// The connection is lost, or an attempt to connect failed.
    Offline {
        /// Time until the next attempt.
        retry_in: std::time::Duration,
    },
    /// A message.
    Message(LogEvent),
    /// Another event of the log: an edit, a recall, a reaction, an annotation, a change of members, or one that this
    /// client does not know. Don't show it as a message; [`MessageList`] applies it to its message.
    Change(LogEvent),
    /// The numbers of a conversation start again at 1: discard its events.
    Reset {
        /// Id of the conversation.
        conversation: String,
        /// The new epoch.
        epoch: u32,
    },
    /// An ephemeral message of a plugin: it is not stored, and clients that are offline never receive it.
    Signal(Signal),
    /// Conversations of the actor. The first time all of them; later, whenever the client reconnected, lost events or got a
    /// new conversation, those that changed.
    Synced(Vec<Conversation>),
    /// The actor is no longer a member of this conversation: discard it.
    Left {
        /// Id of the conversation.
        conversation: String,
    },
    /// The receipts or the number of unread messages of a conversation changed.
    Marks(Marks),
    /// Another member started or stopped typing. Without a new sign of typing, it ends after 6 seconds.
    Typing {
        /// Id of the conversation.
        conversation: String,
        /// The member.
        actor: String,
        /// `true` if the member is typing.
        on: bool,
    },
    /// The server ended the session for good: the client doesn't reconnect.
    Ended {
        /// Close code of the protocol.
        code: u16,
    },
}

/// Receiver of the events of a [`Client`].
///
/// Read it in a task of its own: while [`Options::event_queue`] events are queued, the client reads nothing more from the
/// connection, answers included.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// Waits for the next event. Returns `None` once the client has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

/// A page of the events of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The oldest events with a greater number.
    After(u64),
    /// The newest events with a smaller number.
    Before(u64),
    /// The newest events.
    Newest,
}

/// A message, or an act on a message, in the outbox. It is sent even without awaiting this value.
#[derive(Debug)]
pub struct Sending {
    id: String,
    answer: oneshot::Receiver<Result<Ack, Error>>,
}

impl Sending {
    /// Returns its id, which is unique for the sender.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Future for Sending {
    type Output = Result<Ack, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }
}

impl Client {
    /// Starts a client on the current runtime. It connects, and reconnects, by itself.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn connect(options: Options) -> (Self, Events) {
        let (commands, incoming) = mpsc::unbounded_channel();
        let (outgoing, events) = mpsc::channel(options.event_queue.max(1));
        tokio::spawn(Driver::new(options, incoming, outgoing).run());
        (Self { commands }, Events(events))
    }

    /// Sends a message. It is resent with the same id until the server acknowledges it. Messages keep the order of the calls.
    pub fn send(&self, conversation: &str, kind: &str, content: Value) -> Sending {
        let kind = kind.to_owned();
        self.enqueue(conversation, Action::Send { kind, content })
    }

    /// Replaces the content of an own message, given by its number.
    ///
    /// Like all acts on messages, it is resent until the server acknowledges it. Acts on one message keep the order of the
    /// calls.
    pub fn edit(&self, conversation: &str, target: u64, content: Value) -> Sending {
        self.enqueue(conversation, Action::Edit { target, content })
    }

    /// Recalls an own message for everyone. This can't be undone. See [`Client::edit`].
    pub fn recall(&self, conversation: &str, target: u64) -> Sending {
        self.enqueue(conversation, Action::Recall { target })
    }

    /// Reacts to a message with an emoji, or any text of 1 to 64 bytes. See [`Client::edit`].
    pub fn react(&self, conversation: &str, target: u64, emoji: &str) -> Sending {
        let emoji = emoji.to_owned();
        self.enqueue(conversation, Action::React { target, emoji })
    }

    /// Removes a reaction. See [`Client::edit`].
    pub fn unreact(&self, conversation: &str, target: u64, emoji: &str) -> Sending {
        let emoji = emoji.to_owned();
        self.enqueue(conversation, Action::Unreact { target, emoji })
    }

    fn enqueue(&self, conversation: &str, action: Action) -> Sending {
        let unsent = Unsent {
            id: ulid::Ulid::from_parts(now_ms(), rand::random()).to_string(),
            conversation: conversation.to_owned(),
            action,
        };
        let id = unsent.id.clone();
        let (answer, receiver) = oneshot::channel();
        // If the client has ended, `answer` is dropped, and awaiting it returns `Error::Closed`.
        let _ = self.commands.send(Command::Enqueue { unsent, answer });
        Sending { id, answer: receiver }
    }

    /// Marks everything in a conversation up to a number as read, for the other members and on the actor's other devices. The
    /// mark is resent until the server acknowledges it; of several numbers, the highest counts.
    pub fn mark_read(&self, conversation: &str, seq: u64) {
        let conversation = conversation.to_owned();
        // Has no effect on a client that has ended. The same holds below.
        let _ = self.commands.send(Command::Read { conversation, seq });
    }

    /// Notifies the other members that the actor is typing. Call it with every key: it is sent at most every 3 seconds.
    pub fn typing(&self, conversation: &str) {
        let conversation = conversation.to_owned();
        let _ = self.commands.send(Command::Typing { conversation });
    }

    /// Requests the changed conversations, which [`Event::Synced`] delivers. The server sends most changes by itself, but not
    /// new conversations without a message.
    pub fn sync(&self) {
        let _ = self.commands.send(Command::Sync);
    }

    /// Returns the receipts and the number of unread messages of a conversation, as far as the client knows them.
    ///
    /// # Errors
    /// [`Error::Closed`] if the client has ended.
    pub async fn marks(&self, conversation: &str) -> Result<Marks, Error> {
        let conversation = conversation.to_owned();
        self.request(|answer| Command::Marks { conversation, answer }).await
    }

    /// Reads the receipts of all members of a conversation, including the actor. [`Client::marks`] returns them from then on.
    /// This is the only way to get those of large conversations.
    ///
    /// # Errors
    /// [`Error::Offline`] without a connection, or the error of the server.
    pub async fn receipts(&self, conversation: &str) -> Result<Vec<Receipt>, Error> {
        let mut all: Vec<Receipt> = Vec::new();
        loop {
            let conversation = conversation.to_owned();
            let after = all.last().map(|receipt| receipt.actor.clone());
            let page = self
                .request(|answer| Command::Receipts {
                    conversation,
                    after,
                    answer,
                })
                .await?;
            let is_last = page.len() < RECEIPTS_PER_PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Calls a method, `PLUGIN.NAME`.
    ///
    /// # Errors
    /// [`Error::Offline`] without a connection, and if it is lost before the answer: the method may have run then.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, Error> {
        let method = method.to_owned();
        self.request(|answer| Command::Call { method, params, answer }).await
    }

    /// Reads 1 to 500 events of a conversation, in ascending order.
    ///
    /// # Errors
    /// [`Error::Offline`] without a connection, or the error of the server.
    pub async fn history(&self, conversation: &str, page: Page, limit: u32) -> Result<History, Error> {
        let conversation = conversation.to_owned();
        self.request(|answer| Command::History {
            conversation,
            page,
            limit,
            answer,
        })
        .await
    }

    /// Signs in on an anonymous connection. Later connections use the token as well.
    ///
    /// # Errors
    /// [`Error::Offline`] without a connection, or the error of the server.
    pub async fn sign_in(&self, token: &str) -> Result<Welcome, Error> {
        let token = token.to_owned();
        self.request(|answer| Command::SignIn { token, answer }).await
    }

    /// Returns the messages and acts that the server has not acknowledged, oldest first. Store them and pass them to
    /// [`Options::unsent`] to send them after a restart of the program.
    ///
    /// # Errors
    /// [`Error::Closed`] if the client has ended.
    pub async fn unsent(&self) -> Result<Vec<Unsent>, Error> {
        self.request(|answer| Command::Unsent { answer }).await
    }

    /// Closes the connection and ends the client.
    pub fn close(&self) {
        // Nothing to do for a client that has ended.
        let _ = self.commands.send(Command::Close);
    }

    async fn request<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command) -> Result<T, Error> {
        let (answer, receiver) = oneshot::channel();
        self.commands.send(command(answer)).map_err(|_| Error::Closed)?;
        receiver.await.unwrap_or(Err(Error::Closed))
    }
}

fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
