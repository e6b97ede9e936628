//! Plugins as WebAssembly: compiled, linked with the granted services, and called through a pool of instances.

mod abi;
mod async_services;
mod bindings;
mod compiled;
mod convert;
mod engine;
mod exports;
mod instance;
mod lane;
mod loader;
mod module;
mod plugin;
mod pool;
mod services;
mod state;
mod template;

pub use compiled::CompiledCache;
pub use engine::{EngineLimits, WasmEngine};
pub(super) use loader::WasmLoader;
