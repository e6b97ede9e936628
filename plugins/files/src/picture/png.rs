//! PNG, decoded line by line.

use std::io::{BufRead, Seek};

use image::metadata::Orientation;
use png::{Decoder, Limits as PngLimits, Transformations};

use super::{Decoded, Downscale, Flaw, Limits, damaged};

/// First column and line of each pass of an interlaced picture, and its steps across and down (PNG, 8.2).
const PASSES: [(u32, u32, u32, u32); 7] = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
];

/// Bytes per pixel of a line, both as it is read and as it is kept to undo its filter.
const LINE: u64 = 32;

pub(super) fn read(content: impl BufRead + Seek, limits: Limits) -> Result<Decoded, Flaw> {
    let mut decoder = Decoder::new_with_limits(content, PngLimits { bytes: limits.bytes });
    decoder.set_transformations(Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    // Profiles are compressed and can expand to any size.
    decoder.set_ignore_iccp_chunk(true);
    let info = decoder.read_header_info().map_err(damaged)?;
    let (width, height) = (info.width, info.height);
    limits.check(width, height)?;
    let mut decoded = Decoded {
        width,
        height,
        orientation: Orientation::NoTransforms,
        pixels: None,
        profile: None,
    };
    if !limits.fits(width.into(), LINE, 0) {
        return Ok(decoded);
    }
    let mut reader = decoder.read_info().map_err(damaged)?;
    if let Some(exif) = &reader.info().exif_metadata {
        decoded.orientation = Orientation::from_exif_chunk(exif).unwrap_or(Orientation::NoTransforms);
    }
    let samples = reader.output_color_type().0.samples();
    let mut downscaled = Downscale::new(width, height, limits.side);
    let whole = [(0, 0, 1, 1)];
    let passes = match reader.info().interlaced {
        true => &PASSES[..],
        false => &whole[..],
    };
    for (left, top, across, down) in passes {
        if *left >= width {
            continue;
        }
        for y in (*top..height).step_by(*down as usize) {
            let row = reader.next_row().map_err(damaged)?;
            let row = row.ok_or_else(|| damaged("missing lines"))?;
            let xs = (*left..width).step_by(*across as usize);
            for (x, pixel) in xs.zip(row.data().chunks_exact(samples)) {
                let rgba = match *pixel {
                    [grey] => [grey, grey, grey, 255],
                    [grey, opacity] => [grey, grey, grey, opacity],
                    [red, green, blue] => [red, green, blue, 255],
                    [red, green, blue, opacity] => [red, green, blue, opacity],
                    _ => return Err(damaged("unknown pixel format")),
                };
                downscaled.add(x, y, rgba);
            }
        }
    }
    decoded.pixels = Some(downscaled);
    Ok(decoded)
}
