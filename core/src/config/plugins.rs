//! The `[[plugins]]` tables: plugins with their grants, limits and secrets.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use super::checker::{AtLeastOne, Checker, SecretLookup, ms, ms_or, or};
use crate::bundle::Bundle;
use crate::fetch::{FetchLimits, Policy};
use crate::hooks::{HealthPolicy, WhenMissing};
use crate::plugin::{PluginLimits, PluginSetup, PluginSource, PluginSpec};
use crate::services::{ALWAYS_GRANTED, CAPABILITIES, Secrets, ServiceLimits};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginTable {
    id: Spanned<String>,
    path: Spanned<PathBuf>,
    #[serde(default)]
    trusted: bool,
    #[serde(default)]
    grant: Vec<Spanned<String>>,
    when_missing: Option<WhenMissingValue>,
    #[serde(default)]
    config: toml::Table,
    #[serde(default)]
    secrets: BTreeMap<String, Spanned<SecretValue>>,
    #[serde(default)]
    fetch: FetchTable,
    #[serde(default)]
    limits: PluginLimitsTable,
}

/// The hosts that a plugin may send requests to.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FetchTable {
    #[serde(default)]
    hosts: Vec<Spanned<String>>,
    #[serde(default)]
    private: Vec<Spanned<String>>,
    #[serde(default)]
    roots: Vec<PathBuf>,
}

/// A secret, or its source.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum SecretValue {
    Text(String),
    Env { env: String },
    File { file: PathBuf },
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WhenMissingValue {
    Reject,
    Skip,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginLimitsTable {
    hook_ms: Option<AtLeastOne<u64>>,
    method_ms: Option<AtLeastOne<u64>>,
    start_ms: Option<AtLeastOne<u64>>,
    memory_bytes: Option<AtLeastOne<usize>>,
    total_memory_bytes: Option<AtLeastOne<usize>>,
    instances: Option<AtLeastOne<u32>>,
    result_bytes: Option<AtLeastOne<usize>>,
    action_ms: Option<AtLeastOne<u64>>,
    actions: Option<AtLeastOne<usize>>,
    job_attempts: Option<AtLeastOne<u32>>,
    fetch_ms: Option<AtLeastOne<u64>>,
    fetch_connect_ms: Option<AtLeastOne<u64>>,
    fetch_request_bytes: Option<AtLeastOne<usize>>,
    fetch_response_bytes: Option<AtLeastOne<usize>>,
    fetch_header_bytes: Option<AtLeastOne<usize>>,
    fetch_redirects: Option<usize>,
    fetches: Option<AtLeastOne<usize>>,
    host_calls: Option<AtLeastOne<u32>>,
    key_bytes: Option<AtLeastOne<usize>>,
    value_bytes: Option<AtLeastOne<usize>>,
    quota_bytes: Option<AtLeastOne<u64>>,
    scan_entries: Option<AtLeastOne<u32>>,
    log_lines_per_s: Option<u32>,
    log_line_bytes: Option<AtLeastOne<usize>>,
    strikes: Option<AtLeastOne<u32>>,
    strike_actors: Option<AtLeastOne<u32>>,
    quarantine_ms: Option<u64>,
    max_quarantine_ms: Option<u64>,
}

impl Checker<'_> {
    fn source(&mut self, path: Spanned<PathBuf>) -> PluginSource {
        let Some(name) = Bundle::name_in(path.get_ref()) else {
            return PluginSource::File(self.folder.join(path.into_inner()));
        };
        let bytes = self.bundle.part(name).cloned();
        if bytes.is_none() {
            self.not_bundled(path.span(), name);
        }
        PluginSource::Bundled {
            part: name.to_owned(),
            bytes: bytes.unwrap_or_default(),
        }
    }

    pub(super) fn plugins(&mut self, tables: Vec<PluginTable>) -> Vec<PluginSetup> {
        let mut seen: HashMap<String, ()> = HashMap::new();
        let mut plugins = Vec::new();
        for table in tables {
            let id = table.id.get_ref().clone();
            if seen.insert(id.clone(), ()).is_some() {
                self.wrong(
                    table.id.span(),
                    format!("the plugin {id:?} is configured more than once"),
                    None,
                );
            }
            for grant in &table.grant {
                let capability = grant.get_ref();
                if !CAPABILITIES.contains(&capability.as_str()) {
                    let known: Vec<&str> = CAPABILITIES
                        .into_iter()
                        .filter(|known| !ALWAYS_GRANTED.contains(known))
                        .collect();
                    let hint = format!("the capabilities are {}", known.join(", "));
                    self.wrong(grant.span(), format!("unknown capability: {capability:?}"), Some(hint));
                }
            }
            let source = self.source(table.path);
            let secrets = self.secrets(table.secrets);
            let fetch = self.fetch(table.fetch, &table.limits);
            let (limits, health) = plugin_limits(&table.limits);
            let configuration = serde_json::to_string(&table.config).unwrap_or_else(|_| "{}".to_owned());
            plugins.push(PluginSetup {
                source,
                spec: PluginSpec {
                    id,
                    grants: table.grant.into_iter().map(Spanned::into_inner).collect(),
                    configuration,
                    secrets,
                    fetch,
                    limits,
                    trusted: table.trusted,
                    health,
                    when_missing: match table.when_missing {
                        Some(WhenMissingValue::Skip) => WhenMissing::Skip,
                        Some(WhenMissingValue::Reject) | None => WhenMissing::Reject,
                    },
                },
            });
        }
        plugins
    }

    fn fetch(&mut self, table: FetchTable, limits: &PluginLimitsTable) -> Policy {
        let default = FetchLimits::default();
        Policy {
            hosts: self.rules(table.hosts),
            private: self.rules(table.private),
            roots: table.roots.iter().map(|path| self.folder.join(path)).collect(),
            limits: FetchLimits {
                time: ms_or(limits.fetch_ms, default.time),
                connect: ms_or(limits.fetch_connect_ms, default.connect),
                request_bytes: or(limits.fetch_request_bytes, default.request_bytes),
                response_bytes: or(limits.fetch_response_bytes, default.response_bytes),
                header_bytes: or(limits.fetch_header_bytes, default.header_bytes),
                redirects: limits.fetch_redirects.unwrap_or(default.redirects),
                requests: or(limits.fetches, default.requests),
            },
        }
    }

    /// Parses rules. Invalid ones become diagnostics and are left out.
    fn rules<T>(&mut self, texts: Vec<Spanned<String>>) -> Vec<T>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        let mut rules = Vec::with_capacity(texts.len());
        for text in texts {
            match T::from_str(text.get_ref()) {
                Ok(rule) => rules.push(rule),
                Err(error) => self.wrong(text.span(), error.to_string(), None),
            }
        }
        rules
    }

    fn secrets(&mut self, table: BTreeMap<String, Spanned<SecretValue>>) -> Secrets {
        if self.secret_lookup == SecretLookup::Skip {
            return Secrets::default();
        }
        let found = |(name, value)| Some((name, self.secret(value)?));
        Secrets(table.into_iter().filter_map(found).collect())
    }

    /// Reads a secret. One that can't be read becomes a diagnostic.
    pub(super) fn secret(&mut self, value: Spanned<SecretValue>) -> Option<String> {
        if self.secret_lookup == SecretLookup::Skip {
            return Some(String::new());
        }
        let span = value.span();
        let found = match value.into_inner() {
            SecretValue::Text(text) => Ok(text),
            SecretValue::Env { env } => {
                std::env::var(&env).map_err(|error| format!("the environment variable {env:?} can't be read: {error}"))
            }
            SecretValue::File { file } => {
                let path = self.folder.join(&file);
                let read = std::fs::read_to_string(&path);
                let read = read.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
                read.map_err(|error| format!("{} can't be read: {error}", path.display()))
            }
        };
        found.map_err(|reason| self.wrong(span, reason, None)).ok()
    }
}

fn plugin_limits(table: &PluginLimitsTable) -> (PluginLimits, HealthPolicy) {
    let default = PluginLimits::default();
    let services = ServiceLimits {
        host_calls: or(table.host_calls, default.services.host_calls),
        key_bytes: or(table.key_bytes, default.services.key_bytes),
        value_bytes: or(table.value_bytes, default.services.value_bytes),
        quota_bytes: or(table.quota_bytes, default.services.quota_bytes),
        scan_entries: or(table.scan_entries, default.services.scan_entries),
        log_lines_per_s: table.log_lines_per_s.unwrap_or(default.services.log_lines_per_s),
        log_line_bytes: or(table.log_line_bytes, default.services.log_line_bytes),
    };
    let limits = PluginLimits {
        hook: ms_or(table.hook_ms, default.hook),
        method: ms_or(table.method_ms, default.method),
        start: ms_or(table.start_ms, default.start),
        memory_bytes: or(table.memory_bytes, default.memory_bytes),
        total_memory_bytes: or(table.total_memory_bytes, default.total_memory_bytes),
        instances: or(table.instances, default.instances),
        result_bytes: or(table.result_bytes, default.result_bytes),
        action: ms_or(table.action_ms, default.action),
        actions: or(table.actions, default.actions),
        job_attempts: or(table.job_attempts, default.job_attempts),
        services,
    };
    let policy = HealthPolicy::default();
    let health = HealthPolicy {
        strikes: or(table.strikes, policy.strikes),
        strike_actors: or(table.strike_actors, policy.strike_actors),
        quarantine: ms(table.quarantine_ms, policy.quarantine),
        max_quarantine: ms(table.max_quarantine_ms, policy.max_quarantine),
    };
    (limits, health)
}
