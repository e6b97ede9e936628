//! The watcher as a native library.

use courtyard_guest_watcher::Watcher;

courtyard_plugin_sdk::export_library!(Watcher);
