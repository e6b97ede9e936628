//! Commands for a running server: requests to its operator interface.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, Subcommand};
use courtyard::AdminEndpoint;
use http_body_util::{BodyExt, Empty};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::configuration::{self, LoadFailure};

/// Selects the server, and the format of the answer.
#[derive(Args)]
pub(crate) struct ServerArgs {
    /// The configuration of the server; its data folder has the address of the operator interface. Without it, the one in
    /// this executable, or else config/courtyard.toml.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Prints the server's answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Control {
    /// Lists the plugins of a running server.
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Shows the state of a plugin: calls, failures, memory.
    Status {
        /// The id of the plugin.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Reloads a plugin from its file and its configuration; without an id, all that changed.
    Reload {
        /// The id of the plugin.
        id: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Returns to the generation that ran before the last reload.
    Rollback {
        /// The id of the plugin.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Loads a disabled plugin.
    Enable {
        /// The id of the plugin.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Disables a plugin, also after a restart. Requests that it guards are rejected.
    Disable {
        /// The id of the plugin.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Removes a plugin from the running server.
    Uninstall {
        /// The id of the plugin.
        id: String,
        /// Removes its data as well.
        #[arg(long)]
        remove_data: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Lists the dead letters of a plugin (observations and jobs that failed too often), replays or discards them.
    DeadLetters {
        /// The id of the plugin.
        id: String,
        /// Replays one, or `all`.
        #[arg(long, value_name = "LETTER", conflicts_with = "discard")]
        replay: Option<String>,
        /// Discards one, or `all`.
        #[arg(long, value_name = "LETTER")]
        discard: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

pub(crate) fn run(control: Control) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return super::failed_at("the runtime can't be started", &error),
    };
    match runtime.block_on(control.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::failed_at("the command failed", &*error),
    }
}

impl Control {
    async fn run(self) -> Result<(), Box<dyn Error>> {
        let verb = |id: &str, verb: &str| format!("/v1/plugins/{id}/{verb}");
        match self {
            Self::List { server } => server.send(Method::GET, "/v1/plugins", list).await,
            Self::Status { id, server } => server.send(Method::GET, &format!("/v1/plugins/{id}"), status).await,
            Self::Reload { id: None, server } => server.send(Method::POST, "/v1/plugins", list).await,
            Self::Reload { id: Some(id), server } => server.send(Method::POST, &verb(&id, "reload"), status).await,
            Self::Rollback { id, server } => server.send(Method::POST, &verb(&id, "rollback"), status).await,
            Self::Enable { id, server } => server.send(Method::POST, &verb(&id, "enable"), status).await,
            Self::Disable { id, server } => server.send(Method::POST, &verb(&id, "disable"), status).await,
            Self::Uninstall {
                id,
                remove_data,
                server,
            } => {
                let data = if remove_data { "remove" } else { "keep" };
                let path = format!("/v1/plugins/{id}?data={data}");
                server.send(Method::DELETE, &path, |_| outln!("{id} is removed")).await
            }
            Self::DeadLetters {
                id,
                replay,
                discard,
                server,
            } => {
                let (method, letter) = match (replay, discard) {
                    (Some(letter), _) => (Method::POST, letter),
                    (None, Some(letter)) => (Method::DELETE, letter),
                    (None, None) => (Method::GET, String::new()),
                };
                let mut path = verb(&id, "dead-letters");
                if !letter.is_empty() && letter != "all" {
                    path = format!("{path}/{letter}");
                }
                server.send(method, &path, letters).await
            }
        }
    }
}

impl ServerArgs {
    /// Sends a request to the server, and shows the answer.
    async fn send(&self, method: Method, path: &str, show: impl FnOnce(&Value)) -> Result<(), Box<dyn Error>> {
        let config = match configuration::read(self.config.as_deref()) {
            Err(LoadFailure::NotBundled) => configuration::read(Some(Path::new("config/courtyard.toml"))),
            read => read,
        }?;
        let endpoint = AdminEndpoint::read(&config.data).map_err(|error| {
            format!(
                "no admin.json of a running server in {}: {error}",
                config.data.display()
            )
        })?;
        let stream = TcpStream::connect(endpoint.address)
            .await
            .map_err(|error| format!("no server listens on {}: {error}", endpoint.address))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, endpoint.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", endpoint.token))
            .body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let value: Value = serde_json::from_slice(&body)?;
        if status != StatusCode::OK {
            let error = &value["error"];
            let text = |key: &str| error[key].as_str().unwrap_or_default();
            return Err(format!("{}: {}", text("code"), text("message")).into());
        }
        if self.json {
            outln!("{value}");
        } else {
            show(&value);
        }
        Ok(())
    }
}

fn list(answer: &Value) {
    outln!(
        "{:<20} {:<12} {:<10} {:>10} {:>8}",
        "PLUGIN",
        "STATE",
        "VERSION",
        "GENERATION",
        "CALLS"
    );
    for plugin in answer["plugins"].as_array().into_iter().flatten() {
        let text = |key: &str| plugin[key].as_str().unwrap_or("-");
        let calls: u64 = hooks(plugin).filter_map(|hook| hook["calls"].as_u64()).sum();
        outln!(
            "{:<20} {:<12} {:<10} {:>10} {calls:>8}",
            text("id"),
            text("state"),
            text("version"),
            plugin["generation"]
        );
        problem(plugin);
    }
}

fn status(answer: &Value) {
    let plugin = &answer["plugin"];
    let text = |key: &str| plugin[key].as_str().unwrap_or("-");
    outln!("{} {} is {}", text("id"), text("version"), text("state"));
    outln!(
        "  generation {}, since {} ms; before: {}",
        plugin["generation"],
        plugin["since_ms"],
        text("previous_version")
    );
    let usage = &plugin["usage"];
    outln!(
        "  {} instances with {} KiB; {} calls running, {} waiting",
        usage["instances"],
        usage["memory_bytes"].as_u64().unwrap_or(0) / 1024,
        plugin["entered"],
        usage["waiting"]
    );
    outln!(
        "  {} pending observations, {} pending jobs, {} dead letters",
        plugin["unobserved"],
        plugin["jobs"],
        plugin["dead_letters"]
    );
    for hook in hooks(plugin) {
        outln!(
            "  {}: {} calls, failures {}",
            hook["hook"].as_str().unwrap_or_default(),
            hook["calls"],
            hook["failures"]
        );
    }
    problem(plugin);
}

fn problem(plugin: &Value) {
    let problem = &plugin["problem"];
    if let (Some(code), Some(message)) = (problem["code"].as_str(), problem["message"].as_str()) {
        outln!("  problem: {code}: {message}");
    }
}

fn hooks(plugin: &Value) -> impl Iterator<Item = &Value> {
    plugin["hooks"].as_array().into_iter().flatten()
}

fn letters(answer: &Value) {
    for what in ["replayed", "discarded"] {
        if let Some(count) = answer[what].as_u64() {
            outln!("{count} {what}");
        }
    }
    for letter in answer["dead_letters"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        outln!("{} {}", text(&letter["id"]), text(&letter["hook"]));
        let message = &letter["message"];
        if message.is_null() {
            outln!("  {}", letter["about"]);
        } else {
            let (conversation, sender) = (text(&message["conversation"]), text(&message["sender"]));
            outln!(
                "  {conversation} {} of {sender}: {}",
                message["seq"],
                message["content"]
            );
        }
        outln!("  {}", text(&letter["reason"]));
    }
}
