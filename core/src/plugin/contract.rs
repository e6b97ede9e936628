//! The version of the contract between plugins and hosts.

/// The version of the contract that this host speaks. Plugins of the same major version run.
pub const CONTRACT: &str = "1.0.0";

/// Returns the full name of an interface of the contract.
pub(super) fn interface(name: &str) -> String {
    format!("courtyard:plugin/{name}@{CONTRACT}")
}
