//! Memory of idle signed-in connections, compared with a bare WebSocket server.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::Built;
use super::full_product::hello;
use super::load::Connection;
use super::process::Process;

pub(crate) fn run(built: &Built, connections: usize) {
    println!(
        "{connections} connections sign in, each as another actor, and stay idle. The figure is the growth of the server's \
         resident memory divided by their number; compared with a server on the same crates that only upgrades \
         connections."
    );
    let folder = tempfile::tempdir_in(&built.data).unwrap();
    let bare = memory_per_connection(
        &Process::relay(&folder.path().join("relay.log"), false),
        connections,
        |number| number.to_string(),
    );
    println!("  the bare server: {bare:.2} KiB per connection");
    let own = memory_per_connection(&courtyard(built, folder.path()), connections, |number| {
        hello(Some(&format!("actor{number}"))).to_string()
    });
    println!("  Courtyard: {own:.2} KiB per connection");
    let rounded = |value: f64| (value * 100.0).round() / 100.0;
    println!(
        "{}",
        json!({
            "bench": "idle",
            "kib_per_connection": rounded(own),
            "bare_kib_per_connection": rounded(bare),
            "ratio_to_bare": rounded(own / bare),
            "connections": connections,
        })
    );
}

fn courtyard(built: &Built, folder: &Path) -> Process {
    let configuration = "data = \"data\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[development]\ntrust_tokens = true\n\
                         [limits]\nheartbeat_ms = 600000\n";
    Process::courtyard(built, folder, configuration)
}

/// Connects, and returns the memory of a connection in KiB.
fn memory_per_connection(server: &Process, connections: usize, first_frame: impl Fn(usize) -> String) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut open = Vec::with_capacity(connections);
        // The first connections allocate what all share.
        for number in 0..16 {
            open.push(connect(server, &first_frame(number)).await);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = server.resident_kib();
        for number in 16..connections {
            open.push(connect(server, &first_frame(number)).await);
        }
        // Waits until the threads that served the sign-ins have ended.
        tokio::time::sleep(Duration::from_secs(15)).await;
        let after = server.resident_kib();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let count = (connections - 16) as f64;
        (after - before) / count
    })
}

async fn connect(server: &Process, first_frame: &str) -> Connection {
    let mut connection = Connection::open(server.address).await;
    connection.send(first_frame).await;
    let answer = connection.next().await;
    assert!(answer == "ok" || answer.contains("welcome"), "{answer}");
    connection
}
