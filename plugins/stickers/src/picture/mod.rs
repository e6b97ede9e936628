//! Inspection of uploaded pictures: every length is checked. No input makes it panic or allocate more memory than the limits
//! allow.

mod bytes;
mod lottie;
mod png;
mod webp;

use serde::{Deserialize, Serialize};

/// The formats of stickers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Png,
    Apng,
    Webp,
    Lottie,
}

impl Format {
    /// Returns the name that clients see.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Apng => "apng",
            Self::Webp => "webp",
            Self::Lottie => "lottie",
        }
    }

    /// Returns true if a blob of this media type may have this format. Blobs are served with their declared type.
    pub(crate) fn fits(self, media_type: &str) -> bool {
        let known: &[&str] = match self {
            Self::Png | Self::Apng => &["image/png", "image/apng"],
            Self::Webp => &["image/webp"],
            Self::Lottie => &["application/json", "video/lottie+json"],
        };
        known.contains(&media_type)
    }
}

/// Media types that may be uploaded.
pub(crate) const MEDIA_TYPES: [&str; 5] = [
    "image/png",
    "image/apng",
    "image/webp",
    "application/json",
    "video/lottie+json",
];

/// Limits of a picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Largest width and height; pixels.
    pub(crate) max_side: u32,
    pub(crate) max_frames: u32,
    pub(crate) max_duration_ms: u32,
}

/// Result of an inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Picture {
    pub(crate) format: Format,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// 1 for a still picture.
    pub(crate) frames: u32,
    /// 0 for a still picture.
    pub(crate) duration_ms: u32,
}

/// Why a picture is rejected. Clients see its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Not PNG, APNG, WebP or Lottie.
    UnknownFormat,
    /// Invalid in its format.
    Damaged,
    /// A side is 0 or over the limit.
    Dimensions,
    TooManyFrames,
    TooLong,
    /// EXIF or XMP metadata, which may tell where and with what it was made.
    Metadata,
    /// Loads resources, runs code, or repeats without a bound.
    Unsafe,
}

impl Flaw {
    /// Returns the code that clients see.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::UnknownFormat => "unknown_format",
            Self::Damaged => "damaged",
            Self::Dimensions => "bad_dimensions",
            Self::TooManyFrames => "too_many_frames",
            Self::TooLong => "too_long",
            Self::Metadata => "metadata",
            Self::Unsafe => "unsafe",
        }
    }
}

/// Inspects a picture, and checks that it is complete and within the limits.
pub(crate) fn inspect(bytes: &[u8], limits: Limits) -> Result<Picture, Flaw> {
    let picture = if bytes.starts_with(png::SIGNATURE) {
        png::read(bytes, limits)?
    } else if bytes.starts_with(b"RIFF") {
        webp::read(bytes, limits)?
    } else if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        lottie::read(bytes, limits)?
    } else {
        return Err(Flaw::UnknownFormat);
    };
    if picture.duration_ms > limits.max_duration_ms {
        return Err(Flaw::TooLong);
    }
    Ok(picture)
}

impl Limits {
    fn check_side(self, side: u32) -> Result<u32, Flaw> {
        if (1..=self.max_side).contains(&side) {
            Ok(side)
        } else {
            Err(Flaw::Dimensions)
        }
    }

    fn check_frames(self, frames: u32) -> Result<u32, Flaw> {
        if frames == 0 {
            return Err(Flaw::Damaged);
        }
        if frames <= self.max_frames {
            Ok(frames)
        } else {
            Err(Flaw::TooManyFrames)
        }
    }
}

#[cfg(test)]
mod tests;
