//! Lottie: vector animations in JSON. Documents that load resources, run code, or make players draw without end are rejected.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Flaw, Format, Limits, Picture};

/// Most layers; those of a composition count once for each layer that shows it.
const MAX_LAYERS: u64 = 1_000;
/// Largest product of the copies of all repeaters.
const MAX_COPIES: f64 = 200.0;
/// Most JSON values.
const MAX_VALUES: usize = 100_000;
/// Highest frame rate; frames per second.
const MAX_RATE: f64 = 60.0;

pub(super) fn read(bytes: &[u8], limits: Limits) -> Result<Picture, Flaw> {
    // serde_json rejects documents of more than 128 levels.
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
        reason = "checked to be whole and in range"
    )]
    fits.then_some(number as u32)
}

/// Checks every object of the document.
fn check_values(document: &Map<String, Value>) -> Result<(), Flaw> {
    let mut copies = 1.0;
    let mut pending: Vec<&Value> = document.values().collect();
    let mut seen = 0;
    while let Some(value) = pending.pop() {
        seen += 1;
        if seen > MAX_VALUES {
            return Err(Flaw::Unsafe);
        }
        match value {
            Value::Array(values) => pending.extend(values),
            Value::Object(members) => {
                // An expression is code that players run.
                if members.get("x").is_some_and(Value::is_string) {
                    return Err(Flaw::Unsafe);
                }
                if members.get("ty").and_then(Value::as_str) == Some("rp") {
                    copies *= repeats(members).ok_or(Flaw::Unsafe)?;
                }
                pending.extend(members.values());
            }
            _ => {}
        }
    }
    if copies > MAX_COPIES || ["fonts", "chars", "slots"].iter().any(|name| has(document, name)) {
        return Err(Flaw::Unsafe);
    }
    Ok(())
}

/// Returns true if a non-empty member of this name exists. Exporters write empty lists, also one level below.
fn has(document: &Map<String, Value>, name: &str) -> bool {
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    document.get(name).is_some_and(|value| match value {
        Value::Object(members) => !members.values().all(is_empty),
        value => !is_empty(value),
    })
}

/// Returns the copies of a repeater; none if their number is animated or invalid.
fn repeats(repeater: &Map<String, Value>) -> Option<f64> {
    let count = repeater.get("c")?.get("k")?.as_f64()?;
    (0.0..=MAX_COPIES).contains(&count).then_some(count.max(1.0))
}

/// Counts layers, following the compositions that they show.
fn check_layers(document: &Map<String, Value>) -> Result<(), Flaw> {
    let mut compositions = BTreeMap::new();
    for asset in document.get("assets").and_then(Value::as_array).into_iter().flatten() {
        // Any other asset is an external picture or sound.
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
    // Compositions of this depth show themselves.
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
            // Solid, null and shape layers.
            1 | 3 | 4 => 0,
            // Image, text, audio, video, camera and data layers.
            _ => return Err(Flaw::Unsafe),
        };
        sum = sum.saturating_add(1).saturating_add(inside);
    }
    Ok(sum)
}
