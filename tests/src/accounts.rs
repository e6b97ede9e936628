//! People of the users plugin.

use serde_json::{Value, json};

use super::{Client, Server, Site, plugin};

/// What the users plugin wants to use.
pub const GRANT: &str =
    r#"["kv", "conversations", "sessions", "events", "jobs", "fetch", "blobs", "secrets", "watches"]"#;

/// Makes a site with the users plugin, and `more` in its configuration.
pub fn site(more: &str) -> Site {
    site_with("", more)
}

/// Makes a site with the users plugin, with more members of its own configuration, each with a comma in front.
pub fn site_with(settings: &str, more: &str) -> Site {
    let path = plugin("users");
    // A hook that is told once and has no time on a busy machine is lost.
    Site::bare(&format!(
        "[[plugins]]\nid = \"users\"\npath = {path:?}\ngrant = {GRANT}\n\
         config = {{ argon2 = {{ memory_kib = 8, iterations = 1, parallelism = 1 }}{settings} }}\n\
         [plugins.limits]\nhook_ms = 5000\n{more}"
    ))
}

/// Calls a method, and returns the whole answer.
pub async fn call(client: &mut Client, method: &str, params: Value) -> Value {
    client
        .request(json!({"type": "call", "id": method, "method": method, "params": params}))
        .await
}

/// Calls a method of the users plugin that succeeds.
pub async fn done(client: &mut Client, method: &str, params: Value) -> Value {
    let answer = call(client, &format!("users.{method}"), params).await;
    assert_eq!(answer["type"], "result", "{method}: {answer}");
    answer["value"].clone()
}

/// Calls a method of the users plugin that is refused; returns the code.
pub async fn refused(client: &mut Client, method: &str, params: Value) -> String {
    let answer = call(client, &format!("users.{method}"), params).await;
    answer["code"]
        .as_str()
        .unwrap_or_else(|| panic!("{method}: {answer}"))
        .to_owned()
}

/// Waits for a signal of the users plugin, and passes over everything else.
pub async fn signal(client: &mut Client, name: &str) -> Value {
    loop {
        let frame = client.next().await;
        if frame["type"] == "signal" && frame["plugin"] == "users" && frame["name"] == name {
            return frame["payload"].clone();
        }
    }
}

/// Connects without signing in.
pub async fn anonymous(server: &Server, app: &str) -> Client {
    let mut client = server.connect().await;
    client.send(&json!({"type": "hello", "protocol": 1, "app": app})).await;
    assert_eq!(client.next().await["type"], "welcome");
    client
}

/// Connects with a token; returns the first answer as well.
pub async fn connect(server: &Server, token: &Value, device: &str) -> (Client, Value) {
    let mut client = server.connect().await;
    client
        .send(&json!({"type": "hello", "protocol": 1, "device": device, "token": token}))
        .await;
    let answer = client.next().await;
    (client, answer)
}

/// Registers someone on a new connection and signs in on it.
pub async fn join(server: &Server, app: &str, name: &str) -> (Client, Value) {
    let mut client = anonymous(server, app).await;
    let params = json!({"name": name, "password": "correct horse"});
    let session = call(&mut client, "users.register", params).await["value"].clone();
    let auth = json!({"type": "auth", "id": "a", "token": session["token"], "device": "test"});
    assert_eq!(client.request(auth).await["actor"], session["actor"]);
    (client, session)
}
