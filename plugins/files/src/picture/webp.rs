//! WebP, decoded as a whole; of an animation, the first frame.

use std::io::{BufRead, Read, Seek, SeekFrom};

use image::metadata::Orientation;
use image_webp::WebPDecoder;

use super::{Decoded, Downscale, Flaw, Limits, damaged};

/// Bytes per pixel to decode a lossy picture without transparency: planes and interleaved colours.
const OPAQUE: u64 = 6;
/// Bytes per pixel to decode any other.
const OTHER: u64 = 14;

/// Most chunks of a file; each frame of an animation is one.
const CHUNKS: usize = 10_000;

/// Most bytes of EXIF data.
const EXIF_BYTES: usize = 1 << 20;

pub(super) fn read(mut content: impl BufRead + Seek, length: u64, limits: Limits) -> Result<Decoded, Flaw> {
    let mut frame = largest_frame(&mut content).map_err(damaged)?;
    content.rewind().map_err(damaged)?;
    let mut decoder = WebPDecoder::new(content).map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;
    decoder.set_memory_limit(limits.bytes.min(EXIF_BYTES));
    let exif = decoder.exif_metadata().ok().flatten();
    let orientation = exif.and_then(|exif| Orientation::from_exif_chunk(&exif));
    let mut decoded = Decoded {
        width,
        height,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        pixels: None,
        profile: None,
    };
    // A frame may claim to be larger than the canvas.
    frame = (frame.0.max(width), frame.1.max(height));
    let pixels = u64::from(frame.0) * u64::from(frame.1);
    let is_plain = decoder.is_lossy() && !decoder.has_alpha() && !decoder.is_animated();
    // The compressed bytes stay in memory as well.
    if !limits.fits(pixels, if is_plain { OPAQUE } else { OTHER }, length) {
        return Ok(decoded);
    }
    decoder.set_memory_limit(limits.bytes);
    let samples = if decoder.has_alpha() { 4 } else { 3 };
    let size = decoder.output_buffer_size().ok_or_else(|| damaged("too large"))?;
    let mut bytes = vec![0; size];
    decoder.read_image(&mut bytes).map_err(damaged)?;
    drop(decoder);
    let mut downscaled = Downscale::new(width, height, limits.side);
    for (y, line) in (0..height).zip(bytes.chunks_exact(width as usize * samples)) {
        for (x, pixel) in (0..width).zip(line.chunks_exact(samples)) {
            let rgba = match *pixel {
                [red, green, blue, opacity] => [red, green, blue, opacity],
                [red, green, blue] => [red, green, blue, 255],
                _ => return Err(damaged("unknown pixel format")),
            };
            downscaled.add(x, y, rgba);
        }
    }
    decoded.pixels = Some(downscaled);
    Ok(decoded)
}

/// Returns the largest width and height that frames claim: decoders allocate memory for them before they check that they fit
/// the canvas. It looks at decoded frames alone: the picture, or the first frame of an animation.
fn largest_frame(content: &mut (impl BufRead + Seek)) -> std::io::Result<(u32, u32)> {
    let mut largest = (0, 0);
    let mut at = 12;
    // The chunks of a frame are nested in its ANMF chunk, after 16 bytes.
    let mut is_inside = false;
    for _ in 0..CHUNKS {
        let Some((name, length)) = chunk(content, at)? else {
            return Ok(largest);
        };
        if &name == b"ANMF" && !is_inside {
            is_inside = true;
            at += 8 + 16;
            continue;
        }
        if &name == b"VP8 " {
            let mut head = [0; 10];
            if content.read_exact(&mut head).is_ok() {
                let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
                let (width, height) = (side(head[6], head[7]), side(head[8], head[9]));
                largest = (width.max(largest.0), height.max(largest.1));
            }
        }
        at += 8 + u64::from(length) + u64::from(length % 2);
    }
    Err(std::io::Error::other("too many chunks"))
}

/// Reads the name and the length of a chunk; none after the last one.
fn chunk(content: &mut (impl Read + Seek), at: u64) -> std::io::Result<Option<([u8; 4], u32)>> {
    content.seek(SeekFrom::Start(at))?;
    let mut head = [0; 8];
    match content.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let [n0, n1, n2, n3, l0, l1, l2, l3] = head;
    Ok(Some(([n0, n1, n2, n3], u32::from_le_bytes([l0, l1, l2, l3]))))
}
