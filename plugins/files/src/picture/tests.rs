//! Pictures of each format, and bytes that only look like one.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;

use super::*;
use crate::picture::samples;

const LIMITS: Limits = Limits {
    pixels: 50_000_000,
    bytes: 40 << 20,
    side: 64,
};

fn read_with(bytes: &[u8], limits: Limits) -> Result<Picture, Flaw> {
    read(Cursor::new(bytes), limits)
}

/// Reads a picture, and the pixels of its thumbnail.
fn with_thumbnail(bytes: &[u8]) -> (Picture, RgbaImage) {
    let picture = read_with(bytes, LIMITS).unwrap();
    let thumbnail = picture.thumbnail.as_ref().unwrap();
    let pixels = image::load_from_memory(&thumbnail.bytes).unwrap().into_rgba8();
    assert_eq!(pixels.dimensions(), (thumbnail.width, thumbnail.height));
    (picture, pixels)
}

/// Returns the colour in the middle of each quarter: `r`, `g`, `b`, `w`, or `.` for transparent.
fn quarters(pixels: &RgbaImage) -> String {
    let (width, height) = pixels.dimensions();
    let place = |x: u32, y: u32| {
        let pixel = pixels.get_pixel(width * x / 4, height * y / 4).0;
        match pixel.map(|value| value >= 128) {
            [.., false] => '.',
            [true, false, false, _] => 'r',
            [false, true, false, _] => 'g',
            [false, false, true, _] => 'b',
            [true, true, true, _] => 'w',
            _ => '?',
        }
    };
    [(1, 1), (3, 1), (1, 3), (3, 3)]
        .map(|(x, y)| place(x, y))
        .iter()
        .collect()
}

#[test]
fn every_format_has_a_thumbnail() {
    for (name, bytes) in [
        ("png", samples::png(200, 100)),
        ("interlaced png", samples::INTERLACED_PNG.to_vec()),
        ("jpeg", samples::jpeg(200, 100)),
        ("progressive jpeg", samples::PROGRESSIVE_JPEG.to_vec()),
        ("gif", samples::gif(200, 100, false)),
        ("interlaced gif", samples::gif(200, 100, true)),
        ("webp", samples::webp(200, 100)),
        ("lossy webp", samples::LOSSY_WEBP.to_vec()),
    ] {
        let (picture, pixels) = with_thumbnail(&bytes);
        assert_eq!((picture.width, picture.height), (200, 100), "{name}");
        assert_eq!(pixels.dimensions(), (64, 32), "{name}");
        assert_eq!(quarters(&pixels), "rgbw", "{name}");
        assert_eq!(picture.thumbnail.unwrap().media_type, "image/jpeg", "{name}");
    }
}

#[test]
fn transparency_is_preserved() {
    for bytes in [samples::clear_png(200, 100), samples::animated_webp(200, 100)] {
        let (picture, pixels) = with_thumbnail(&bytes);
        assert_eq!(quarters(&pixels), "rgb.");
        assert_eq!(picture.thumbnail.unwrap().media_type, "image/png");
    }
}

#[test]
fn exif_orientation_is_applied() {
    for (orientation, size, shown) in [
        (1, (200, 100), "rgbw"),
        (2, (200, 100), "grwb"),
        (3, (200, 100), "wbgr"),
        (6, (100, 200), "brwg"),
        (8, (100, 200), "gwrb"),
        (99, (200, 100), "rgbw"),
    ] {
        let (picture, pixels) = with_thumbnail(&samples::rotated_jpeg(200, 100, orientation));
        assert_eq!((picture.width, picture.height), size, "{orientation}");
        assert_eq!(quarters(&pixels), shown, "{orientation}");
    }
}

#[test]
fn a_small_picture_has_no_thumbnail() {
    let picture = read_with(&samples::png(64, 20), LIMITS).unwrap();
    assert_eq!((picture.width, picture.height, picture.thumbnail), (64, 20, None));
}

#[test]
fn a_very_long_picture_has_a_thumbnail() {
    let (_, pixels) = with_thumbnail(&samples::png(4_000, 1));
    assert_eq!(pixels.dimensions(), (64, 1));
}

#[test]
fn a_header_over_the_pixel_limit_is_rejected_before_decoding() {
    let refused = |bytes: &[u8]| assert_eq!(read_with(bytes, LIMITS).unwrap_err(), Flaw::Dimensions);
    refused(&samples::png_that_says(60_000, 60_000));
    refused(&samples::jpeg_that_says(60_000, 60_000));
    refused(&samples::gif_that_says(60_000, 60_000));
    refused(&samples::webp_that_says(16_383, 16_383));
    assert!(read_with(&samples::jpeg_that_says(0, 0), LIMITS).is_err());
}

#[test]
fn a_picture_over_the_memory_limit_has_dimensions_and_no_thumbnail() {
    let limits = Limits {
        bytes: 1 << 20,
        ..LIMITS
    };
    for bytes in [samples::webp(1_000, 500), samples::png_that_says(40_000_000, 1)] {
        let picture = read_with(&bytes, limits).unwrap();
        assert!(picture.width >= 1_000 && picture.thumbnail.is_none());
    }
    // The frame claims to be larger than the canvas.
    let picture = read_with(&samples::webp_with_a_larger_frame(), limits).unwrap();
    assert_eq!((picture.width, picture.height, picture.thumbnail), (10, 10, None));
}

#[test]
fn truncated_and_foreign_bytes_are_rejected() {
    for bytes in [
        samples::png(200, 100),
        samples::jpeg(200, 100),
        samples::gif(200, 100, false),
        samples::webp(200, 100),
    ] {
        for end in [0, 3, 12, bytes.len() / 3] {
            assert!(read_with(&bytes[..end], LIMITS).is_err(), "{end}");
        }
    }
    for bytes in [&b"<svg/>"[..], b"", b"RIFF\0\0\0\0WAVE"] {
        assert_eq!(read_with(bytes, LIMITS).unwrap_err(), Flaw::UnknownFormat);
    }
}

#[test]
fn no_damaged_byte_makes_the_decoder_panic() {
    for bytes in [
        samples::png(60, 40),
        samples::INTERLACED_PNG.to_vec(),
        samples::jpeg(60, 40),
        samples::PROGRESSIVE_JPEG.to_vec(),
        samples::gif(60, 40, true),
        samples::webp(60, 40),
        samples::LOSSY_WEBP.to_vec(),
        samples::animated_webp(60, 40),
    ] {
        let step = (bytes.len() / 100).max(1);
        for at in (0..bytes.len()).step_by(step) {
            for bit in [0x01, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= bit;
                let _ = read_with(&damaged, LIMITS);
            }
        }
    }
}
