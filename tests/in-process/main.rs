//! Tests that link the host: servers with test doubles, and plugins as values.

#![allow(clippy::unwrap_used, reason = "tests")]

mod delayed_commits;
mod failing_store_and_bus;
mod hook_order;
mod late_sign_out;
mod malformed_wasm;
mod plugin_kinds;
mod store;
mod torn_reads;

#[test]
fn every_file_of_this_folder_is_compiled() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    courtyard_tests::assert_no_forgotten_file(folder, include_str!("main.rs"));
}
