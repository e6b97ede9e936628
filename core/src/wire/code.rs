//! Error codes and close codes.

use std::borrow::Cow;

macro_rules! error_codes {
    ($($(#[$doc:meta])+ $variant:ident = $text:literal, retry: $retry:literal;)*) => {
        /// Why a request failed: the codes of the core over WebSocket, HTTP and the operator interface.
        ///
        /// docs/reference/errors.md lists them with their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])+ $variant,)*
        }

        impl ErrorCode {
            /// All codes, in the order of the reference page.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the stable text of the code.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// Whether the same request can succeed later.
            #[must_use]
            pub const fn retry(self) -> bool {
                match self { $(Self::$variant => $retry),* }
            }
        }
    };
}

error_codes! {
    /// The session isn't signed in, or the token is wrong or has expired.
    Unauthenticated = "unauthenticated", retry: false;
    /// The actor, or the configuration, doesn't have the permission.
    Forbidden = "forbidden", retry: false;

    /// The server doesn't support the protocol version.
    UnknownProtocol = "unknown_protocol", retry: false;
    /// The frame type doesn't exist.
    UnknownType = "unknown_type", retry: false;
    /// The app doesn't exist.
    UnknownApp = "unknown_app", retry: false;
    /// The conversation doesn't exist, or the actor isn't a member.
    UnknownConversation = "unknown_conversation", retry: false;
    /// The message doesn't exist, or was recalled.
    UnknownMessage = "unknown_message", retry: false;
    /// The blob doesn't exist, isn't complete, or is hidden from the actor.
    UnknownBlob = "unknown_blob", retry: false;
    /// No running plugin has the method.
    UnknownMethod = "unknown_method", retry: false;
    /// The operator interface doesn't have the route.
    UnknownRoute = "unknown_route", retry: false;
    /// The plugin doesn't exist.
    UnknownPlugin = "unknown_plugin", retry: false;
    /// The plugin has no earlier generation.
    UnknownGeneration = "unknown_generation", retry: false;
    /// The dead letter doesn't exist.
    UnknownDeadLetter = "unknown_dead_letter", retry: false;
    /// The plugin was built for another major version of the contract.
    UnknownContract = "unknown_contract", retry: false;
    /// The plugin imports what this host doesn't have.
    UnknownImport = "unknown_import", retry: false;

    /// Not a JSON object, or a member is missing, or has a wrong type or value.
    InvalidFrame = "invalid_frame", retry: false;
    /// The frame is out of order.
    InvalidOrder = "invalid_order", retry: false;
    /// The id was used for another request.
    InvalidId = "invalid_id", retry: false;
    /// The content doesn't fit its kind.
    InvalidContent = "invalid_content", retry: false;
    /// A request of an upload is malformed or incomplete.
    InvalidUpload = "invalid_upload", retry: false;
    /// The upload is at another offset.
    InvalidOffset = "invalid_offset", retry: false;
    /// The bytes of an upload don't match their checksum.
    InvalidChecksum = "invalid_checksum", retry: false;
    /// A parameter of an operator's request is wrong.
    InvalidRequest = "invalid_request", retry: false;
    /// The configuration can't be used, or doesn't name the plugin.
    InvalidConfiguration = "invalid_configuration", retry: false;
    /// The file of a plugin can't be read.
    InvalidFile = "invalid_file", retry: false;
    /// The file is neither WebAssembly nor a native library.
    InvalidWasm = "invalid_wasm", retry: false;
    /// The native library can't be used.
    InvalidLibrary = "invalid_library", retry: false;
    /// The manifest is missing or invalid.
    InvalidManifest = "invalid_manifest", retry: false;
    /// The id in the manifest differs from the one in the configuration.
    InvalidPluginId = "invalid_plugin_id", retry: false;
    /// The module violates the contract.
    InvalidPlugin = "invalid_plugin", retry: false;
    /// The root certificates for the plugin's requests are missing or can't be read.
    InvalidFetch = "invalid_fetch", retry: false;
    /// The new generation can't use the keys of the old one.
    InvalidKeys = "invalid_keys", retry: false;

    /// The frame is nested too deep.
    LimitDepth = "limit_depth", retry: false;
    /// There are more bytes than a limit allows.
    LimitBytes = "limit_bytes", retry: false;
    /// The message can't have more reactions.
    LimitReactions = "limit_reactions", retry: false;
    /// The plugin may use more memory than the server reserved at its start.
    LimitMemory = "limit_memory", retry: false;

    /// Other requests changed the same data again and again, or the plugin is disabled.
    Conflict = "conflict", retry: true;
    /// Too many requests or uploads are in progress.
    Busy = "busy", retry: true;
    /// A plugin isn't running, the server is stopping, or it can't read or write its data.
    Unavailable = "unavailable", retry: true;
    /// A plugin failed, or the server has a fault.
    Internal = "internal", retry: true;
}

/// A failed request: a stable code, a sentence for people, and whether a retry helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct RequestError {
    /// A stable code; that of a plugin begins with the plugin's id and a dot.
    pub code: Cow<'static, str>,
    /// A sentence for people.
    pub message: Cow<'static, str>,
    /// Whether the same request can succeed later.
    pub retry: bool,
}

impl RequestError {
    /// Returns an error of the core.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Cow::Borrowed(code.as_str()),
            message: message.into(),
            retry: code.retry(),
        }
    }
}

/// Why the server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCode {
    /// The server is stopping.
    GoingAway,
    /// A binary message.
    Unsupported,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A message larger than the limit.
    TooBig,
    /// No traffic for two heartbeats.
    HeartbeatTimeout,
    /// The answers didn't fit into the queue.
    TooSlow,
    /// The server has a fault.
    Fault,
    /// The client violates the protocol.
    Violation,
    /// The session was ended, or its token expired.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_page_lists_every_code() {
        let page = include_str!("../../../docs/reference/errors.md");
        let listed: Vec<(&str, bool)> = page
            .lines()
            .skip_while(|line| *line != "## Codes of the core")
            .take_while(|line| *line != "## Codes of plugins")
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split(" | ");
                let code = cells.next()?.strip_suffix('`')?;
                Some((code, cells.next()? == "yes"))
            })
            .collect();
        let codes: Vec<_> = ErrorCode::ALL
            .iter()
            .map(|code| (code.as_str(), code.retry()))
            .collect();
        assert_eq!(listed, codes, "docs/reference/errors.md");
    }

    #[test]
    fn codes_have_the_vocabulary_of_errors() {
        const WORDS: [&str; 7] = [
            "unauthenticated",
            "forbidden",
            "conflict",
            "rate_limited",
            "busy",
            "unavailable",
            "internal",
        ];
        const PREFIXES: [&str; 4] = ["unknown_", "invalid_", "expired_", "limit_"];
        for code in ErrorCode::ALL {
            let code = code.as_str();
            assert!(
                WORDS.contains(&code) || PREFIXES.iter().any(|prefix| code.starts_with(prefix)),
                "{code}"
            );
        }
    }
}
