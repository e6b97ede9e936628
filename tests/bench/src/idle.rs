//! Memory of connections that are signed in and silent, beside a bare WebSocket server.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::Built;
use super::load::Connection;
use super::process::Process;
use super::product::hello;

pub(crate) fn run(built: &Built, connections: usize) {
    println!(
        "{connections} connections sign in, each as somebody else, and stay silent. What the server's resident memory has \
         grown by is divided by their number; beside it the same for a server that upgrades connections and does nothing \
         else, on the same crates."
    );
    let folder = tempfile::tempdir_in(&built.data).unwrap();
    let bare = grown(
        &Process::relay(&folder.path().join("relay.log"), false),
        connections,
        |number| number.to_string(),
    );
    println!("  the bare server: {bare:.2} KiB for each connection");
    let own = grown(&courtyard(built, folder.path()), connections, |number| {
        hello(Some(&format!("actor{number}"))).to_string()
    });
    println!("  Courtyard: {own:.2} KiB for each connection");
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

/// Connects, and returns what each connection costs in KiB.
fn grown(server: &Process, connections: usize, first_frame: impl Fn(usize) -> String) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut open = Vec::with_capacity(connections);
        // The first connections make what all share.
        for number in 0..16 {
            open.push(connect(server, &first_frame(number)).await);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = server.resident_kib();
        for number in 16..connections {
            open.push(connect(server, &first_frame(number)).await);
        }
        // By then the threads that signing in took have ended.
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
