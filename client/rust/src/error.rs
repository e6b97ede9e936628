//! Why a request failed.

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's answer.
    #[error("{message} ({code})")]
    Refused {
        /// Stable; those of plugins begin with the plugin's id and a dot.
        code: String,
        /// A sentence for people.
        message: String,
        /// Whether the same request can succeed later.
        retry: bool,
    },
    /// There is no connection, or it broke before the answer came.
    #[error("there is no connection")]
    Offline,
    /// As many messages as may wait for a connection wait already.
    #[error("too many messages wait to be sent")]
    Full,
    /// The client has ended.
    #[error("the client has ended")]
    Closed,
    /// What is uploaded can't be read, or what is downloaded can't be written.
    #[error("the file can't be read or written: {0}")]
    File(String),
    /// The server's answer is not what the protocol says.
    #[error("the answer can't be understood: {0}")]
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

    /// Whether the same request can succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Refused { retry, .. } => *retry,
            Self::Offline | Self::Full => true,
            Self::Closed | Self::File(_) | Self::Protocol(_) => false,
        }
    }
}
