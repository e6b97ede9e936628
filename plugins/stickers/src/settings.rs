//! The operator's settings.

use courtyard_plugin_sdk::Error;
use serde::Deserialize;

use crate::picture::Limits;

/// Who may make packs public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Publishers {
    Everyone,
    Admins,
}

/// The operator's settings, each with its default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Actors who may import, withdraw and publish; they have no quotas.
    pub(crate) admins: Vec<String>,
    pub(crate) publishers: Publishers,
    /// True to offer the built-in pack.
    pub(crate) first_pack: bool,
    /// True to allow downloads of stickers in public packs without signing in.
    pub(crate) open_downloads: bool,
    /// Largest sticker; bytes.
    pub(crate) sticker_bytes: u64,
    /// Largest width and height; pixels.
    pub(crate) max_side: u32,
    pub(crate) max_frames: u32,
    pub(crate) max_duration_ms: u32,
    pub(crate) pack_stickers: u32,
    /// Most packs of one user.
    pub(crate) user_packs: usize,
    /// Most bytes of all stickers and uploads of one user.
    pub(crate) user_bytes: u64,
    /// Most uploads of one user that are in no pack yet.
    pub(crate) user_uploads: u64,
    /// Hours after which such an upload is removed.
    pub(crate) upload_hours: u64,
    pub(crate) favourites: usize,
    pub(crate) recent: usize,
    /// Most packs on the shelf of one user.
    pub(crate) kept_packs: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            admins: Vec::new(),
            publishers: Publishers::Everyone,
            first_pack: true,
            open_downloads: true,
            sticker_bytes: 512 * 1_024,
            max_side: 512,
            max_frames: 600,
            max_duration_ms: 10_000,
            pack_stickers: 1_000,
            user_packs: 20,
            user_bytes: 64 * 1_024 * 1_024,
            user_uploads: 100,
            upload_hours: 24,
            favourites: 200,
            recent: 40,
            kept_packs: 100,
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
            (
                1,
                settings.sticker_bytes,
                4 * 1_024 * 1_024,
                "sticker_bytes: from 1 to 4194304",
            ),
            (16, settings.max_side.into(), 4_096, "max_side: from 16 to 4096"),
            (1, settings.max_frames.into(), 10_000, "max_frames: from 1 to 10000"),
            (
                1,
                settings.max_duration_ms.into(),
                600_000,
                "max_duration_ms: from 1 to 600000",
            ),
            (
                1,
                settings.pack_stickers.into(),
                10_000,
                "pack_stickers: from 1 to 10000",
            ),
            (1, settings.upload_hours, 8_760, "upload_hours: from 1 to 8760"),
            (0, settings.favourites as u64, 1_000, "favourites: up to 1000"),
            (0, settings.recent as u64, 200, "recent: up to 200"),
            (0, settings.kept_packs as u64, 200, "kept_packs: up to 200"),
        ];
        match ranges
            .iter()
            .find(|(least, value, most, _)| value < least || value > most)
        {
            Some((.., reason)) => Err(bad(reason)),
            None => Ok(settings),
        }
    }

    pub(crate) fn is_admin(&self, actor: &str) -> bool {
        self.admins.iter().any(|admin| admin == actor)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_side: self.max_side,
            max_frames: self.max_frames,
            max_duration_ms: self.max_duration_ms,
        }
    }
}
