//! Fast parsing of the most common shape of JSON: an object whose members are strings without escapes, or objects of
//! such strings.
//!
//! This parser reports no errors. Text of any other shape, valid or not, is left to the full JSON parser.

use memchr::memchr2;

/// A member's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlatValue<'a> {
    /// A string without escapes.
    Text(&'a str),
    /// An object of strings without escapes, as it stands in the text.
    Object(&'a str),
}

/// Parses an object that spans all of `text`, and passes its members to `accept` in order. Returns `None` if the text
/// has another shape, or if `accept` returned `None`.
pub(super) fn read<'a>(text: &'a str, mut accept: impl FnMut(&'a str, FlatValue<'a>) -> Option<()>) -> Option<()> {
    let end = object(text, 0, |key, from| match text.as_bytes().get(from)? {
        b'"' => {
            let end = string(text, from)?;
            accept(key, FlatValue::Text(&text[from + 1..end - 1]))?;
            Some(end)
        }
        b'{' => {
            let end = object(text, from, |_, from| string(text, from))?;
            accept(key, FlatValue::Object(&text[from..end]))?;
            Some(end)
        }
        _ => None,
    })?;
    (end == text.len()).then_some(())
}

/// Parses an object at `from` that has at least one member and no white space. `value` gets each key and the start of its
/// value, and returns the end of the value. Returns the end of the object.
fn object<'a>(text: &'a str, from: usize, mut value: impl FnMut(&'a str, usize) -> Option<usize>) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.get(from) != Some(&b'{') {
        return None;
    }
    let mut at = from + 1;
    loop {
        let end = string(text, at)?;
        if bytes.get(end) != Some(&b':') {
            return None;
        }
        at = value(&text[at + 1..end - 1], end + 1)?;
        match bytes.get(at)? {
            b',' => at += 1,
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Parses a string at `from`. Returns its end, behind the closing quote.
fn string(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.get(from) != Some(&b'"') {
        return None;
    }
    let inside = bytes.get(from + 1..)?;
    let length = memchr2(b'"', b'\\', inside)?;
    let plain = inside[length] == b'"' && !inside[..length].iter().any(|byte| *byte < 0x20);
    plain.then_some(from + length + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Option<Vec<(&str, FlatValue<'_>)>> {
        let mut members = Vec::new();
        read(text, |key, value| {
            members.push((key, value));
            Some(())
        })?;
        Some(members)
    }

    #[test]
    fn strings_and_objects_of_strings_are_read() {
        assert_eq!(
            members(r#"{"a":"x","b":{"c":"","d":"é"},"e":""}"#),
            Some(vec![
                ("a", FlatValue::Text("x")),
                ("b", FlatValue::Object(r#"{"c":"","d":"é"}"#)),
                ("e", FlatValue::Text("")),
            ])
        );
    }

    #[test]
    fn other_shapes_are_left_to_the_parser() {
        for text in [
            "",
            "{",
            "{}",
            "[]",
            r#"{"a"}"#,
            r#"{"a":"x""#,
            r#"{"a":"x",}"#,
            r#"{"a":"x"} "#,
            r#"{"a":"x"}}"#,
            r#"{"a": "x"}"#,
            r#"{"a":1}"#,
            r#"{"a":"\n"}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":{"b":{"c":"x"}}}"#,
            r#"{"a":{"b":1}}"#,
            r#"{a:"x"}"#,
            r#"{"a":"x"#,
        ] {
            assert_eq!(members(text), None, "{text}");
        }
    }

    #[test]
    fn everything_accepted_is_json() {
        for text in [
            r#"{"a":"x","a":"y"}"#,
            r#"{"a":{"b":"c"}}"#,
            "{\"a\":\"\u{7f}\u{2028}\"}",
        ] {
            assert!(members(text).is_some(), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        }
    }
}
