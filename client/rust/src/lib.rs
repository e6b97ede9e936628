//! A client for Courtyard: it connects, stays connected, resends what the server has not acknowledged, and hands out every
//! event once and in the order of its conversation. The protocol is `docs/reference/protocol.md`.
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
//! println!("the server has it as number {}", ack.seq);
//! # Ok(())
//! # }
//! ```
//!
//! Files go through [`Blobs`], over HTTP and beside the connection of a client.

mod blobs;
mod download;
mod driver;
mod error;
mod frame;
mod line;
mod link;
mod marks;
mod messages;
mod options;
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

use driver::{Command, Driver, RECEIPTS};

/// A connection that mends itself. Clones share it; it ends with the last clone, or with [`Client::close`].
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
}

/// What happens on a connection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The session is open: with an actor, or anonymous.
    Online(Welcome),
    /// There is no connection; the next attempt comes after this time.
    Offline {
        /// How long.
        retry_in: std::time::Duration,
    },
    /// A message.
    Message(LogEvent),
    /// Another event of the log: an edit, a recall, a reaction, an annotation, a change of members, or one that this
    /// client does not know. It is not to be shown as a message; [`MessageList`] folds it into the one it is about.
    Change(LogEvent),
    /// The numbers of a conversation begin anew: forget its events.
    Reset {
        /// Which.
        conversation: String,
        /// Of the new numbers.
        epoch: u32,
    },
    /// Something of the moment: it is not stored, and those who were offline never hear of it.
    Signal(Signal),
    /// Conversations of the actor: all of them at first; after each later time that the client connected or lost events,
    /// and when one begins, those that have changed.
    Synced(Vec<Conversation>),
    /// The actor is no member of this conversation any more: forget it.
    Left {
        /// Which.
        conversation: String,
    },
    /// What is read, unread or received in a conversation has changed.
    Marks(Marks),
    /// Somebody began or ceased to write. One who never ceases is told to after 6 seconds.
    Typing {
        /// Where.
        conversation: String,
        /// Who.
        actor: String,
        /// Whether they write.
        on: bool,
    },
    /// The server ended the session with this close code; connecting again would not help.
    Ended {
        /// See the close codes of the protocol.
        code: u16,
    },
}

/// Where the events of a [`Client`] come out.
///
/// Events wait here for whoever reads them; when [`Options::event_queue`] of them wait, nothing more is read from the
/// connection, answers included. Read them in a task of their own.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// Returns the next event; none when the client has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

/// Which part of a conversation's events is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The oldest with a greater number.
    After(u64),
    /// The newest with a smaller number.
    Before(u64),
    /// The newest.
    Newest,
}

/// A message, or an act on one, on its way. It is sent whether or not this is awaited.
#[derive(Debug)]
pub struct Sending {
    id: String,
    answer: oneshot::Receiver<Result<Ack, Error>>,
}

impl Sending {
    /// Returns its id, unique for the sender.
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
    /// Starts a client on the current runtime. It connects by itself, as often as needed.
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

    /// Sends a message. It is resent under the same id until the server has it; messages keep the order of the calls.
    pub fn send(&self, conversation: &str, kind: &str, content: Value) -> Sending {
        let kind = kind.to_owned();
        self.put(conversation, Action::Send { kind, content })
    }

    /// Puts another content in the place of that of an own message, given by its number.
    ///
    /// Like all acts on messages, it is resent as messages are, and acts on one message keep the order of the calls.
    pub fn edit(&self, conversation: &str, target: u64, content: Value) -> Sending {
        self.put(conversation, Action::Edit { target, content })
    }

    /// Takes an own message back for everyone; that can't be undone. See [`Client::edit`].
    pub fn recall(&self, conversation: &str, target: u64) -> Sending {
        self.put(conversation, Action::Recall { target })
    }

    /// Reacts to a message with an emoji, or any text of 1 to 64 bytes. See [`Client::edit`].
    pub fn react(&self, conversation: &str, target: u64, emoji: &str) -> Sending {
        let emoji = emoji.to_owned();
        self.put(conversation, Action::React { target, emoji })
    }

    /// Takes a reaction back. See [`Client::edit`].
    pub fn unreact(&self, conversation: &str, target: u64, emoji: &str) -> Sending {
        let emoji = emoji.to_owned();
        self.put(conversation, Action::Unreact { target, emoji })
    }

    fn put(&self, conversation: &str, action: Action) -> Sending {
        let unsent = Unsent {
            id: ulid::Ulid::from_parts(now_ms(), rand::random()).to_string(),
            conversation: conversation.to_owned(),
            action,
        };
        let id = unsent.id.clone();
        let (answer, waiting) = oneshot::channel();
        // A client that has ended drops the answer, which tells the one who waits.
        let _ = self.commands.send(Command::Put { unsent, answer });
        Sending { id, answer: waiting }
    }

    /// Says that everything in a conversation up to a number was read: to the others, and to one's own other devices. It is
    /// said again until the server has it; of several numbers, the highest counts.
    pub fn mark_read(&self, conversation: &str, seq: u64) {
        let conversation = conversation.to_owned();
        // A client that has ended reads nothing any more; so below.
        let _ = self.commands.send(Command::Read { conversation, seq });
    }

    /// Tells the others that one is writing; may be called with every key, and is said every 3 seconds at most.
    pub fn typing(&self, conversation: &str) {
        let conversation = conversation.to_owned();
        let _ = self.commands.send(Command::Typing { conversation });
    }

    /// Asks for what has changed, which [`Event::Synced`] tells. The server tells most by itself, but not that somebody
    /// began a conversation in which nothing was said yet.
    pub fn sync(&self) {
        let _ = self.commands.send(Command::Sync);
    }

    /// Returns what is read and unread in a conversation, and up to where the others have it, as far as that was told.
    ///
    /// # Errors
    /// [`Error::Closed`] when the client has ended.
    pub async fn marks(&self, conversation: &str) -> Result<Marks, Error> {
        let conversation = conversation.to_owned();
        self.ask(|answer| Command::Marks { conversation, answer }).await
    }

    /// Reads up to where all members of a conversation have it, oneself included; [`Client::marks`] knows it from then on.
    /// Those of large conversations are told in no other way.
    ///
    /// # Errors
    /// [`Error::Offline`] without a connection, or what the server answers.
    pub async fn receipts(&self, conversation: &str) -> Result<Vec<Receipt>, Error> {
        let mut all: Vec<Receipt> = Vec::new();
        loop {
            let conversation = conversation.to_owned();
            let after = all.last().map(|receipt| receipt.actor.clone());
            let page = self
                .ask(|answer| Command::Receipts {
                    conversation,
                    after,
                    answer,
                })
                .await?;
            let is_last = page.len() < RECEIPTS;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Calls a method, `PLUGIN.NAME`.
    ///
    /// # Errors
    /// [`Error::Offline`] without a connection, and when it breaks before the answer: the method may have run then.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, Error> {
        let method = method.to_owned();
        self.ask(|answer| Command::Call { method, params, answer }).await
    }

    /// Reads events of a conversation, in ascending order, 1 to 500.
    ///
    /// # Errors
    /// [`Error::Offline`] without a connection, or what the server answers.
    pub async fn history(&self, conversation: &str, page: Page, limit: u32) -> Result<History, Error> {
        let conversation = conversation.to_owned();
        self.ask(|answer| Command::History {
            conversation,
            page,
            limit,
            answer,
        })
        .await
    }

    /// Signs in on an anonymous connection; later connections use the token as well.
    ///
    /// # Errors
    /// [`Error::Offline`] without a connection, or what the server answers.
    pub async fn sign_in(&self, token: &str) -> Result<Welcome, Error> {
        let token = token.to_owned();
        self.ask(|answer| Command::SignIn { token, answer }).await
    }

    /// Returns the messages and acts that the server has not acknowledged, oldest first, to be kept over a restart of the
    /// program and given to [`Options::unsent`] then.
    ///
    /// # Errors
    /// [`Error::Closed`] when the client has ended.
    pub async fn unsent(&self) -> Result<Vec<Unsent>, Error> {
        self.ask(|answer| Command::Unsent { answer }).await
    }

    /// Ends the connection and the client.
    pub fn close(&self) {
        // One that has ended is what is wanted.
        let _ = self.commands.send(Command::Close);
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command) -> Result<T, Error> {
        let (answer, waiting) = oneshot::channel();
        self.commands.send(command(answer)).map_err(|_| Error::Closed)?;
        waiting.await.unwrap_or(Err(Error::Closed))
    }
}

fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
