//! PNG (third edition, with APNG). The pixels are inflated and counted, so that missing and excess pixels are found.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::bytes::Bytes;
use super::{Flaw, Format, Limits, Picture};

pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Bytes of the Deflate window; the pixels themselves aren't stored.
const WINDOW: usize = 32_768;

#[derive(Clone, Copy)]
struct Header {
    width: u32,
    height: u32,
    bits_per_pixel: u32,
    is_palette: bool,
    is_interlaced: bool,
}

struct Frame {
    width: u32,
    height: u32,
    delay_ms: u32,
    pixels: Vec<u8>,
}

/// State of the checks after some chunks.
#[derive(Default)]
struct ChunkChecker {
    palette: bool,
    /// Number of frames declared by `acTL`.
    frames: Option<u32>,
    /// The next sequence number of `fcTL` and `fdAT`.
    sequence: u32,
    data: Vec<u8>,
    data_ended: bool,
    /// The current frame.
    frame: Option<Frame>,
    /// True if the default image is the first frame.
    first_is_data: bool,
    seen: u32,
    duration_ms: u32,
}

pub(super) fn read(bytes: &[u8], limits: Limits) -> Result<Picture, Flaw> {
    let mut bytes = Bytes(bytes);
    bytes.read(SIGNATURE.len())?;
    let (kind, data) = chunk(&mut bytes)?;
    if kind != *b"IHDR" {
        return Err(Flaw::Damaged);
    }
    let header = header(data, limits)?;
    let mut checker = ChunkChecker::default();
    loop {
        let (kind, data) = chunk(&mut bytes)?;
        if kind == *b"IEND" {
            if !data.is_empty() || !bytes.is_empty() {
                return Err(Flaw::Damaged);
            }
            break;
        }
        checker.check_chunk(&kind, data, header, limits)?;
    }
    checker.finish(header)?;
    let is_animated = checker.frames.is_some();
    Ok(Picture {
        format: if is_animated { Format::Apng } else { Format::Png },
        width: header.width,
        height: header.height,
        frames: checker.frames.unwrap_or(1),
        duration_ms: checker.duration_ms,
    })
}

/// Reads one chunk and checks its checksum.
fn chunk<'a>(bytes: &mut Bytes<'a>) -> Result<([u8; 4], &'a [u8]), Flaw> {
    let length = usize::try_from(bytes.u32_big()?).map_err(|_| Flaw::Damaged)?;
    let kind: [u8; 4] = bytes.array()?;
    let data = bytes.read(length)?;
    let mut sum = crc32fast::Hasher::new();
    sum.update(&kind);
    sum.update(data);
    if sum.finalize() != bytes.u32_big()? || !kind.iter().all(u8::is_ascii_alphabetic) {
        return Err(Flaw::Damaged);
    }
    Ok((kind, data))
}

fn header(data: &[u8], limits: Limits) -> Result<Header, Flaw> {
    let mut data = Bytes(data);
    let (width, height) = (data.u32_big()?, data.u32_big()?);
    let [depth, color, compression, filter, interlace] = data.array()?;
    let samples = match (color, depth) {
        (0, 1 | 2 | 4 | 8 | 16) | (3, 1 | 2 | 4 | 8) => 1,
        (2, 8 | 16) => 3,
        (4, 8 | 16) => 2,
        (6, 8 | 16) => 4,
        _ => return Err(Flaw::Damaged),
    };
    if compression != 0 || filter != 0 || interlace > 1 || !data.is_empty() {
        return Err(Flaw::Damaged);
    }
    Ok(Header {
        width: limits.check_side(width)?,
        height: limits.check_side(height)?,
        bits_per_pixel: samples * u32::from(depth),
        is_palette: color == 3,
        is_interlaced: interlace == 1,
    })
}

impl ChunkChecker {
    fn check_chunk(&mut self, kind: &[u8; 4], data: &[u8], header: Header, limits: Limits) -> Result<(), Flaw> {
        if kind != b"IDAT" && !self.data.is_empty() {
            self.data_ended = true;
        }
        match kind {
            b"PLTE" if self.data.is_empty() && !self.palette && is_palette(data) => self.palette = true,
            b"IDAT" if !self.data_ended => {
                self.data.extend_from_slice(data);
                self.first_is_data |= self.frame.is_some();
            }
            b"acTL" if self.frames.is_none() && self.data.is_empty() => {
                let mut data = Bytes(data);
                self.frames = Some(limits.check_frames(data.u32_big()?)?);
                data.u32_big()?;
            }
            b"fcTL" if self.frames.is_some() => self.start_frame(data, header)?,
            b"fdAT" if self.data_ended => {
                let mut data = Bytes(data);
                self.check_sequence(data.u32_big()?)?;
                let is_first = self.first_is_data && self.seen == 1;
                let frame = self.frame.as_mut().filter(|_| !is_first).ok_or(Flaw::Damaged)?;
                frame.pixels.extend_from_slice(data.0);
            }
            b"eXIf" => return Err(Flaw::Metadata),
            // Unknown critical chunks.
            [first, ..] if first.is_ascii_uppercase() => return Err(Flaw::Damaged),
            b"acTL" | b"fcTL" | b"fdAT" => return Err(Flaw::Damaged),
            _ => {}
        }
        Ok(())
    }

    /// Ends the current frame, and starts the one of an `fcTL` chunk.
    fn start_frame(&mut self, data: &[u8], header: Header) -> Result<(), Flaw> {
        self.end_frame(header)?;
        let mut data = Bytes(data);
        self.check_sequence(data.u32_big()?)?;
        let (width, height, left, top) = (data.u32_big()?, data.u32_big()?, data.u32_big()?, data.u32_big()?);
        let fits = |side: u32, at: u32, whole: u32| side > 0 && at.checked_add(side).is_some_and(|end| end <= whole);
        if !fits(width, left, header.width) || !fits(height, top, header.height) {
            return Err(Flaw::Damaged);
        }
        if self.data.is_empty() && (width, height) != (header.width, header.height) {
            return Err(Flaw::Damaged);
        }
        let (share, of) = (u32::from(data.u16_big()?), u32::from(data.u16_big()?));
        let [dispose, blend] = data.array()?;
        if dispose > 2 || blend > 1 || !data.is_empty() {
            return Err(Flaw::Damaged);
        }
        self.seen += 1;
        if self.frames.is_some_and(|frames| self.seen > frames) {
            return Err(Flaw::Damaged);
        }
        let delay_ms = share * 1_000 / if of == 0 { 100 } else { of };
        self.frame = Some(Frame {
            width,
            height,
            delay_ms,
            pixels: Vec::new(),
        });
        Ok(())
    }

    fn check_sequence(&mut self, sequence: u32) -> Result<(), Flaw> {
        if sequence != self.sequence {
            return Err(Flaw::Damaged);
        }
        self.sequence += 1;
        Ok(())
    }

    fn end_frame(&mut self, header: Header) -> Result<(), Flaw> {
        let Some(frame) = self.frame.take() else {
            return Ok(());
        };
        self.duration_ms = self.duration_ms.saturating_add(frame.delay_ms);
        let is_first = self.first_is_data && self.seen == 1;
        if is_first {
            Ok(())
        } else {
            check_pixels(&frame.pixels, frame.width, frame.height, header)
        }
    }

    fn finish(&mut self, header: Header) -> Result<(), Flaw> {
        self.end_frame(header)?;
        let is_whole = self.palette || !header.is_palette;
        if !is_whole || self.frames.is_some_and(|frames| frames != self.seen) {
            return Err(Flaw::Damaged);
        }
        check_pixels(&self.data, header.width, header.height, header)
    }
}

fn is_palette(data: &[u8]) -> bool {
    !data.is_empty() && data.len().is_multiple_of(3) && data.len() <= 768
}

/// Inflates pixels without storing them, and checks the number of their bytes.
fn check_pixels(data: &[u8], width: u32, height: u32, header: Header) -> Result<(), Flaw> {
    let wanted = expected(width, height, header);
    let mut inflater = DecompressorOxide::new();
    let mut window = vec![0; WINDOW];
    let (mut input, mut at, mut total) = (data, 0, 0_u64);
    loop {
        let (status, read, written) = decompress(&mut inflater, input, &mut window, at, TINFL_FLAG_PARSE_ZLIB_HEADER);
        input = input.get(read..).ok_or(Flaw::Damaged)?;
        total += written as u64;
        if total > wanted {
            return Err(Flaw::Damaged);
        }
        at = (at + written) % WINDOW;
        match status {
            TINFLStatus::Done if total == wanted => return Ok(()),
            TINFLStatus::HasMoreOutput => {}
            _ => return Err(Flaw::Damaged),
        }
    }
}

/// Returns the number of bytes of the pixels, with the filter byte of each row.
fn expected(width: u32, height: u32, header: Header) -> u64 {
    let pass = |width: u32, height: u32| {
        let row = 1 + (u64::from(width) * u64::from(header.bits_per_pixel)).div_ceil(8);
        if width == 0 { 0 } else { row * u64::from(height) }
    };
    if !header.is_interlaced {
        return pass(width, height);
    }
    // First column and row of each pass of Adam7, and its steps across and down.
    const PASSES: [(u32, u32, u32, u32); 7] = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ];
    let part = |(left, top, across, down): (u32, u32, u32, u32)| {
        pass(
            width.saturating_sub(left).div_ceil(across),
            height.saturating_sub(top).div_ceil(down),
        )
    };
    PASSES.into_iter().map(part).sum()
}
