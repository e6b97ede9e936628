//! Why a request failed.

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server rejected the request.
    #[error("{message} ({code})")]
    Refused {
        /// Stable code. Codes of plugins start with the id of the plugin and a dot.
        code: String,
        /// Sentence for people.
        message: String,
        /// `true` if the same request can succeed later.
        retry: bool,
    },
    /// The client is not connected, or lost the connection before the answer.
    #[error("not connected to the server")]
    Offline,
    /// The outbox is full: see [`Options::outbox`](crate::Options::outbox).
    #[error("too many unsent messages")]
    Full,
    /// The client has ended.
    #[error("the client has ended")]
    Closed,
    /// The source of an upload can't be read, or the target of a download can't be written.
    #[error("the file can't be read or written: {0}")]
    File(String),
    /// The answer of the server violates the protocol.
    #[error("the answer of the server is invalid: {0}")]
    Protocol(String),
}

impl Error {
    /// Returns the stable code: the server's, or `offline`, `full`, `closed`, `file`, `protocol`.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            Self::Offline => "offline",
            Self::Full => "full",
            Self::Closed => "closed",
            Self::File(_) => "file",
            Self::Protocol(_) => "protocol",
        }
    }

    /// Returns `true` if the same request can succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Refused { retry, .. } => *retry,
            Self::Offline | Self::Full => true,
            Self::Closed | Self::File(_) | Self::Protocol(_) => false,
        }
    }
}
