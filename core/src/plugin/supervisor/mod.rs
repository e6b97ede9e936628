//! Which plugins a host has: installs, replaces, rolls back and removes them while it runs.

mod keys;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use courtyard_plugin_sdk::native::Native;
use parking_lot::Mutex;

pub use status::{ManageError, PluginStatus, Problem, Running};

use super::gate::Gate;
use super::{Artifact, LoadError, Loader, PluginSpec};
use crate::clock::now_ms;
use crate::hooks::{Hooks, Meter, Plugin, Registry, Settlement};
use crate::log::{Log, key};
use crate::wire::AppId;

/// How many notes for observers, jobs and dead letters are counted for the status.
const COUNTED: usize = 1_000;

/// Where a plugin comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file: Wasm, or a native library.
    File(PathBuf),
    /// A Wasm file inside the executable.
    Bundled {
        /// Its name there.
        part: String,
        /// What it holds.
        bytes: Bytes,
    },
    /// A value of this process, which is trusted: nothing ends it when it takes too long.
    Value(Arc<dyn Native>),
}

impl Source {
    fn read(&self, trusted: bool) -> Result<Artifact, LoadError> {
        match self {
            Self::File(path) => Artifact::open(path, trusted),
            Self::Bundled { bytes, .. } => Artifact::parse(bytes.to_vec()),
            Self::Value(plugin) => Artifact::native(plugin.clone()),
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::File(path) => Stamp::of(path),
            Self::Bundled { .. } | Self::Value(_) => None,
        }
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(left), Self::File(right)) => left == right,
            (Self::Bundled { bytes: left, .. }, Self::Bundled { bytes: right, .. }) => left == right,
            (Self::Value(left), Self::Value(right)) => Arc::ptr_eq(left, right),
            _ => false,
        }
    }
}

impl Eq for Source {}

/// A plugin as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Where it comes from.
    pub source: Source,
    /// Grants, configuration and limits.
    pub spec: PluginSpec,
}

/// Reads anew how the plugins are configured; the error says what is wrong there.
pub type Setups = Box<dyn Fn() -> Result<Vec<Setup>, String> + Send + Sync>;

/// Tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
        })
    }
}

/// A generation with how it was set up.
#[derive(Clone, Debug)]
struct Generation {
    plugin: Arc<Plugin>,
    setup: Setup,
}

#[derive(Clone, Debug)]
struct Entry {
    id: Arc<str>,
    current: Generation,
    previous: Option<Generation>,
    number: u64,
    since_ms: u64,
    disabled: bool,
    problem: Option<Problem>,
    /// The file that was last tried.
    stamp: Option<Stamp>,
    meter: Arc<Meter>,
}

/// The plugins of a host.
pub struct Supervisor {
    loader: Loader,
    hooks: Arc<Hooks>,
    settlement: Arc<Settlement>,
    log: Arc<Log>,
    apps: Vec<AppId>,
    setups: Setups,
    entries: Mutex<Vec<Entry>>,
    /// Held during a change, so that there is one at a time.
    change: Mutex<()>,
}

impl Supervisor {
    /// Makes a supervisor for the plugins at these hooks. There are none yet.
    #[must_use]
    pub fn new(
        loader: Loader,
        hooks: Arc<Hooks>,
        settlement: Arc<Settlement>,
        log: Arc<Log>,
        apps: Vec<AppId>,
        setups: Setups,
    ) -> Self {
        Self {
            loader,
            hooks,
            settlement,
            log,
            apps,
            setups,
            entries: Mutex::default(),
            change: Mutex::default(),
        }
    }

    /// Installs plugins behind those that are there. One that can't run is there all the same, so that what it guards
    /// stays closed; its status says why.
    ///
    /// # Errors
    /// When the store fails.
    pub fn install(&self, setups: Vec<Setup>) -> Result<(), ManageError> {
        let _change = self.change.lock();
        for setup in setups {
            self.install_one(setup)?;
        }
        Ok(())
    }

    fn install_one(&self, setup: Setup) -> Result<(), ManageError> {
        let id: Arc<str> = setup.spec.id.as_str().into();
        let meter = Arc::new(Meter::default());
        let stamp = setup.source.stamp();
        let disabled = self.log.store().get(&key::disabled(&id))?.is_some();
        let artifact = setup.source.read(setup.spec.trusted);
        // The manifest of another plugin says nothing about what this one guards.
        let known = artifact
            .as_ref()
            .ok()
            .map(|artifact| artifact.manifest.clone())
            .filter(|manifest| manifest.id == *id);
        let missing = || Plugin::missing(&id, known.clone(), setup.spec.when_missing, meter.clone());
        let started = match artifact {
            _ if disabled => Ok(missing()),
            Ok(artifact) => self.start(&artifact, &setup, &meter).and_then(|plugin| {
                self.migrate(&plugin)?;
                Ok(plugin)
            }),
            Err(error) => Err(error.into()),
        };
        let (plugin, problem) = match started {
            Ok(plugin) => (plugin, None),
            Err(error) => (missing(), Some(error.problem())),
        };
        self.entries.lock().push(Entry {
            id,
            current: Generation {
                plugin: Arc::new(plugin),
                setup,
            },
            previous: None,
            number: 1,
            since_ms: now_ms(),
            disabled,
            problem,
            stamp,
            meter,
        });
        self.put_in_place();
        Ok(())
    }

    fn start(&self, artifact: &Artifact, setup: &Setup, meter: &Arc<Meter>) -> Result<Plugin, ManageError> {
        let guest = self.loader.load(artifact, &setup.spec)?;
        Ok(Plugin::running(
            artifact.manifest.clone(),
            guest,
            setup.spec.health,
            meter.clone(),
        ))
    }

    /// Loads a plugin again, from its file and its configuration as they are now. Calls in flight end on the generation
    /// that they began with, and none is dropped.
    ///
    /// # Errors
    /// See [`ManageError`]; the generation that ran goes on running.
    pub fn reload(&self, id: &str) -> Result<(), ManageError> {
        let _change = self.change.lock();
        self.reload_configured(id)
    }

    fn reload_configured(&self, id: &str) -> Result<(), ManageError> {
        match self.configured(id) {
            Ok(setup) => self.reload_with(id, setup),
            Err(error) => {
                self.edit(id, |entry| entry.problem = Some(error.problem()));
                Err(error)
            }
        }
    }

    /// Puts what is configured now in place: installs what is new, removes what is gone (its data stays), and loads again
    /// what was changed. Goes on after a failure; the plugin's status has it.
    ///
    /// # Errors
    /// When the configuration is wrong, or the store fails.
    pub fn reload_changed(&self) -> Result<(), ManageError> {
        let _change = self.change.lock();
        let setups = (self.setups)().map_err(ManageError::Configuration)?;
        let order: Vec<String> = setups.iter().map(|setup| setup.spec.id.clone()).collect();
        self.entries
            .lock()
            .retain(|entry| order.iter().any(|id| **id == *entry.id));
        for setup in setups {
            match self.entry(&setup.spec.id) {
                Err(_) => self.install_one(setup)?,
                Ok(entry) if entry.disabled => {}
                Ok(entry) if entry.current.setup == setup && entry.stamp == setup.source.stamp() => {}
                Ok(entry) => {
                    if let Err(error) = self.reload_with(&entry.id, setup) {
                        tracing::error!(plugin = %entry.id, code = error.code(), %error, "a plugin stays as it was");
                    }
                }
            }
        }
        let place = |entry: &Entry| order.iter().position(|id| **id == *entry.id);
        self.entries.lock().sort_by_key(place);
        self.put_in_place();
        Ok(())
    }

    /// Returns the plugins whose file is another than the one that was last tried.
    #[must_use]
    pub fn changed_files(&self) -> Vec<String> {
        let entries = self.entries.lock().clone();
        let changed = |entry: &Entry| {
            let now = entry.current.setup.source.stamp();
            !entry.disabled && now.is_some() && now != entry.stamp
        };
        entries
            .iter()
            .filter(|entry| changed(entry))
            .map(|entry| entry.id.to_string())
            .collect()
    }

    fn reload_with(&self, id: &str, setup: Setup) -> Result<(), ManageError> {
        let entry = self.entry(id)?;
        if entry.disabled {
            return Err(ManageError::Disabled);
        }
        let stamp = setup.source.stamp();
        let outcome = setup
            .source
            .read(setup.spec.trusted)
            .map_err(ManageError::Load)
            .and_then(|artifact| self.start(&artifact, &setup, &entry.meter))
            .and_then(|plugin| {
                let next = Generation {
                    plugin: Arc::new(plugin),
                    setup,
                };
                self.take_over(&entry, next)
            });
        self.edit(id, |entry| {
            entry.stamp = stamp;
            entry.problem = outcome.as_ref().err().map(ManageError::problem);
        });
        outcome
    }

    /// Puts the previous generation in place again. What it is rolled back from becomes the previous one.
    ///
    /// # Errors
    /// See [`ManageError`]; the generation that ran goes on running.
    pub fn roll_back(&self, id: &str) -> Result<(), ManageError> {
        let _change = self.change.lock();
        let entry = self.entry(id)?;
        if entry.disabled {
            return Err(ManageError::Disabled);
        }
        let previous = entry.previous.clone().ok_or(ManageError::NoPrevious)?;
        // Its strikes are those of another time.
        let plugin = previous.plugin.renewed(previous.setup.spec.health);
        let outcome = self.take_over(
            &entry,
            Generation {
                plugin: Arc::new(plugin),
                ..previous
            },
        );
        self.edit(id, |entry| {
            entry.problem = outcome.as_ref().err().map(ManageError::problem);
        });
        outcome
    }

    /// Stops asking a plugin, also after a restart. What it guards stays closed until it is enabled or removed.
    ///
    /// # Errors
    /// When there is no such plugin, or the store fails.
    pub fn disable(&self, id: &str) -> Result<(), ManageError> {
        let _change = self.change.lock();
        let entry = self.entry(id)?;
        self.write(key::disabled(id), Some(Vec::new()))?;
        let manifest = entry.current.plugin.manifest().cloned();
        let plugin = Plugin::missing(id, manifest, entry.current.setup.spec.when_missing, entry.meter);
        self.edit(id, |entry| {
            entry.disabled = true;
            entry.problem = None;
            entry.current.plugin = Arc::new(plugin);
        });
        self.put_in_place();
        Ok(())
    }

    /// Loads a plugin that was disabled.
    ///
    /// # Errors
    /// See [`ManageError`]; it is then enabled, but missing.
    pub fn enable(&self, id: &str) -> Result<(), ManageError> {
        let _change = self.change.lock();
        let entry = self.entry(id)?;
        if !entry.disabled {
            return Ok(());
        }
        self.write(key::disabled(id), None)?;
        self.edit(id, |entry| entry.disabled = false);
        self.reload_configured(id)
    }

    /// Removes a plugin; it is installed again at the next start if the configuration still names it then. Its data stays
    /// unless `remove_data`.
    ///
    /// # Errors
    /// When there is no such plugin, or the store fails.
    pub fn uninstall(&self, id: &str, remove_data: bool) -> Result<(), ManageError> {
        let _change = self.change.lock();
        let entry = self.entry(id)?;
        self.entries.lock().retain(|entry| *entry.id != *id);
        self.put_in_place();
        drained(&entry.current.plugin, entry.current.setup.spec.limits.method);
        self.write(key::disabled(id), None)?;
        if remove_data {
            self.remove_data(id)?;
        }
        Ok(())
    }

    /// Describes all plugins, in their order.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        let entries = self.entries.lock().clone();
        entries.iter().map(|entry| self.describe(entry)).collect()
    }

    /// Describes one plugin.
    ///
    /// # Errors
    /// When there is none.
    pub fn status_of(&self, id: &str) -> Result<PluginStatus, ManageError> {
        self.entry(id).map(|entry| self.describe(&entry))
    }

    fn describe(&self, entry: &Entry) -> PluginStatus {
        let plugin = &entry.current.plugin;
        let version = |plugin: &Plugin| plugin.manifest().map(|manifest| manifest.version.clone());
        let count = |(start, end): (Bytes, Bytes)| {
            let found = self.log.store().scan(&start, &end, COUNTED, false);
            found.map_or(0, |found| found.len())
        };
        PluginStatus {
            id: entry.id.to_string(),
            state: match (entry.disabled, plugin.is_running(), plugin.is_quarantined()) {
                (true, ..) => Running::Disabled,
                (_, false, _) => Running::Missing,
                (.., true) => Running::Quarantined,
                _ => Running::Running,
            },
            version: version(plugin),
            generation: entry.number,
            previous_version: entry.previous.as_ref().and_then(|previous| version(&previous.plugin)),
            problem: entry.problem.clone(),
            since_ms: entry.since_ms,
            entered: plugin.entered(),
            usage: plugin.usage(),
            hooks: entry.meter.counts(),
            unobserved: count(key::outboxes(&entry.id)),
            jobs: count(key::jobs(&entry.id, u64::MAX)),
            dead_letters: count(key::dead_letters(&entry.id)),
        }
    }

    fn entry(&self, id: &str) -> Result<Entry, ManageError> {
        let entries = self.entries.lock();
        let found = entries.iter().find(|entry| *entry.id == *id).cloned();
        found.ok_or_else(|| ManageError::Unknown(id.to_owned()))
    }

    fn edit(&self, id: &str, edit: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.lock().iter_mut().find(|entry| *entry.id == *id) {
            edit(entry);
        }
    }

    fn configured(&self, id: &str) -> Result<Setup, ManageError> {
        self.entry(id)?;
        let setups = (self.setups)().map_err(ManageError::Configuration)?;
        let found = setups.into_iter().find(|setup| setup.spec.id == id);
        found.ok_or_else(|| ManageError::Configuration(format!("it does not name the plugin {id:?}")))
    }

    /// Changes the keys for a generation and puts it in place; meanwhile calls wait.
    fn take_over(&self, entry: &Entry, next: Generation) -> Result<(), ManageError> {
        let current = &entry.current;
        let held = self
            .changes_keys(&next.plugin)?
            .then(|| self.hold(entry, &next))
            .flatten();
        let migrated = self.migrate(&next.plugin);
        let winner = if migrated.is_ok() { &next } else { current };
        if migrated.is_ok() {
            self.edit(&entry.id, |entry| {
                let was = std::mem::replace(&mut entry.current, next.clone());
                entry.previous = was.plugin.is_running().then_some(was);
                entry.number += 1;
                entry.since_ms = now_ms();
            });
        }
        self.put_in_place();
        if let (Some(gate), Some(guest)) = (held, winner.plugin.guest()) {
            gate.open(guest);
        }
        if migrated.is_ok() {
            current.plugin.rest();
        }
        migrated
    }

    /// Lets calls wait, and waits for those that are in the plugin.
    fn hold(&self, entry: &Entry, next: &Generation) -> Option<Gate> {
        let (current, manifest) = (&entry.current, entry.current.plugin.manifest()?);
        let patience = next.setup.spec.limits.method;
        let gate = Gate::new(
            (entry.id.clone(), next.plugin.manifest()?.version.clone()),
            current.plugin.guest()?,
            next.plugin.guest()?,
            patience,
        );
        let guest = Arc::new(gate.clone());
        let policy = current.setup.spec.health;
        let held = Arc::new(Plugin::running(manifest.clone(), guest, policy, entry.meter.clone()));
        let entries = self.entries.lock();
        let plugins = entries.iter().map(|other| {
            if other.id == entry.id {
                held.clone()
            } else {
                other.current.plugin.clone()
            }
        });
        self.hooks.replace(Registry::new(plugins));
        drop(entries);
        drained(&current.plugin, patience);
        Some(gate)
    }

    fn put_in_place(&self) {
        let entries = self.entries.lock();
        let plugins = entries.iter().map(|entry| entry.current.plugin.clone());
        self.hooks.replace(Registry::new(plugins));
        drop(entries);
        // There may be messages for one that was disabled or missing.
        self.settlement.outbox().wake();
    }
}

/// Waits until nobody is in a generation, as long as a call may take.
fn drained(plugin: &Plugin, patience: Duration) {
    let until = Instant::now() + patience;
    while plugin.entered() > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").finish_non_exhaustive()
    }
}
