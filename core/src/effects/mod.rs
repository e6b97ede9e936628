//! What follows a call's decision: the commit of its effects, and after the commit signals, observers, jobs and timers.

mod backoff;
mod dead_letters;
mod job_queue;
mod jobs;
mod observers;
mod outbox;
mod settlement;
mod timers;

pub(crate) use backoff::ATTEMPTS;
pub use dead_letters::{DeadLetter, DeadMessage};
pub use job_queue::add_job;
pub use jobs::Jobs;
pub use observers::Observers;
pub use outbox::{Audience, Outbox};
pub use settlement::{PostCommit, Settlement};
pub use timers::{Timer, Timers, cancel_timer, set_timer};
