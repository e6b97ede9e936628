//! PNG (third edition), which APNG is a part of. The pixels are inflated, so that a picture that passes is one.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::bytes::Bytes;
use super::{Flaw, Format, Limits, Picture};

pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The window of Deflate; the pixels themselves are not kept.
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

/// How far reading is.
#[derive(Default)]
struct State {
    palette: bool,
    /// As `acTL` says.
    frames: Option<u32>,
    /// The next number of `fcTL` and `fdAT`.
    sequence: u32,
    data: Vec<u8>,
    data_ended: bool,
    /// The frame that is read.
    frame: Option<Frame>,
    /// Whether the first frame is the picture itself.
    first_is_data: bool,
    seen: u32,
    duration_ms: u32,
}

pub(super) fn read(bytes: &[u8], limits: Limits) -> Result<Picture, Flaw> {
    let mut bytes = Bytes(bytes);
    bytes.take(SIGNATURE.len())?;
    let (kind, data) = chunk(&mut bytes)?;
    if kind != *b"IHDR" {
        return Err(Flaw::Damaged);
    }
    let header = header(data, limits)?;
    let mut state = State::default();
    loop {
        let (kind, data) = chunk(&mut bytes)?;
        if kind == *b"IEND" {
            if !data.is_empty() || !bytes.is_empty() {
                return Err(Flaw::Damaged);
            }
            break;
        }
        state.take(&kind, data, header, limits)?;
    }
    state.end(header)?;
    let is_animated = state.frames.is_some();
    Ok(Picture {
        format: if is_animated { Format::Apng } else { Format::Png },
        width: header.width,
        height: header.height,
        frames: state.frames.unwrap_or(1),
        duration_ms: state.duration_ms,
    })
}

/// Reads one chunk and checks its sum.
fn chunk<'a>(bytes: &mut Bytes<'a>) -> Result<([u8; 4], &'a [u8]), Flaw> {
    let length = usize::try_from(bytes.u32_big()?).map_err(|_| Flaw::Damaged)?;
    let kind: [u8; 4] = bytes.array()?;
    let data = bytes.take(length)?;
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

impl State {
    fn take(&mut self, kind: &[u8; 4], data: &[u8], header: Header, limits: Limits) -> Result<(), Flaw> {
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
            b"fcTL" if self.frames.is_some() => self.control(data, header)?,
            b"fdAT" if self.data_ended => {
                let mut data = Bytes(data);
                self.count(data.u32_big()?)?;
                let is_first = self.first_is_data && self.seen == 1;
                let frame = self.frame.as_mut().filter(|_| !is_first).ok_or(Flaw::Damaged)?;
                frame.pixels.extend_from_slice(data.0);
            }
            b"eXIf" => return Err(Flaw::Metadata),
            // What begins in upper case must be understood.
            [first, ..] if first.is_ascii_uppercase() => return Err(Flaw::Damaged),
            b"acTL" | b"fcTL" | b"fdAT" => return Err(Flaw::Damaged),
            _ => {}
        }
        Ok(())
    }

    /// Begins a frame.
    fn control(&mut self, data: &[u8], header: Header) -> Result<(), Flaw> {
        self.end_frame(header)?;
        let mut data = Bytes(data);
        self.count(data.u32_big()?)?;
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

    fn count(&mut self, sequence: u32) -> Result<(), Flaw> {
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

    fn end(&mut self, header: Header) -> Result<(), Flaw> {
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

/// Inflates pixels, without keeping them, and compares how many bytes they are.
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

/// Counts the bytes of the pixels, with the byte in front of each row.
fn expected(width: u32, height: u32, header: Header) -> u64 {
    let pass = |width: u32, height: u32| {
        let row = 1 + (u64::from(width) * u64::from(header.bits_per_pixel)).div_ceil(8);
        if width == 0 { 0 } else { row * u64::from(height) }
    };
    if !header.is_interlaced {
        return pass(width, height);
    }
    // Where each pass of Adam7 begins, and its steps.
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
