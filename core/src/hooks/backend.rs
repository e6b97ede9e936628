//! The interface between the host and one plugin of any kind.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use courtyard_plugin_sdk as sdk;
use courtyard_plugin_sdk::hook::{Reply, Request};

use super::{Call, Message, reply};
use crate::wire::AppId;

/// An error that a plugin returns to a client. The author foresaw it, so it is no [`Failure`].
pub type PluginError = sdk::Error;
/// The decision of a plugin about a message.
pub type Verdict = sdk::Verdict;

/// How a plugin broke down. Never a verdict: a failure approves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The code stopped by itself: a panic, a bad memory access, a division by zero.
    #[error("it trapped: {0}")]
    Trap(String),
    /// The call exceeded its deadline.
    #[error("it ran longer than {0} ms")]
    Timeout(u64),
    /// The plugin requested more than a limit allows.
    #[error("it exceeded its limit of {0}")]
    Limit(&'static str),
    /// The reply violates the contract.
    #[error("it broke the contract: {0}")]
    Contract(String),
    /// All its instances were busy until the deadline.
    #[error("all its instances are busy")]
    Busy,
    /// It failed too often and is not called for a while.
    #[error("it is quarantined")]
    Quarantined,
    /// It could not be loaded, or an operator disabled it.
    #[error("it is not running")]
    NotRunning,
    /// The store failed during the call.
    #[error("the store failed: {0}")]
    Store(String),
}

impl Failure {
    /// The names of the kinds, in the order of [`Failure::kind`].
    pub const KINDS: [&'static str; 8] = [
        "trap",
        "timeout",
        "limit",
        "contract",
        "busy",
        "quarantined",
        "not_running",
        "store",
    ];

    /// Returns the index of its kind in [`Failure::KINDS`].
    #[must_use]
    pub fn kind(&self) -> usize {
        match self {
            Self::Trap(_) => 0,
            Self::Timeout(_) => 1,
            Self::Limit(_) => 2,
            Self::Contract(_) => 3,
            Self::Busy => 4,
            Self::Quarantined => 5,
            Self::NotRunning => 6,
            Self::Store(_) => 7,
        }
    }

    /// Returns whether the plugin is to blame, so that the failure affects its health.
    #[must_use]
    pub fn is_strike(&self) -> bool {
        matches!(
            self,
            Self::Trap(_) | Self::Timeout(_) | Self::Limit(_) | Self::Contract(_)
        )
    }
}

/// The resources of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// The number of instances.
    pub instances: usize,
    /// The memory of all instances, in bytes.
    pub memory_bytes: usize,
    /// The number of calls that wait for an instance.
    pub waiting: usize,
}

/// The call, handed back, and the result or the failure of the plugin.
pub type CallOutcome<T> = (Box<Call>, Result<T, Failure>);

/// Any outcome of `before_send` but acceptance. `Ok(())` in its place means that the message continues unchanged, which is
/// the common case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// The message continues with another content.
    Replace(Vec<u8>),
    /// The message is rejected.
    Reject(PluginError),
    /// The plugin failed before it decided.
    Failed(Failure),
}

impl Deviation {
    /// Converts the result of a call; `Ok(())` is acceptance.
    ///
    /// # Errors
    /// Anything but acceptance.
    pub fn from_verdict(verdict: Result<Verdict, Failure>) -> Result<(), Box<Self>> {
        Err(Box::new(match verdict {
            Ok(Verdict::Accept) => return Ok(()),
            Ok(Verdict::Replace(content)) => Self::Replace(content),
            Ok(Verdict::Reject(error)) => Self::Reject(error),
            Err(failure) => Self::Failed(failure),
        }))
    }

    /// Returns the failure of the plugin, if it failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Replace(_) | Self::Reject(_) => None,
        }
    }
}

/// The call, handed back, and the outcome of `before_send`; `Ok(())` continues with the message unchanged.
pub type SendOutcome = (Box<Call>, Result<(), Box<Deviation>>);

/// Runs the transactions of a job.
pub trait JobTransactions: Send + Sync {
    /// Returns the app of the job.
    fn app(&self) -> &AppId;

    /// Calls the plugin's own function in a transaction; returns once that is durable. For threads that may wait.
    ///
    /// # Errors
    /// The error that the job gets.
    fn transact(&self, name: &str, payload: &[u8]) -> Result<Vec<u8>, PluginError>;
}

/// A running job in the action lane; dropping it cancels the job.
pub type JobFuture = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

/// A plugin that the host can enter: Wasm, native or in process.
///
/// Calls may come from many threads at once, and may take as long as the plugin's deadline. Writes from before a failure
/// are still in the draft: the caller that folds the outcomes rolls them back.
pub trait PluginBackend: Send + Sync + fmt::Debug {
    /// Calls the plugin. The reply is within the plugin's limits, but may be of a kind that doesn't fit the request.
    fn serve(&self, call: Box<Call>, request: Request) -> CallOutcome<Reply>;

    /// Calls `before_send` of the plugin, with the result of [`PluginBackend::serve`] for [`Request::BeforeSend`]. Every
    /// message passes here, so a backend that can call without building a request should.
    fn before_send(&self, call: Box<Call>, message: &Message<'_>) -> SendOutcome {
        let (call, reply) = self.serve(call, Request::BeforeSend(message.packed()));
        (call, Deviation::from_verdict(reply.and_then(reply::verdict)))
    }

    /// Runs a job in the action lane: without a transaction, and without the deadline of calls.
    fn run_job(self: Arc<Self>, request: Request, transactions: Arc<dyn JobTransactions>) -> JobFuture {
        let _ = (request, transactions);
        Box::pin(async { Err(Failure::Contract("it has no action lane".to_owned())) })
    }

    /// Returns how many jobs may run at a time.
    fn max_jobs(&self) -> usize {
        0
    }

    /// Returns how often a job is attempted before it becomes a dead letter.
    fn job_attempts(&self) -> u32 {
        1
    }

    /// Releases idle instances; the next call takes longer.
    fn shrink_idle(&self) {}

    /// Returns the resources in use.
    fn usage(&self) -> Usage {
        Usage::default()
    }

    /// Returns whether recent calls were so slow that they should not run on a thread that others wait for.
    fn is_slow(&self) -> bool {
        false
    }
}
