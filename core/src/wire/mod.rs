//! Frames, codes and errors of the protocol: no I/O.

mod id;

pub use id::{ActorId, AppId, ConversationId, DeviceId, EventId, InvalidId};
