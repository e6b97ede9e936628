//! Runs the server.

use std::error::Error;
use std::io::{ErrorKind, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use courtyard::{Config, Server, ServerError, StoreError};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::configuration;

pub(crate) fn run(path: Option<&Path>) -> ExitCode {
    let config = match configuration::read(path) {
        Ok(config) => config,
        Err(error) => return error.report(),
    };
    let filter = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if config.log_json {
        lines.json().init();
    } else {
        lines.init();
    }
    raise_file_limit(config.net.connections);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return super::failed_at("the runtime can't be started", &error),
    };
    let ended = runtime.block_on(serve(config));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = super::failed_at("the server does not start", &*error);
            if let Some(advice) = error.downcast_ref().and_then(advice) {
                eprintln!("  hint: {advice}");
            }
            code
        }
    }
}

/// Raises the limit of open files to the maximum, since each connection needs one.
fn raise_file_limit(connections: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX);
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < wanted) {
        tracing::warn!(
            "the system allows {maximum} open files, fewer than `connections` ({connections}); see `ulimit -Hn`"
        );
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    // Before the first line is printed, since its reader may stop the server at once.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let (data, page) = (
        config.data.clone(),
        config.folders.iter().any(|folder| folder.at == "/"),
    );
    // The first start compiles plugins; a signal to stop doesn't wait for that.
    let server = tokio::select! {
        started = Server::start(config) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    for plugin in server.plugins().status() {
        if let Some(problem) = plugin.problem {
            tracing::error!(
                plugin = plugin.id,
                code = problem.code,
                "a plugin does not run: {}",
                problem.message
            );
        }
    }
    announce(server.addresses(), page, &data);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => match server.reload_certificates() {
                Ok(()) => tracing::info!("reloaded the certificates"),
                Err(error) => tracing::error!(%error, "the certificates can't be reloaded; the old ones stay in use"),
            },
        }
    }
    tracing::info!("stopping");
    server.shut_down().await;
    Ok(())
}

/// Prints the addresses of the server and its data folder.
fn announce(addresses: &[(SocketAddr, bool)], page: bool, data: &Path) {
    let url = |address: &SocketAddr, secure: bool| format!("{}://{address}", if secure { "https" } else { "http" });
    for (address, secure) in addresses {
        outln!("listening on {}", url(address, *secure));
    }
    let shown = std::fs::canonicalize(data);
    outln!("everything is kept in {}", shown.as_deref().unwrap_or(data).display());
    if let Some((address, secure)) = addresses.first().filter(|_| page) {
        let mut address = *address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        outln!("open {}/ in a browser", url(&address, *secure));
    }
}

/// Returns what to do about frequent problems.
fn advice(error: &ServerError) -> Option<&'static str> {
    match error {
        ServerError::Listen { source, .. } => match source.kind() {
            ErrorKind::AddrInUse => Some(
                "another program listens there, perhaps this server already: stop it, or choose another `address` in the \
                 configuration (`--print-config` prints it)",
            ),
            ErrorKind::AddrNotAvailable => {
                Some("this machine does not have that address; 0.0.0.0 stands for all addresses")
            }
            ErrorKind::PermissionDenied => Some("ports below 1024 need privileges: choose another one"),
            _ => None,
        },
        ServerError::Store(StoreError::Locked(_)) => {
            Some("a server runs on that folder: stop it, or choose another folder with `data` in the configuration")
        }
        ServerError::Store(StoreError::Io { cause, .. }) => match cause.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => Some(
                "everything is kept there: allow this user to write to it, or choose another folder with `data` in the \
                 configuration",
            ),
            _ => None,
        },
        _ => None,
    }
}
