//! A server that can't start reports why and what to do, in one sentence, and leaves no files behind.

use courtyard_tests::Site;

fn says(shown: &str, parts: &[&str]) {
    for part in parts {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    let errors = shown.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{shown}");
}

#[tokio::test]
async fn a_used_address_is_reported_before_the_data_folder_is_created() {
    let first = Site::new("");
    let server = first.start().await;
    let second = Site::new("");
    second.reconfigure(&format!(":{}", second.port), &format!(":{}", first.port));
    let address = format!("127.0.0.1:{} can't be listened on", first.port);
    says(
        &second.start_fails().await,
        &[&address, "hint: another program listens there", "`address`"],
    );
    assert!(!second.folder.path().join("data/log").exists());
    server.stop().await;
}

#[tokio::test]
async fn a_data_folder_in_use_is_reported() {
    let first = Site::new("");
    let server = first.start().await;
    let second = Site::new("");
    let data = first.folder.path().join("data");
    second.reconfigure("data = \"data\"", &format!("data = {data:?}"));
    let shown = second.start_fails().await;
    let folder = format!("{} is in use by another process", data.display());
    says(&shown, &[&folder, "hint: a server runs on that folder", "`data`"]);
    server.stop().await;
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_created_is_reported() {
    let site = Site::new("");
    site.reconfigure("data = \"data\"", "data = \"courtyard.toml/data\"");
    let shown = site.start_fails().await;
    says(
        &shown,
        &[
            "courtyard.toml/data",
            "Not a directory",
            "hint: everything is kept there",
        ],
    );
    assert_eq!(
        shown.matches("Not a directory").count(),
        1,
        "the cause is reported once\n{shown}"
    );
}

#[tokio::test]
async fn a_missing_configuration_is_reported() {
    let site = Site::new("");
    std::fs::remove_file(site.folder.path().join("courtyard.toml")).unwrap();
    says(
        &site.start_fails().await,
        &["can't be read", "courtyard.toml", "hint: "],
    );
}

#[tokio::test]
async fn a_missing_plugin_file_is_reported_and_the_server_runs() {
    let site = Site::new("[[plugins]]\nid = \"gone\"\npath = \"no/such/gone.wasm\"\n");
    let server = site.start().await;
    let status = site.plugin(&["status", "gone"]).await.unwrap();
    assert!(status.contains("no/such/gone.wasm can't be read"), "{status}");
    let log = server.stop().await;
    assert!(log.contains("no/such/gone.wasm can't be read"), "{log}");
}
