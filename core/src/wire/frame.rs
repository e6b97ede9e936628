//! Frames of the client: from JSON text to checked values.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;

use super::code::{ErrorCode, RequestError};
use super::flat::{self, FlatValue};
use super::id::{ActorId, AppId, ConversationId, DeviceId};

/// A text that borrows from the frame unless it has escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Every member that frames of any type can have.
#[derive(serde::Deserialize)]
#[serde(expecting = "a JSON object")]
struct Members<'a> {
    #[serde(rename = "type", borrow)]
    frame_type: Text<'a>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    conversation: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    protocol: Option<u64>,
    #[serde(borrow)]
    app: Option<Text<'a>>,
    #[serde(borrow)]
    device: Option<Text<'a>>,
    #[serde(borrow)]
    token: Option<Text<'a>>,
    target: Option<u64>,
    #[serde(borrow)]
    emoji: Option<Text<'a>>,
    #[serde(borrow)]
    since: Option<Text<'a>>,
    after: Option<u64>,
    before: Option<u64>,
    #[serde(borrow)]
    after_actor: Option<Text<'a>>,
    delivered: Option<u64>,
    read: Option<u64>,
    limit: Option<u64>,
}

/// The token and the device of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The token that a plugin issued.
    pub token: String,
    /// The device that the token is used on.
    pub device: DeviceId,
}

/// The page of a conversation's events that is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The oldest events with greater numbers.
    After(u64),
    /// The newest events with smaller numbers.
    Before(u64),
    /// The newest events.
    Newest,
}

/// A frame of the client.
#[derive(Debug)]
pub enum ClientFrame<'a> {
    /// Opens a session.
    Hello {
        /// The protocol version.
        protocol: u64,
        /// The tenant.
        app: AppId,
        /// Credentials to sign in with at once.
        credentials: Option<Credentials>,
    },
    /// Signs in on an open session.
    Auth {
        /// The id of the request.
        id: Cow<'a, str>,
        /// The credentials.
        credentials: Credentials,
    },
    /// Sends a message.
    Send {
        /// The id of the request and, for the sender, of the message.
        id: Cow<'a, str>,
        /// The conversation.
        conversation: ConversationId,
        /// The kind of the content.
        kind: Cow<'a, str>,
        /// The content, as it stands in the frame.
        content: &'a str,
    },
    /// Performs an act on a message.
    Act {
        /// The id of the request and, for the actor, of the event.
        id: Cow<'a, str>,
        /// The conversation of the message.
        conversation: ConversationId,
        /// The number of the message.
        target: u64,
        /// The act.
        act: Act<'a>,
    },
    /// Calls a method of a plugin.
    Call {
        /// The id of the request.
        id: Cow<'a, str>,
        /// The method: plugin id, dot, name.
        method: Cow<'a, str>,
        /// The parameters: a JSON value, as it stands in the frame.
        params: &'a str,
    },
    /// Lists conversations.
    Sync {
        /// The id of the request.
        id: Cow<'a, str>,
        /// The position of an earlier answer.
        since: Option<u64>,
    },
    /// Reads events.
    History {
        /// The id of the request.
        id: Cow<'a, str>,
        /// The conversation.
        conversation: ConversationId,
        /// The page.
        page: Page,
        /// The largest number of events.
        limit: usize,
    },
    /// Reports how far the actor has a conversation.
    Receipt {
        /// The id of the request.
        id: Cow<'a, str>,
        /// The conversation.
        conversation: ConversationId,
        /// The newest event that the device has; 0 if not reported.
        delivered: u64,
        /// The newest event that was read; 0 if not reported.
        read: u64,
    },
    /// Lists the watermarks of the members.
    Receipts {
        /// The id of the request.
        id: Cow<'a, str>,
        /// The conversation.
        conversation: ConversationId,
        /// The last member of the previous answer.
        after: Option<ActorId>,
        /// The largest number of members.
        limit: usize,
    },
    /// Signals that the actor is writing.
    Typing {
        /// The conversation.
        conversation: ConversationId,
    },
    /// Asks for a `pong`.
    Ping,
}

/// An act on a message that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act<'a> {
    /// The sender replaces the content.
    Edit {
        /// The new content, as it stands in the frame.
        content: Cow<'a, str>,
    },
    /// The sender recalls the message.
    Recall,
    /// An actor adds or removes a reaction.
    React {
        /// The emoji, or any other short text.
        emoji: Cow<'a, str>,
        /// `true` adds the reaction, `false` removes it.
        on: bool,
    },
}

impl Act<'_> {
    /// Returns the type of the frame.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Edit { .. } => "edit",
            Self::Recall => "recall",
            Self::React { on: true, .. } => "react",
            Self::React { on: false, .. } => "unreact",
        }
    }

    /// Copies what is borrowed from the frame.
    #[must_use]
    pub fn into_owned(self) -> Act<'static> {
        match self {
            Self::Edit { content } => Act::Edit {
                content: Cow::Owned(content.into_owned()),
            },
            Self::Recall => Act::Recall,
            Self::React { emoji, on } => Act::React {
                emoji: Cow::Owned(emoji.into_owned()),
                on,
            },
        }
    }
}

/// A frame that can't be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// The id of the request, if it could be parsed.
    pub id: Option<String>,
    /// The error to answer with.
    pub error: RequestError,
}

const MAX_ID_BYTES: usize = 64;
const MAX_HISTORY: u64 = 500;
const DEFAULT_HISTORY: usize = 100;

impl<'a> ClientFrame<'a> {
    /// Parses a frame whose JSON may nest up to `max_depth` levels.
    ///
    /// # Errors
    /// A [`FrameError`] with code `invalid_frame`, `limit_depth` or `unknown_type`.
    pub fn parse(text: &'a str, max_depth: usize) -> Result<Self, FrameError> {
        if let Some(Ok(send)) = flat_send(text).filter(|_| max_depth >= 2) {
            return Ok(send);
        }
        if deeper_than(text.as_bytes(), max_depth) {
            let message = format!("The frame is nested deeper than {max_depth} levels.");
            return Err(FrameError {
                id: None,
                error: RequestError::new(ErrorCode::LimitDepth, message),
            });
        }
        let members: Members<'a> = serde_json::from_str(text).map_err(|error| FrameError {
            id: id_of(text),
            error: RequestError::new(ErrorCode::InvalidFrame, format!("The frame can't be read: {error}.")),
        })?;
        let id = members.id.as_ref().map(|id| id.0.to_string());
        Self::from_members(members).map_err(|error| FrameError { id, error })
    }

    fn from_members(members: Members<'a>) -> Result<Self, RequestError> {
        let Members {
            frame_type,
            id,
            conversation,
            kind,
            content,
            method,
            params,
            ..
        } = members;
        Ok(match &*frame_type.0 {
            "send" => Self::Send {
                id: request_id(id)?,
                conversation: conversation_id(conversation)?,
                kind: required(kind, "kind")?,
                content: content.ok_or_else(|| missing("content"))?.get(),
            },
            "call" => Self::Call {
                id: request_id(id)?,
                method: required(method, "method")?,
                params: params.map_or("{}", RawValue::get),
            },
            name @ ("edit" | "recall" | "react" | "unreact") => Self::Act {
                id: request_id(id)?,
                conversation: conversation_id(conversation)?,
                target: members.target.ok_or_else(|| missing("target"))?,
                act: match name {
                    "edit" => Act::Edit {
                        content: Cow::Borrowed(content.ok_or_else(|| missing("content"))?.get()),
                    },
                    "recall" => Act::Recall,
                    name => Act::React {
                        emoji: emoji(members.emoji)?,
                        on: name == "react",
                    },
                },
            },
            "ping" => Self::Ping,
            "receipt" => Self::Receipt {
                id: request_id(id)?,
                conversation: conversation_id(conversation)?,
                delivered: members.delivered.unwrap_or(0),
                read: match (members.delivered, members.read) {
                    (None, None) => return Err(missing("read")),
                    (_, read) => read.unwrap_or(0),
                },
            },
            "receipts" => Self::Receipts {
                id: request_id(id)?,
                conversation: conversation_id(conversation)?,
                after: members
                    .after_actor
                    .map(|actor| actor.0.parse().map_err(|_| bad("Not an actor: `after_actor`.")))
                    .transpose()?,
                limit: page_limit(members.limit)?,
            },
            "typing" => Self::Typing {
                conversation: conversation_id(conversation)?,
            },
            "sync" => Self::Sync {
                id: request_id(id)?,
                since: members
                    .since
                    .map(|since| {
                        since
                            .0
                            .parse()
                            .map_err(|_| bad("Not a position of an earlier answer: `since`."))
                    })
                    .transpose()?,
            },
            "history" => {
                let page = match (members.after, members.before) {
                    (Some(_), Some(_)) => return Err(bad("`after` and `before` exclude each other.")),
                    (Some(after), None) => Page::After(after),
                    (None, Some(before)) => Page::Before(before),
                    (None, None) => Page::Newest,
                };
                Self::History {
                    id: request_id(id)?,
                    conversation: conversation_id(conversation)?,
                    page,
                    limit: page_limit(members.limit)?,
                }
            }
            "hello" => Self::Hello {
                protocol: members.protocol.ok_or_else(|| missing("protocol"))?,
                app: match members.app {
                    None => AppId::default_app(),
                    Some(app) => app
                        .0
                        .parse()
                        .map_err(|_| RequestError::new(ErrorCode::UnknownApp, "The app does not exist."))?,
                },
                credentials: match members.token {
                    None => None,
                    Some(token) => Some(credentials(&token, members.device)?),
                },
            },
            "auth" => Self::Auth {
                id: request_id(id)?,
                credentials: credentials(&members.token.ok_or_else(|| missing("token"))?, members.device)?,
            },
            other => {
                let shown: String = other.chars().take(40).collect();
                return Err(RequestError::new(
                    ErrorCode::UnknownType,
                    format!("Unknown frame type: {shown:?}."),
                ));
            }
        })
    }
}

/// Parses a message of the most common shape. Everything else, invalid frames included, is left to the parser, which
/// reports what is wrong.
fn flat_send(text: &str) -> Option<Result<ClientFrame<'_>, RequestError>> {
    let (mut frame_type, mut id, mut conversation, mut kind, mut content) = (None, None, None, None, None);
    flat::read(text, |key, value| {
        let (slot, part) = match (key, value) {
            ("type", FlatValue::Text(text)) => (&mut frame_type, text),
            ("id", FlatValue::Text(text)) => (&mut id, text),
            ("conversation", FlatValue::Text(text)) => (&mut conversation, text),
            ("kind", FlatValue::Text(text)) => (&mut kind, text),
            ("content", FlatValue::Object(text)) => (&mut content, text),
            _ => return None,
        };
        // A repeated member is an error.
        slot.replace(part).is_none().then_some(())
    })?;
    if frame_type != Some("send") {
        return None;
    }
    let text = |part| Text(Cow::Borrowed(part));
    let id = request_id(id.map(text));
    let conversation = conversation_id(conversation.map(text));
    Some(match (id, conversation) {
        (Ok(id), Ok(conversation)) => Ok(ClientFrame::Send {
            id,
            conversation,
            kind: Cow::Borrowed(kind?),
            content: content?,
        }),
        (Err(error), _) | (_, Err(error)) => Err(error),
    })
}

fn bad(message: impl Into<Cow<'static, str>>) -> RequestError {
    RequestError::new(ErrorCode::InvalidFrame, message)
}

fn missing(member: &str) -> RequestError {
    bad(format!("`{member}` is missing."))
}

fn required<'a>(text: Option<Text<'a>>, member: &str) -> Result<Cow<'a, str>, RequestError> {
    text.map(|text| text.0).ok_or_else(|| missing(member))
}

fn request_id(id: Option<Text<'_>>) -> Result<Cow<'_, str>, RequestError> {
    let id = required(id, "id")?;
    if id.is_empty() || id.len() > MAX_ID_BYTES || id.chars().any(char::is_control) {
        return Err(bad("`id` must be 1 to 64 bytes of printable text."));
    }
    Ok(id)
}

fn emoji(emoji: Option<Text<'_>>) -> Result<Cow<'_, str>, RequestError> {
    let emoji = required(emoji, "emoji")?;
    if emoji.is_empty() || emoji.len() > MAX_ID_BYTES || emoji.chars().any(char::is_control) {
        return Err(bad("`emoji` must be 1 to 64 bytes of printable text."));
    }
    Ok(emoji)
}

fn conversation_id(text: Option<Text<'_>>) -> Result<ConversationId, RequestError> {
    required(text, "conversation")?
        .parse()
        .map_err(|_| RequestError::new(ErrorCode::UnknownConversation, "The conversation does not exist."))
}

fn page_limit(limit: Option<u64>) -> Result<usize, RequestError> {
    match limit {
        None => Ok(DEFAULT_HISTORY),
        Some(limit @ 1..=MAX_HISTORY) => Ok(usize::try_from(limit).unwrap_or(DEFAULT_HISTORY)),
        Some(_) => Err(bad("`limit` must be 1 to 500.")),
    }
}

fn credentials(token: &Text<'_>, device: Option<Text<'_>>) -> Result<Credentials, RequestError> {
    let device = required(device, "device")?;
    let device = device
        .parse()
        .map_err(|error| bad(format!("`device` can't be used: {error}.")))?;
    Ok(Credentials {
        token: token.0.to_string(),
        device,
    })
}

/// Finds the id in a frame that has the wrong shape, so that the client learns which request failed.
fn id_of(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let id = value.get("id")?.as_str()?;
    (id.len() <= MAX_ID_BYTES).then(|| id.to_owned())
}

/// Whether brackets outside of strings nest deeper than `limit`.
fn deeper_than(text: &[u8], limit: usize) -> bool {
    // Most frames have fewer brackets than levels allowed: counting them is a few vector instructions.
    if text.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        ClientFrame::parse(text, 8).unwrap_err().error.code.into_owned()
    }

    #[test]
    fn a_send_borrows_its_members_from_the_frame() {
        let text = r#"{"type":"send","id":"m1","conversation":"01ARZ3NDEKTSV4RRFFQ69G5FAV","kind":"text","content":{"text":"hi"}}"#;
        let ClientFrame::Send { id, kind, content, .. } = ClientFrame::parse(text, 8).unwrap() else {
            panic!()
        };
        assert!(matches!(id, Cow::Borrowed("m1")));
        assert!(matches!(kind, Cow::Borrowed("text")));
        assert_eq!(content, r#"{"text":"hi"}"#);
    }

    #[test]
    fn the_fast_path_and_the_parser_agree() {
        let conversation = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        for content in [
            r#"{"text":"hi"}"#,
            r#"{"text":"\"hi\""}"#,
            r#"{"text":{"a":"b"}}"#,
            "{}",
            "[]",
        ] {
            for (members, spaces) in [
                (r#""kind":"text","#, ""),
                (r#""kind":"text","#, " "),
                (r#""kind":"a","kind":"b","#, ""),
            ] {
                let text = format!(
                    r#"{{{spaces}"type":"send","id":"m1","conversation":"{conversation}",{members}"content":{content}}}"#
                );
                let fast = flat_send(&text).map(|frame| format!("{frame:?}"));
                let members = serde_json::from_str::<Members<'_>>(&text).ok();
                let slow = members.map(|members| format!("{:?}", ClientFrame::from_members(members)));
                assert!(fast.is_none() || fast == slow, "{text}: {fast:?} {slow:?}");
            }
        }
    }

    #[test]
    fn brackets_in_strings_do_not_count_as_depth() {
        assert!(!deeper_than(br#"{"a":"[[[[[[\"[[[["}"#, 2));
        assert!(deeper_than(b"[[[]]]", 2));
        assert!(!deeper_than(b"[[],[],[]]", 2));
    }

    #[test]
    fn each_invalid_frame_has_its_code() {
        assert_eq!(code("nonsense"), "invalid_frame");
        assert_eq!(code("[]"), "invalid_frame");
        assert_eq!(code(r#"{"type":"fly"}"#), "unknown_type");
        assert_eq!(code(r#"{"type":"send","id":"x"}"#), "invalid_frame");
        assert_eq!(code(r#"{"type":"call","id":"","method":"a.b"}"#), "invalid_frame");
        assert_eq!(
            code(&format!(
                "{{\"type\":\"ping\",\"x\":{}{}}}",
                "[".repeat(9),
                "]".repeat(9)
            )),
            "limit_depth"
        );
        assert_eq!(
            code(r#"{"type":"history","id":"h","conversation":"01ARZ3NDEKTSV4RRFFQ69G5FAV","limit":0}"#),
            "invalid_frame"
        );
    }

    #[test]
    fn a_frame_of_the_wrong_shape_still_yields_its_id() {
        let error = ClientFrame::parse(r#"{"type":"send","id":"m7","kind":5}"#, 8).unwrap_err();
        assert_eq!(error.id.as_deref(), Some("m7"));
    }
}
