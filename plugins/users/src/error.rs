//! Errors that several modules return.

use courtyard_plugin_sdk::prelude::*;

/// The error for a configuration that the plugin can't start with.
pub(crate) fn invalid_configuration(reason: impl Into<String>) -> Error {
    Error::new("bad_configuration", reason)
}
