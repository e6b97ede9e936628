//! Identifiers, each its own type.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text isn't an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct InvalidId {
    what: &'static str,
    why: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest text, in bytes.
            pub const MAX_BYTES: usize = $max;

            /// Returns the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                check(text, $what, $max)?;
                Ok(Self(Arc::from(text)))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

fn check(text: &str, what: &'static str, max: usize) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId { what, why: "is empty" });
    }
    if text.len() > max {
        return Err(InvalidId {
            what,
            why: "is too long",
        });
    }
    // Keys end ids with a zero byte, and logs print ids as they are.
    if text.chars().any(char::is_control) {
        return Err(InvalidId {
            what,
            why: "has a control character",
        });
    }
    Ok(())
}

text_id!(
    /// A tenant of the host: printable text of 1 to 32 bytes.
    AppId, "the App ID", 32
);
text_id!(
    /// An authenticated actor, as an auth hook named it: printable text of 1 to 128 bytes.
    ActorId, "the actor", 128
);
text_id!(
    /// A device of an actor, as the client named it: printable text of 1 to 64 bytes.
    DeviceId, "the device", 64
);

impl AppId {
    /// Returns the app of a host that serves a single app: `default`.
    #[must_use]
    pub fn default_app() -> Self {
        static DEFAULT: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| Arc::from("default"));
        Self(DEFAULT.clone())
    }
}

macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                ulid::Ulid::from_string(text)
                    .map(|id| Self(id.0))
                    .map_err(|_| InvalidId { what: $what, why: "is not 26 characters of Crockford's base 32" })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0; ulid::ULID_LEN];
                f.write_str(ulid::Ulid(self.0).array_to_str(&mut buffer))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

ulid_id!(
    /// A conversation of an app: 128 bits, written as 26 characters of Crockford's base 32.
    ConversationId, "the conversation"
);
ulid_id!(
    /// An event: a ULID, so that ids sort by time.
    EventId, "the event id"
);
ulid_id!(
    /// A session: a live connection of a device.
    SessionId, "the session"
);
