//! Plugins: from a file to something that hooks can enter.

mod abi;
mod action;
mod answers;
mod artifact;
mod bindings;
mod compiled;
mod engine;
mod gate;
mod instance;
mod library;
mod native;
mod state;
mod supervisor;
mod wasm;

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use courtyard_plugin_sdk::manifest::{HookName, Manifest, ManifestError};
use wasmtime::Module;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::fetch::{Fetcher, FetcherError, Policy};
use crate::hooks::{Guest, HealthPolicy, WhenMissing};
use crate::services::{ALWAYS_GRANTED, Asker, CAPABILITIES, LogBudget, Quota, Secrets, ServiceLimits, Surroundings};
use action::{ActionLane, Actions, Entries};
use instance::{Exports, Template};
use native::NativePlugin;
use state::{Lane, Shared, State};

pub use artifact::Artifact;
use artifact::{Code, WasmCode, component_of};
pub use compiled::CompiledCache;
pub use engine::{EngineLimits, WasmEngine};
pub use instance::StartError;
pub use supervisor::{ManageError, PluginStatus, Problem, Running, Setup, Setups, Source, Supervisor};

/// The version of the contract that this host speaks. Plugins of the same major version run.
pub const CONTRACT: &str = "1.0.0";

/// What one plugin may take up. Every limit has a key under `[plugins.limits]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// How long a hook may take.
    pub hook: Duration,
    /// How long a method may take.
    pub method: Duration,
    /// How long an instance may take to start.
    pub start: Duration,
    /// Linear memory of one instance.
    pub memory_bytes: usize,
    /// Linear memory of all instances.
    pub total_memory_bytes: usize,
    /// Instances, and thus calls at a time.
    pub instances: u32,
    /// Bytes of one result.
    pub result_bytes: usize,
    /// How long a job may take.
    pub action: Duration,
    /// Jobs at a time.
    pub actions: usize,
    /// How often a job may fail before it is given up.
    pub job_attempts: u32,
    /// What it may use up of the services.
    pub services: ServiceLimits,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            hook: Duration::from_millis(50),
            method: Duration::from_secs(5),
            start: Duration::from_secs(1),
            memory_bytes: 64 << 20,
            total_memory_bytes: 256 << 20,
            instances: 8,
            result_bytes: 1 << 20,
            action: Duration::from_secs(60),
            actions: 8,
            job_attempts: 12,
            services: ServiceLimits::default(),
        }
    }
}

/// What the operator says about a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSpec {
    /// The id that the manifest must have.
    pub id: String,
    /// Capabilities that it gets, if it asks for them.
    pub grants: Vec<String>,
    /// A JSON object for the plugin.
    pub configuration: String,
    /// Texts that only the plugin sees.
    pub secrets: Secrets,
    /// Where its requests may go, if it has the capability `fetch`.
    pub fetch: Policy,
    /// What it may take up.
    pub limits: PluginLimits,
    /// Whether a native library may be loaded, which no sandbox is around.
    pub trusted: bool,
    /// When it is left alone.
    pub health: HealthPolicy,
    /// What becomes of messages if its manifest can't be read.
    pub when_missing: WhenMissing,
}

impl PluginSpec {
    /// Describes a plugin with no grants, an empty configuration and the default limits.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            grants: Vec::new(),
            configuration: "{}".to_owned(),
            secrets: Secrets::default(),
            fetch: Policy::default(),
            limits: PluginLimits::default(),
            trusted: false,
            health: HealthPolicy::default(),
            when_missing: WhenMissing::default(),
        }
    }
}

/// Why a plugin does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file can't be read.
    #[error("{} can't be read", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("it is no WebAssembly: {0}")]
    NotWasm(String),
    /// A native library that the operator did not vouch for.
    #[error("it is a native library, which would run without a sandbox: if you trust it, write `trusted = true`")]
    NotTrusted,
    /// A native library that can't be used.
    #[error("the library can't be used: {0}")]
    Library(String),
    /// WebAssembly, but not built with the SDK.
    #[error("it has no manifest (custom section `courtyard:manifest`); was it built with courtyard-plugin-sdk?")]
    NoManifest,
    /// It has a manifest, which is not to be hidden by another.
    #[error("it has a manifest already")]
    Packed,
    /// The manifest is wrong.
    #[error("its manifest is wrong")]
    Manifest(#[source] ManifestError),
    /// Another contract.
    #[error("it was built for contract {found}, and this host speaks {CONTRACT}")]
    Contract {
        /// The version in the manifest.
        found: String,
    },
    /// The configuration means another plugin.
    #[error("its id is {found:?}, and the configuration calls it {wanted:?}")]
    Id {
        /// In the manifest.
        found: String,
        /// In the configuration.
        wanted: String,
    },
    /// It needs what the operator does not grant.
    #[error("it needs the capability {0:?}, which is not granted (add it to `grant`)")]
    NotGranted(String),
    /// It imports what no host of this contract has.
    #[error("it imports {0:?}, which this host does not have")]
    UnknownImport(String),
    /// The module does not keep to the contract.
    #[error("it does not keep to the contract: {0}")]
    NotAPlugin(String),
    /// It may use more memory than was set aside when the server started.
    #[error(
        "its `memory_bytes` is over the {0} bytes that the server set aside when it started; start the server anew"
    )]
    Memory(usize),
    /// Its requests to other servers can't be sent.
    #[error("its requests to other servers can't be sent")]
    Fetch(#[from] FetcherError),
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl LoadError {
    /// Returns the stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "plugin_unreadable",
            Self::NotWasm(_) => "plugin_not_wasm",
            Self::NotTrusted => "plugin_not_trusted",
            Self::Library(_) => "plugin_bad_library",
            Self::NoManifest | Self::Packed | Self::Manifest(_) => "plugin_bad_manifest",
            Self::Contract { .. } => "plugin_wrong_contract",
            Self::Id { .. } => "plugin_wrong_id",
            Self::NotGranted(_) => "plugin_not_granted",
            Self::UnknownImport(_) => "plugin_unknown_import",
            Self::NotAPlugin(_) => "plugin_breaks_contract",
            Self::Memory(_) => "plugin_needs_restart",
            Self::Fetch(_) => "plugin_can_not_fetch",
            Self::Start(_) => "plugin_does_not_start",
        }
    }
}

/// Loads plugins into one engine.
#[derive(Clone, Debug)]
pub struct Loader {
    engine: WasmEngine,
    /// Made for the first plugin that does jobs.
    lane: Arc<OnceLock<Arc<ActionLane>>>,
    cache: CompiledCache,
    around: Surroundings,
}

impl Loader {
    /// Makes a loader for plugins without a host: they have neither other plugins nor sessions.
    #[must_use]
    pub fn new(engine: WasmEngine, cache: CompiledCache) -> Self {
        Self {
            engine,
            lane: Arc::default(),
            cache,
            around: Surroundings::default(),
        }
    }

    /// Loads plugins into a host.
    #[must_use]
    pub fn within(self, around: Surroundings) -> Self {
        Self { around, ..self }
    }

    /// Loads a plugin that was read, and starts its first instances.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&self, artifact: &Artifact, spec: &PluginSpec) -> Result<Arc<dyn Guest>, LoadError> {
        check_manifest(&artifact.manifest, spec)?;
        match &artifact.code {
            Code::Wasm(code) => Ok(Arc::new(self.start(artifact, code, spec)?)),
            Code::Native(source) => {
                let capabilities = artifact.manifest.capabilities.clone();
                let configuration = &spec.configuration;
                let shared = shared(spec, &artifact.manifest, &self.around)?;
                let started = NativePlugin::start(&**source, shared, configuration, capabilities, spec.limits)?;
                Ok(Arc::new(started))
            }
        }
    }

    fn start(
        &self,
        artifact: &Artifact,
        code: &Arc<WasmCode>,
        spec: &PluginSpec,
    ) -> Result<wasm::WasmPlugin, LoadError> {
        if spec.limits.memory_bytes > self.engine.memory_bytes() {
            return Err(LoadError::Memory(self.engine.memory_bytes()));
        }
        let wanted = artifact.manifest.capabilities.iter();
        let granted = wanted
            .filter(|wanted| spec.grants.contains(*wanted))
            .map(String::as_str);
        let granted: Arc<[String]> = granted.chain(ALWAYS_GRANTED).map(str::to_owned).collect();
        let template = match self.module(&spec.id, code, &granted) {
            Some(template) => template,
            None => {
                tracing::debug!(plugin = spec.id, "it is entered through a component");
                let (component, pre) = self.component(&self.engine, (&spec.id, code), Lane::Transaction, &granted)?;
                Template::of_component(&component, pre).ok_or_else(no_lifecycle)?
            }
        };
        check_exports(&artifact.manifest, &template.exports)?;
        let shared = shared(spec, &artifact.manifest, &self.around)?;
        let configuration = spec.configuration.clone();
        let does_jobs = artifact.manifest.hooks.iter().any(|hook| hook.hook == HookName::Action);
        let actions = does_jobs
            .then(|| self.actions((&spec.id, code), granted, &shared, spec))
            .transpose()?;
        let engine = self.engine.clone();
        Ok(wasm::WasmPlugin::start(
            engine,
            template,
            shared,
            configuration,
            spec.limits,
            actions,
        )?)
    }

    /// Makes the action lane of a plugin.
    fn actions(
        &self,
        (id, code): (&str, &Arc<WasmCode>),
        granted: Arc<[String]>,
        shared: &Arc<Shared>,
        spec: &PluginSpec,
    ) -> Result<Arc<Actions>, LoadError> {
        let lane = self.lane()?;
        let is_missing = self.cache.lacks::<Component>(lane.engine().get(), code);
        if is_missing {
            // Whether there is a component is told now; compiling it takes longer.
            component_of(code)?;
        }
        let (loader, engine, id, code) = (self.clone(), lane.engine().clone(), id.to_owned(), code.clone());
        let make = move || {
            let (component, pre) = loader.component(&engine, (&id, &code), Lane::Action, &granted)?;
            Ok((pre, Entries::find(&component).ok_or_else(no_lifecycle)?))
        };
        let actions = Actions::new(lane, make, shared.clone(), spec.configuration.clone(), spec.limits);
        if is_missing {
            actions.prepare();
        }
        Ok(actions)
    }

    fn lane(&self) -> Result<Arc<ActionLane>, LoadError> {
        if let Some(lane) = self.lane.get() {
            return Ok(lane.clone());
        }
        let limits = EngineLimits {
            memory_bytes: self.engine.memory_bytes(),
            ..EngineLimits::default()
        };
        let made = ActionLane::new(&limits).map_err(not_a_plugin)?;
        Ok(self.lane.get_or_init(|| Arc::new(made)).clone())
    }

    /// Compiles a module, or finds it compiled, and links what is granted; none if it can be entered as a component only, or
    /// not at all: why not is what that says.
    fn module(&self, id: &str, code: &WasmCode, granted: &[String]) -> Option<Template> {
        if code.is_component {
            return None;
        }
        let module: Module = self.cache.load(self.engine.get(), id, code).ok()?;
        let mut linker = wasmtime::Linker::new(self.engine.get());
        abi::link(&mut linker, |wanted| is_among(granted, wanted)).ok()?;
        let pre = linker.instantiate_pre(&module).ok()?;
        Template::of_module(&module, pre)
    }

    /// Compiles a component, or finds it compiled, and links what is granted.
    fn component(
        &self,
        engine: &WasmEngine,
        (id, code): (&str, &WasmCode),
        lane: Lane,
        granted: &[String],
    ) -> Result<(Component, InstancePre<State>), LoadError> {
        let component = self.cache.load(engine.get(), id, code)?;
        let granted = |wanted: &str| is_among(granted, wanted);
        check_imports(&component, engine.get(), &granted)?;
        let mut linker = Linker::new(engine.get());
        state::link(&mut linker, lane, granted).map_err(not_a_plugin)?;
        let pre = linker.instantiate_pre(&component).map_err(not_a_plugin)?;
        Ok((component, pre))
    }
}

fn is_among(granted: &[String], wanted: &str) -> bool {
    granted.iter().any(|granted| granted == wanted)
}

/// Returns the full name of an interface of the contract.
fn interface(name: &str) -> String {
    format!("courtyard:plugin/{name}@{CONTRACT}")
}

fn no_lifecycle() -> LoadError {
    LoadError::NotAPlugin("it does not export the interface `lifecycle`".to_owned())
}

fn not_a_plugin(error: wasmtime::Error) -> LoadError {
    LoadError::NotAPlugin(format!("{error:#}"))
}

/// Makes what all instances of a plugin share.
fn shared(spec: &PluginSpec, manifest: &Manifest, around: &Surroundings) -> Result<Arc<Shared>, LoadError> {
    let fetches = manifest.capabilities.iter().any(|capability| capability == "fetch");
    let fetcher = fetches
        .then(|| Fetcher::new(&spec.id, spec.fetch.clone()))
        .transpose()?;
    Ok(Arc::new(Shared {
        asker: Asker {
            id: spec.id.as_str().into(),
            limits: spec.limits.services,
            log: LogBudget::default(),
            quota: Quota::default(),
            jobs: Quota::default(),
            around: around.clone(),
            secrets: spec.secrets.clone(),
            fetcher,
        },
        memory_bytes: spec.limits.memory_bytes,
        total_memory_bytes: spec.limits.total_memory_bytes,
        memory_used: AtomicUsize::new(0),
    }))
}

fn check_manifest(manifest: &Manifest, spec: &PluginSpec) -> Result<(), LoadError> {
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if major(&manifest.contract) != major(CONTRACT) {
        return Err(LoadError::Contract {
            found: manifest.contract.clone(),
        });
    }
    if manifest.id != spec.id {
        return Err(LoadError::Id {
            found: manifest.id.clone(),
            wanted: spec.id.clone(),
        });
    }
    for capability in &manifest.capabilities {
        let capability = capability.as_str();
        if !ALWAYS_GRANTED.contains(&capability) && !spec.grants.iter().any(|grant| grant == capability) {
            return Err(LoadError::NotGranted(capability.to_owned()));
        }
    }
    Ok(())
}

/// A hook that is declared and not there would fail only when it is entered.
fn check_exports(manifest: &Manifest, exports: &Exports) -> Result<(), LoadError> {
    let hooks = manifest.hooks.iter().map(|hook| hook.hook);
    let methods = manifest.methods.first().map(|_| HookName::Method);
    match hooks.chain(methods).find(|hook| !exports.has(*hook)) {
        None => Ok(()),
        Some(hook) => Err(LoadError::NotAPlugin(format!(
            "it declares `{}` and does not export it",
            hook.name()
        ))),
    }
}

/// What is not granted is not linked; this only says it better than the linker would.
fn check_imports(
    component: &Component,
    engine: &wasmtime::Engine,
    granted: &impl Fn(&str) -> bool,
) -> Result<(), LoadError> {
    for (name, _) in component.component_type().imports(engine) {
        let interface = name
            .strip_prefix("courtyard:plugin/")
            .and_then(|rest| rest.split('@').next());
        match interface {
            Some("types") => {}
            Some("transactions") if granted("jobs") => {}
            Some("contents") if granted("blobs") => {}
            Some(capability) if CAPABILITIES.contains(&capability) => {
                if !granted(capability) {
                    return Err(LoadError::NotGranted(capability.to_owned()));
                }
            }
            _ => return Err(LoadError::UnknownImport(name.to_owned())),
        }
    }
    Ok(())
}
