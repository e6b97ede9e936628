//! Courtyard: an embeddable messaging core that hosts its features as sandboxed plugins.

pub mod bus;
pub mod store;
pub mod wire;
