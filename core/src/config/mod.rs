//! TOML into checked values, every mistake with its line.

mod blobs;
mod checker;
mod file;
mod mistake;
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

pub use mistake::{ConfigErrors, Mistake};

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where; port 0 lets the operating system choose.
    pub address: SocketAddr,
    /// With TLS.
    pub tls: Option<TlsFiles>,
}

/// The interface for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where; port 0 lets the operating system choose.
    pub address: SocketAddr,
    /// What requests must bear; without one it is made anew at each start. It is kept in the data folder, in the file
    /// `admin.json`, which only the owner can read.
    pub token: Option<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: None,
        }
    }
}

/// Where blobs are kept, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobsConfig {
    /// The folder of their bytes; `blobs` in the data folder without one.
    pub path: Option<PathBuf>,
    /// The bucket of their bytes, instead of a folder.
    pub bucket: Option<Bucket>,
    /// The file of the key that they are encrypted with: 64 hexadecimal digits. Without one, the key is made and kept in the
    /// data folder, in the file `blobs.key`, which only the owner can read.
    pub key_file: Option<PathBuf>,
    /// Limits of blobs.
    pub limits: BlobLimits,
}

/// Settings that take the place of plugins, on loopback only.
#[derive(Clone, Debug, Default)]
pub struct Development {
    /// A token that no plugin knows is taken as the actor.
    pub trust_tokens: bool,
    /// Conversations that are there from the start.
    pub conversations: Vec<DevelopmentConversation>,
}

/// A conversation of the development settings.
#[derive(Clone, Debug)]
pub struct DevelopmentConversation {
    /// Its id.
    pub id: ConversationId,
    /// Its kind.
    pub kind: String,
    /// Who takes part.
    pub members: Vec<ActorId>,
}

/// Everything that can be configured. The keys and their defaults are in config/courtyard.toml.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that this was read from; it is read again when plugins are loaded again.
    pub file: Option<PathBuf>,
    /// What paths that begin with `bundled:` mean.
    pub bundle: Bundle,
    /// The folder that everything is kept in.
    pub data: PathBuf,
    /// Where operators are listened to; none without an admin interface.
    pub admin: Option<Admin>,
    /// How often the files of plugins are looked at; a changed one is loaded again. None for never.
    pub watch: Option<Duration>,
    /// The listeners.
    pub listen: Vec<Listen>,
    /// Origins of pages that may connect, besides the host itself.
    pub origins: Vec<String>,
    /// Folders whose files are served, the longest path first.
    pub folders: Vec<StaticFolder>,
    /// The tenants.
    pub apps: Vec<AppId>,
    /// The plugins, in the order in which they are asked.
    pub plugins: Vec<PluginSetup>,
    /// Limits of sessions.
    pub session: SessionLimits,
    /// Limits of connections.
    pub net: NetLimits,
    /// Methods and other slow calls at a time.
    pub blocking_calls: usize,
    /// How long connections have to end when the server stops.
    pub shutdown: Duration,
    /// Where blobs are kept.
    pub blobs: BlobsConfig,
    /// How the store works.
    pub store: EmbeddedOptions,
    /// For loopback only.
    pub development: Development,
    /// Which lines are logged, such as `info` or `courtyard=debug`.
    pub log_level: String,
    /// Whether lines are JSON.
    pub log_json: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            bundle: Bundle::default(),
            data: PathBuf::from("data"),
            admin: Some(Admin::default()),
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
    /// Reads a file. Paths in it count from its folder.
    ///
    /// # Errors
    /// All mistakes that were found.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with(path, &Bundle::default())
    }

    /// Reads a file that may name these parts.
    ///
    /// # Errors
    /// All mistakes that were found.
    pub fn load_with(path: &Path, bundle: &Bundle) -> Result<Self, ConfigErrors> {
        let (name, text) = read(path)?;
        let config = file::parse(&text, &name, folder_of(path), bundle)?;
        Ok(Self {
            file: Some(path.to_owned()),
            ..config
        })
    }

    /// Understands a text. `name` stands in the mistakes, and paths count from `folder`.
    ///
    /// # Errors
    /// All mistakes that were found.
    pub fn parse(text: &str, name: &str, folder: &Path) -> Result<Self, ConfigErrors> {
        file::parse(text, name, folder, &Bundle::default())
    }

    /// Understands the configuration that is one of the parts, named [`BUNDLED`]; none if there is none. Paths in it count
    /// from `folder`.
    ///
    /// # Errors
    /// All mistakes that were found.
    pub fn bundled(bundle: &Bundle, folder: &Path) -> Result<Option<Self>, ConfigErrors> {
        let text = bundle.part(BUNDLED).map(|bytes| String::from_utf8_lossy(bytes));
        text.map(|text| file::parse(&text, &Bundle::path_of(BUNDLED), folder, bundle))
            .transpose()
    }

    /// Makes a bundle of a file and of what it names: its plugins and static files become parts, its data folder is
    /// `data`, and every other line stays as it is. It may name parts of `bundle` itself.
    ///
    /// # Errors
    /// All mistakes in the file, and what can't be a part: a plugin that is no Wasm file, a static file that is too large.
    pub fn pack(path: &Path, bundle: &Bundle) -> Result<Bundle, ConfigErrors> {
        let (name, text) = read(path)?;
        pack::pack(&text, &name, folder_of(path), bundle)
    }
}
