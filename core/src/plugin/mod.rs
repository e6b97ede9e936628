//! Plugins: from a file to a backend that hooks can call.

mod artifact;
mod contract;
mod error;
mod gate;
mod limits;
mod loader;
mod native;
mod output_limits;
mod spec;
mod supervisor;
mod wasm;

pub use artifact::Artifact;
pub use contract::CONTRACT;
pub use error::{LoadError, PluginStartError};
pub use limits::PluginLimits;
pub use loader::Loader;
pub use spec::PluginSpec;
pub use supervisor::{
    ManageError, PluginProblem, PluginSetup, PluginSetups, PluginSource, PluginState, PluginStatus, Supervisor,
};
pub use wasm::{CompiledCache, EngineLimits, WasmEngine};
