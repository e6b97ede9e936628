//! A session without a connection, for the service that embeds the host.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::{FRAMES_AT_ONCE, Session};
use crate::hooks::Identity;
use crate::host::{Host, SessionLimits};
use crate::wire::{ActorId, AppId, ClientFrame, DeviceId, ErrorCode, RequestError};

/// Events buffered for a subscriber; one that lags further behind gets a gap.
const EVENTS: usize = 1_024;

/// Why a request of the embedding service failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct LocalError {
    /// A stable code: docs/reference/errors.md lists those of the core, and plugins have their own.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether the same request can succeed later.
    pub retry: bool,
}

impl From<RequestError> for LocalError {
    fn from(error: RequestError) -> Self {
        Self {
            code: error.code.into_owned(),
            message: error.message.into_owned(),
            retry: error.retry,
        }
    }
}

impl LocalError {
    fn stopped() -> Self {
        RequestError::new(ErrorCode::Unavailable, "The session has ended.").into()
    }
}

/// A message that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its id.
    pub event: String,
    /// Its number in the conversation.
    pub seq: u64,
    /// When it was committed, in milliseconds since 1970.
    pub time_ms: u64,
    /// The content, if a plugin replaced it.
    pub content: Option<Value>,
}

/// An event or a signal for the actor.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// An event, as clients get it (docs/reference/protocol.md).
    Event(Value),
    /// A signal of a plugin, as clients get it.
    Signal(Value),
    /// Events were dropped: read the missing ones from the history.
    Gap,
}

/// The events of a session from the subscription on.
#[derive(Debug)]
pub struct IncomingEvents(broadcast::Receiver<Value>);

impl IncomingEvents {
    /// Waits for the next event. Returns `None` once the session has ended.
    pub async fn next(&mut self) -> Option<Incoming> {
        match self.0.recv().await {
            Ok(frame) if frame["type"] == "gap" => Some(Incoming::Gap),
            Ok(frame) if frame["type"] == "signal" => Some(Incoming::Signal(frame)),
            Ok(mut frame) => Some(Incoming::Event(frame["event"].take())),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Incoming::Gap),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

struct Request {
    id: String,
    frame: Bytes,
    answer: oneshot::Sender<Value>,
}

/// A session of an actor inside the process. Plugins and limits apply as for a session behind a socket, but the
/// embedding service vouches for the actor. The session ends when all its clones are dropped.
#[derive(Clone, Debug)]
pub struct LocalSession {
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<Value>,
    limits: SessionLimits,
    next: Arc<AtomicU64>,
}

impl LocalSession {
    pub(crate) fn open(
        host: Arc<Host>,
        (app, actor, device): (AppId, ActorId, DeviceId),
        alive: mpsc::Sender<()>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let limits = host.limits;
        let (requests, received) = mpsc::channel(limits.in_flight);
        let (events, _) = broadcast::channel(EVENTS);
        let mut session = Session::new(host);
        let identity = Identity {
            actor,
            credential: String::new(),
            expires_at_ms: 0,
        };
        session.app = Some(app);
        session.sign_in(identity, device);
        session.announce_connected();
        let sender = events.clone();
        tokio::spawn(async move {
            run(&mut session, received, &sender, stopping).await;
            session.sign_out();
            drop(alive);
        });
        Self {
            requests,
            events,
            limits,
            next: Arc::default(),
        }
    }

    /// Sends a message, and returns when it is durable. `id` is the sender's own for the message: sending the same
    /// message again returns the same answer.
    ///
    /// # Errors
    /// The rejection of a plugin, or an error of the core (docs/reference/errors.md).
    pub async fn send(&self, id: &str, conversation: &str, kind: &str, content: &Value) -> Result<Sent, LocalError> {
        let frame = json!({
            "type": "send", "id": id, "conversation": conversation, "kind": kind, "content": content,
        });
        let mut ack = self.request(id.to_owned(), &frame).await?;
        Ok(Sent {
            event: ack["event"].as_str().unwrap_or_default().to_owned(),
            seq: ack["seq"].as_u64().unwrap_or_default(),
            time_ms: ack["time"].as_u64().unwrap_or_default(),
            content: ack.get_mut("content").map(Value::take),
        })
    }

    /// Calls a method of a plugin, `PLUGIN.NAME`; returns when everything it wrote is durable.
    ///
    /// # Errors
    /// The plugin's own error, or one of the core.
    pub async fn call(&self, method: &str, params: &Value) -> Result<Value, LocalError> {
        let id = self.make_id();
        let frame = json!({"type": "call", "id": id, "method": method, "params": params});
        Ok(self.request(id, &frame).await?["value"].take())
    }

    /// Reads up to `limit` events of a conversation with numbers above `after`, in order.
    ///
    /// # Errors
    /// An error of the core.
    pub async fn history(&self, conversation: &str, after: u64, limit: usize) -> Result<Vec<Value>, LocalError> {
        let id = self.make_id();
        let frame = json!({
            "type": "history", "id": id, "conversation": conversation, "after": after, "limit": limit,
        });
        match self.request(id, &frame).await?["events"].take() {
            Value::Array(events) => Ok(events),
            _ => Ok(Vec::new()),
        }
    }

    /// Subscribes to the events from now on.
    #[must_use]
    pub fn subscribe(&self) -> IncomingEvents {
        IncomingEvents(self.events.subscribe())
    }

    fn make_id(&self) -> String {
        format!("local-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    async fn request(&self, id: String, frame: &Value) -> Result<Value, LocalError> {
        let (answer, answered) = oneshot::channel();
        let frame = frame.to_string();
        // Checked here: the session would end on a frame over the limit, or couldn't assign an invalid frame to its request.
        if frame.len() > self.limits.frame_bytes {
            let message = format!("The request is larger than {} bytes.", self.limits.frame_bytes);
            return Err(RequestError::new(ErrorCode::LimitBytes, message).into());
        }
        ClientFrame::parse(&frame, self.limits.depth).map_err(|unread| LocalError::from(unread.error))?;
        let frame = frame.into();
        let request = Request { id, frame, answer };
        self.requests.send(request).await.map_err(|_| LocalError::stopped())?;
        let answer = answered.await.map_err(|_| LocalError::stopped())?;
        if answer["type"] != "error" {
            return Ok(answer);
        }
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        Err(LocalError {
            code: text("code"),
            message: text("message"),
            retry: answer["retry"].as_bool().unwrap_or_default(),
        })
    }
}

/// Passes requests to the session and answers back, until all handles are dropped, the session is ended, or the host
/// stops.
async fn run(
    session: &mut Session,
    mut requests: mpsc::Receiver<Request>,
    events: &broadcast::Sender<Value>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut waiting: HashMap<String, Vec<oneshot::Sender<Value>>> = HashMap::new();
    let (mut taken, queue) = (Vec::new(), session.queue.clone());
    loop {
        tokio::select! {
            count = requests.recv_many(&mut taken, FRAMES_AT_ONCE) => {
                if count == 0 {
                    return;
                }
                let mut frames = Vec::with_capacity(taken.len());
                for Request { id, frame, answer } in taken.drain(..) {
                    waiting.entry(id).or_default().push(answer);
                    frames.push(frame);
                }
                let mut rest = &frames[..];
                while !rest.is_empty() {
                    let Ok(count) = session.receive(rest).await else { return };
                    rest = &rest[count..];
                    if !rest.is_empty() && !dispatch(session, &mut waiting, events).await {
                        return;
                    }
                }
            }
            () = poll_fn(|context| queue.poll_ready(context)) => {
                if !dispatch(session, &mut waiting, events).await {
                    return;
                }
            }
            _ = async { stopping.wait_for(|stopping| *stopping).await.map(drop) } => return,
        }
    }
}

/// Passes the frames in the queue to the requests and subscribers. Returns whether the session continues.
async fn dispatch(
    session: &mut Session,
    waiting: &mut HashMap<String, Vec<oneshot::Sender<Value>>>,
    events: &broadcast::Sender<Value>,
) -> bool {
    let (frames, closing) = session.drain_queue().await;
    for frame in frames {
        // The host itself encoded it.
        let frame: Value = serde_json::from_slice(&frame).unwrap_or_default();
        let asked = frame["id"].as_str().and_then(|id| waiting.get_mut(id));
        match asked {
            Some(answers) if !answers.is_empty() => {
                let id = frame["id"].as_str().unwrap_or_default().to_owned();
                // Requests with the same id are answered in order.
                let answer = answers.remove(0);
                if answers.is_empty() {
                    waiting.remove(&id);
                }
                // The caller may have stopped waiting.
                let _ = answer.send(frame);
            }
            _ if ["event", "gap", "signal"].iter().any(|wanted| frame["type"] == *wanted) => {
                // Fails without subscribers only.
                let _ = events.send(frame);
            }
            _ => {}
        }
    }
    closing.is_none()
}
