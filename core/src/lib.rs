//! Courtyard: an embeddable messaging core that hosts its features as sandboxed plugins.
//!
//! The core accepts connections, keeps the message log and routes events. Everything that a chat product calls a feature
//! is a plugin: a WebAssembly file in a sandbox, or a Rust value of the embedding service.
//!
//! # Concepts
//!
//! - An **app** ([`AppId`]) is a tenant of the host. An **actor** ([`ActorId`]) is who is authenticated: an id that a
//!   plugin returned for a token. A **session** is a live connection of one of the actor's devices ([`DeviceId`]).
//! - A **conversation** ([`ConversationId`]) is a log with members. Its **events** are numbered without gaps; a *message*
//!   is one kind of event. An acknowledged event is durable.
//! - A **signal**, such as typing, is delivered to live sessions and never stored.
//! - A **plugin** has *hooks* that the core calls, *methods* that clients call, and *capabilities* that its
//!   configuration ([`PluginSpec`]) grants.
//!
//! # Embedding
//!
//! [`Server::start`] runs a host with a [`Config`]. [`Server::builder`] also accepts a [`Store`], a [`Bus`], and plugins
//! as values. [`Server::service`] is a tower service for another HTTP server, and [`Server::session`] opens a session
//! without a connection:
//!
//! ```
//! use courtyard::{AppId, Config, ConversationId, Development, DevelopmentConversation, Incoming, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("courtyard-front-page-{}", std::process::id()));
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! let room = ConversationId(1);
//! let config = Config {
//!     data: folder.clone(),
//!     // Without plugins, the configuration names the conversations.
//!     development: Development {
//!         conversations: vec![DevelopmentConversation {
//!             id: room,
//!             kind: "direct".to_owned(),
//!             members: vec!["ann".parse()?, "bob".parse()?],
//!         }],
//!         ..Development::default()
//!     },
//!     ..Config::default()
//! };
//! let server = Server::start(config).await?;
//!
//! let app = AppId::default_app();
//! let ann = server.session(&app, "ann".parse()?, "laptop".parse()?)?;
//! let bob = server.session(&app, "bob".parse()?, "phone".parse()?)?;
//! let mut events = bob.subscribe();
//!
//! let content = serde_json::json!({"text": "Hello"});
//! let sent = ann.send("m1", &room.to_string(), "text", &content).await?;
//! assert_eq!(sent.seq, 1);
//! let Some(Incoming::Event(event)) = events.next().await else {
//!     panic!("the session has ended");
//! };
//! assert_eq!((&event["sender"], &event["content"]), (&"ann".into(), &content));
//!
//! drop((ann, bob));
//! server.shut_down().await;
//! # std::fs::remove_dir_all(folder)?;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Errors
//!
//! Every error has a stable code ([`ErrorCode`]), a sentence for people, and says whether a retry helps.
//!
//! # Own stores and buses
//!
//! An own [`Store`] or [`Bus`] keeps the contract of the trait if it passes the suites [`store_conformance`] and
//! [`bus_conformance`].

mod admin;
mod blobs;
mod bundle;
mod bus;
mod clock;
mod config;
mod effects;
mod error_chain;
mod fetch;
mod hooks;
mod host;
mod keys;
mod log;
mod metrics;
mod net;
mod plugin;
mod router;
mod server;
mod services;
mod session;
mod store;
mod wire;
mod workers;

pub use admin::AdminEndpoint;
pub use blobs::{BlobLimits, BlobsError, Bucket, BucketKeys};
pub use bundle::{Bundle, BundleError};
pub use bus::{Bus, LocalBus, Notice, Subscriber, conformance as bus_conformance};
pub use config::{
    AdminConfig, BlobsConfig, Config, ConfigErrors, Development, DevelopmentConversation, Diagnostic, Listen,
};
pub use fetch::{FetchLimits, HostRule, Policy, PrivateRule};
pub use hooks::{HealthPolicy, WhenMissing};
pub use host::SessionLimits;
pub use net::{Files, Mounted, NetLimits, Reply, ReplyBody, StaticFolder, TlsError, TlsFiles};
pub use plugin::{
    LoadError, ManageError, PluginLimits, PluginProblem, PluginSetup, PluginSource, PluginSpec, PluginState,
    PluginStatus, Supervisor,
};
/// The crate whose registry [`Store::register_metrics`] gets.
pub use prometheus_client;
pub use server::{Server, ServerBuilder, ServerError, UnknownApp};
pub use services::{Secrets, ServiceLimits};
pub use session::{Incoming, IncomingEvents, LocalError, LocalSession, Sent};
pub use store::{
    Append, Appended, CommitError, CommitResult, Dedup, DedupEntry, EmbeddedOptions, EmbeddedStore, KeyRange, LogHead,
    LogId, Position, Read, Store, StoreError, StoredEvent, Submitter, Transaction, Write,
    conformance as store_conformance,
};
pub use wire::{
    ActorId, AppId, CloseCode, ConversationId, DeviceId, ErrorCode, EventId, InvalidId, RequestError, SessionId,
};

/// Everything else, for the binary, the tests and the benches of this repository. No part of the public interface.
#[doc(hidden)]
pub mod internals {
    macro_rules! modules {
        ($($module:ident)*) => {
            $(pub mod $module {
                pub use crate::$module::*;
            })*
        };
    }

    modules! {
        admin blobs bundle bus clock config effects error_chain fetch hooks host keys log metrics net plugin router server services session store wire
        workers
    }
}
