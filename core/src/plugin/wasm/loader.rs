//! Compiles Wasm plugins, links them with the granted services and starts them.

use std::sync::{Arc, OnceLock};

use courtyard_plugin_sdk::manifest::{HookName, Manifest};
use wasmtime::Module;
use wasmtime::component::{Component, InstancePre, Linker};

use super::compiled::{CompiledCache, not_a_plugin};
use super::engine::{EngineLimits, WasmEngine};
use super::exports::Exports;
use super::lane::{ActionLane, JobExports, JobRunner};
use super::module;
use super::plugin::WasmPlugin;
use super::services;
use super::state::{InstanceState, Lane, PluginContext};
use super::template::Template;
use crate::plugin::artifact::{WasmCode, component_of};
use crate::plugin::{LoadError, PluginSpec};
use crate::services::{ALWAYS_GRANTED, CAPABILITIES, ServiceContext};

/// Loads Wasm plugins into one engine.
#[derive(Clone, Debug)]
pub(in crate::plugin) struct WasmLoader {
    engine: WasmEngine,
    /// Created for the first plugin that runs jobs.
    lane: Arc<OnceLock<Arc<ActionLane>>>,
    cache: CompiledCache,
}

impl WasmLoader {
    pub(in crate::plugin) fn new(engine: WasmEngine, cache: CompiledCache) -> Self {
        Self {
            engine,
            lane: Arc::default(),
            cache,
        }
    }

    /// Compiles a plugin and starts its first instances. `context` is called once the code is known to be usable.
    pub(in crate::plugin) fn load(
        &self,
        manifest: &Manifest,
        code: &Arc<WasmCode>,
        spec: &PluginSpec,
        context: impl FnOnce() -> Result<ServiceContext, LoadError>,
    ) -> Result<WasmPlugin, LoadError> {
        if spec.limits.memory_bytes > self.engine.memory_bytes() {
            return Err(LoadError::Memory(self.engine.memory_bytes()));
        }
        let wanted = manifest.capabilities.iter();
        let granted = wanted
            .filter(|wanted| spec.grants.contains(*wanted))
            .map(String::as_str);
        let granted: Arc<[String]> = granted.chain(ALWAYS_GRANTED).map(str::to_owned).collect();
        let template = match self.module(&spec.id, code, &granted) {
            Some(template) => template,
            None => {
                tracing::debug!(plugin = spec.id, "the plugin is called through a component");
                let (component, pre) = self.component(&self.engine, (&spec.id, code), Lane::Transaction, &granted)?;
                Template::of_component(&component, pre).ok_or_else(no_lifecycle)?
            }
        };
        check_exports(manifest, &template.exports)?;
        let context = Arc::new(PluginContext::new(context()?, &spec.limits));
        let configuration = spec.configuration.clone();
        let runs_jobs = manifest.hooks.iter().any(|hook| hook.hook == HookName::Action);
        let jobs = runs_jobs
            .then(|| self.job_runner((&spec.id, code), granted, &context, spec))
            .transpose()?;
        let engine = self.engine.clone();
        Ok(WasmPlugin::start(
            engine,
            template,
            context,
            configuration,
            spec.limits,
            jobs,
        )?)
    }

    /// Creates the action lane of a plugin.
    fn job_runner(
        &self,
        (id, code): (&str, &Arc<WasmCode>),
        granted: Arc<[String]>,
        context: &Arc<PluginContext>,
        spec: &PluginSpec,
    ) -> Result<Arc<JobRunner>, LoadError> {
        let lane = self.lane()?;
        let is_missing = self.cache.lacks::<Component>(lane.engine().get(), code);
        if is_missing {
            // Reports now that no component can be made; only compiling it is left for later.
            component_of(code)?;
        }
        let (loader, engine, id, code) = (self.clone(), lane.engine().clone(), id.to_owned(), code.clone());
        let prepare = move || {
            let (component, pre) = loader.component(&engine, (&id, &code), Lane::Action, &granted)?;
            Ok((pre, JobExports::find(&component).ok_or_else(no_lifecycle)?))
        };
        let jobs = JobRunner::new(lane, prepare, context.clone(), spec.configuration.clone(), spec.limits);
        if is_missing {
            jobs.prepare_in_background();
        }
        Ok(jobs)
    }

    fn lane(&self) -> Result<Arc<ActionLane>, LoadError> {
        if let Some(lane) = self.lane.get() {
            return Ok(lane.clone());
        }
        let limits = EngineLimits {
            memory_bytes: self.engine.memory_bytes(),
            ..EngineLimits::default()
        };
        let lane = ActionLane::new(&limits).map_err(not_a_plugin)?;
        Ok(self.lane.get_or_init(|| Arc::new(lane)).clone())
    }

    /// Compiles a module, or loads it from the cache, and links the granted services. Returns `None` for code that only a
    /// component can call, and for unusable code: compiling that as a component reports why.
    fn module(&self, id: &str, code: &WasmCode, granted: &[String]) -> Option<Template> {
        if code.is_component {
            return None;
        }
        let compiled: Module = self.cache.load(self.engine.get(), id, code).ok()?;
        let mut linker = wasmtime::Linker::new(self.engine.get());
        module::link(&mut linker, |wanted| is_among(granted, wanted)).ok()?;
        let pre = linker.instantiate_pre(&compiled).ok()?;
        Template::of_module(&compiled, pre)
    }

    /// Compiles a component, or loads it from the cache, and links the granted services.
    fn component(
        &self,
        engine: &WasmEngine,
        (id, code): (&str, &WasmCode),
        lane: Lane,
        granted: &[String],
    ) -> Result<(Component, InstancePre<InstanceState>), LoadError> {
        let component = self.cache.load(engine.get(), id, code)?;
        let granted = |wanted: &str| is_among(granted, wanted);
        check_imports(&component, engine.get(), &granted)?;
        let mut linker = Linker::new(engine.get());
        services::link(&mut linker, lane, granted).map_err(not_a_plugin)?;
        let pre = linker.instantiate_pre(&component).map_err(not_a_plugin)?;
        Ok((component, pre))
    }
}

fn is_among(granted: &[String], wanted: &str) -> bool {
    granted.iter().any(|granted| granted == wanted)
}

fn no_lifecycle() -> LoadError {
    LoadError::NotAPlugin("it does not export the interface `lifecycle`".to_owned())
}

/// Checks that the plugin exports every hook that it declares; a missing one would otherwise fail at its first call.
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

/// Checks that every import is granted. The linker would refuse the same imports with a less helpful error.
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
