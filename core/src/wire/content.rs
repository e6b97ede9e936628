//! The kinds of content, and the checks of each.

use std::borrow::Cow;

use serde::Deserialize;

use super::flat::{self, FlatValue};

/// Why content doesn't fit its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ContentError(String);

#[derive(Deserialize)]
struct TextContent<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "deserialized to check the types")]
struct BlobContent<'a> {
    #[serde(borrow)]
    blob: Cow<'a, str>,
    name: Option<String>,
    media_type: Option<String>,
    size: Option<u64>,
    width: Option<u64>,
    height: Option<u64>,
    duration_ms: Option<u64>,
}

#[derive(Deserialize)]
struct LocationContent {
    latitude: f64,
    longitude: f64,
    #[allow(dead_code, reason = "deserialized to check the type")]
    name: Option<String>,
}

#[derive(Deserialize)]
struct StickerContent<'a> {
    #[serde(borrow)]
    pack: Cow<'a, str>,
    #[serde(borrow)]
    sticker: Cow<'a, str>,
}

/// Checks that `content` is a JSON object that fits `kind`.
///
/// # Errors
/// A [`ContentError`] that names the wrong member.
pub fn check(kind: &str, content: &str) -> Result<(), ContentError> {
    if !content.starts_with('{') {
        return Err(ContentError("The content must be a JSON object.".to_owned()));
    }
    match kind {
        "text" if is_plain_text(content) => Ok(()),
        "text" => not_empty("text", &parse::<TextContent<'_>>(kind, content)?.text),
        "image" | "file" | "voice" | "video" => not_empty("blob", &parse::<BlobContent<'_>>(kind, content)?.blob),
        "location" => {
            let location: LocationContent = parse(kind, content)?;
            in_range("latitude", location.latitude, 90.0)?;
            in_range("longitude", location.longitude, 180.0)
        }
        "sticker" => {
            let content: StickerContent<'_> = parse(kind, content)?;
            not_empty("pack", &content.pack)?;
            not_empty("sticker", &content.sticker)
        }
        _ => match kind.strip_prefix("custom:") {
            Some(name) if is_custom_name(name) => Ok(()),
            Some(_) => Err(ContentError(
                "The name of a custom kind must be 1 to 32 of a-z 0-9 _ . -".to_owned(),
            )),
            None => {
                let shown: String = kind.chars().take(40).collect();
                Err(ContentError(format!(
                    "Unknown content kind: {shown:?}. Kinds of your own are named `custom:NAME`."
                )))
            }
        },
    }
}

/// Whether content is an object with a `text` and nothing but strings without escapes, as most messages are.
fn is_plain_text(content: &str) -> bool {
    let mut found = false;
    let read = flat::read(content, |key, value| match (key, value) {
        // The full parser reports repeated members.
        ("text", FlatValue::Text(text)) if !text.is_empty() && !found => {
            found = true;
            Some(())
        }
        ("text", _) => None,
        _ => Some(()),
    });
    read.is_some() && found
}

fn parse<'a, T: Deserialize<'a>>(kind: &str, content: &'a str) -> Result<T, ContentError> {
    serde_json::from_str(content).map_err(|error| ContentError(format!("The content does not fit `{kind}`: {error}.")))
}

fn not_empty(member: &str, text: &str) -> Result<(), ContentError> {
    if text.is_empty() {
        Err(ContentError(format!("`{member}` must not be empty.")))
    } else {
        Ok(())
    }
}

fn in_range(member: &str, value: f64, limit: f64) -> Result<(), ContentError> {
    if (-limit..=limit).contains(&value) {
        Ok(())
    } else {
        Err(ContentError(format!("`{member}` must be from -{limit} to {limit}.")))
    }
}

fn is_custom_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn content_that_fits_its_kind_passes() {
        for (kind, content) in [
            ("text", r#"{"text":"hi","more":[1]}"#),
            ("image", r#"{"blob":"b1","width":3}"#),
            ("location", r#"{"latitude":-90,"longitude":180.0}"#),
            ("sticker", r#"{"pack":"p","sticker":"s"}"#),
            ("custom:poll.v1", "{}"),
        ] {
            assert_eq!(check(kind, content), Ok(()), "{kind}");
        }
    }

    #[test]
    fn content_that_does_not_fit_is_rejected() {
        for (kind, content) in [
            ("text", "{}"),
            ("text", r#"{"text":""}"#),
            ("text", r#"{"text":5}"#),
            ("text", "[]"),
            ("image", r#"{"blob":"b","size":-1}"#),
            ("location", r#"{"latitude":91,"longitude":0}"#),
            ("sticker", r#"{"pack":"p"}"#),
            ("poll", "{}"),
            ("custom:", "{}"),
            ("custom:Über", "{}"),
        ] {
            assert!(check(kind, content).is_err(), "{kind} {content}");
        }
    }
}
