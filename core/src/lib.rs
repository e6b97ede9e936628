//! Courtyard: an embeddable messaging core that hosts its features as sandboxed plugins.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = courtyard::Config::load("config/courtyard.toml".as_ref())?;
//! let server = courtyard::Server::start(config).await?;
//! for (address, _) in server.addresses() {
//!     println!("listening on {address}");
//! }
//! server.shut_down().await;
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod blobs;
pub mod bundle;
pub mod bus;
pub mod clock;
pub mod config;
pub mod fetch;
pub mod hooks;
pub mod host;
pub mod log;
pub mod net;
pub mod plugin;
pub mod router;
pub mod server;
pub mod services;
pub mod session;
pub mod store;
pub mod wire;
pub mod workers;

pub use config::Config;
pub use server::Server;
