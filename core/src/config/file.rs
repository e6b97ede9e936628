//! The tables and keys of a configuration file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::blobs::BlobsTable;
use super::checker::{AtLeastOne, Checker, SecretLookup, distance, ms, ms_or, or};
use super::plugins::PluginTable;
use super::{AdminConfig, Config, ConfigErrors, Development, DevelopmentConversation, Listen};
use crate::bundle::Bundle;
use crate::host::SessionLimits;
use crate::net::{Files, NetLimits, StaticFolder, TlsFiles};
use crate::store::EmbeddedOptions;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<Spanned<PathBuf>>,
    #[serde(default)]
    listen: Vec<ListenTable>,
    #[serde(default)]
    admin: AdminTable,
    watch_ms: Option<u64>,
    #[serde(default)]
    http: HttpTable,
    #[serde(default)]
    apps: Vec<AppTable>,
    #[serde(default)]
    plugins: Vec<PluginTable>,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    store: StoreTable,
    #[serde(default)]
    blobs: BlobsTable,
    #[serde(default)]
    development: DevelopmentTable,
    #[serde(default)]
    log: LogTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenTable {
    address: Spanned<String>,
    tls: Option<TlsTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsTable {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdminTable {
    enabled: Option<bool>,
    address: Option<Spanned<String>>,
    token: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpTable {
    #[serde(default)]
    origins: Vec<String>,
    #[serde(default, rename = "static")]
    folders: Vec<StaticTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StaticTable {
    at: Spanned<String>,
    folder: Spanned<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppTable {
    id: Spanned<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    frame_bytes: Option<AtLeastOne<usize>>,
    depth: Option<AtLeastOne<usize>>,
    in_flight: Option<AtLeastOne<usize>>,
    bad_frames: Option<AtLeastOne<u32>>,
    queue_bytes: Option<AtLeastOne<usize>>,
    signal_members: Option<usize>,
    hello_ms: Option<AtLeastOne<u64>>,
    heartbeat_ms: Option<Spanned<u64>>,
    connections: Option<AtLeastOne<usize>>,
    header_ms: Option<AtLeastOne<u64>>,
    body_bytes: Option<AtLeastOne<usize>>,
    blocking_calls: Option<AtLeastOne<usize>>,
    shutdown_ms: Option<AtLeastOne<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreTable {
    segment_bytes: Option<Spanned<usize>>,
    batch_bytes: Option<AtLeastOne<usize>>,
    busy_transactions: Option<AtLeastOne<usize>>,
    gather_us: Option<u64>,
    reruns: Option<u32>,
    index_cache_bytes: Option<AtLeastOne<usize>>,
    idempotency_hours: Option<AtLeastOne<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DevelopmentTable {
    #[serde(default)]
    trust_tokens: Option<Spanned<bool>>,
    #[serde(default)]
    conversations: Vec<ConversationTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConversationTable {
    id: Spanned<String>,
    kind: String,
    members: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogTable {
    level: Option<Spanned<String>>,
    format: Option<LogFormat>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LogFormat {
    Text,
    Json,
}

pub(super) fn parse(text: &str, name: &str, folder: &Path, bundle: &Bundle) -> Result<Config, ConfigErrors> {
    check(text, name, folder, bundle, SecretLookup::Resolve)
}

/// Checks a file for another machine, without reading its secrets.
pub(super) fn check_for_other_machine(
    text: &str,
    name: &str,
    folder: &Path,
    bundle: &Bundle,
) -> Result<(), ConfigErrors> {
    check(text, name, folder, bundle, SecretLookup::Skip).map(drop)
}

fn check(
    text: &str,
    name: &str,
    folder: &Path,
    bundle: &Bundle,
    secret_lookup: SecretLookup,
) -> Result<Config, ConfigErrors> {
    let mut checker = Checker {
        text,
        folder,
        bundle,
        secret_lookup,
        diagnostics: Vec::new(),
    };
    let config = match toml::from_str::<File>(text) {
        Ok(file) => Some(checker.config(file)),
        Err(error) => {
            let hint = hint(error.message());
            checker.wrong(error.span().unwrap_or(0..0), error.message().trim().to_owned(), hint);
            None
        }
    };
    match config {
        Some(config) if checker.diagnostics.is_empty() => Ok(config),
        _ => {
            checker
                .diagnostics
                .sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
            Err(ConfigErrors {
                file: name.to_owned(),
                diagnostics: checker.diagnostics,
            })
        }
    }
}

/// Returns a hint for an unknown key: the most similar known one.
fn hint(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field").then(|| quoted.next()).flatten()?;
    let closest = quoted.min_by_key(|known| distance(unknown, known))?;
    if distance(unknown, closest) <= 3 {
        Some(format!("did you mean `{closest}`?"))
    } else {
        Some("config/courtyard.toml lists all keys".to_owned())
    }
}

impl Checker<'_> {
    fn config(&mut self, file: File) -> Config {
        let default = Config::default();
        let listen: Vec<Listen> = file.listen.into_iter().filter_map(|table| self.listen(table)).collect();
        if listen.is_empty() && self.diagnostics.is_empty() {
            let hint = "add `[[listen]]` with `address = \"127.0.0.1:8080\"`".to_owned();
            self.wrong(0..0, "no listener is configured".to_owned(), Some(hint));
        }
        let plugins = self.plugins(file.plugins);
        let development = self.development(file.development, &listen);
        Config {
            file: None,
            bundle: self.bundle.clone(),
            admin: self.admin(file.admin),
            watch: file.watch_ms.filter(|ms| *ms > 0).map(Duration::from_millis),
            data: self.folder.join(file.data.map_or(default.data, Spanned::into_inner)),
            listen,
            origins: file.http.origins,
            folders: self.folders(file.http.folders),
            apps: self.apps(file.apps, default.apps),
            plugins,
            session: self.session(&file.limits),
            net: NetLimits {
                connections: or(file.limits.connections, default.net.connections),
                header: ms_or(file.limits.header_ms, default.net.header),
                body_bytes: or(file.limits.body_bytes, default.net.body_bytes),
            },
            blocking_calls: or(file.limits.blocking_calls, default.blocking_calls),
            shutdown: ms_or(file.limits.shutdown_ms, default.shutdown),
            blobs: self.blobs(file.blobs),
            store: self.store(file.store),
            development,
            log_level: self.log_level(file.log.level).unwrap_or(default.log_level),
            log_json: matches!(file.log.format, Some(LogFormat::Json)),
        }
    }

    fn admin(&mut self, table: AdminTable) -> Option<AdminConfig> {
        let default = AdminConfig::default();
        let address = table.address.map_or(default.address, |address| {
            address.get_ref().parse().unwrap_or_else(|_| {
                let hint = "an address looks like \"127.0.0.1:8090\"".to_owned();
                self.wrong(
                    address.span(),
                    format!("not an address: {:?}", address.get_ref()),
                    Some(hint),
                );
                default.address
            })
        });
        if let Some(token) = table.token.as_ref().filter(|token| token.get_ref().len() < 16) {
            let message = "a token of fewer than 16 bytes can be guessed".to_owned();
            self.wrong(
                token.span(),
                message,
                Some("leave it out, and the server generates one".to_owned()),
            );
        }
        table.enabled.unwrap_or(true).then(|| AdminConfig {
            address,
            token: table.token.map(Spanned::into_inner),
        })
    }

    fn listen(&mut self, table: ListenTable) -> Option<Listen> {
        let tls = table.tls.map(|tls| TlsFiles {
            certificate: self.folder.join(tls.certificate),
            key: self.folder.join(tls.key),
        });
        match table.address.get_ref().parse::<SocketAddr>() {
            Ok(address) => Some(Listen { address, tls }),
            Err(_) => {
                let message = format!("not an address: {:?}", table.address.get_ref());
                self.wrong(
                    table.address.span(),
                    message,
                    Some("an address looks like \"127.0.0.1:8080\"".to_owned()),
                );
                None
            }
        }
    }

    fn folders(&mut self, tables: Vec<StaticTable>) -> Vec<StaticFolder> {
        let mut folders = Vec::new();
        for table in tables {
            let at = table.at.get_ref();
            if !at.starts_with('/') || !at.ends_with('/') {
                self.wrong(table.at.span(), format!("{at:?} must begin and end with `/`"), None);
            }
            let files = self.files(&table.folder);
            folders.push(StaticFolder {
                at: table.at.into_inner(),
                files,
            });
        }
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.at.len()));
        folders
    }

    fn files(&mut self, path: &Spanned<PathBuf>) -> Files {
        if let Some(name) = Bundle::name_in(path.get_ref()) {
            if self.bundle.folder(name).next().is_none() {
                self.not_bundled(path.span(), name);
            }
            return Files::Bundled(self.bundle.clone(), name.to_owned());
        }
        let folder = self.folder.join(path.get_ref());
        if !folder.is_dir() {
            self.wrong(
                path.span(),
                format!("the folder does not exist: {}", folder.display()),
                None,
            );
        }
        Files::Folder(folder)
    }

    fn apps(&mut self, tables: Vec<AppTable>, default: Vec<crate::wire::AppId>) -> Vec<crate::wire::AppId> {
        let mut apps = Vec::new();
        for table in tables {
            match table.id.get_ref().parse() {
                Ok(app) => apps.push(app),
                Err(error) => {
                    let error: crate::wire::InvalidId = error;
                    self.wrong(
                        table.id.span(),
                        error.to_string(),
                        Some("an App ID is 1 to 32 bytes".to_owned()),
                    );
                }
            }
        }
        if apps.is_empty() { default } else { apps }
    }

    fn session(&mut self, table: &LimitsTable) -> SessionLimits {
        let default = SessionLimits::default();
        if let Some(heartbeat) = table
            .heartbeat_ms
            .as_ref()
            .filter(|heartbeat| *heartbeat.get_ref() < 100)
        {
            self.wrong(heartbeat.span(), "a heartbeat must be at least 100 ms".to_owned(), None);
        }
        SessionLimits {
            frame_bytes: or(table.frame_bytes, default.frame_bytes),
            depth: or(table.depth, default.depth),
            in_flight: or(table.in_flight, default.in_flight),
            bad_frames: or(table.bad_frames, default.bad_frames),
            queue_bytes: or(table.queue_bytes, default.queue_bytes),
            signal_members: table.signal_members.unwrap_or(default.signal_members),
            hello: ms_or(table.hello_ms, default.hello),
            heartbeat: ms(
                table.heartbeat_ms.as_ref().map(|value| *value.get_ref()),
                default.heartbeat,
            ),
        }
    }

    fn store(&mut self, table: StoreTable) -> EmbeddedOptions {
        let default = EmbeddedOptions::default();
        if let Some(bytes) = table
            .segment_bytes
            .as_ref()
            .filter(|bytes| !(1 << 12..=1 << 30).contains(bytes.get_ref()))
        {
            self.wrong(bytes.span(), "a segment must have 4 KiB to 1 GiB".to_owned(), None);
        }
        EmbeddedOptions {
            segment_bytes: table.segment_bytes.map_or(default.segment_bytes, Spanned::into_inner),
            index_cache_bytes: or(table.index_cache_bytes, default.index_cache_bytes),
            batch_bytes: or(table.batch_bytes, default.batch_bytes),
            busy_from: or(table.busy_transactions, default.busy_from),
            gather: table.gather_us.map_or(default.gather, Duration::from_micros),
            reruns: table.reruns.unwrap_or(default.reruns),
            idempotency: table
                .idempotency_hours
                .map_or(default.idempotency, |AtLeastOne(hours)| {
                    Duration::from_secs(hours.saturating_mul(3_600))
                }),
        }
    }

    fn log_level(&mut self, level: Option<Spanned<String>>) -> Option<String> {
        let level = level?;
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(level.get_ref()) {
            let hint = "such as \"info\" or \"courtyard=debug,info\"".to_owned();
            self.wrong(level.span(), format!("not a log filter: {error}"), Some(hint));
        }
        Some(level.into_inner())
    }

    fn development(&mut self, table: DevelopmentTable, listen: &[Listen]) -> Development {
        let first = table.conversations.first().map(|conversation| conversation.id.span());
        let mut conversations = Vec::new();
        for table in table.conversations {
            let mut members = Vec::new();
            for member in table.members {
                match member.get_ref().parse() {
                    Ok(actor) => members.push(actor),
                    Err(_) => self.wrong(
                        member.span(),
                        "not an actor: 1 to 128 bytes of printable text are allowed".to_owned(),
                        None,
                    ),
                }
            }
            match table.id.get_ref().parse() {
                Ok(id) => conversations.push(DevelopmentConversation {
                    id,
                    kind: table.kind,
                    members,
                }),
                Err(_) => {
                    let hint = "an id is 26 characters of Crockford's base 32".to_owned();
                    self.wrong(table.id.span(), "not a conversation id".to_owned(), Some(hint));
                }
            }
        }
        let trust = table.trust_tokens.as_ref().is_some_and(|trust| *trust.get_ref());
        if (trust || first.is_some()) && listen.iter().any(|listen| !listen.address.ip().is_loopback()) {
            let span = table.trust_tokens.as_ref().map(Spanned::span).or(first).unwrap_or(0..0);
            let message = "development settings are allowed only if every listener is on loopback".to_owned();
            self.wrong(span, message, None);
        }
        Development {
            trust_tokens: trust,
            conversations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostics(text: &str) -> String {
        parse(text, "test.toml", Path::new("."), &Bundle::default())
            .unwrap_err()
            .to_string()
    }

    const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";

    #[test]
    fn defaults_fill_what_is_left_out() {
        let config = Config::parse(LISTEN, "test.toml", Path::new("/etc/courtyard")).unwrap();
        assert_eq!(config.data, Path::new("/etc/courtyard/data"));
        assert_eq!(config.session, SessionLimits::default());
    }

    #[test]
    fn an_unknown_key_is_shown_with_its_line_and_the_key_that_was_meant() {
        let shown = diagnostics(&format!("{LISTEN}[limits]\nframe_byte = 5\n"));
        assert!(shown.contains("test.toml:4:1"), "{shown}");
        assert!(shown.contains("4 | frame_byte = 5"), "{shown}");
        assert!(shown.contains("did you mean `frame_bytes`?"), "{shown}");
    }

    #[test]
    fn all_wrong_values_are_shown_at_once() {
        let shown = diagnostics(
            "[[listen]]\naddress = \"nowhere\"\n[[plugins]]\nid = \"a\"\npath = \"a.wasm\"\ngrant = [\"root\"]\n[store]\nsegment_bytes = 1\n",
        );
        for part in [
            "test.toml:2:11",
            "not an address",
            "test.toml:6:10",
            "unknown capability: \"root\"",
            "test.toml:8:17",
        ] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
    }

    #[test]
    fn a_limit_of_zero_is_shown_with_its_line() {
        let shown = diagnostics(&format!("{LISTEN}[limits]\nin_flight = 0\n"));
        assert!(
            shown.contains("test.toml:4:13") && shown.contains("at least 1"),
            "{shown}"
        );
    }

    #[test]
    fn a_part_that_is_not_inside_is_shown_with_its_line() {
        let text = format!("{LISTEN}[[plugins]]\nid = \"a\"\npath = \"bundled:plugins/a.wasm\"\n");
        let shown = diagnostics(&text);
        assert!(
            shown.contains("test.toml:5:8") && shown.contains("has no bundle"),
            "{shown}"
        );
        let mut bundle = Bundle::default();
        bundle.insert("plugins/b.wasm", "");
        let shown = parse(&text, "test.toml", Path::new("."), &bundle)
            .unwrap_err()
            .to_string();
        assert!(shown.contains("did you mean `bundled:plugins/b.wasm`?"), "{shown}");
    }

    #[test]
    fn development_settings_are_for_loopback_only() {
        let shown = diagnostics("[[listen]]\naddress = \"0.0.0.0:1\"\n[development]\ntrust_tokens = true\n");
        assert!(shown.contains("loopback"), "{shown}");
    }

    #[test]
    fn the_configuration_that_ships_is_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let config = Config::load(&folder.join("courtyard.toml")).unwrap();
        assert_eq!(config.folders.len(), 2);
        assert!(config.plugins.iter().any(|plugin| plugin.spec.id == "users"));
    }

    #[test]
    fn a_log_level_that_means_nothing_is_shown() {
        let shown = diagnostics(&format!("{LISTEN}[log]\nlevel = \"a=b=c\"\n"));
        assert!(shown.contains("test.toml:4:9"), "{shown}");
    }

    #[test]
    fn a_type_that_does_not_fit_is_shown_with_its_line() {
        let shown = diagnostics(&format!("{LISTEN}[limits]\ndepth = \"deep\"\n"));
        assert!(shown.contains("test.toml:4:9"), "{shown}");
    }
}
