//! Errors that several modules return.

use courtyard_plugin_sdk::prelude::*;

/// Refuses a configuration.
pub(crate) fn bad(reason: impl Into<String>) -> Error {
    Error::new("bad_configuration", reason)
}
