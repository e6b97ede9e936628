//! The operator's settings.

use courtyard_plugin_sdk::Error;
use serde::Deserialize;

use crate::media_type;
use crate::picture::Limits;

/// The operator's settings, each with its default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Largest file; bytes.
    pub(crate) file_bytes: u64,
    /// Most bytes of all files and uploads of one user.
    pub(crate) user_bytes: u64,
    /// Most bytes of all files and uploads of one app; 0 for no limit.
    pub(crate) app_bytes: u64,
    /// Most incomplete uploads of one user.
    pub(crate) user_uploads: usize,
    /// Hours after which a file that no message shows is removed.
    pub(crate) unsent_hours: u64,
    /// Media types that are rejected: `video/mp4`, or `video/*` for all of a kind.
    pub(crate) deny_media_types: Vec<String>,
    /// Longer side of thumbnails; pixels.
    pub(crate) thumbnail_side: u32,
    /// Most pixels of an image; a larger one is unreadable.
    pub(crate) max_pixels: u64,
    /// Most memory to decode an image for its thumbnail; bytes.
    pub(crate) decode_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            file_bytes: 1 << 30,
            user_bytes: 10 << 30,
            app_bytes: 0,
            user_uploads: 50,
            unsent_hours: 24,
            deny_media_types: Vec::new(),
            thumbnail_side: 480,
            max_pixels: 50_000_000,
            decode_bytes: 40 << 20,
        }
    }
}

impl Settings {
    /// Parses and checks the settings.
    ///
    /// # Errors
    /// `invalid_configuration` with a sentence that names the mistake.
    pub(crate) fn parse(configuration: &str) -> Result<Self, Error> {
        let bad = |reason: &str| Error::new("invalid_configuration", reason);
        let settings: Self = serde_json::from_str(configuration).map_err(|error| bad(&error.to_string()))?;
        let ranges = [
            (1, settings.user_uploads as u64, 1_000, "user_uploads: from 1 to 1000"),
            (1, settings.unsent_hours, 8_760, "unsent_hours: from 1 to 8760"),
            (
                32,
                settings.thumbnail_side.into(),
                512,
                "thumbnail_side: from 32 to 512",
            ),
            (
                1,
                settings.max_pixels,
                1_000_000_000,
                "max_pixels: from 1 to 1000000000",
            ),
            (
                1 << 20,
                settings.decode_bytes as u64,
                1 << 30,
                "decode_bytes: from 1048576 to 1073741824",
            ),
        ];
        let wrong = ranges
            .iter()
            .find(|(least, value, most, _)| value < least || value > most);
        if let Some((.., reason)) = wrong {
            return Err(bad(reason));
        }
        match settings.deny_media_types.iter().find(|denied| !is_pattern(denied)) {
            Some(denied) => Err(bad(&format!(
                "deny_media_types: {denied:?} is neither such as \"video/mp4\" nor \"video/*\""
            ))),
            None => Ok(settings),
        }
    }

    /// Returns true if files of the declared media type are rejected. An empty one counts as `application/octet-stream`.
    pub(crate) fn denies(&self, declared: &str) -> bool {
        let declared = match &*media_type::normalized(declared) {
            "" => "application/octet-stream".to_owned(),
            declared => declared.to_owned(),
        };
        self.deny_media_types.iter().any(|denied| {
            let denied = denied.to_ascii_lowercase();
            match denied.strip_suffix('*') {
                Some(prefix) => declared.starts_with(prefix),
                None => declared == denied,
            }
        })
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            pixels: self.max_pixels,
            bytes: self.decode_bytes,
            side: self.thumbnail_side,
        }
    }
}

fn is_pattern(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    text.split_once('/')
        .is_some_and(|(kind, name)| is_token(kind) && (name == "*" || is_token(name)))
}
