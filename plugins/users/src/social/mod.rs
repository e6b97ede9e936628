//! The social part: friends, blocks, direct conversations, presence, search. Imports `accounts`, but not `sign_in`.

pub(crate) mod block;
pub(crate) mod direct;
pub(crate) mod friend;
pub(crate) mod friend_request;
pub(crate) mod presence;
pub(crate) mod presence_rate;
pub(crate) mod profile;
pub(crate) mod reach;
pub(crate) mod search;
