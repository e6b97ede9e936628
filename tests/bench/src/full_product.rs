//! Courtyard with the plugins of `config/courtyard.toml`, and users who sign up.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Built;
use super::load::Connection;

/// First lines of the configuration of every server.
pub(crate) const HEAD: &str = "data = \"data\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"error\"\n";

/// The default configuration, from which plugins and grants are read.
const DEFAULT: &str = include_str!("../../../config/courtyard.toml");

/// Returns the configuration of plugins of the default configuration: all, or those with these ids.
pub(crate) fn plugins(built: &Built, ids: Option<&[&str]>) -> String {
    let default: toml::Table = DEFAULT.parse().unwrap();
    let text = |plugin: &toml::Value, key: &str| plugin[key].as_str().unwrap().to_owned();
    let folder = built.plugins.canonicalize().unwrap();
    let mut configuration = String::new();
    for plugin in default["plugins"].as_array().unwrap() {
        let id = text(plugin, "id");
        if ids.is_some_and(|ids| !ids.contains(&&*id)) {
            continue;
        }
        let path = folder.join(format!("{id}.wasm"));
        configuration += &format!(
            "[[plugins]]\nid = {id:?}\npath = {path:?}\ngrant = {}\n",
            plugin["grant"]
        );
        if id == "users" {
            // Benchmarks measure messages, not sign-ins.
            configuration += "config = { argon2 = { memory_kib = 8, iterations = 1, parallelism = 1 } }\n";
        }
    }
    configuration
}

/// Returns the configuration of a guard that reads a key for every direct message.
pub(crate) fn guard(built: &Built) -> String {
    let path = built.plugins.join("probe.wasm").canonicalize().unwrap();
    format!("[[plugins]]\nid = \"probe\"\npath = {path:?}\ngrant = [\"kv\"]\nconfig = {{ deed = \"read\" }}\n")
}

/// An account.
pub(crate) struct Account {
    pub(crate) actor: String,
    pub(crate) token: String,
}

/// Registers an account with the users plugin.
pub(crate) async fn sign_up(address: SocketAddr, name: &str) -> Account {
    let mut connection = Connection::open(address).await;
    connection.request(&hello(None)).await;
    let params = json!({"name": name, "password": "correct horse"});
    let session = connection.request(&call("users.register", &params)).await;
    let text = |key: &str| session["value"][key].as_str().unwrap().to_owned();
    Account {
        actor: text("actor"),
        token: text("token"),
    }
}

/// Opens a signed-in connection.
pub(crate) async fn sign_in(address: SocketAddr, token: &str) -> Connection {
    let mut connection = Connection::open(address).await;
    connection.request(&hello(Some(token))).await;
    connection
}

pub(crate) fn hello(token: Option<&str>) -> Value {
    let mut hello = json!({"type": "hello", "protocol": 1});
    if let Some(token) = token {
        hello["token"] = token.into();
        hello["device"] = "bench".into();
    }
    hello
}

pub(crate) fn call(method: &str, params: &Value) -> Value {
    json!({"type": "call", "id": "c", "method": method, "params": params})
}
