//! People among people: friends, blocks, direct conversations, presence, search. Imports `accounts` alone.

pub(crate) mod block;
pub(crate) mod direct;
pub(crate) mod friend;
pub(crate) mod friend_request;
pub(crate) mod pace;
pub(crate) mod presence;
pub(crate) mod profile;
pub(crate) mod reach;
pub(crate) mod search;
