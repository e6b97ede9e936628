//! JPEG: decoded at the smallest scale, from an eighth to full size, that is large enough.

use std::io::{BufRead, Read, Seek};

use image::metadata::Orientation;
use jpeg_decoder::{CodingProcess, Decoder, PixelFormat};

use super::{Decoded, Downscale, Flaw, Limits, damaged};

/// Most bytes before the frame: the decoder keeps them in memory.
const HEADER_BYTES: u64 = 8 << 20;

/// Bytes per pixel of the coefficients of three or four colours, which progressive decoding keeps for all pixels.
const PROGRESSIVE: u64 = 8;
/// Bytes per pixel of the decoded colours: as planes and interleaved.
const DECODED: u64 = 8;

pub(super) fn read(mut content: impl BufRead + Seek, length: u64, limits: Limits) -> Result<Decoded, Flaw> {
    let mut header = Decoder::new(content.by_ref().take(HEADER_BYTES));
    header.read_info().map_err(damaged)?;
    let info = header.info().ok_or_else(|| damaged("no frame"))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    limits.check(width, height)?;
    let exif = header.exif_data().and_then(Orientation::from_exif_chunk);
    drop(header);
    content.rewind().map_err(damaged)?;
    let mut decoded = Decoded {
        width,
        height,
        orientation: exif.unwrap_or(Orientation::NoTransforms),
        pixels: None,
        profile: None,
    };
    // The decoder reads everything before the frame again.
    if !limits.fits(0, 0, length) {
        return Ok(decoded);
    }
    let mut decoder = Decoder::new(content);
    decoder.set_max_decoding_buffer_size(limits.bytes);
    let side = u16::try_from(limits.side).unwrap_or(u16::MAX);
    let (scaled_width, scaled_height) = decoder.scale(side, side).map_err(damaged)?;
    let pixels = u64::from(width) * u64::from(height);
    let scaled = u64::from(scaled_width) * u64::from(scaled_height);
    let is_kept = match info.coding_process {
        CodingProcess::DctSequential => limits.fits(scaled, DECODED, length),
        CodingProcess::DctProgressive => limits.fits(pixels, PROGRESSIVE, length),
        CodingProcess::Lossless => limits.fits(pixels, 2 * DECODED, length),
    };
    if !is_kept {
        return Ok(decoded);
    }
    let bytes = decoder.decode().map_err(damaged)?;
    let (wide, high) = (u32::from(scaled_width), u32::from(scaled_height));
    let mut downscaled = Downscale::new(wide, high, limits.side);
    let format = decoder.info().map_or(info.pixel_format, |info| info.pixel_format);
    let lines = bytes.chunks_exact((wide as usize * format.pixel_bytes()).max(1));
    for (y, line) in (0..high).zip(lines) {
        for (x, pixel) in (0..wide).zip(line.chunks_exact(format.pixel_bytes())) {
            downscaled.add(x, y, rgba(format, pixel));
        }
    }
    decoded.pixels = Some(downscaled);
    if format == PixelFormat::RGB24 {
        decoded.profile = decoder.icc_profile();
    }
    Ok(decoded)
}

fn rgba(format: PixelFormat, pixel: &[u8]) -> [u8; 4] {
    match (format, pixel) {
        (PixelFormat::L8, [grey]) => [*grey, *grey, *grey, 255],
        // The decoder writes 16-bit samples in native byte order.
        (PixelFormat::L16, [low, high]) => {
            let [grey, _] = u16::from_ne_bytes([*low, *high]).to_be_bytes();
            [grey, grey, grey, 255]
        }
        (PixelFormat::RGB24, [red, green, blue]) => [*red, *green, *blue, 255],
        (PixelFormat::CMYK32, [cyan, magenta, yellow, black]) => {
            let ink = |colour: u8| {
                let left = u32::from(255 - colour) * u32::from(255 - black) / 255;
                u8::try_from(left).unwrap_or(u8::MAX)
            };
            [ink(*cyan), ink(*magenta), ink(*yellow), 255]
        }
        _ => [0, 0, 0, 255],
    }
}
