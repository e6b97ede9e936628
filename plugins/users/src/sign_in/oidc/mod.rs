//! Sign-in by identity providers: OpenID Connect with authorization code, PKCE, state and nonce.
//!
//! The client starts a sign-in and redirects its user to the provider. The provider redirects back to a page of the client
//! with a code, and the client finishes. A job calls the provider; meanwhile the client polls the result. The ticket proves
//! that all requests come from the same client. It is part of no URL, so a link can't make somebody finish a sign-in that
//! another person started.

mod cache;
mod exchange;
mod flow;
mod id_token;
mod keys;
mod provider;
#[cfg(test)]
mod tests;

pub(crate) use cache::{CachedProvider, READ, STORE, read, store};
pub(crate) use exchange::{EXCHANGE, FAIL, FINISH, FLOW, FlowFailure, PREPARE, PREPARED, PreparedFlow, VerifiedSignIn};
pub(crate) use flow::SignInFlow;
pub(crate) use provider::OidcSettings;
