//! Signing in: passwords, codes, identity providers, sessions, tokens, bans. Imports `accounts`, but not `social`.

pub(crate) mod address;
pub(crate) mod ban;
pub(crate) mod code;
pub(crate) mod gateway;
pub(crate) mod identity;
pub(crate) mod oidc;
pub(crate) mod password;
pub(crate) mod session;
pub(crate) mod throttle;
pub(crate) mod token;
