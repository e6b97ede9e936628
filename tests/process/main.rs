//! End-to-end tests: the real binary as a process, and clients on real sockets.

#![allow(clippy::unwrap_used, reason = "tests")]

mod acts;
mod bad_frames;
mod bad_plugins;
mod blobs;
mod blocklist;
mod chat;
mod client;
mod client_blobs;
mod client_marks;
mod deploying;
mod documentation;
mod durability;
mod error_codes;
mod failing_hooks;
mod files;
mod groups;
mod guide;
mod histories;
mod hook_classes;
mod hook_families;
mod hook_paths;
mod http;
mod jobs;
mod oidc;
mod one_file;
mod people;
mod revocation_races;
mod services;
mod sign_in;
mod starting;
mod stickers;
mod supervision;
mod sync;
mod translation;
mod tus_clients;
mod users;
mod watches;

#[test]
fn every_file_of_this_folder_is_compiled() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("process");
    courtyard_tests::assert_no_forgotten_file(&folder, include_str!("main.rs"));
}
