//! Tests that link the host: servers with parts of a test in them, and plugins as values.

#![allow(clippy::unwrap_used, reason = "tests")]

mod failing_parts;
mod folding;
mod forged;
mod kinds;
mod late_sign_out;
mod slow_parts;
mod torn_reads;

#[test]
fn every_file_of_this_folder_is_compiled() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    courtyard_tests::assert_no_forgotten_file(folder, include_str!("main.rs"));
}
