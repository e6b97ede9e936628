//! The version of the contract between plugins and hosts.

/// Version of the contract that this host implements. Plugins of the same major version load.
pub const CONTRACT: &str = "1.0.0";

/// Returns the full name of an interface of the contract.
pub(super) fn interface(name: &str) -> String {
    format!("courtyard:plugin/{name}@{CONTRACT}")
}
