//! Sign-in by third parties: OpenID Connect with authorization code, PKCE, state and nonce.
//!
//! The client starts a sign-in, sends its person to the provider, gets them back on a page of its own with a code, and
//! finishes. A job asks the provider; meanwhile the client asks for the result. What proves that it is the same client all
//! the time is the ticket, which goes through no URL: nobody signs in for others by sending them a link.

mod cache;
mod exchange;
mod flow;
mod id_token;
mod keys;
mod provider;
#[cfg(test)]
mod tests;

pub(crate) use cache::{Cached, KEEP, READ, keep, read};
pub(crate) use exchange::{Changed, EXCHANGE, FAIL, FINISH, FLOW, Failed, PREPARE, PREPARED, Prepared};
pub(crate) use flow::Flow;
pub(crate) use provider::Oidc;
