//! What a picture is, and a smaller one of it. The header is read first, and nothing asks for more memory than the limits
//! allow, whatever the bytes say: lines are taken one by one and added up, and what must be decoded as a whole has to fit.

mod gif;
mod jpeg;
mod png;
#[cfg(test)]
pub(crate) mod samples;
mod shrink;
mod webp;

use std::io::{BufRead, Seek, SeekFrom};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::imageops::{self, FilterType as Resize};
use image::metadata::Orientation;
use image::{DynamicImage, ImageEncoder, RgbaImage};

use shrink::Shrunk;

/// Pictures of fewer bytes are their own thumbnail if they are no larger than one.
const SMALL_BYTES: u64 = 128 << 10;

/// The quality of thumbnails in JPEG.
const QUALITY: u8 = 80;

/// Profiles of colours that go along with a thumbnail have up to so many bytes.
const PROFILE_BYTES: usize = 4 << 10;

/// What a picture may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Pixels of a picture; one of more is none.
    pub(crate) pixels: u64,
    /// Memory to decode it; one that takes more has no thumbnail.
    pub(crate) bytes: usize,
    /// Width and height of a thumbnail, the longer one.
    pub(crate) side: u32,
}

/// A picture that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// As it is shown.
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) thumbnail: Option<Thumbnail>,
}

/// A smaller picture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Thumbnail {
    pub(crate) media_type: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Why something is no picture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// None of PNG, JPEG, GIF and WebP.
    UnknownFormat,
    /// It has no pixels, or more than it may.
    Dimensions,
    /// The format is broken, or is something that cameras and programs don't write.
    Damaged(String),
}

/// What a decoder makes of a picture.
struct Decoded {
    /// As it is stored.
    width: u32,
    height: u32,
    orientation: Orientation,
    /// None if it would take too much memory.
    pixels: Option<Shrunk>,
    profile: Option<Vec<u8>>,
}

impl Limits {
    /// Checks what a header says.
    fn check(self, width: u32, height: u32) -> Result<(), Flaw> {
        let pixels = u64::from(width) * u64::from(height);
        if (1..=self.pixels).contains(&pixels) {
            Ok(())
        } else {
            Err(Flaw::Dimensions)
        }
    }

    /// Tells whether so many bytes for each of so many pixels, and others besides, are few enough.
    fn fits(self, pixels: u64, bytes_per_pixel: u64, others: u64) -> bool {
        pixels.saturating_mul(bytes_per_pixel).saturating_add(others) <= self.bytes as u64
    }
}

/// Makes of the error of a decoder what is wrong.
fn damaged(error: impl std::fmt::Display) -> Flaw {
    Flaw::Damaged(error.to_string())
}

/// Reads what a picture is.
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

/// Makes a thumbnail of what was shrunk already.
fn thumbnail(
    shrunk: &RgbaImage,
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
    let small = imageops::resize(shrunk, scaled(width), scaled(height), Resize::CatmullRom);
    let is_opaque = small.pixels().all(|pixel| pixel.0[3] == 255);
    let mut small = DynamicImage::from(small);
    small.apply_orientation(orientation);
    let mut bytes = Vec::new();
    let media_type = if is_opaque {
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
        if let Some(profile) = profile.filter(|profile| profile.len() <= PROFILE_BYTES) {
            // Without it the colours are a little paler.
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
