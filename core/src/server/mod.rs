//! Builder → running server → shutdown: the only place where the parts are wired.

mod listener;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use courtyard_plugin_sdk::native::Native;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::{self, AdminEndpoint, AdminState};
use crate::blobs::{self, Blobs, BlobsError};
use crate::bus::{Bus, LocalBus};
use crate::config::{Config, Listen};
use crate::hooks::{Hooks, Jobs, Observers, Registry, Settlement, Timers};
use crate::host::Host;
use crate::log::{Conversations, Draft, Log, LogError, Record};
use crate::net::{self, HttpState, Mounted, TlsError, TlsIdentity};
use crate::plugin::{
    CompiledCache, EngineLimits, Loader, ManageError, PluginSetup, PluginSetups, PluginSource, PluginSpec, Supervisor,
    WasmEngine,
};
use crate::router::Router;
use crate::services::{HostServices, Metrics, expire};
use crate::session::LocalSession;
use crate::store::{EmbeddedStore, LogId, Store, StoreError};
use crate::wire::{ActorId, AppId, DeviceId};
use crate::workers::Workers;
use listener::BoundListener;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data folder can't be opened.
    #[error("the data folder can't be opened")]
    Store(#[from] StoreError),
    /// The log can't be opened.
    #[error("the log can't be opened")]
    Log(#[from] LogError),
    /// The folder for compiled code can't be made.
    #[error("the folder for compiled plugins can't be made")]
    Cache(#[source] std::io::Error),
    /// There are no threads.
    #[error("the operating system gives no threads")]
    Workers(#[source] std::io::Error),
    /// The Wasm engine does not start.
    #[error("the Wasm engine does not start: {0}")]
    Engine(String),
    /// An address can't be listened on.
    #[error("{address} can't be listened on")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Opening ended with a panic, which has been logged.
    #[error("opening the server panicked")]
    PluginPanic,
    /// The plugins can't be installed.
    #[error("the plugins can't be installed")]
    Plugins(#[from] ManageError),
    /// What operators need can't be kept in the data folder.
    #[error("admin.json can't be written into the data folder")]
    Admin(#[source] std::io::Error),
    /// The blobs can't be opened.
    #[error("the blobs can't be opened")]
    Blobs(#[from] BlobsError),
    /// A certificate can't be used.
    #[error("a certificate can't be used")]
    Tls(#[from] TlsError),
}

/// There is no such app.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no app {:?}", .0.as_str())]
pub struct UnknownApp(pub AppId);

/// A running server.
pub struct Server {
    addresses: Vec<(SocketAddr, bool)>,
    site: Arc<HttpState>,
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

/// Puts a server together: a configuration, and parts that are given as values instead of being made from it.
pub struct Builder {
    config: Config,
    store: Option<Arc<dyn Store>>,
    bus: Option<Arc<dyn Bus>>,
    plugins: Vec<PluginSetup>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Keeps state in this store instead of the embedded one in the data folder. The server closes it when it stops.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Carries live frames over this bus instead of within the process. Nothing may be subscribed to it yet.
    #[must_use]
    pub fn bus(mut self, bus: Arc<dyn Bus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Adds a plugin of this process behind those of the configuration. It is trusted: nothing ends it when it takes too
    /// long. It gets the capabilities that it asks for and that the spec grants.
    #[must_use]
    pub fn plugin(mut self, plugin: Arc<dyn Native>, spec: PluginSpec) -> Self {
        self.plugins.push(PluginSetup {
            source: PluginSource::Value(plugin),
            spec,
        });
        self
    }

    /// Starts the server. Plugins that can't run say why in their status ([`Server::plugins`]); what they guard
    /// stays closed.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(self) -> Result<Server, StartError> {
        let Self {
            config,
            store,
            bus,
            plugins,
        } = self;
        // Before the data folder is touched, so that a server that is started twice fails at once.
        let admin_door = config
            .admin
            .as_ref()
            .map(|admin| BoundListener::bind(admin.address))
            .transpose()?;
        let taken = |listen: &Listen| {
            let tls = listen.tls.clone().map(TlsIdentity::load).transpose()?;
            Ok((BoundListener::bind(listen.address)?, tls))
        };
        let doors: Vec<_> = config.listen.iter().map(taken).collect::<Result<_, StartError>>()?;
        let runtime = Handle::current();
        // Opening waits for the disk, and for transactions that are told of on this runtime.
        let router = Arc::new(Router::new());
        let bus = bus.unwrap_or_else(|| Arc::new(LocalBus::new()));
        bus.subscribe(router.clone());
        let live = (router.clone(), bus.clone());
        let metrics = Metrics::default();
        let counted = metrics.clone();
        let opened = tokio::task::spawn_blocking(move || {
            open(&runtime, &config, plugins, store, live, counted).map(|parts| (config, parts))
        });
        let (
            config,
            Opened {
                log,
                hooks,
                settlement,
                supervisor,
                blobs,
            },
        ) = opened.await.map_err(|_| StartError::PluginPanic)??;
        let host = Arc::new(Host {
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
        let admin = match config.admin.as_ref().zip(admin_door) {
            Some((admin, door)) => {
                let (listener, address) = door.open()?;
                let endpoint = AdminEndpoint {
                    address,
                    token: admin.token.clone().unwrap_or_else(AdminEndpoint::generate_token),
                };
                endpoint.write(&config.data).map_err(StartError::Admin)?;
                let shared = Arc::new(AdminState {
                    supervisor: supervisor.clone(),
                    settlement: settlement.clone(),
                    metrics: metrics.clone(),
                    router,
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
        let site = Arc::new(HttpState {
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
        for (door, tls) in doors {
            let (listener, address) = door.open()?;
            addresses.push((address, tls.is_some()));
            certificates.extend(tls.clone());
            tokio::spawn(net::listen(site.clone(), listener, tls, alive.clone()));
        }
        let timers = tokio::spawn(Timers::new(site.host.hooks.clone(), log.clone(), settlement.clone()).run());
        let expiry = tokio::spawn(expire(log.store().clone()));
        let sweep = tokio::spawn(blobs::sweep(log.store().clone(), blobs));
        let jobs = tokio::spawn(Jobs::new(settlement.clone()).run());
        let observers = tokio::spawn(Observers::new(settlement).run());
        Ok(Server {
            addresses,
            site,
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
    /// Starts everything that a configuration names, as [`Builder::start`] does.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::builder(config).start().await
    }

    /// Begins to put a server together.
    #[must_use]
    pub fn builder(config: Config) -> Builder {
        Builder {
            config,
            store: None,
            bus: None,
            plugins: Vec::new(),
        }
    }

    /// Returns the address of each listener, and whether it speaks TLS.
    #[must_use]
    pub fn addresses(&self) -> &[(SocketAddr, bool)] {
        &self.addresses
    }

    /// Returns the host as a service for another HTTP server: the WebSocket endpoint `/v1/ws`, `/health`, `/ready`,
    /// the plugins' own parts under `/v1/plugins/` and `/v1/apps/`, and the static files.
    #[must_use]
    pub fn service(&self) -> Mounted {
        Mounted::new(self.site.clone(), self.alive.downgrade())
    }

    /// Opens a session of an actor inside this process. Who the actor is is the caller's word: no plugin is asked for
    /// that.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn session(&self, app: &AppId, actor: ActorId, device: DeviceId) -> Result<LocalSession, UnknownApp> {
        if !self.site.host.apps.contains(app) {
            return Err(UnknownApp(app.clone()));
        }
        let (host, stopping) = (self.site.host.clone(), self.site.stopping.clone());
        let who = (app.clone(), actor, device);
        Ok(LocalSession::open(host, who, self.alive.clone(), stopping))
    }

    /// Returns where operators are listened to, and the token that they must bear.
    #[must_use]
    pub fn admin(&self) -> Option<&AdminEndpoint> {
        self.admin.as_ref()
    }

    /// Returns the plugins, to look at or to change.
    #[must_use]
    pub fn plugins(&self) -> &Arc<Supervisor> {
        &self.supervisor
    }

    /// Reads the certificates again.
    ///
    /// # Errors
    /// The first certificate that can't be used; it and those behind it stay as they were.
    pub fn reload_certificates(&self) -> Result<(), TlsError> {
        self.certificates.iter().try_for_each(TlsIdentity::reload)
    }

    /// Stops in order: no new connections, sessions closed with 1001, what was submitted is committed. Takes as long as
    /// the configured time at most, plus that of the last commit.
    pub async fn shut_down(mut self) {
        // Receivers that are gone have stopped already.
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
        // A panic in there has been told; there is nothing left to do.
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

/// What waits for the disk when a server starts.
struct Opened {
    log: Arc<Log>,
    hooks: Arc<Hooks>,
    settlement: Arc<Settlement>,
    supervisor: Arc<Supervisor>,
    blobs: Arc<Blobs>,
}

/// Opens the log and installs the plugins.
fn open(
    runtime: &Handle,
    config: &Config,
    values: Vec<PluginSetup>,
    store: Option<Arc<dyn Store>>,
    (router, bus): (Arc<Router>, Arc<dyn Bus>),
    metrics: Metrics,
) -> Result<Opened, StartError> {
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
    let workers = Arc::new(Workers::new(config.blocking_calls).map_err(StartError::Workers)?);
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
    Ok(Opened {
        log,
        hooks,
        settlement,
        supervisor,
        blobs,
    })
}

fn loader(config: &Config) -> Result<Loader, StartError> {
    let memory_bytes = config
        .plugins
        .iter()
        .map(|plugin| plugin.spec.limits.memory_bytes)
        .max();
    let mut limits = EngineLimits::default();
    limits.memory_bytes = memory_bytes.unwrap_or(0).max(limits.memory_bytes);
    let engine = WasmEngine::new(&limits).map_err(|error| StartError::Engine(format!("{error:#}")))?;
    let cache = CompiledCache::open(&config.data.join("compiled")).map_err(StartError::Cache)?;
    Ok(Loader::new(engine, cache))
}

/// Where plugins are configured: in the file, as it is then, or in the values that the server was started with.
fn setups(config: &Config, values: Vec<PluginSetup>) -> PluginSetups {
    let (file, bundle, first) = (config.file.clone(), config.bundle.clone(), config.plugins.clone());
    Box::new(move || {
        let configured = match file.as_deref().map(|file| Config::load_with(file, &bundle)) {
            Some(Ok(config)) => config.plugins,
            Some(Err(mistakes)) => return Err(mistakes.to_string()),
            None => first.clone(),
        };
        Ok(configured.into_iter().chain(values.iter().cloned()).collect())
    })
}

/// Loads plugins again whose files have changed.
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
                    Ok(()) => tracing::info!(plugin = id, "a plugin's file changed; it was loaded again"),
                    Err(error) => {
                        tracing::error!(plugin = id, code = error.code(), %error, "a plugin's file changed; it stays as it was");
                    }
                }
            }
        });
        if reloaded.await.is_err() {
            return;
        }
    }
}

/// Makes a conversation of the development settings, unless it is there.
fn seed(log: &Log, wanted: &crate::config::DevelopmentConversation) -> Result<(), StartError> {
    let app = crate::wire::AppId::default_app();
    let id = LogId {
        app: app.clone(),
        conversation: wanted.id,
    };
    if log.conversations().get(&id)?.is_some() {
        return Ok(());
    }
    let mut draft = Draft::new(log.store().clone());
    let record = Record {
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
