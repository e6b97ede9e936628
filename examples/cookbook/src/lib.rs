//! Small plugins for common tasks. Each module is a complete plugin with its tests; `docs/guides/cookbook.md` shows them.
//!
//! To ship one, copy it to `src/lib.rs` of a crate of its own: a Wasm file holds one registered plugin.

pub mod bot;
pub mod digest;
pub mod guard;
pub mod migration;
pub mod page;
pub mod render;
pub mod slow_mode;
pub mod transform;
pub mod webhook;
pub mod welcome;
