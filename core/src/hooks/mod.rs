//! Hook points: which plugins are called, in which order, and how their outcomes combine. Knows neither how a plugin is
//! implemented nor what follows a commit.

mod backend;
mod call;
mod chains;
mod health;
mod message;
mod meter;
mod registry;
pub(crate) mod reply;

pub use backend::{
    CallOutcome, Deviation, Failure, JobFuture, JobTransactions, PluginBackend, PluginError, SendOutcome, Usage,
    Verdict,
};
pub use call::{Call, CallMark, CallerName, Effects, OriginId, PluginEvent, SessionEnd, Signal, StoreAccess, origin};
pub use chains::{AcceptedMessage, Hooks};
pub use health::{Health, HealthPolicy, Quarantine};
pub use message::Message;
pub use meter::{BUCKETS_NS, HookCounts, Meter};
pub use registry::{Plugin, Registry, SessionChange, WhenMissing};
pub use reply::Identity;
