//! WebP: the container, and the headers of its frames.

use super::bytes::Bytes;
use super::{Flaw, Format, Limits, Picture};

/// Flags of `VP8X`.
const ANIMATION: u8 = 0x02;
const XMP: u8 = 0x04;
const EXIF: u8 = 0x08;

pub(super) fn read(bytes: &[u8], limits: Limits) -> Result<Picture, Flaw> {
    let mut bytes = Bytes(bytes);
    bytes.read(4)?;
    let length = usize::try_from(bytes.u32_little()?).map_err(|_| Flaw::Damaged)?;
    if length != bytes.0.len() || bytes.array()? != *b"WEBP" {
        return Err(Flaw::Damaged);
    }
    let (kind, data) = chunk(&mut bytes)?;
    let (width, height) = match &kind {
        b"VP8X" => return extended(data, bytes, limits),
        b"VP8 " | b"VP8L" => still(kind, data)?,
        _ => return Err(Flaw::Damaged),
    };
    if !bytes.is_empty() {
        return Err(Flaw::Damaged);
    }
    Ok(Picture {
        format: Format::Webp,
        width: limits.check_side(width)?,
        height: limits.check_side(height)?,
        frames: 1,
        duration_ms: 0,
    })
}

/// Reads one chunk; one of odd length is followed by a padding byte.
fn chunk<'a>(bytes: &mut Bytes<'a>) -> Result<([u8; 4], &'a [u8]), Flaw> {
    let kind = bytes.array()?;
    let length = usize::try_from(bytes.u32_little()?).map_err(|_| Flaw::Damaged)?;
    let data = bytes.read(length)?;
    if length % 2 == 1 && !bytes.is_empty() {
        bytes.read(1)?;
    }
    Ok((kind, data))
}

/// Returns the dimensions in the header of a VP8 key frame, or of VP8L.
fn still(kind: [u8; 4], data: &[u8]) -> Result<(u32, u32), Flaw> {
    let mut data = Bytes(data);
    if kind == *b"VP8L" {
        if data.u8()? != 0x2f {
            return Err(Flaw::Damaged);
        }
        let bits = data.u32_little()?;
        if bits >> 29 != 0 || data.is_empty() {
            return Err(Flaw::Damaged);
        }
        return Ok(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1));
    }
    let tag = data.u24_little()?;
    let (is_inter, first_part) = (tag & 1 == 1, (tag >> 5) as usize);
    if is_inter || data.array()? != [0x9d, 0x01, 0x2a] {
        return Err(Flaw::Damaged);
    }
    let size = (
        u32::from(data.u16_little()? & 0x3fff),
        u32::from(data.u16_little()? & 0x3fff),
    );
    if first_part == 0 || first_part >= data.0.len() {
        return Err(Flaw::Damaged);
    }
    Ok(size)
}

fn extended(data: &[u8], mut bytes: Bytes<'_>, limits: Limits) -> Result<Picture, Flaw> {
    let mut data = Bytes(data);
    let flags = data.u8()?;
    data.read(3)?;
    let width = limits.check_side(data.u24_little()? + 1)?;
    let height = limits.check_side(data.u24_little()? + 1)?;
    if flags & (EXIF | XMP) != 0 {
        return Err(Flaw::Metadata);
    }
    let is_animated = flags & ANIMATION != 0;
    let (mut frames, mut duration_ms, mut has_loop, mut has_alpha) = (0_u32, 0_u32, false, false);
    while !bytes.is_empty() {
        let (kind, data) = chunk(&mut bytes)?;
        match &kind {
            b"ANIM" if is_animated && !has_loop && frames == 0 && data.len() == 6 => has_loop = true,
            b"ANMF" if has_loop => {
                frames += 1;
                limits.check_frames(frames)?;
                duration_ms = duration_ms.saturating_add(frame(data, (width, height))?);
            }
            b"VP8 " | b"VP8L" if !is_animated && frames == 0 && still(kind, data)? == (width, height) => frames = 1,
            b"ALPH" if !is_animated && !has_alpha && frames == 0 && !data.is_empty() => has_alpha = true,
            b"ICCP" if frames == 0 && !has_loop => {}
            b"EXIF" | b"XMP " => return Err(Flaw::Metadata),
            _ => return Err(Flaw::Damaged),
        }
    }
    Ok(Picture {
        format: Format::Webp,
        width,
        height,
        frames: limits.check_frames(frames)?,
        duration_ms,
    })
}

/// Checks a frame of an animation. Returns its duration in milliseconds.
fn frame(data: &[u8], canvas: (u32, u32)) -> Result<u32, Flaw> {
    let mut data = Bytes(data);
    let (left, top) = (data.u24_little()? * 2, data.u24_little()? * 2);
    let size = (data.u24_little()? + 1, data.u24_little()? + 1);
    let duration_ms = data.u24_little()?;
    data.u8()?;
    if left + size.0 > canvas.0 || top + size.1 > canvas.1 {
        return Err(Flaw::Damaged);
    }
    let (mut kind, mut part) = chunk(&mut data)?;
    if kind == *b"ALPH" && !part.is_empty() {
        (kind, part) = chunk(&mut data)?;
        if kind != *b"VP8 " {
            return Err(Flaw::Damaged);
        }
    }
    let is_picture = matches!(&kind, b"VP8 " | b"VP8L");
    if !is_picture || still(kind, part)? != size || !data.is_empty() {
        return Err(Flaw::Damaged);
    }
    Ok(duration_ms)
}
