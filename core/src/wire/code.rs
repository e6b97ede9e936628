//! Error codes and close codes: what each means is in docs/reference/protocol.md.

use std::borrow::Cow;

/// Why a request failed, as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// Not a JSON object, or a member is missing or wrong.
    BadFrame,
    /// Nested deeper than the limit.
    TooDeep,
    /// No such frame type.
    UnknownType,
    /// Out of order.
    UnexpectedFrame,
    /// The server does not speak this protocol version.
    BadProtocol,
    /// No such App ID.
    UnknownApp,
    /// Needs a signed-in session, or the token is wrong or has ended.
    Unauthenticated,
    /// The content does not fit its kind.
    BadContent,
    /// No such conversation, or not a member.
    UnknownConversation,
    /// No such message in the conversation, or it was recalled.
    UnknownMessage,
    /// No such blob, or not for this actor to know of.
    UnknownBlob,
    /// A request of an upload is malformed, or over a limit.
    BadUpload,
    /// The upload is at another offset.
    UploadConflict,
    /// The bytes of an upload do not add up to their checksum.
    ChecksumMismatch,
    /// Not for this actor to do.
    Forbidden,
    /// As many as there can be.
    Limit,
    /// The client id was used for another message.
    IdConflict,
    /// No running plugin has this method.
    UnknownMethod,
    /// The parameters don't fit the method.
    BadParams,
    /// A plugin that must decide is not running.
    PluginUnavailable,
    /// A plugin broke down, ran out of time or answered nonsense.
    PluginFailed,
    /// Too many others changed the same things.
    Conflict,
    /// Too many requests in flight.
    Busy,
    /// The server is stopping.
    ShuttingDown,
    /// The server can't write.
    StorageFailed,
    /// A fault of the server.
    Internal,
}

impl Code {
    /// Returns the stable text of the code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadFrame => "bad_frame",
            Self::TooDeep => "too_deep",
            Self::UnknownType => "unknown_type",
            Self::UnexpectedFrame => "unexpected_frame",
            Self::BadProtocol => "bad_protocol",
            Self::UnknownApp => "unknown_app",
            Self::Unauthenticated => "unauthenticated",
            Self::BadContent => "bad_content",
            Self::UnknownConversation => "unknown_conversation",
            Self::UnknownMessage => "unknown_message",
            Self::UnknownBlob => "unknown_blob",
            Self::BadUpload => "bad_upload",
            Self::UploadConflict => "upload_conflict",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::Forbidden => "forbidden",
            Self::Limit => "limit",
            Self::IdConflict => "id_conflict",
            Self::UnknownMethod => "unknown_method",
            Self::BadParams => "bad_params",
            Self::PluginUnavailable => "plugin_unavailable",
            Self::PluginFailed => "plugin_failed",
            Self::Conflict => "conflict",
            Self::Busy => "busy",
            Self::ShuttingDown => "shutting_down",
            Self::StorageFailed => "storage_failed",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request can succeed later.
    #[must_use]
    pub fn retry(self) -> bool {
        matches!(
            self,
            Self::PluginUnavailable
                | Self::PluginFailed
                | Self::Conflict
                | Self::Busy
                | Self::ShuttingDown
                | Self::StorageFailed
                | Self::Internal
        )
    }
}

/// A failed request: a stable code, a sentence for people, and whether a retry helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct RequestError {
    /// Stable; a plugin's code has the plugin's id in front.
    pub code: Cow<'static, str>,
    /// A sentence for people.
    pub message: Cow<'static, str>,
    /// Whether the same request can succeed later.
    pub retry: bool,
}

impl RequestError {
    /// Makes an error of the core.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Cow::Borrowed(code.as_str()),
            message: message.into(),
            retry: code.retry(),
        }
    }
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCode {
    /// The server is stopping.
    GoingAway,
    /// A binary message.
    Unsupported,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A message over the limit.
    TooBig,
    /// Nothing heard for too long.
    HeartbeatTimeout,
    /// Answers did not fit the queue.
    TooSlow,
    /// A fault of the server.
    Fault,
    /// The client doesn't keep to the protocol.
    Violation,
    /// Signed out, or the token ended.
    SessionEnded,
}

impl CloseCode {
    /// Returns the number on the wire (RFC 6455, section 7.4).
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::GoingAway => 1001,
            Self::Unsupported => 1003,
            Self::NotUtf8 => 1007,
            Self::TooBig => 1009,
            Self::HeartbeatTimeout => 4000,
            Self::TooSlow => 4001,
            Self::Fault => 4002,
            Self::Violation => 4100,
            Self::SessionEnded => 4101,
        }
    }

    /// Returns the reason text on the wire.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "the server is stopping",
            Self::Unsupported => "binary messages are not part of the protocol",
            Self::NotUtf8 => "text must be UTF-8",
            Self::TooBig => "the message is over the limit",
            Self::HeartbeatTimeout => "heartbeat timeout",
            Self::TooSlow => "the client reads too slowly",
            Self::Fault => "the server has a fault",
            Self::Violation => "protocol violation",
            Self::SessionEnded => "the session was ended",
        }
    }
}
