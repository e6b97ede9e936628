//! Builder → running server → shutdown: the only place where the parts are wired.

mod listener;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use courtyard_plugin_sdk::native::Native;
use prometheus_client::registry::Registry as MetricsRegistry;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::{self, AdminEndpoint, AdminState, PluginCollector};
use crate::blobs::{self, Blobs, BlobsError};
use crate::bus::{Bus, LocalBus};
use crate::config::{Config, Listen};
use crate::effects::{Jobs, Observers, Settlement, Timers};
use crate::hooks::{Hooks, Registry};
use crate::host::Host;
use crate::log::{ConversationRecord, Conversations, Log, LogError};
use crate::metrics::TrafficMetrics;
use crate::net::{self, HttpState, Mounted, TlsError, TlsIdentity};
use crate::plugin::{
    CompiledCache, EngineLimits, Loader, ManageError, PluginSetup, PluginSetups, PluginSource, PluginSpec, Supervisor,
    WasmEngine,
};
use crate::router::Router;
use crate::services::{HostServices, Metrics, expire};
use crate::session::LocalSession;
use crate::store::{Draft, EmbeddedStore, LogId, Store, StoreError};
use crate::wire::{ActorId, AppId, DeviceId};
use crate::workers::Workers;
use listener::BoundListener;

/// Why a server doesn't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The data folder can't be opened.
    #[error("the data folder can't be opened")]
    Store(#[from] StoreError),
    /// The log can't be opened.
    #[error("the log can't be opened")]
    Log(#[from] LogError),
    /// The folder for compiled plugins can't be created.
    #[error("the folder for compiled plugins can't be created")]
    Cache(#[source] std::io::Error),
    /// Threads can't be created.
    #[error("the operating system can't create threads")]
    Workers(#[source] std::io::Error),
    /// The Wasm engine doesn't start.
    #[error("the Wasm engine does not start: {0}")]
    Engine(String),
    /// An address can't be listened on.
    #[error("{address} can't be listened on")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// Opening panicked; the panic hook logged it.
    #[error("opening the server panicked")]
    Panicked,
    /// The plugins can't be installed.
    #[error("the plugins can't be installed")]
    Plugins(#[from] ManageError),
    /// The file with the address and token of the operator interface can't be written.
    #[error("admin.json can't be written into the data folder")]
    Admin(#[source] std::io::Error),
    /// The blobs can't be opened.
    #[error("the blobs can't be opened")]
    Blobs(#[from] BlobsError),
    /// A certificate can't be used.
    #[error("a certificate can't be used")]
    Tls(#[from] TlsError),
}

/// The app doesn't exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the app {:?} is not configured", .0.as_str())]
pub struct UnknownApp(pub AppId);

/// A running server.
pub struct Server {
    addresses: Vec<(SocketAddr, bool)>,
    state: Arc<HttpState>,
    alive: mpsc::Sender<()>,
    admin: Option<AdminEndpoint>,
    supervisor: Arc<Supervisor>,
    store: Arc<dyn Store>,
    certificates: Vec<TlsIdentity>,
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
    observers: JoinHandle<()>,
    timers: JoinHandle<()>,
    jobs: JoinHandle<()>,
    expiry: JoinHandle<()>,
    sweep: JoinHandle<()>,
    shutdown: Duration,
}

/// Builds a server from a configuration, and from parts that the embedding service passes as values.
pub struct ServerBuilder {
    config: Config,
    store: Option<Arc<dyn Store>>,
    bus: Option<Arc<dyn Bus>>,
    plugins: Vec<PluginSetup>,
}

impl std::fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl ServerBuilder {
    /// Uses this store instead of the embedded one in the data folder. The server closes it when it stops.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Uses this bus for live frames instead of one within the process. It must not have a subscriber yet.
    #[must_use]
    pub fn bus(mut self, bus: Arc<dyn Bus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Adds a plugin of this process, called after those of the configuration. It is trusted: its calls have no deadline. It
    /// gets the capabilities that it requests and that the spec grants.
    #[must_use]
    pub fn plugin(mut self, plugin: Arc<dyn Native>, spec: PluginSpec) -> Self {
        self.plugins.push(PluginSetup {
            source: PluginSource::Value(plugin),
            spec,
        });
        self
    }

    /// Starts the server. If a plugin can't run, its status ([`Server::plugins`]) has the reason, and requests that it guards
    /// are rejected.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn start(self) -> Result<Server, ServerError> {
        let Self {
            config,
            store,
            bus,
            plugins,
        } = self;
        // Bound before the data folder is opened, so that a second instance fails at once.
        let admin_listener = config
            .admin
            .as_ref()
            .map(|admin| BoundListener::bind(admin.address))
            .transpose()?;
        let bind = |listen: &Listen| {
            let tls = listen.tls.clone().map(TlsIdentity::load).transpose()?;
            Ok((BoundListener::bind(listen.address)?, tls))
        };
        let listeners: Vec<_> = config.listen.iter().map(bind).collect::<Result<_, ServerError>>()?;
        let runtime = Handle::current();
        // Opening blocks on the disk, and on transactions whose results arrive on this runtime.
        let router = Arc::new(Router::new());
        let bus = bus.unwrap_or_else(|| Arc::new(LocalBus::new()));
        bus.subscribe(router.clone());
        let live = (router.clone(), bus.clone());
        let metrics = Metrics::default();
        let plugin_metrics = metrics.clone();
        let opened = tokio::task::spawn_blocking(move || {
            open(&runtime, &config, plugins, store, live, plugin_metrics).map(|parts| (config, parts))
        });
        let (
            config,
            OpenedParts {
                log,
                hooks,
                settlement,
                supervisor,
                blobs,
            },
        ) = opened.await.map_err(|_| ServerError::Panicked)??;
        let traffic = Arc::new(TrafficMetrics::default());
        let host = Arc::new(Host {
            traffic: traffic.clone(),
            hooks,
            log: log.clone(),
            router: router.clone(),
            bus,
            settlement: settlement.clone(),
            apps: config.apps.clone(),
            limits: config.session,
            workers: settlement.workers().clone(),
            trust_tokens: config.development.trust_tokens,
        });
        let (stop, stopping) = watch::channel(false);
        let admin = match config.admin.as_ref().zip(admin_listener) {
            Some((admin, bound)) => {
                let (listener, address) = bound.open()?;
                let endpoint = AdminEndpoint {
                    address,
                    token: admin.token.clone().unwrap_or_else(AdminEndpoint::generate_token),
                };
                endpoint.write(&config.data).map_err(ServerError::Admin)?;
                let mut registry = MetricsRegistry::default();
                traffic.register(&mut registry);
                log.store().register_metrics(&mut registry);
                registry.register_collector(Box::new(PluginCollector {
                    supervisor: supervisor.clone(),
                    router,
                    metrics: metrics.clone(),
                }));
                let shared = Arc::new(AdminState {
                    supervisor: supervisor.clone(),
                    settlement: settlement.clone(),
                    registry,
                    token: endpoint.token.clone(),
                });
                tokio::spawn(admin::listen(shared, listener, stopping.clone()));
                Some(endpoint)
            }
            None => None,
        };
        if let Some(every) = config.watch {
            tokio::spawn(watch_files(supervisor.clone(), every, stopping.clone()));
        }
        let state = Arc::new(HttpState {
            host,
            origins: config.origins.clone(),
            folders: config.folders.clone(),
            limits: config.net,
            connections: Arc::new(Semaphore::new(config.net.connections)),
            uploads: Arc::new(Semaphore::new(blobs.limits().uploads)),
            blobs: blobs.clone(),
            stopping,
        });
        let (alive, ended) = mpsc::channel(1);
        let (mut addresses, mut certificates) = (Vec::new(), Vec::new());
        for (bound, tls) in listeners {
            let (listener, address) = bound.open()?;
            addresses.push((address, tls.is_some()));
            certificates.extend(tls.clone());
            tokio::spawn(net::listen(state.clone(), listener, tls, alive.clone()));
        }
        let timers = tokio::spawn(Timers::new(state.host.hooks.clone(), log.clone(), settlement.clone()).run());
        let expiry = tokio::spawn(expire(log.store().clone()));
        let sweep = tokio::spawn(blobs::sweep(log.store().clone(), blobs));
        let jobs = tokio::spawn(Jobs::new(settlement.clone()).run());
        let observers = tokio::spawn(Observers::new(settlement).run());
        Ok(Server {
            addresses,
            state,
            alive,
            admin,
            supervisor,
            store: log.store().clone(),
            certificates,
            stop,
            ended,
            observers,
            timers,
            jobs,
            expiry,
            sweep,
            shutdown: config.shutdown,
        })
    }
}

impl Server {
    /// Starts everything that a configuration names, as [`ServerBuilder::start`] does.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn start(config: Config) -> Result<Self, ServerError> {
        Self::builder(config).start().await
    }

    /// Returns a builder for a server.
    #[must_use]
    pub fn builder(config: Config) -> ServerBuilder {
        ServerBuilder {
            config,
            store: None,
            bus: None,
            plugins: Vec::new(),
        }
    }

    /// Returns the address of each listener; `true` means TLS.
    #[must_use]
    pub fn addresses(&self) -> &[(SocketAddr, bool)] {
        &self.addresses
    }

    /// Returns the host as a service for another HTTP server: the WebSocket endpoint `/v1/ws`, `/health`, `/ready`,
    /// the endpoints of plugins under `/v1/plugins/`, `/v1/blobs/` and `/v1/apps/`, and the static files.
    #[must_use]
    pub fn service(&self) -> Mounted {
        Mounted::new(self.state.clone(), self.alive.downgrade())
    }

    /// Opens a session of an actor inside this process. The caller vouches for the actor: plugins don't authenticate it.
    ///
    /// # Errors
    /// When the app isn't configured.
    pub fn session(&self, app: &AppId, actor: ActorId, device: DeviceId) -> Result<LocalSession, UnknownApp> {
        if !self.state.host.apps.contains(app) {
            return Err(UnknownApp(app.clone()));
        }
        let (host, stopping) = (self.state.host.clone(), self.state.stopping.clone());
        let who = (app.clone(), actor, device);
        Ok(LocalSession::open(host, who, self.alive.clone(), stopping))
    }

    /// Returns the address and the token of the operator interface; `None` if it is disabled.
    #[must_use]
    pub fn admin(&self) -> Option<&AdminEndpoint> {
        self.admin.as_ref()
    }

    /// Returns the supervisor of the plugins, to read or change their state.
    #[must_use]
    pub fn plugins(&self) -> &Arc<Supervisor> {
        &self.supervisor
    }

    /// Reloads the certificates of all listeners.
    ///
    /// # Errors
    /// When a certificate can't be used. It and all later ones stay as they were.
    pub fn reload_certificates(&self) -> Result<(), TlsError> {
        self.certificates.iter().try_for_each(TlsIdentity::reload)
    }

    /// Stops in order: no new connections, sessions closed with 1001, submitted transactions committed. Takes at most the
    /// configured time plus that of the last commit.
    pub async fn shut_down(mut self) {
        // Dropped receivers have stopped already.
        let _ = self.stop.send(true);
        drop(self.alive);
        if tokio::time::timeout(self.shutdown, self.ended.recv()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        self.observers.abort();
        self.timers.abort();
        self.jobs.abort();
        self.expiry.abort();
        self.sweep.abort();
        let store = self.store;
        // The panic hook already logged a panic.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// The parts that block on the disk when a server starts.
struct OpenedParts {
    log: Arc<Log>,
    hooks: Arc<Hooks>,
    settlement: Arc<Settlement>,
    supervisor: Arc<Supervisor>,
    blobs: Arc<Blobs>,
}

/// Opens the store, the log and the blobs, and installs the plugins. Blocking.
fn open(
    runtime: &Handle,
    config: &Config,
    values: Vec<PluginSetup>,
    store: Option<Arc<dyn Store>>,
    (router, bus): (Arc<Router>, Arc<dyn Bus>),
    metrics: Metrics,
) -> Result<OpenedParts, ServerError> {
    let store = match store {
        Some(store) => store,
        None => Arc::new(EmbeddedStore::open_on(runtime, &config.data, config.store)?),
    };
    let log = Arc::new(Log::open(store)?);
    for conversation in &config.development.conversations {
        seed(&log, conversation)?;
    }
    let objects = match &config.blobs.bucket {
        Some(bucket) => runtime.block_on(blobs::bucket(bucket))?,
        None => blobs::folder(config.blobs.path.as_deref().unwrap_or(&config.data.join("blobs")))?,
    };
    let blobs = Arc::new(Blobs::open(
        log.store(),
        objects,
        config.blobs.key_file.as_deref(),
        &config.data.join("blobs.key"),
        config.blobs.limits,
    )?);
    let hooks = Arc::new(Hooks::new(Registry::default()));
    let workers = Arc::new(Workers::new(config.blocking_calls).map_err(ServerError::Workers)?);
    let settlement = Settlement::new(hooks.clone(), log.clone(), router.clone(), bus, workers);
    let supervisor = Arc::new(Supervisor::new(
        loader(config)?
            .within(HostServices::new(&hooks, &router, metrics).with_blobs(log.store().clone(), blobs.clone())),
        hooks.clone(),
        settlement.clone(),
        log.clone(),
        config.apps.clone(),
        setups(config, values.clone()),
    ));
    supervisor.install(config.plugins.iter().cloned().chain(values).collect())?;
    Ok(OpenedParts {
        log,
        hooks,
        settlement,
        supervisor,
        blobs,
    })
}

fn loader(config: &Config) -> Result<Loader, ServerError> {
    let memory_bytes = config
        .plugins
        .iter()
        .map(|plugin| plugin.spec.limits.memory_bytes)
        .max();
    let mut limits = EngineLimits::default();
    limits.memory_bytes = memory_bytes.unwrap_or(0).max(limits.memory_bytes);
    let engine = WasmEngine::new(&limits).map_err(|error| ServerError::Engine(format!("{error:#}")))?;
    let cache = CompiledCache::open(&config.data.join("compiled")).map_err(ServerError::Cache)?;
    Ok(Loader::new(engine, cache))
}

/// Returns the source of plugin configurations: the file, read again at each call, and the values of the builder.
fn setups(config: &Config, values: Vec<PluginSetup>) -> PluginSetups {
    let (file, bundle, first) = (config.file.clone(), config.bundle.clone(), config.plugins.clone());
    Box::new(move || {
        let configured = match file.as_deref().map(|file| Config::load_with(file, &bundle)) {
            Some(Ok(config)) => config.plugins,
            Some(Err(errors)) => return Err(errors.to_string()),
            None => first.clone(),
        };
        Ok(configured.into_iter().chain(values.iter().cloned()).collect())
    })
}

/// Reloads plugins whose files have changed.
async fn watch_files(supervisor: Arc<Supervisor>, every: Duration, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = net::stopped(&mut stopping) => return,
        }
        let supervisor = supervisor.clone();
        let reloaded = tokio::task::spawn_blocking(move || {
            for id in supervisor.changed_files() {
                match supervisor.reload(&id) {
                    Ok(()) => tracing::info!(plugin = id, "a plugin's file changed; it was reloaded"),
                    Err(error) => {
                        tracing::error!(plugin = id, code = error.code(), %error, "a plugin's file changed, but can't be loaded; the old generation keeps running");
                    }
                }
            }
        });
        if reloaded.await.is_err() {
            return;
        }
    }
}

/// Creates a conversation of the development settings, unless it exists.
fn seed(log: &Log, wanted: &crate::config::DevelopmentConversation) -> Result<(), ServerError> {
    let app = crate::wire::AppId::default_app();
    let id = LogId {
        app: app.clone(),
        conversation: wanted.id,
    };
    if log.conversations().get(&id)?.is_some() {
        return Ok(());
    }
    let mut draft = Draft::new(log.store().clone());
    let record = ConversationRecord {
        kind: wanted.kind.clone(),
        owner: "development".to_owned(),
        members: wanted.members.iter().map(ToString::to_string).collect(),
    };
    Conversations::create(&mut draft, &app, wanted.id, &wanted.id.to_string(), &record);
    draft
        .commit_blocking()
        .map_err(|error| StoreError::Index(error.to_string()))?;
    Ok(())
}
