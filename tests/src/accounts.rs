//! People of the users plugin.

use serde_json::{Value, json};

use super::{Client, Server, Site, plugin};

/// Capabilities of the users plugin.
pub const GRANT: &str =
    r#"["kv", "conversations", "sessions", "events", "jobs", "fetch", "blobs", "secrets", "watches"]"#;

/// Creates a site with the users plugin, and `more` in its configuration.
pub fn site(more: &str) -> Site {
    site_with("", more)
}

/// Creates a site with the users plugin, with additional members of its configuration, each after a comma.
pub fn site_with(settings: &str, more: &str) -> Site {
    let path = plugin("users");
    // An at-most-once hook that misses its deadline on a busy machine is lost.
    Site::bare(&format!(
        "[[plugins]]\nid = \"users\"\npath = {path:?}\ngrant = {GRANT}\n\
         config = {{ argon2 = {{ memory_kib = 8, iterations = 1, parallelism = 1 }}{settings} }}\n\
         [plugins.limits]\n{more}"
    ))
}

/// Calls a method, and returns the whole response.
pub async fn call(client: &mut Client, method: &str, params: Value) -> Value {
    client
        .request(json!({"type": "call", "id": method, "method": method, "params": params}))
        .await
}

/// Calls a method of the users plugin that must succeed.
pub async fn done(client: &mut Client, method: &str, params: Value) -> Value {
    let answer = call(client, &format!("users.{method}"), params).await;
    assert_eq!(answer["type"], "result", "{method}: {answer}");
    answer["value"].clone()
}

/// Calls a method of the users plugin that must be rejected. Returns the code.
pub async fn refused(client: &mut Client, method: &str, params: Value) -> String {
    let answer = call(client, &format!("users.{method}"), params).await;
    answer["code"]
        .as_str()
        .unwrap_or_else(|| panic!("{method}: {answer}"))
        .to_owned()
}

/// Waits for a signal of the users plugin, and skips everything else.
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

/// Connects with a token. Returns the first response as well.
pub async fn connect(server: &Server, token: &Value, device: &str) -> (Client, Value) {
    let mut client = server.connect().await;
    client
        .send(&json!({"type": "hello", "protocol": 1, "device": device, "token": token}))
        .await;
    let answer = client.next().await;
    (client, answer)
}

/// Registers a person on a new connection and signs in on it.
pub async fn join(server: &Server, app: &str, name: &str) -> (Client, Value) {
    let mut client = anonymous(server, app).await;
    let params = json!({"name": name, "password": "correct horse"});
    let session = call(&mut client, "users.register", params).await["value"].clone();
    let auth = json!({"type": "auth", "id": "a", "token": session["token"], "device": "test"});
    assert_eq!(client.request(auth).await["actor"], session["actor"]);
    (client, session)
}
