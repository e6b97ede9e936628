//! Lottie: JSON that players draw. What would load, run code, or make players draw without end is refused.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Flaw, Format, Limits, Picture};

/// Layers, with those of compositions as often as they are shown.
const MAX_LAYERS: u64 = 1_000;
/// Copies that all repeaters make, multiplied.
const MAX_COPIES: f64 = 200.0;
/// Values in all.
const MAX_VALUES: usize = 100_000;
/// Pictures of a second.
const MAX_RATE: f64 = 60.0;

pub(super) fn read(bytes: &[u8], limits: Limits) -> Result<Picture, Flaw> {
    // serde_json goes 128 levels deep and no deeper.
    let document: Value = serde_json::from_slice(bytes).map_err(|_| Flaw::Damaged)?;
    let document = document.as_object().ok_or(Flaw::Damaged)?;
    if !document.get("v").is_some_and(Value::is_string) {
        return Err(Flaw::UnknownFormat);
    }
    let number = |name: &str| document.get(name).and_then(Value::as_f64).ok_or(Flaw::Damaged);
    let side = |name: &str| limits.check_side(whole(number(name)?).ok_or(Flaw::Dimensions)?);
    let (width, height) = (side("w")?, side("h")?);
    let (rate, first, end) = (number("fr")?, number("ip")?, number("op")?);
    if !(1.0..=MAX_RATE).contains(&rate) || end <= first {
        return Err(Flaw::Damaged);
    }
    let frames = limits.check_frames(whole((end - first).ceil()).ok_or(Flaw::TooManyFrames)?)?;
    let duration_ms = whole(((end - first) / rate * 1_000.0).ceil()).ok_or(Flaw::TooLong)?;
    check_values(document)?;
    check_layers(document)?;
    Ok(Picture {
        format: Format::Lottie,
        width,
        height,
        frames,
        duration_ms,
    })
}

fn whole(number: f64) -> Option<u32> {
    let fits = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole, and within the range"
    )]
    fits.then_some(number as u32)
}

/// Looks at every object, whatever it is a part of.
fn check_values(document: &Map<String, Value>) -> Result<(), Flaw> {
    let mut copies = 1.0;
    let mut left: Vec<&Value> = document.values().collect();
    let mut seen = 0;
    while let Some(value) = left.pop() {
        seen += 1;
        if seen > MAX_VALUES {
            return Err(Flaw::Unsafe);
        }
        match value {
            Value::Array(values) => left.extend(values),
            Value::Object(members) => {
                // An expression is code that players run.
                if members.get("x").is_some_and(Value::is_string) {
                    return Err(Flaw::Unsafe);
                }
                if members.get("ty").and_then(Value::as_str) == Some("rp") {
                    copies *= repeats(members).ok_or(Flaw::Unsafe)?;
                }
                left.extend(members.values());
            }
            _ => {}
        }
    }
    if copies > MAX_COPIES || ["fonts", "chars", "slots"].iter().any(|name| has(document, name)) {
        return Err(Flaw::Unsafe);
    }
    Ok(())
}

/// Tells whether there is anything of this name. Exporters write empty lists, also one level below.
fn has(document: &Map<String, Value>, name: &str) -> bool {
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    document.get(name).is_some_and(|value| match value {
        Value::Object(members) => !members.values().all(is_empty),
        value => !is_empty(value),
    })
}

/// Reads how often a repeater repeats; none if that moves, or is no number.
fn repeats(repeater: &Map<String, Value>) -> Option<f64> {
    let count = repeater.get("c")?.get("k")?.as_f64()?;
    (0.0..=MAX_COPIES).contains(&count).then_some(count.max(1.0))
}

/// Counts layers through the compositions that they show.
fn check_layers(document: &Map<String, Value>) -> Result<(), Flaw> {
    let mut compositions = BTreeMap::new();
    for asset in document.get("assets").and_then(Value::as_array).into_iter().flatten() {
        // What is no composition is a picture or a sound of somewhere else.
        let id = asset.get("id").and_then(Value::as_str).ok_or(Flaw::Damaged)?;
        let layers = asset.get("layers").and_then(Value::as_array).ok_or(Flaw::Unsafe)?;
        if compositions.insert(id, layers).is_some() {
            return Err(Flaw::Damaged);
        }
    }
    let layers = document.get("layers").and_then(Value::as_array).ok_or(Flaw::Damaged)?;
    let mut counted = BTreeMap::new();
    match count(layers, &compositions, &mut counted, 0)? {
        0 => Err(Flaw::Damaged),
        1..=MAX_LAYERS => Ok(()),
        _ => Err(Flaw::Unsafe),
    }
}

fn count<'a>(
    layers: &'a [Value],
    compositions: &BTreeMap<&'a str, &'a Vec<Value>>,
    counted: &mut BTreeMap<&'a str, u64>,
    depth: u32,
) -> Result<u64, Flaw> {
    // Whatever is as deep shows itself.
    if depth > 16 {
        return Err(Flaw::Unsafe);
    }
    let mut sum = 0_u64;
    for layer in layers {
        let kind = layer.get("ty").and_then(Value::as_u64).ok_or(Flaw::Damaged)?;
        let inside = match kind {
            0 => {
                let id = layer.get("refId").and_then(Value::as_str).ok_or(Flaw::Damaged)?;
                match counted.get(id) {
                    Some(known) => *known,
                    None => {
                        let layers = compositions.get(id).ok_or(Flaw::Damaged)?;
                        let inside = count(layers, compositions, counted, depth + 1)?;
                        counted.insert(id, inside);
                        inside
                    }
                }
            }
            // A solid, nothing, and shapes.
            1 | 3 | 4 => 0,
            // Pictures, text, sound, film, cameras and data.
            _ => return Err(Flaw::Unsafe),
        };
        sum = sum.saturating_add(1).saturating_add(inside);
    }
    Ok(sum)
}
