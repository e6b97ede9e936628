//! Frames of the server, written straight into bytes. Encoding runs once per message and session, so it is kept fast.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::code::RequestError;
use super::id::{ActorId, ConversationId, EventId};

/// Writes one JSON object, member by member.
struct Object(Vec<u8>);

impl Object {
    fn new(frame_type: &str, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(br#"{"type":""#);
        bytes.extend_from_slice(frame_type.as_bytes());
        bytes.push(b'"');
        Self(bytes)
    }

    fn key(&mut self, key: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn text(&mut self, key: &str, text: &str) -> &mut Self {
        self.key(key);
        push_text(&mut self.0, text);
        self
    }

    fn number(&mut self, key: &str, number: u64) -> &mut Self {
        self.key(key);
        push_number(&mut self.0, number);
        self
    }

    fn raw(&mut self, key: &str, json: &[u8]) -> &mut Self {
        self.key(key);
        self.0.extend_from_slice(json);
        self
    }

    fn finish(&mut self) -> Bytes {
        self.0.push(b'}');
        // A boxed slice: `Bytes` would keep spare capacity, and needs a second allocation for it.
        Bytes::from(std::mem::take(&mut self.0).into_boxed_slice())
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    // No early exit, so that the compiler vectorizes the loop.
    let special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    if !text.bytes().fold(false, |found, byte| found | special(byte)) {
        bytes.push(b'"');
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(b'"');
    } else {
        // Writing a string into a vector can't fail.
        let _ = serde_json::to_writer(bytes, text);
    }
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    bytes.extend_from_slice(&digits[at..]);
}

fn push_ulid(bytes: &mut Vec<u8>, key: &str, id: u128) {
    let mut buffer = [0; ulid::ULID_LEN];
    bytes.extend_from_slice(b",\"");
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(b"\":\"");
    bytes.extend_from_slice(ulid::Ulid(id).array_to_str(&mut buffer).as_bytes());
    bytes.push(b'"');
}

/// The actors who reacted to a message with one emoji.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// The actors, in the order of their reactions.
    pub actors: Vec<String>,
}

/// What a plugin noted on a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// The id of the plugin.
    pub plugin: String,
    /// The plugin's name for the annotation.
    pub name: String,
    /// The value, as JSON text.
    pub value: String,
}

/// The revisions of a message, apart from its content.
#[derive(Clone, Copy, Debug)]
pub struct Revised<'a> {
    /// Time of the last edit, in milliseconds since 1970.
    pub edited: Option<u64>,
    /// Whether its sender recalled it.
    pub recalled: bool,
    /// The reactions.
    pub reactions: &'a [Reaction],
    /// The annotations of plugins.
    pub annotations: &'a [Annotation],
}

impl Revised<'_> {
    fn write(&self, object: &mut Object) {
        if let Some(edited) = self.edited {
            object.number("edited", edited);
        }
        if self.recalled {
            object.raw("recalled", b"true");
        }
        if !self.reactions.is_empty() {
            object.key("reactions");
            // Writing strings into a vector can't fail.
            let _ = serde_json::to_writer(&mut object.0, self.reactions);
        }
        if !self.annotations.is_empty() {
            object.key("annotations");
            push_list(&mut object.0, self.annotations, |bytes, annotation| {
                bytes.extend_from_slice(b"{\"plugin\":");
                push_text(bytes, &annotation.plugin);
                bytes.extend_from_slice(b",\"name\":");
                push_text(bytes, &annotation.name);
                bytes.extend_from_slice(b",\"value\":");
                bytes.extend_from_slice(annotation.value.as_bytes());
                bytes.push(b'}');
            });
        }
    }
}

/// An event as clients see it.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'a> {
    /// The type of the event, such as `message`.
    pub event_type: &'a str,
    /// The number of the message that the event is about; 0 for none.
    pub target: u64,
    /// The id of the event.
    pub id: EventId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The number of the event in the conversation.
    pub seq: u64,
    /// Time of the commit, in milliseconds since 1970.
    pub time_ms: u64,
    /// The sender.
    pub sender: &'a str,
    /// The other member, in a conversation of two.
    pub receiver: Option<&'a str>,
    /// The id that the sender chose for it.
    pub client_id: &'a str,
    /// The kind of the content.
    pub kind: &'a str,
    /// The content, a JSON object.
    pub content: &'a [u8],
    /// The revisions of a message; `None` if it has none.
    pub revised: Option<Revised<'a>>,
}

impl EventView<'_> {
    /// Appends the event as a JSON object.
    fn write(&self, bytes: &mut Vec<u8>) {
        let mut object = Object(std::mem::take(bytes));
        object.0.extend_from_slice(b"{\"type\":\"");
        object.0.extend_from_slice(self.event_type.as_bytes());
        object.0.push(b'"');
        push_ulid(&mut object.0, "id", self.id.0);
        push_ulid(&mut object.0, "conversation", self.conversation.0);
        object.number("seq", self.seq);
        if self.target > 0 {
            object.number("target", self.target);
        }
        object.text("kind", self.kind).text("sender", self.sender);
        if let Some(receiver) = self.receiver {
            object.text("receiver", receiver);
        }
        object
            .text("client_id", self.client_id)
            .raw("content", self.content)
            .number("time", self.time_ms);
        if let Some(revised) = &self.revised {
            revised.write(&mut object);
        }
        object.0.push(b'}');
        *bytes = object.0;
    }

    fn capacity(&self) -> usize {
        240 + self.content.len() + self.sender.len() + self.client_id.len() + self.receiver.map_or(0, str::len)
    }
}

/// Encodes the frame of an event.
#[must_use]
pub fn event(message: &EventView<'_>) -> Bytes {
    let mut bytes = Vec::with_capacity(message.capacity());
    bytes.extend_from_slice(br#"{"type":"event","event":"#);
    message.write(&mut bytes);
    bytes.push(b'}');
    Bytes::from(bytes)
}

/// The acknowledgement of a sent message.
#[derive(Clone, Copy, Debug)]
pub struct Ack<'a> {
    /// The id of the request.
    pub id: &'a str,
    /// The conversation.
    pub conversation: ConversationId,
    /// The number of the event in the conversation.
    pub seq: u64,
    /// The id of the event.
    pub event: EventId,
    /// Time of the commit, in milliseconds since 1970.
    pub time_ms: u64,
    /// The content, if a plugin replaced it.
    pub content: Option<&'a [u8]>,
}

/// Encodes an acknowledgement.
#[must_use]
pub fn ack(ack: &Ack<'_>) -> Bytes {
    let mut object = Object::new("ack", 160 + ack.id.len() + ack.content.map_or(0, <[u8]>::len));
    object.text("id", ack.id);
    push_ulid(&mut object.0, "conversation", ack.conversation.0);
    object.number("seq", ack.seq);
    push_ulid(&mut object.0, "event", ack.event.0);
    object.number("time", ack.time_ms);
    if let Some(content) = ack.content {
        object.raw("content", content);
    }
    object.finish()
}

/// Encodes an error.
#[must_use]
pub fn error(id: Option<&str>, error: &RequestError) -> Bytes {
    let mut object = Object::new("error", 128 + error.message.len());
    if let Some(id) = id {
        object.text("id", id);
    }
    object.text("code", &error.code).text("message", &error.message);
    object.raw("retry", if error.retry { b"true" } else { b"false" });
    object.finish()
}

/// Encodes the result of a method; `value` is a JSON value.
#[must_use]
pub fn result(id: &str, value: &[u8]) -> Bytes {
    Object::new("result", 48 + id.len() + value.len())
        .text("id", id)
        .raw("value", value)
        .finish()
}

/// Returns the frame that answers a ping.
#[must_use]
pub fn pong() -> Bytes {
    Bytes::from_static(br#"{"type":"pong"}"#)
}

/// Returns the frame that reports dropped events.
#[must_use]
pub fn gap() -> Bytes {
    Bytes::from_static(br#"{"type":"gap"}"#)
}

/// Encodes an ephemeral frame of a plugin; `payload` is JSON.
#[must_use]
pub fn signal(plugin: &str, name: &str, payload: &serde_json::value::RawValue) -> Bytes {
    let mut object = Object::new("signal", 64 + payload.get().len());
    object.text("plugin", plugin).text("name", name);
    object.key("payload");
    object.0.extend_from_slice(payload.get().as_bytes());
    object.finish()
}

/// The limits that `welcome` announces to clients.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ClientLimits {
    /// Size of a message, in bytes.
    pub frame_bytes: usize,
    /// Nesting of JSON, in levels.
    pub depth: usize,
    /// Requests in flight per session.
    pub in_flight: usize,
}

/// The answer to `hello` and `auth`.
#[derive(Clone, Copy, Debug)]
pub struct Welcome<'a> {
    /// The id of an `auth` request; `None` for `hello`.
    pub id: Option<&'a str>,
    /// The session.
    pub session: u128,
    /// The signed-in actor.
    pub actor: Option<&'a ActorId>,
    /// The heartbeat in milliseconds.
    pub heartbeat_ms: u64,
    /// The server's time, in milliseconds since 1970.
    pub time_ms: u64,
    /// The limits.
    pub limits: ClientLimits,
}

/// Encodes the answer to `hello` and `auth`.
#[must_use]
pub fn welcome(welcome: &Welcome<'_>) -> Bytes {
    let mut object = Object::new("welcome", 256);
    if let Some(id) = welcome.id {
        object.text("id", id);
    }
    object.number("protocol", super::PROTOCOL);
    push_ulid(&mut object.0, "session", welcome.session);
    if let Some(actor) = welcome.actor {
        object.text("actor", actor.as_str());
    }
    object
        .number("heartbeat_ms", welcome.heartbeat_ms)
        .number("time", welcome.time_ms);
    object.key("limits");
    // Writing numbers into a vector can't fail.
    let _ = serde_json::to_writer(&mut object.0, &welcome.limits);
    object.finish()
}

/// Encodes a page of history.
#[must_use]
pub fn events(id: &str, conversation: ConversationId, epoch: u32, head: u64, messages: &[EventView<'_>]) -> Bytes {
    let capacity = 128 + messages.iter().map(|message| message.capacity() + 1).sum::<usize>();
    let mut object = Object::new("events", capacity);
    object.text("id", id);
    push_ulid(&mut object.0, "conversation", conversation.0);
    object.number("epoch", epoch.into()).number("head", head);
    object.key("events");
    push_list(&mut object.0, messages, |bytes, message| message.write(bytes));
    object.finish()
}

/// A conversation in the answer to `sync`.
#[derive(Clone, Copy, Debug)]
pub struct ConversationView<'a> {
    /// The conversation.
    pub id: ConversationId,
    /// The kind that its plugin gave it.
    pub kind: &'a str,
    /// The members.
    pub members: &'a [ActorId],
    /// The epoch; it changes when cursors lose their meaning.
    pub epoch: u32,
    /// The number of the newest event.
    pub seq: u64,
    /// The newest event that some device of the viewer has.
    pub delivered: u64,
    /// The newest event that the viewer has read.
    pub read: u64,
    /// The number of unread messages of others.
    pub unread: usize,
    /// The receipts of the other members, in small conversations.
    pub receipts: &'a [ReceiptView<'a>],
    /// The newest event.
    pub last: Option<EventView<'a>>,
}

/// The watermarks of a member.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptView<'a> {
    /// The member.
    pub actor: &'a str,
    /// The newest event that some device of the member has.
    pub delivered: u64,
    /// The newest event that the member has read.
    pub read: u64,
}

fn push_receipts(bytes: &mut Vec<u8>, receipts: &[ReceiptView<'_>]) {
    push_list(bytes, receipts, |bytes, receipt| {
        let mut object = Object(std::mem::take(bytes));
        object.0.extend_from_slice(b"{\"actor\":");
        push_text(&mut object.0, receipt.actor);
        object
            .number("delivered", receipt.delivered)
            .number("read", receipt.read);
        object.0.push(b'}');
        *bytes = object.0;
    });
}

/// Encodes the answer to a receipt, with the actor's watermarks.
#[must_use]
pub fn marked(id: &str, conversation: ConversationId, receipt: &ReceiptView<'_>) -> Bytes {
    let mut object = Object::new("marked", 160);
    object.text("id", id);
    push_ulid(&mut object.0, "conversation", conversation.0);
    object
        .number("delivered", receipt.delivered)
        .number("read", receipt.read);
    object.finish()
}

/// Encodes the changed watermarks of a member.
#[must_use]
pub fn receipt(conversation: ConversationId, receipt: &ReceiptView<'_>) -> Bytes {
    let mut object = Object::new("receipt", 192);
    push_ulid(&mut object.0, "conversation", conversation.0);
    object
        .text("actor", receipt.actor)
        .number("delivered", receipt.delivered)
        .number("read", receipt.read);
    object.finish()
}

/// Encodes the answer with the watermarks of members.
#[must_use]
pub fn receipts(id: &str, conversation: ConversationId, receipts: &[ReceiptView<'_>]) -> Bytes {
    let mut object = Object::new("receipts", 128 + receipts.len() * 96);
    object.text("id", id);
    push_ulid(&mut object.0, "conversation", conversation.0);
    object.key("receipts");
    push_receipts(&mut object.0, receipts);
    object.finish()
}

/// Encodes that a member is writing.
#[must_use]
pub fn typing(conversation: ConversationId, actor: &str) -> Bytes {
    let mut object = Object::new("typing", 128);
    push_ulid(&mut object.0, "conversation", conversation.0);
    object.text("actor", actor);
    object.finish()
}

/// Encodes the answer to `sync`.
#[must_use]
pub fn synced(id: &str, conversations: &[ConversationView<'_>], left: &[ConversationId], position: u64) -> Bytes {
    let mut object = Object::new("synced", 128 + conversations.len() * 480);
    object.text("id", id).key("conversations");
    push_list(&mut object.0, conversations, |bytes, conversation| {
        let mut object = Object(std::mem::take(bytes));
        object.0.extend_from_slice(b"{\"kind\":");
        push_text(&mut object.0, conversation.kind);
        push_ulid(&mut object.0, "id", conversation.id.0);
        object.key("members");
        push_list(&mut object.0, conversation.members, |bytes, member| {
            push_text(bytes, member.as_str());
        });
        object
            .number("epoch", conversation.epoch.into())
            .number("seq", conversation.seq)
            .number("delivered", conversation.delivered)
            .number("read", conversation.read)
            .number("unread", conversation.unread as u64);
        if !conversation.receipts.is_empty() {
            object.key("receipts");
            push_receipts(&mut object.0, conversation.receipts);
        }
        if let Some(last) = &conversation.last {
            object.key("last");
            last.write(&mut object.0);
        }
        object.0.push(b'}');
        *bytes = object.0;
    });
    if !left.is_empty() {
        object.key("left");
        push_list(&mut object.0, left, |bytes, id| push_text(bytes, &id.to_string()));
    }
    object.text("position", &position.to_string());
    object.finish()
}

fn push_list<T>(bytes: &mut Vec<u8>, items: &[T], mut push: impl FnMut(&mut Vec<u8>, &T)) {
    bytes.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        push(bytes, item);
    }
    bytes.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ErrorCode;
    use serde_json::{Value, json};

    fn message(content: &[u8]) -> EventView<'_> {
        EventView {
            event_type: "message",
            target: 0,
            revised: None,
            id: EventId(5),
            conversation: ConversationId(7),
            seq: 18_446_744_073_709_551_615,
            time_ms: 0,
            sender: "a\"b\\c",
            receiver: Some("ü"),
            client_id: "m1",
            kind: "text",
            content,
        }
    }

    fn parsed(bytes: &Bytes) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn every_frame_is_json_and_texts_are_escaped() {
        let view = message(br#"{"text":"hi"}"#);
        let value = parsed(&event(&view));
        assert_eq!(value["event"]["sender"], "a\"b\\c");
        assert_eq!(value["event"]["seq"], json!(u64::MAX));
        assert_eq!(value["event"]["conversation"], ConversationId(7).to_string());
        assert_eq!(value["event"]["content"], json!({"text": "hi"}));

        let value = parsed(&events("h", ConversationId(7), 0, 2, &[view, view]));
        assert_eq!(value["events"].as_array().unwrap().len(), 2);

        let receipts = ReceiptView {
            actor: "a\"b",
            delivered: 1,
            read: 0,
        };
        let members: [ActorId; 2] = ["a".parse().unwrap(), "b".parse().unwrap()];
        let conversation = ConversationView {
            id: ConversationId(7),
            kind: "direct",
            members: &members,
            epoch: 0,
            seq: 1,
            delivered: 1,
            read: 0,
            unread: 1,
            receipts: &[receipts, receipts],
            last: Some(view),
        };
        let value = parsed(&synced("s", &[conversation, conversation], &[ConversationId(9)], 9));
        assert_eq!(value["left"], json!([ConversationId(9).to_string()]));
        assert_eq!(value["conversations"][1]["receipts"][1]["actor"], "a\"b");
        assert_eq!(value["conversations"][1]["members"], json!(["a", "b"]));
        assert_eq!(value["conversations"][1]["last"]["client_id"], "m1");

        let refused = RequestError::new(ErrorCode::Busy, "a \"quoted\"\nword");
        let value = parsed(&error(Some("x"), &refused));
        assert_eq!(
            (value["code"].as_str(), value["retry"].as_bool()),
            (Some("busy"), Some(true))
        );
        assert_eq!(value["message"], "a \"quoted\"\nword");

        let acked = Ack {
            id: "m1",
            conversation: ConversationId(7),
            seq: 0,
            event: EventId(5),
            time_ms: 3,
            content: None,
        };
        assert_eq!(parsed(&ack(&acked))["seq"], 0);
        assert_eq!(parsed(&result("c", b"[1]"))["value"], json!([1]));
    }
}
