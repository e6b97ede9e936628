//! Frames, codes and errors of the protocol: no I/O. The protocol itself is docs/reference/protocol.md.

mod code;
pub mod content;
mod flat;
mod frame;
mod id;
pub mod reply;

pub use code::{CloseCode, ErrorCode, RequestError};
pub use frame::{Act, ClientFrame, Credentials, FrameError, Page};
pub use id::{ActorId, AppId, ConversationId, DeviceId, EventId, InvalidId, SessionId};

/// The protocol version that this server speaks.
pub const PROTOCOL: u64 = 1;
