//! Reads the dimensions of pictures and makes thumbnails. The header is read first, and no input makes a decoder allocate
//! more memory than the limits allow: lines are summed one by one, and formats that are decoded as a whole have to fit.

mod downscale;
mod gif;
mod jpeg;
mod png;
#[cfg(test)]
pub(crate) mod samples;
mod webp;

use std::io::{BufRead, Seek, SeekFrom};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::imageops::{self, FilterType as Resize};
use image::metadata::Orientation;
use image::{DynamicImage, ImageEncoder, RgbaImage};

use downscale::Downscale;

/// A picture of at most this many bytes has no thumbnail if its sides don't exceed those of one.
const SMALL_BYTES: u64 = 128 << 10;

/// JPEG quality of thumbnails; percent.
const QUALITY: u8 = 80;

/// Largest colour profile that is copied to a thumbnail; bytes.
const PROFILE_BYTES: usize = 4 << 10;

/// Limits of a picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most pixels; a larger picture is rejected.
    pub(crate) pixels: u64,
    /// Most memory to decode it, in bytes; a picture that needs more has no thumbnail.
    pub(crate) bytes: usize,
    /// Longer side of a thumbnail; pixels.
    pub(crate) side: u32,
}

/// Result of reading a picture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Dimensions in pixels as displayed, after the rotation of its EXIF data.
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) thumbnail: Option<Thumbnail>,
}

/// An encoded thumbnail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Thumbnail {
    pub(crate) media_type: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Why a picture is rejected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Not PNG, JPEG, GIF or WebP.
    UnknownFormat,
    /// No pixels, or more than the limit.
    Dimensions,
    /// Invalid, or a variant of the format that the decoders don't support.
    Damaged(String),
}

/// Output of a decoder.
struct Decoded {
    /// Dimensions as stored, before rotation.
    width: u32,
    height: u32,
    orientation: Orientation,
    /// None if decoding would take too much memory.
    pixels: Option<Downscale>,
    profile: Option<Vec<u8>>,
}

impl Limits {
    /// Checks the dimensions in a header.
    fn check(self, width: u32, height: u32) -> Result<(), Flaw> {
        let pixels = u64::from(width) * u64::from(height);
        if (1..=self.pixels).contains(&pixels) {
            Ok(())
        } else {
            Err(Flaw::Dimensions)
        }
    }

    /// Returns true if `pixels` times `bytes_per_pixel`, plus `extra` bytes, are within the memory limit.
    fn fits(self, pixels: u64, bytes_per_pixel: u64, extra: u64) -> bool {
        pixels.saturating_mul(bytes_per_pixel).saturating_add(extra) <= self.bytes as u64
    }
}

/// Wraps the error of a decoder.
fn damaged(error: impl std::fmt::Display) -> Flaw {
    Flaw::Damaged(error.to_string())
}

/// Reads the dimensions of a picture, and makes its thumbnail.
///
/// # Errors
/// If it isn't a readable picture within the limits.
pub(crate) fn read(mut content: impl BufRead + Seek, limits: Limits) -> Result<Picture, Flaw> {
    let length = content.seek(SeekFrom::End(0)).map_err(damaged)?;
    content.rewind().map_err(damaged)?;
    let mut first = [0; 12];
    let read = read_some(&mut content, &mut first).map_err(damaged)?;
    content.rewind().map_err(damaged)?;
    let decoded = match &first[..read] {
        [0x89, b'P', b'N', b'G', ..] => png::read(content, limits)?,
        [0xff, 0xd8, 0xff, ..] => jpeg::read(content, length, limits)?,
        [b'G', b'I', b'F', b'8', ..] => gif::read(content, limits)?,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => webp::read(content, length, limits)?,
        _ => return Err(Flaw::UnknownFormat),
    };
    let is_small = decoded.width.max(decoded.height) <= limits.side && length <= SMALL_BYTES;
    let turned = matches!(
        decoded.orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    let (width, height) = match turned {
        true => (decoded.height, decoded.width),
        false => (decoded.width, decoded.height),
    };
    let thumbnail = match decoded.pixels {
        Some(pixels) if !is_small => Some(thumbnail(
            &pixels.into_image(),
            (decoded.width, decoded.height),
            decoded.orientation,
            decoded.profile,
            limits.side,
        )?),
        _ => None,
    };
    Ok(Picture {
        width,
        height,
        thumbnail,
    })
}

fn read_some(content: &mut impl BufRead, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match content.read(&mut buffer[read..])? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

/// Encodes a thumbnail of a downscaled picture: JPEG if it is opaque, PNG otherwise.
fn thumbnail(
    downscaled: &RgbaImage,
    (width, height): (u32, u32),
    orientation: Orientation,
    profile: Option<Vec<u8>>,
    side: u32,
) -> Result<Thumbnail, Flaw> {
    let longer = width.max(height);
    let scaled = |length: u32| {
        let scaled = u64::from(length) * u64::from(side.min(longer)) / u64::from(longer);
        u32::try_from(scaled).unwrap_or(side).max(1)
    };
    let small = imageops::resize(downscaled, scaled(width), scaled(height), Resize::CatmullRom);
    let is_opaque = small.pixels().all(|pixel| pixel.0[3] == 255);
    let mut small = DynamicImage::from(small);
    small.apply_orientation(orientation);
    let mut bytes = Vec::new();
    let media_type = if is_opaque {
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
        if let Some(profile) = profile.filter(|profile| profile.len() <= PROFILE_BYTES) {
            // A rejected profile only makes the colours a little paler.
            let _ = encoder.set_icc_profile(profile);
        }
        small = DynamicImage::from(small.into_rgb8());
        small.write_with_encoder(encoder).map_err(damaged)?;
        "image/jpeg"
    } else {
        let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive);
        small.write_with_encoder(encoder).map_err(damaged)?;
        "image/png"
    };
    Ok(Thumbnail {
        media_type,
        width: small.width(),
        height: small.height(),
        bytes,
    })
}

#[cfg(test)]
mod tests;
