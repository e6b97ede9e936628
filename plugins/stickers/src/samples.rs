//! Test pictures, built chunk by chunk.

#![allow(clippy::unwrap_used, reason = "tests")]

use miniz_oxide::deflate::compress_to_vec_zlib;

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut sum = crc32fast::Hasher::new();
    sum.update(kind);
    sum.update(data);
    let length = u32::try_from(data.len()).unwrap();
    [&length.to_be_bytes(), &kind[..], data, &sum.finalize().to_be_bytes()].concat()
}

fn header(width: u32, height: u32, interlace: u8) -> Vec<u8> {
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&sides[..], &[8, 6, 0, 0, interlace]].concat())
}

fn pixels(length: usize) -> Vec<u8> {
    compress_to_vec_zlib(&vec![0; length], 6)
}

fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n", &chunks.concat()[..], &chunk(b"IEND", b"")].concat()
}

fn rows(width: u32, height: u32) -> usize {
    (1 + 4 * width as usize) * height as usize
}

/// A transparent PNG.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    file(&[header(width, height, 0), chunk(b"IDAT", &pixels(rows(width, height)))])
}

/// An interlaced PNG of 3 by 3 pixels.
pub(crate) fn interlaced_png() -> Vec<u8> {
    // Width and height of the seven passes of 3 by 3 pixels.
    let passes = [(1, 1), (0, 1), (1, 0), (1, 1), (2, 1), (1, 2), (3, 1)];
    let bytes = |(width, height): (u32, u32)| if width == 0 { 0 } else { rows(width, height) };
    file(&[
        header(3, 3, 1),
        chunk(b"IDAT", &pixels(passes.into_iter().map(bytes).sum())),
    ])
}

/// A PNG whose pixel data has this length.
pub(crate) fn png_with_pixels(width: u32, height: u32, length: usize) -> Vec<u8> {
    file(&[header(width, height, 0), chunk(b"IDAT", &pixels(length))])
}

/// A PNG with an additional chunk.
pub(crate) fn png_with(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    file(&[header(4, 4, 0), chunk(kind, data), chunk(b"IDAT", &pixels(rows(4, 4)))])
}

/// An APNG of 8 by 8 pixels that declares `declared` frames and has `frames`.
pub(crate) fn apng(declared: u32, frames: u32, delay_ms: u16) -> Vec<u8> {
    let mut chunks = vec![
        header(8, 8, 0),
        chunk(b"acTL", &[declared.to_be_bytes(), [0; 4]].concat()),
    ];
    let mut sequence = 0_u32;
    for frame in 0..frames {
        let numbers = [sequence, 8, 8, 0, 0].map(u32::to_be_bytes).concat();
        let delay = [delay_ms.to_be_bytes(), 1_000_u16.to_be_bytes()].concat();
        chunks.push(chunk(b"fcTL", &[&numbers[..], &delay, &[0, 0]].concat()));
        sequence += 1;
        let data = pixels(rows(8, 8));
        if frame == 0 {
            chunks.push(chunk(b"IDAT", &data));
        } else {
            chunks.push(chunk(b"fdAT", &[&sequence.to_be_bytes()[..], &data].concat()));
            sequence += 1;
        }
    }
    file(&chunks)
}

fn riff(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = [&kind[..], &u32::try_from(data.len()).unwrap().to_le_bytes(), data].concat();
    if data.len() % 2 == 1 {
        chunk.push(0);
    }
    chunk
}

fn container(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = [b"WEBP", &chunks.concat()[..]].concat();
    [b"RIFF", &u32::try_from(body.len()).unwrap().to_le_bytes(), &body[..]].concat()
}

fn lossless(width: u32, height: u32) -> Vec<u8> {
    let bits = (width - 1) | (height - 1) << 14;
    riff(b"VP8L", &[&[0x2f][..], &bits.to_le_bytes(), &[1, 2, 3]].concat())
}

/// A lossless WebP.
pub(crate) fn webp(width: u32, height: u32) -> Vec<u8> {
    container(&[lossless(width, height)])
}

/// A lossy WebP of 16 by 12 pixels.
pub(crate) fn lossy_webp() -> Vec<u8> {
    let tag = (4_u32 << 5 | 1 << 4).to_le_bytes();
    container(&[riff(
        b"VP8 ",
        &[&tag[..3], &[0x9d, 0x01, 0x2a, 16, 0, 12, 0], &[0; 9]].concat(),
    )])
}

/// A WebP of 32 by 32 pixels with frames of 8 by 8, and with additional flags and chunks.
pub(crate) fn animated_webp(frames: u32, delay_ms: u32, flags: u8, more: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let three = |number: u32| number.to_le_bytes()[..3].to_vec();
    let canvas = [vec![flags | 2, 0, 0, 0], three(31), three(31)].concat();
    let mut chunks = vec![riff(b"VP8X", &canvas), riff(b"ANIM", &[0; 6])];
    for _ in 0..frames {
        let place = [
            three(4),
            three(4),
            three(7),
            three(7),
            three(delay_ms),
            vec![0],
            lossless(8, 8),
        ]
        .concat();
        chunks.push(riff(b"ANMF", &place));
    }
    chunks.extend(more.iter().map(|(kind, data)| riff(kind, data)));
    container(&chunks)
}
