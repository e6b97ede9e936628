//! A host for tests: runs hooks and methods of a plugin natively, on an in-memory key space inside a transaction.
//!
//! Like a real host, it doesn't call hooks that the plugin doesn't declare, rolls back the writes of a call that fails, gives
//! messages the app and the time of arrival, and keeps the id of a job over its attempts. Its clock stands still until a test
//! sets it. Unlike a real host, it grants all capabilities, lets read-only hooks write, and has no limits of bytes.

mod blobs;
mod clock;
mod conversations;
mod host;

pub use conversations::TestMessage;
pub use host::{TestHost, TestSignal};
