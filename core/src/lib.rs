//! Courtyard: an embeddable messaging core that hosts its features as sandboxed plugins.

pub mod bus;
pub mod config;
pub mod hooks;
pub mod log;
pub mod net;
pub mod plugin;
pub mod router;
pub mod server;
pub mod services;
pub mod session;
pub mod store;
pub mod wire;
