//! Commands for a server that runs: requests to its admin interface.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, Subcommand};
use courtyard::admin::AdminEndpoint;
use http_body_util::{BodyExt, Empty};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::configuration::{self, Unusable};

/// Which server.
#[derive(Args)]
pub(crate) struct Target {
    /// The configuration that the server runs with; its data folder says where it listens to operators. Without it, the one
    /// inside this executable, or else config/courtyard.toml.
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
        target: Target,
    },
    /// Shows what a plugin does: calls, failures, memory.
    Status {
        /// Which.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Loads a plugin again from its file and its configuration; without an id, all that changed.
    Reload {
        /// Which.
        id: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Puts the generation in place that ran before the last reload.
    Rollback {
        /// Which.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Loads a plugin that was disabled.
    Enable {
        /// Which.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Stops asking a plugin, also after a restart; what it guards stays closed.
    Disable {
        /// Which.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Removes a plugin from the running server.
    Uninstall {
        /// Which.
        id: String,
        /// Removes what it keeps as well.
        #[arg(long)]
        remove_data: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Lists what a plugin could not bear or do, gives it to the plugin again, or forgets it.
    DeadLetters {
        /// Whose.
        id: String,
        /// Shows one again, or `all`.
        #[arg(long, value_name = "LETTER", conflicts_with = "discard")]
        replay: Option<String>,
        /// Forgets one, or `all`.
        #[arg(long, value_name = "LETTER")]
        discard: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

pub(crate) fn run(control: Control) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return super::failed_at("the runtime does not start", &error),
    };
    match runtime.block_on(control.act()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::failed_at("the server was not asked", &*error),
    }
}

impl Control {
    async fn act(self) -> Result<(), Box<dyn Error>> {
        let verb = |id: &str, verb: &str| format!("/v1/plugins/{id}/{verb}");
        match self {
            Self::List { target } => target.ask(Method::GET, "/v1/plugins", list).await,
            Self::Status { id, target } => target.ask(Method::GET, &format!("/v1/plugins/{id}"), status).await,
            Self::Reload { id: None, target } => target.ask(Method::POST, "/v1/plugins", list).await,
            Self::Reload { id: Some(id), target } => target.ask(Method::POST, &verb(&id, "reload"), status).await,
            Self::Rollback { id, target } => target.ask(Method::POST, &verb(&id, "rollback"), status).await,
            Self::Enable { id, target } => target.ask(Method::POST, &verb(&id, "enable"), status).await,
            Self::Disable { id, target } => target.ask(Method::POST, &verb(&id, "disable"), status).await,
            Self::Uninstall {
                id,
                remove_data,
                target,
            } => {
                let data = if remove_data { "remove" } else { "keep" };
                let path = format!("/v1/plugins/{id}?data={data}");
                target.ask(Method::DELETE, &path, |_| tell!("{id} is removed")).await
            }
            Self::DeadLetters {
                id,
                replay,
                discard,
                target,
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
                target.ask(method, &path, letters).await
            }
        }
    }
}

impl Target {
    /// Asks the server, and shows its answer.
    async fn ask(&self, method: Method, path: &str, show: impl FnOnce(&Value)) -> Result<(), Box<dyn Error>> {
        let config = match configuration::read(self.config.as_deref()) {
            Err(Unusable::NoneInside) => configuration::read(Some(Path::new("config/courtyard.toml"))),
            read => read,
        }?;
        let endpoint = AdminEndpoint::read(&config.data)
            .map_err(|error| format!("no server keeps its admin.json in {}: {error}", config.data.display()))?;
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
            tell!("{value}");
        } else {
            show(&value);
        }
        Ok(())
    }
}

fn list(answer: &Value) {
    tell!(
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
        tell!(
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
    tell!("{} {} is {}", text("id"), text("version"), text("state"));
    tell!(
        "  generation {}, since {} ms; before: {}",
        plugin["generation"],
        plugin["since_ms"],
        text("previous_version")
    );
    let usage = &plugin["usage"];
    tell!(
        "  {} instances with {} KiB; {} calls in it, {} waiting",
        usage["instances"],
        usage["memory_bytes"].as_u64().unwrap_or(0) / 1024,
        plugin["entered"],
        usage["waiting"]
    );
    tell!(
        "  {} to observe, {} jobs to do, {} dead letters",
        plugin["unobserved"],
        plugin["jobs"],
        plugin["dead_letters"]
    );
    for hook in hooks(plugin) {
        tell!(
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
        tell!("  problem: {code}: {message}");
    }
}

fn hooks(plugin: &Value) -> impl Iterator<Item = &Value> {
    plugin["hooks"].as_array().into_iter().flatten()
}

fn letters(answer: &Value) {
    for what in ["replayed", "discarded"] {
        if let Some(count) = answer[what].as_u64() {
            tell!("{count} {what}");
        }
    }
    for letter in answer["dead_letters"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        tell!("{} {}", text(&letter["id"]), text(&letter["hook"]));
        let message = &letter["message"];
        if message.is_null() {
            tell!("  {}", letter["about"]);
        } else {
            let (conversation, sender) = (text(&message["conversation"]), text(&message["sender"]));
            tell!(
                "  {conversation} {} of {sender}: {}",
                message["seq"],
                message["content"]
            );
        }
        tell!("  {}", text(&letter["reason"]));
    }
}
