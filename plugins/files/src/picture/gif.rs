//! GIF: the first frame, decoded line by line.

use std::io::{BufRead, Seek};
use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, MemoryLimit};
use image::metadata::Orientation;

use super::{Decoded, Downscale, Flaw, Limits, damaged};

/// Most bytes that the decoder keeps besides the pixels.
const METADATA_BYTES: NonZeroU64 = NonZeroU64::new(1 << 20).unwrap();

/// First line and step of each pass of an interlaced frame (GIF89a, appendix E).
const PASSES: [(u32, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];

pub(super) fn read(content: impl BufRead + Seek, limits: Limits) -> Result<Decoded, Flaw> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    options.set_memory_limit(MemoryLimit::Bytes(METADATA_BYTES));
    let mut decoder = options.read_info(content).map_err(damaged)?;
    let (width, height) = (u32::from(decoder.width()), u32::from(decoder.height()));
    limits.check(width, height)?;
    let frame = decoder.next_frame_info().map_err(damaged)?;
    let frame = frame.ok_or_else(|| damaged("no frame"))?;
    let (left, top) = (u32::from(frame.left), u32::from(frame.top));
    let (wide, high, interlaced) = (u32::from(frame.width), u32::from(frame.height), frame.interlaced);
    limits.check(wide, high)?;
    let mut downscaled = Downscale::new(width, height, limits.side);
    // Pixels that the frame doesn't cover are transparent.
    if (left, top, wide, high) != (0, 0, width, height) {
        for y in 0..height {
            (0..width).for_each(|x| downscaled.add(x, y, [0; 4]));
        }
    }
    let whole = [(0, 1)];
    let passes = if interlaced { &PASSES[..] } else { &whole[..] };
    let mut line = vec![0; decoder.line_length()];
    for (first, step) in passes {
        for y in (*first..high).step_by(*step) {
            if !decoder.fill_buffer(&mut line).map_err(damaged)? {
                return Err(damaged("missing lines"));
            }
            for (x, pixel) in line.chunks_exact(4).enumerate() {
                let x = u32::try_from(x).unwrap_or(u32::MAX);
                if let Ok(rgba) = <[u8; 4]>::try_from(pixel)
                    && left + x < width
                    && top + y < height
                {
                    downscaled.add(left + x, top + y, rgba);
                }
            }
        }
    }
    Ok(Decoded {
        width,
        height,
        orientation: Orientation::NoTransforms,
        pixels: Some(downscaled),
        profile: None,
    })
}
