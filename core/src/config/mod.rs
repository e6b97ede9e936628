//! From TOML to checked values. Every problem is reported with its line.

mod blobs;
mod checker;
mod diagnostic;
mod file;
mod pack;
mod plugins;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::blobs::{BlobLimits, Bucket};
use crate::bundle::Bundle;
use crate::host::SessionLimits;
use crate::net::{NetLimits, StaticFolder, TlsFiles};
use crate::plugin::PluginSetup;
use crate::store::EmbeddedOptions;
use crate::wire::{ActorId, AppId, ConversationId};

pub use diagnostic::{ConfigErrors, Diagnostic};

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address; with port 0 the operating system chooses the port.
    pub address: SocketAddr,
    /// The certificate and key; `None` for a listener without TLS.
    pub tls: Option<TlsFiles>,
}

/// The operator interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// The address; with port 0 the operating system chooses the port.
    pub address: SocketAddr,
    /// The bearer token. `None` generates a new one at each start. The token in use is in `admin.json` in the data folder,
    /// which only the owner can read.
    pub token: Option<String>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: None,
        }
    }
}

/// The storage and the limits of blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobsConfig {
    /// The folder for the bytes; `None` means `blobs` in the data folder.
    pub path: Option<PathBuf>,
    /// The bucket for the bytes, instead of a folder.
    pub bucket: Option<Bucket>,
    /// The file of the encryption key: 64 hexadecimal digits. `None` means `blobs.key` in the data folder, which the server
    /// generates and only the owner can read.
    pub key_file: Option<PathBuf>,
    /// Limits of blobs.
    pub limits: BlobLimits,
}

/// Settings for development without plugins, on loopback only.
#[derive(Clone, Debug, Default)]
pub struct Development {
    /// Accepts a token that no plugin recognizes as the actor's name.
    pub trust_tokens: bool,
    /// Conversations that are created at the start, unless they exist.
    pub conversations: Vec<DevelopmentConversation>,
}

/// A conversation of the development settings.
#[derive(Clone, Debug)]
pub struct DevelopmentConversation {
    /// Its id.
    pub id: ConversationId,
    /// Its kind.
    pub kind: String,
    /// The members.
    pub members: Vec<ActorId>,
}

/// All settings. config/courtyard.toml documents the keys and their defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that the settings were read from. It is read again when plugins are reloaded.
    pub file: Option<PathBuf>,
    /// The bundle that paths with `bundled:` refer to.
    pub bundle: Bundle,
    /// The data folder.
    pub data: PathBuf,
    /// The operator interface; `None` disables it.
    pub admin: Option<AdminConfig>,
    /// The interval at which plugin files are checked; changed ones are reloaded. `None` for never.
    pub watch: Option<Duration>,
    /// The listeners.
    pub listen: Vec<Listen>,
    /// Origins of pages that may connect, besides the host itself.
    pub origins: Vec<String>,
    /// Folders whose files are served, the longest path first.
    pub folders: Vec<StaticFolder>,
    /// The tenants.
    pub apps: Vec<AppId>,
    /// The plugins, in the order of their calls.
    pub plugins: Vec<PluginSetup>,
    /// Limits of sessions.
    pub session: SessionLimits,
    /// Limits of connections.
    pub net: NetLimits,
    /// Methods and other blocking calls that run at the same time.
    pub blocking_calls: usize,
    /// The time that connections have to end when the server stops.
    pub shutdown: Duration,
    /// The storage of blobs.
    pub blobs: BlobsConfig,
    /// Options of the embedded store.
    pub store: EmbeddedOptions,
    /// Development settings, for loopback only.
    pub development: Development,
    /// The filter of log lines, such as `info` or `courtyard=debug`.
    pub log_level: String,
    /// Writes log lines as JSON instead of text.
    pub log_json: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            bundle: Bundle::default(),
            data: PathBuf::from("data"),
            admin: Some(AdminConfig::default()),
            watch: None,
            listen: Vec::new(),
            origins: Vec::new(),
            folders: Vec::new(),
            apps: vec![AppId::default_app()],
            plugins: Vec::new(),
            session: SessionLimits::default(),
            net: NetLimits::default(),
            blocking_calls: 2 * std::thread::available_parallelism().map_or(2, usize::from),
            shutdown: Duration::from_secs(10),
            blobs: BlobsConfig::default(),
            store: EmbeddedOptions::default(),
            development: Development::default(),
            log_level: "info".to_owned(),
            log_json: false,
        }
    }
}

/// The name of the configuration in a bundle.
pub const BUNDLED: &str = "courtyard.toml";

/// Returns the file's name and its text.
fn read(path: &Path) -> Result<(String, String), ConfigErrors> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(ConfigErrors::unreadable(&name, &error)),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

impl Config {
    /// Reads a file. Its folder is the base of relative paths in it.
    ///
    /// # Errors
    /// Everything that is wrong in the file.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with(path, &Bundle::default())
    }

    /// Reads a file that may refer to files in a bundle.
    ///
    /// # Errors
    /// Everything that is wrong in the file.
    pub fn load_with(path: &Path, bundle: &Bundle) -> Result<Self, ConfigErrors> {
        let (name, text) = read(path)?;
        let config = file::parse(&text, &name, folder_of(path), bundle)?;
        Ok(Self {
            file: Some(path.to_owned()),
            ..config
        })
    }

    /// Parses a text. Diagnostics show `name`; `folder` is the base of relative paths.
    ///
    /// # Errors
    /// Everything that is wrong in the file.
    pub fn parse(text: &str, name: &str, folder: &Path) -> Result<Self, ConfigErrors> {
        file::parse(text, name, folder, &Bundle::default())
    }

    /// Parses the configuration in a bundle, named [`BUNDLED`]. Returns `None` if the bundle has none. `folder` is the base of
    /// relative paths.
    ///
    /// # Errors
    /// Everything that is wrong in the file.
    pub fn bundled(bundle: &Bundle, folder: &Path) -> Result<Option<Self>, ConfigErrors> {
        let text = bundle.part(BUNDLED).map(|bytes| String::from_utf8_lossy(bytes));
        text.map(|text| file::parse(&text, &Bundle::path_of(BUNDLED), folder, bundle))
            .transpose()
    }

    /// Returns a bundle with a configuration, its plugins and its static files. The data folder becomes `data`; every other
    /// line stays as it is. The configuration may refer to files in `bundle`.
    ///
    /// # Errors
    /// Everything that is wrong in the file, and what can't be bundled: plugins that aren't Wasm, and static files that are
    /// too large.
    pub fn pack(path: &Path, bundle: &Bundle) -> Result<Bundle, ConfigErrors> {
        let (name, text) = read(path)?;
        pack::pack(&text, &name, folder_of(path), bundle)
    }
}
