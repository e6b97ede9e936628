//! Test pictures: red, green, blue and white, one in each quarter.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

pub(crate) const INTERLACED_PNG: &[u8] = include_bytes!("samples/interlaced.png");
pub(crate) const PROGRESSIVE_JPEG: &[u8] = include_bytes!("samples/progressive.jpg");
pub(crate) const LOSSY_WEBP: &[u8] = include_bytes!("samples/lossy.webp");

const COLOURS: [[u8; 3]; 4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]];

fn quarter(x: u32, y: u32, width: u32, height: u32) -> usize {
    usize::from(x >= width / 2) + 2 * usize::from(y >= height / 2)
}

fn quarters(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb(COLOURS[quarter(x, y, width, height)]))
}

/// Quarters whose white is transparent.
fn clear(width: u32, height: u32) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| match COLOURS[quarter(x, y, width, height)] {
        [255, 255, 255] => Rgba([0; 4]),
        [red, green, blue] => Rgba([red, green, blue, 255]),
    })
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    encoded(quarters(width, height), ImageFormat::Png)
}

pub(crate) fn clear_png(width: u32, height: u32) -> Vec<u8> {
    encoded(clear(width, height), ImageFormat::Png)
}

pub(crate) fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, 90);
    quarters(width, height).write_with_encoder(encoder).unwrap();
    bytes
}

/// A JPEG whose EXIF data rotates it.
pub(crate) fn rotated_jpeg(width: u32, height: u32, orientation: u8) -> Vec<u8> {
    let mut bytes = jpeg(width, height);
    let mut exif = b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
    bytes.splice(2..2, exif);
    bytes
}

pub(crate) fn gif(width: u16, height: u16, interlaced: bool) -> Vec<u8> {
    let palette: Vec<u8> = COLOURS.concat();
    let mut bytes = Vec::new();
    let mut encoder = gif::Encoder::new(&mut bytes, width, height, &palette).unwrap();
    let pixel = |x: u16, y: u16| quarter(x.into(), y.into(), width.into(), height.into()) as u8;
    let lines: Vec<u16> = if interlaced {
        let passes = [(0, 8), (4, 8), (2, 4), (1, 2)];
        let pass = |(first, step): (u16, usize)| (first..height).step_by(step);
        passes.into_iter().flat_map(pass).collect()
    } else {
        (0..height).collect()
    };
    let pixels: Vec<u8> = lines
        .into_iter()
        .flat_map(|y| (0..width).map(move |x| pixel(x, y)))
        .collect();
    let frame = gif::Frame {
        width,
        height,
        interlaced,
        buffer: pixels.into(),
        ..gif::Frame::default()
    };
    encoder.write_frame(&frame).unwrap();
    drop(encoder);
    bytes
}

pub(crate) fn webp(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image_webp::WebPEncoder::new(&mut bytes);
    let pixels = quarters(width, height);
    encoder
        .encode(&pixels, width, height, image_webp::ColorType::Rgb8)
        .unwrap();
    bytes
}

fn riff(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    body.extend(chunks.iter().flat_map(|(name, data)| riff_chunk(name, data)));
    riff_chunk(b"RIFF", &body)
}

fn riff_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = name.to_vec();
    chunk.extend_from_slice(&(data.len() as u32).to_le_bytes());
    chunk.extend_from_slice(data);
    chunk.resize(chunk.len().next_multiple_of(2), 0);
    chunk
}

fn u24(value: u32) -> [u8; 3] {
    let [low, middle, high, _] = value.to_le_bytes();
    [low, middle, high]
}

fn canvas(flags: u8, width: u32, height: u32) -> Vec<u8> {
    [&[flags, 0, 0, 0], &u24(width - 1)[..], &u24(height - 1)].concat()
}

/// An animated WebP of one frame, transparent where the others are white.
pub(crate) fn animated_webp(width: u32, height: u32) -> Vec<u8> {
    let mut still = Vec::new();
    let encoder = image_webp::WebPEncoder::new(&mut still);
    let pixels = clear(width, height);
    encoder
        .encode(&pixels, width, height, image_webp::ColorType::Rgba8)
        .unwrap();
    let mut frame = [&[0; 6], &u24(width - 1)[..], &u24(height - 1), &[100, 0, 0, 0b10]].concat();
    // One chunk follows the header of the file.
    frame.extend_from_slice(&still[12..]);
    riff(&[
        (b"VP8X", canvas(0b1_0010, width, height)),
        (b"ANIM", vec![0; 6]),
        (b"ANMF", frame),
    ])
}

/// A WebP of 10 by 10 pixels whose frame claims 16,383 by 16,383.
pub(crate) fn webp_with_a_larger_frame() -> Vec<u8> {
    let mut frame = vec![0x10, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f];
    frame.resize(200, 0);
    riff(&[(b"VP8X", canvas(0, 10, 10)), (b"VP8 ", frame)])
}

pub(crate) fn png_that_says(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgba);
    drop(encoder.write_header().unwrap());
    bytes
}

pub(crate) fn jpeg_that_says(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = jpeg(16, 16);
    let frame = bytes.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

pub(crate) fn gif_that_says(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = gif(16, 16, false);
    bytes[6..8].copy_from_slice(&width.to_le_bytes());
    bytes[8..10].copy_from_slice(&height.to_le_bytes());
    bytes
}

pub(crate) fn webp_that_says(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = webp(16, 16);
    let sides = (width - 1) | (height - 1) << 14;
    bytes[21..25].copy_from_slice(&sides.to_le_bytes());
    bytes
}
