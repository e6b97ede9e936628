//! Loads plugins: checks what an artifact declares against what is granted, and starts it.

use std::sync::Arc;

use courtyard_plugin_sdk::manifest::Manifest;

use super::artifact::PluginCode;
use super::contract::CONTRACT;
use super::native::NativePlugin;
use super::wasm::{CompiledCache, WasmEngine, WasmLoader};
use super::{Artifact, LoadError, PluginSpec};
use crate::fetch::Fetcher;
use crate::hooks::PluginBackend;
use crate::services::{ALWAYS_GRANTED, HostServices, LogBudget, Quota, ServiceContext};

/// Loads plugins into one engine.
#[derive(Clone, Debug)]
pub struct Loader {
    wasm: WasmLoader,
    host: HostServices,
}

impl Loader {
    /// Creates a loader for plugins without a host: they reach neither other plugins nor sessions.
    #[must_use]
    pub fn new(engine: WasmEngine, cache: CompiledCache) -> Self {
        Self {
            wasm: WasmLoader::new(engine, cache),
            host: HostServices::default(),
        }
    }

    /// Loads plugins into a host with these services.
    #[must_use]
    pub fn within(self, host: HostServices) -> Self {
        Self { host, ..self }
    }

    /// Loads a plugin and starts its first instances.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&self, artifact: &Artifact, spec: &PluginSpec) -> Result<Arc<dyn PluginBackend>, LoadError> {
        let manifest = &artifact.manifest;
        check_manifest(manifest, spec)?;
        match &artifact.code {
            PluginCode::Wasm(code) => {
                let context = || self.context(spec, manifest);
                Ok(Arc::new(self.wasm.load(manifest, code, spec, context)?))
            }
            PluginCode::Native(source) => {
                let context = Arc::new(self.context(spec, manifest)?);
                let capabilities = manifest.capabilities.clone();
                let configuration = &spec.configuration;
                let started = NativePlugin::start(&**source, context, configuration, capabilities, spec.limits)?;
                Ok(Arc::new(started))
            }
        }
    }

    /// Creates what the services know of a plugin.
    fn context(&self, spec: &PluginSpec, manifest: &Manifest) -> Result<ServiceContext, LoadError> {
        let fetches = manifest.capabilities.iter().any(|capability| capability == "fetch");
        let fetcher = fetches
            .then(|| Fetcher::new(&spec.id, spec.fetch.clone()))
            .transpose()?;
        Ok(ServiceContext {
            id: spec.id.as_str().into(),
            limits: spec.limits.services,
            log: LogBudget::default(),
            quota: Quota::default(),
            jobs: Quota::default(),
            host: self.host.clone(),
            secrets: spec.secrets.clone(),
            fetcher,
        })
    }
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
