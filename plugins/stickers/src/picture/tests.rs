#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;
use crate::first::DRAWINGS;
use crate::samples;

const LIMITS: Limits = Limits {
    max_side: 512,
    max_frames: 100,
    max_duration_ms: 10_000,
};

fn inspected(bytes: &[u8]) -> Result<Picture, Flaw> {
    inspect(bytes, LIMITS)
}

fn picture(format: Format, side: u32, frames: u32, duration_ms: u32) -> Result<Picture, Flaw> {
    Ok(Picture {
        format,
        width: side,
        height: side,
        frames,
        duration_ms,
    })
}

fn lottie(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = json!({"v": "5.7.0", "fr": 30, "ip": 0, "op": 60, "w": 512, "h": 512, "assets": [], "layers": [{"ty": 4, "shapes": []}]});
    change(&mut value);
    value.to_string().into_bytes()
}

#[test]
fn valid_pictures_are_accepted() {
    assert_eq!(inspected(&samples::png(64, 64)), picture(Format::Png, 64, 1, 0));
    assert_eq!(inspected(&samples::interlaced_png()), picture(Format::Png, 3, 1, 0));
    assert_eq!(inspected(&samples::apng(3, 3, 40)), picture(Format::Apng, 8, 3, 120));
    assert_eq!(inspected(&samples::webp(500, 500)), picture(Format::Webp, 500, 1, 0));
    let lossy = inspected(&samples::lossy_webp()).unwrap();
    assert_eq!((lossy.width, lossy.height), (16, 12));
    assert_eq!(
        inspected(&samples::animated_webp(4, 50, 0, &[])),
        picture(Format::Webp, 32, 4, 200)
    );
    assert_eq!(inspected(&lottie(|_| {})), picture(Format::Lottie, 512, 60, 2_000));
    // As written by exporters.
    let exported = lottie(|value| {
        value["op"] = json!(60.000_002_443_850_1);
        value["fr"] = json!(29.970_001_220_703_1);
        value["fonts"] = json!({"list": []});
        value["chars"] = json!([]);
    });
    assert_eq!(inspected(&exported), picture(Format::Lottie, 512, 61, 2_003));
}

#[test]
fn the_built_in_pack_passes_the_inspection() {
    for drawing in DRAWINGS {
        let found = inspected(drawing.json.as_bytes()).unwrap();
        assert_eq!(
            (found.width, found.height),
            (crate::first::SIDE, crate::first::SIDE),
            "{}",
            drawing.id
        );
        assert_eq!(found.frames, crate::first::FRAMES);
        assert_eq!(found.duration_ms, crate::first::DURATION_MS);
        assert!(drawing.json.len() < 20_000, "{}", drawing.id);
        for emoji in drawing.emoji {
            assert_eq!(crate::tokens::emoji(emoji).as_deref(), Some(*emoji));
        }
        for word in drawing.keywords {
            assert_eq!(crate::tokens::words(word), [*word]);
        }
    }
}

#[test]
fn each_limit_has_its_flaw() {
    assert_eq!(inspected(&samples::png(513, 4)), Err(Flaw::Dimensions));
    assert_eq!(inspected(&samples::png(0, 4)), Err(Flaw::Dimensions));
    assert_eq!(inspected(&samples::webp(16_384, 1)), Err(Flaw::Dimensions));
    assert_eq!(inspected(&samples::apng(101, 101, 1)), Err(Flaw::TooManyFrames));
    assert_eq!(inspected(&samples::apng(3, 3, 4_000)), Err(Flaw::TooLong));
    assert_eq!(
        inspected(&samples::animated_webp(101, 1, 0, &[])),
        Err(Flaw::TooManyFrames)
    );
    assert_eq!(
        inspected(&samples::animated_webp(100, 16_777_215, 0, &[])),
        Err(Flaw::TooLong)
    );
    assert_eq!(
        inspected(&lottie(|value| value["w"] = json!(4_000))),
        Err(Flaw::Dimensions)
    );
    assert_eq!(
        inspected(&lottie(|value| value["w"] = json!(1e300))),
        Err(Flaw::Dimensions)
    );
    assert_eq!(
        inspected(&lottie(|value| value["op"] = json!(1e300))),
        Err(Flaw::TooManyFrames)
    );
    let slow = lottie(|value| {
        value["op"] = json!(50);
        value["fr"] = json!(1);
    });
    assert_eq!(inspected(&slow), Err(Flaw::TooLong));
}

#[test]
fn damaged_pictures_are_rejected() {
    for bytes in [
        &b""[..],
        b"GIF89a",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xff\xd8\xff\xe0",
    ] {
        assert_eq!(inspected(bytes), Err(Flaw::UnknownFormat));
    }
    // Too few pixels, too many, and a decompression bomb.
    for length in [0, 1, 67, 69, 100_000_000] {
        assert_eq!(
            inspected(&samples::png_with_pixels(4, 4, length)),
            Err(Flaw::Damaged),
            "{length}"
        );
    }
    assert_eq!(inspected(&samples::apng(4, 3, 10)), Err(Flaw::Damaged));
    assert_eq!(inspected(&samples::apng(2, 3, 10)), Err(Flaw::Damaged));
    assert_eq!(inspected(&samples::png_with(b"IHDR", &[0; 13])), Err(Flaw::Damaged));
    assert_eq!(inspected(&samples::png_with(b"QqQq", b"")), Err(Flaw::Damaged));
    assert_eq!(inspected(&samples::png_with(b"eXIf", b"home")), Err(Flaw::Metadata));
    assert_eq!(inspected(&samples::animated_webp(1, 10, 8, &[])), Err(Flaw::Metadata));
    assert_eq!(
        inspected(&samples::animated_webp(1, 10, 0, &[(b"XMP ", b"home")])),
        Err(Flaw::Metadata)
    );
    assert_eq!(inspected(&samples::animated_webp(0, 10, 0, &[])), Err(Flaw::Damaged));
    let behind = [samples::png(4, 4), b"<script>".to_vec()].concat();
    assert_eq!(inspected(&behind), Err(Flaw::Damaged));
    let behind = [samples::webp(4, 4), b"<script>".to_vec()].concat();
    assert_eq!(inspected(&behind), Err(Flaw::Damaged));
}

#[test]
fn an_animation_that_loads_runs_code_or_never_ends_is_rejected() {
    let shape = |shape: Value| lottie(|value| value["layers"][0]["shapes"] = json!([shape]));
    let composition = |id: &str, shows: &[&str]| {
        let layers: Vec<Value> = shows.iter().map(|shown| json!({"ty": 0, "refId": shown})).collect();
        json!({"id": id, "layers": layers})
    };
    let shown = |assets: Vec<Value>| {
        lottie(|value| {
            value["assets"] = json!(assets);
            value["layers"] = json!([{"ty": 0, "refId": "a"}]);
        })
    };
    let bombs: Vec<Value> = (0..10)
        .map(|index| {
            let next = char::from(b'b' + index).to_string();
            composition(&char::from(b'a' + index).to_string(), &[&*next; 10])
        })
        .chain([composition("k", &[])])
        .collect();
    for (name, bytes, flaw) in [
        (
            "an expression",
            shape(json!({"ty": "el", "s": {"a": 0, "k": 1, "x": "while(true);"}})),
            Flaw::Unsafe,
        ),
        (
            "copies",
            shape(json!({"ty": "rp", "c": {"a": 0, "k": 1e9}})),
            Flaw::Unsafe,
        ),
        (
            "moving copies",
            shape(json!({"ty": "rp", "c": {"a": 1, "k": [{"t": 0, "s": [1e9]}]}})),
            Flaw::Unsafe,
        ),
        (
            "a picture",
            shown(vec![json!({"id": "a", "p": "x.png", "u": "https://spy.example/"})]),
            Flaw::Unsafe,
        ),
        (
            "text",
            lottie(|value| value["layers"][0]["ty"] = json!(5)),
            Flaw::Unsafe,
        ),
        (
            "fonts",
            lottie(|value| value["fonts"] = json!({"list": [{"fPath": "https://spy.example/"}]})),
            Flaw::Unsafe,
        ),
        ("itself", shown(vec![composition("a", &["a"])]), Flaw::Unsafe),
        (
            "a circle",
            shown(vec![composition("a", &["b"]), composition("b", &["a"])]),
            Flaw::Unsafe,
        ),
        ("a bomb", shown(bombs), Flaw::Unsafe),
        ("nothing", lottie(|value| value["layers"] = json!([])), Flaw::Damaged),
        ("something absent", shown(Vec::new()), Flaw::Damaged),
        ("no rate", lottie(|value| value["fr"] = json!(0)), Flaw::Damaged),
        ("an odd rate", lottie(|value| value["fr"] = json!(1e9)), Flaw::Damaged),
        ("backwards", lottie(|value| value["op"] = json!(-1)), Flaw::Damaged),
        ("something else", b"{\"text\":\"hello\"}".to_vec(), Flaw::UnknownFormat),
        ("depth", "{\"v\":".repeat(100_000).into_bytes(), Flaw::Damaged),
        (
            "values",
            lottie(|value| value["z"] = json!(vec![0; 100_001])),
            Flaw::Unsafe,
        ),
    ] {
        assert_eq!(inspected(&bytes), Err(flaw), "{name}");
    }
    let twice = shape(json!([{"ty": "rp", "c": {"k": 100}}, {"ty": "rp", "c": {"k": 100}}]));
    assert_eq!(inspected(&twice), Err(Flaw::Unsafe));
    assert!(inspected(&shape(json!({"ty": "rp", "c": {"a": 0, "k": 12}}))).is_ok());
}

#[test]
fn no_damaged_byte_makes_the_inspection_panic() {
    let files = [
        samples::png(5, 3),
        samples::interlaced_png(),
        samples::apng(3, 3, 40),
        samples::webp(5, 3),
        samples::lossy_webp(),
        samples::animated_webp(2, 50, 0, &[]),
        lottie(|_| {}),
    ];
    for file in &files {
        assert!(inspected(file).is_ok());
        for length in 0..file.len() {
            assert!(inspected(&file[..length]).is_err());
        }
        // Each bit flipped, and each byte inverted.
        for at in 0..file.len() {
            for mask in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut changed = file.clone();
                changed[at] ^= mask;
                let _ = inspected(&changed);
            }
        }
    }
}
