//! Installs, replaces, rolls back and removes the plugins of a host while it runs.

mod keys;
mod setup;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

pub use setup::{PluginSetup, PluginSetups, PluginSource};
pub use status::{ManageError, PluginProblem, PluginState, PluginStatus};

use super::gate::Gate;
use super::{Artifact, Loader};
use crate::clock::now_ms;
use crate::effects::Settlement;
use crate::hooks::{Hooks, Meter, Plugin, Registry};
use crate::log::Log;
use crate::wire::AppId;
use keys::PluginKeys;
use setup::FileStamp;

/// Limit up to which pending observations, pending jobs and dead letters are counted for the status.
const COUNTED: usize = 1_000;

/// One loaded version of a plugin, with its configuration.
#[derive(Clone, Debug)]
struct Generation {
    plugin: Arc<Plugin>,
    setup: PluginSetup,
}

#[derive(Clone, Debug)]
struct InstalledPlugin {
    id: Arc<str>,
    current: Generation,
    /// The generation that a rollback activates.
    previous: Option<Generation>,
    /// Number of the current generation, counted from 1.
    number: u64,
    /// When the current generation was activated, in milliseconds since 1970.
    since_ms: u64,
    disabled: bool,
    problem: Option<PluginProblem>,
    /// Stamp of the file at the last attempt to load it.
    stamp: Option<FileStamp>,
    /// Counters, shared by all generations.
    meter: Arc<Meter>,
}

/// The plugins of a host.
pub struct Supervisor {
    loader: Loader,
    hooks: Arc<Hooks>,
    settlement: Arc<Settlement>,
    log: Arc<Log>,
    keys: PluginKeys,
    setups: PluginSetups,
    /// In the order of the configuration.
    plugins: Mutex<Vec<InstalledPlugin>>,
    /// Held during a change: changes run one at a time.
    change: Mutex<()>,
}

impl Supervisor {
    /// Creates a supervisor for the plugins of `hooks`, without any plugin yet.
    #[must_use]
    pub fn new(
        loader: Loader,
        hooks: Arc<Hooks>,
        settlement: Arc<Settlement>,
        log: Arc<Log>,
        apps: Vec<AppId>,
        setups: PluginSetups,
    ) -> Self {
        Self {
            loader,
            hooks,
            keys: PluginKeys {
                settlement: settlement.clone(),
                log: log.clone(),
                apps,
            },
            settlement,
            log,
            setups,
            plugins: Mutex::default(),
            change: Mutex::default(),
        }
    }

    /// Installs plugins after the existing ones. One that can't run is installed as missing, so that what it guards stays
    /// closed; its status says why.
    ///
    /// # Errors
    /// If the store fails.
    pub fn install(&self, setups: Vec<PluginSetup>) -> Result<(), ManageError> {
        let _change = self.change.lock();
        for setup in setups {
            self.install_one(setup)?;
        }
        Ok(())
    }

    fn install_one(&self, setup: PluginSetup) -> Result<(), ManageError> {
        let id: Arc<str> = setup.spec.id.as_str().into();
        let meter = Arc::new(Meter::default());
        let stamp = setup.source.stamp();
        let disabled = self.log.store().get(&crate::keys::plugins::disabled(&id))?.is_some();
        let artifact = setup.source.read(setup.spec.trusted);
        // The manifest of another plugin does not describe what this one guards.
        let manifest = artifact
            .as_ref()
            .ok()
            .map(|artifact| artifact.manifest.clone())
            .filter(|manifest| manifest.id == *id);
        let missing = || Plugin::missing(&id, manifest.clone(), setup.spec.when_missing, meter.clone());
        let started = match artifact {
            _ if disabled => Ok(missing()),
            Ok(artifact) => self.start(&artifact, &setup, &meter).and_then(|plugin| {
                self.keys.migrate(&plugin)?;
                Ok(plugin)
            }),
            Err(error) => Err(error.into()),
        };
        let (plugin, problem) = match started {
            Ok(plugin) => (plugin, None),
            Err(error) => (missing(), Some(error.problem())),
        };
        self.plugins.lock().push(InstalledPlugin {
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
        self.publish();
        Ok(())
    }

    fn start(&self, artifact: &Artifact, setup: &PluginSetup, meter: &Arc<Meter>) -> Result<Plugin, ManageError> {
        let guest = self.loader.load(artifact, &setup.spec)?;
        Ok(Plugin::running(
            artifact.manifest.clone(),
            guest,
            setup.spec.health,
            meter.clone(),
        ))
    }

    /// Reloads a plugin from its current file and configuration. Calls in flight finish on the generation on which they
    /// began; none is dropped.
    ///
    /// # Errors
    /// See [`ManageError`]; the previous generation keeps running.
    pub fn reload(&self, id: &str) -> Result<(), ManageError> {
        let _change = self.change.lock();
        self.reload_configured(id)
    }

    fn reload_configured(&self, id: &str) -> Result<(), ManageError> {
        match self.configured(id) {
            Ok(setup) => self.reload_with(id, setup),
            Err(error) => {
                self.edit(id, |plugin| plugin.problem = Some(error.problem()));
                Err(error)
            }
        }
    }

    /// Applies the current configuration: installs new plugins, removes those that it no longer names (their data stays), and
    /// reloads the changed ones. A plugin that fails to reload doesn't stop the others; its status says why.
    ///
    /// # Errors
    /// If the configuration is invalid, or the store fails.
    pub fn reload_changed(&self) -> Result<(), ManageError> {
        let _change = self.change.lock();
        let setups = (self.setups)().map_err(ManageError::Configuration)?;
        let order: Vec<String> = setups.iter().map(|setup| setup.spec.id.clone()).collect();
        self.plugins
            .lock()
            .retain(|plugin| order.iter().any(|id| **id == *plugin.id));
        for setup in setups {
            match self.installed(&setup.spec.id) {
                Err(_) => self.install_one(setup)?,
                Ok(plugin) if plugin.disabled => {}
                Ok(plugin) if plugin.current.setup == setup && plugin.stamp == setup.source.stamp() => {}
                Ok(plugin) => {
                    if let Err(error) = self.reload_with(&plugin.id, setup) {
                        tracing::error!(plugin = %plugin.id, code = error.code(), %error, "plugin could not be reloaded");
                    }
                }
            }
        }
        let rank = |plugin: &InstalledPlugin| order.iter().position(|id| **id == *plugin.id);
        self.plugins.lock().sort_by_key(rank);
        self.publish();
        Ok(())
    }

    /// Returns the ids of the enabled plugins whose file changed since the last attempt to load it.
    #[must_use]
    pub fn changed_files(&self) -> Vec<String> {
        let plugins = self.plugins.lock().clone();
        let changed = |plugin: &InstalledPlugin| {
            let now = plugin.current.setup.source.stamp();
            !plugin.disabled && now.is_some() && now != plugin.stamp
        };
        plugins
            .iter()
            .filter(|plugin| changed(plugin))
            .map(|plugin| plugin.id.to_string())
            .collect()
    }

    fn reload_with(&self, id: &str, setup: PluginSetup) -> Result<(), ManageError> {
        let installed = self.installed(id)?;
        if installed.disabled {
            return Err(ManageError::Disabled);
        }
        let stamp = setup.source.stamp();
        let outcome = setup
            .source
            .read(setup.spec.trusted)
            .map_err(ManageError::Load)
            .and_then(|artifact| self.start(&artifact, &setup, &installed.meter))
            .and_then(|plugin| {
                let next = Generation {
                    plugin: Arc::new(plugin),
                    setup,
                };
                self.take_over(&installed, next)
            });
        self.edit(id, |installed| {
            installed.stamp = stamp;
            installed.problem = outcome.as_ref().err().map(ManageError::problem);
        });
        outcome
    }

    /// Activates the previous generation again. The generation that it replaces becomes the previous one.
    ///
    /// # Errors
    /// See [`ManageError`]; the current generation keeps running.
    pub fn roll_back(&self, id: &str) -> Result<(), ManageError> {
        let _change = self.change.lock();
        let installed = self.installed(id)?;
        if installed.disabled {
            return Err(ManageError::Disabled);
        }
        let previous = installed.previous.clone().ok_or(ManageError::NoPrevious)?;
        // Failures from its earlier run don't count.
        let plugin = previous.plugin.renewed(previous.setup.spec.health);
        let outcome = self.take_over(
            &installed,
            Generation {
                plugin: Arc::new(plugin),
                ..previous
            },
        );
        self.edit(id, |installed| {
            installed.problem = outcome.as_ref().err().map(ManageError::problem);
        });
        outcome
    }

    /// Disables a plugin: it is no longer called, also after a restart. What it guards stays closed until the plugin is
    /// enabled or removed.
    ///
    /// # Errors
    /// If no plugin has this id, or the store fails.
    pub fn disable(&self, id: &str) -> Result<(), ManageError> {
        let _change = self.change.lock();
        let installed = self.installed(id)?;
        self.keys.write(crate::keys::plugins::disabled(id), Some(Vec::new()))?;
        let manifest = installed.current.plugin.manifest().cloned();
        let when_missing = installed.current.setup.spec.when_missing;
        let plugin = Plugin::missing(id, manifest, when_missing, installed.meter);
        self.edit(id, |installed| {
            installed.disabled = true;
            installed.problem = None;
            installed.current.plugin = Arc::new(plugin);
        });
        self.publish();
        Ok(())
    }

    /// Enables a plugin and loads it.
    ///
    /// # Errors
    /// See [`ManageError`]; the plugin is then enabled, but missing.
    pub fn enable(&self, id: &str) -> Result<(), ManageError> {
        let _change = self.change.lock();
        let installed = self.installed(id)?;
        if !installed.disabled {
            return Ok(());
        }
        self.keys.write(crate::keys::plugins::disabled(id), None)?;
        self.edit(id, |plugin| plugin.disabled = false);
        self.reload_configured(id)
    }

    /// Removes a plugin. The next start installs it again if the configuration still names it. `remove_data` also deletes its
    /// data.
    ///
    /// # Errors
    /// If no plugin has this id, or the store fails.
    pub fn uninstall(&self, id: &str, remove_data: bool) -> Result<(), ManageError> {
        let _change = self.change.lock();
        let installed = self.installed(id)?;
        self.plugins.lock().retain(|plugin| *plugin.id != *id);
        self.publish();
        wait_until_idle(&installed.current.plugin, installed.current.setup.spec.limits.method);
        self.keys.write(crate::keys::plugins::disabled(id), None)?;
        if remove_data {
            self.keys.delete_all(id)?;
        }
        Ok(())
    }

    /// Returns the status of all plugins, in their order.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        let plugins = self.plugins.lock().clone();
        plugins.iter().map(|installed| self.describe(installed)).collect()
    }

    /// Returns the status of one plugin.
    ///
    /// # Errors
    /// If no plugin has this id.
    pub fn status_of(&self, id: &str) -> Result<PluginStatus, ManageError> {
        self.installed(id).map(|installed| self.describe(&installed))
    }

    fn describe(&self, installed: &InstalledPlugin) -> PluginStatus {
        let plugin = &installed.current.plugin;
        let version = |plugin: &Plugin| plugin.manifest().map(|manifest| manifest.version.clone());
        let count = |(start, end): (Bytes, Bytes)| {
            let found = self.log.store().scan(&start, &end, COUNTED, false);
            found.map_or(0, |found| found.len())
        };
        PluginStatus {
            id: installed.id.to_string(),
            state: match (installed.disabled, plugin.is_running(), plugin.is_quarantined()) {
                (true, ..) => PluginState::Disabled,
                (_, false, _) => PluginState::Missing,
                (.., true) => PluginState::Quarantined,
                _ => PluginState::Running,
            },
            version: version(plugin),
            generation: installed.number,
            previous_version: installed
                .previous
                .as_ref()
                .and_then(|previous| version(&previous.plugin)),
            problem: installed.problem.clone(),
            since_ms: installed.since_ms,
            entered: plugin.entered(),
            usage: plugin.usage(),
            hooks: installed.meter.counts(),
            unobserved: count(crate::keys::outbox::observations(&installed.id)),
            jobs: count(crate::keys::jobs::due_before(&installed.id, u64::MAX)),
            dead_letters: count(crate::keys::outbox::dead_letters(&installed.id)),
        }
    }

    fn installed(&self, id: &str) -> Result<InstalledPlugin, ManageError> {
        let plugins = self.plugins.lock();
        let found = plugins.iter().find(|plugin| *plugin.id == *id).cloned();
        found.ok_or_else(|| ManageError::Unknown(id.to_owned()))
    }

    fn edit(&self, id: &str, edit: impl FnOnce(&mut InstalledPlugin)) {
        if let Some(plugin) = self.plugins.lock().iter_mut().find(|plugin| *plugin.id == *id) {
            edit(plugin);
        }
    }

    fn configured(&self, id: &str) -> Result<PluginSetup, ManageError> {
        self.installed(id)?;
        let setups = (self.setups)().map_err(ManageError::Configuration)?;
        let found = setups.into_iter().find(|setup| setup.spec.id == id);
        found.ok_or_else(|| ManageError::Configuration(format!("it does not name the plugin {id:?}")))
    }

    /// Activates a generation. If its keys must be migrated, calls wait during the migration; if that fails, the current
    /// generation stays active.
    fn take_over(&self, installed: &InstalledPlugin, next: Generation) -> Result<(), ManageError> {
        let current = &installed.current;
        let gate = self
            .keys
            .need_migration(&next.plugin)?
            .then(|| self.close_gate(installed, &next))
            .flatten();
        let migrated = self.keys.migrate(&next.plugin);
        let winner = if migrated.is_ok() { &next } else { current };
        if migrated.is_ok() {
            self.edit(&installed.id, |installed| {
                let was = std::mem::replace(&mut installed.current, next.clone());
                installed.previous = was.plugin.is_running().then_some(was);
                installed.number += 1;
                installed.since_ms = now_ms();
            });
        }
        self.publish();
        if let (Some(gate), Some(guest)) = (gate, winner.plugin.backend()) {
            gate.open(guest);
        }
        if migrated.is_ok() {
            current.plugin.shrink_idle();
        }
        migrated
    }

    /// Makes new calls wait at a gate, and returns it once no call is in the plugin any more, or after the deadline of a
    /// method. `None` if one of the generations has no backend.
    fn close_gate(&self, installed: &InstalledPlugin, next: &Generation) -> Option<Gate> {
        let current = &installed.current;
        let manifest = current.plugin.manifest()?;
        let patience = next.setup.spec.limits.method;
        let gate = Gate::new(
            (installed.id.clone(), next.plugin.manifest()?.version.clone()),
            current.plugin.backend()?,
            next.plugin.backend()?,
            patience,
        );
        let guest = Arc::new(gate.clone());
        let policy = current.setup.spec.health;
        let gated = Arc::new(Plugin::running(
            manifest.clone(),
            guest,
            policy,
            installed.meter.clone(),
        ));
        let plugins = self.plugins.lock();
        let running = plugins.iter().map(|other| {
            if other.id == installed.id {
                gated.clone()
            } else {
                other.current.plugin.clone()
            }
        });
        self.hooks.replace(Registry::new(running));
        drop(plugins);
        wait_until_idle(&current.plugin, patience);
        Some(gate)
    }

    /// Makes the hooks call the current generations.
    fn publish(&self) {
        let plugins = self.plugins.lock();
        let current = plugins.iter().map(|plugin| plugin.current.plugin.clone());
        self.hooks.replace(Registry::new(current));
        drop(plugins);
        // A plugin that was disabled or missing may have pending observations.
        self.settlement.outbox().wake();
    }
}

/// Waits until no call is in a generation, at most `patience`.
fn wait_until_idle(plugin: &Plugin, patience: Duration) {
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
