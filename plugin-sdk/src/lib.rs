//! What a plugin for Courtyard is made with: the [`Plugin`] trait, [`register!`], typed methods with JSON Schemas, the
//! services of the host, and [`testing`], which runs a plugin under plain `cargo test`.
//!
//! docs/guides/plugins.md goes from an empty folder to a plugin in a running host.

mod blob;
#[doc(hidden)]
pub mod declare;
mod event;
#[cfg(not(target_arch = "wasm32"))]
pub mod hook;
mod http;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod in_place;
#[cfg(not(target_arch = "wasm32"))]
pub mod library;
pub mod manifest;
mod message;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
mod plugin;
#[cfg(not(target_arch = "wasm32"))]
pub mod request;
mod schema;
mod service;
pub mod table;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
#[cfg(target_arch = "wasm32")]
pub mod wasm;

pub use blob::Blob;
pub use const_format;
pub use declare::{Declared, HookContext, NotDeclared};
pub use event::{Act, Change, Event, Job};
pub use http::{FetchRequest, Headers, HttpRequest, HttpResponse};
pub use message::{Message, Verdict};
pub use plugin::{Caller, Context, Error, Identity, Method, Plugin, Registered, typed};
pub use schema::Schema;
#[doc(hidden)]
pub use schema::without_leading_comma as __without_leading_comma;
pub use serde;
pub use serde_json;
pub use service::{
    Annotations, Blobs, Conversation, Conversations, Entries, Events, Jobs, Kv, Level, Log, Memberships, Methods,
    Metrics, ServiceError, Sessions, StoredMessage, Timers, Watches,
};
pub use table::{Table, TableError};

/// Everything that most plugins use.
pub mod prelude {
    pub use crate::table::{Cursor, Index, KeyPrefix, Many, Row, TableError, Unique};
    pub use crate::{
        Act, Blob, Change, Context, Conversation, Error, Event, FetchRequest, HttpRequest, HttpResponse, Identity, Job,
        Message, Plugin, Verdict, record, register, table, typed,
    };
}

/// The version of the contract that this SDK speaks.
pub const CONTRACT_VERSION: &str = "1.0.0";
