//! The common shape of JSON, read fast: an object whose members are strings without escapes, or such objects again.
//!
//! Nothing is refused here. Whatever has another shape, right or wrong, is left to the parser that knows all of JSON.

use memchr::memchr2;

/// A member's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A string without escapes.
    Text(&'a str),
    /// An object of strings without escapes, as it stands in the text.
    Object(&'a str),
}

/// Reads an object that is all of `text`, and hands out its members in order until `take` refuses one. Returns none if
/// the text has another shape or a member was refused.
pub(super) fn read<'a>(text: &'a str, mut take: impl FnMut(&'a str, Value<'a>) -> Option<()>) -> Option<()> {
    let end = object(text, 0, |key, from| match text.as_bytes().get(from)? {
        b'"' => {
            let end = string(text, from)?;
            take(key, Value::Text(&text[from + 1..end - 1]))?;
            Some(end)
        }
        b'{' => {
            let end = object(text, from, |_, from| string(text, from))?;
            take(key, Value::Object(&text[from..end]))?;
            Some(end)
        }
        _ => None,
    })?;
    (end == text.len()).then_some(())
}

/// Reads an object at `from`, with at least one member and no white space. `value` gets each key and where its value
/// begins, and returns where that ends. Returns where the object ends.
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

/// Reads a string at `from`; returns where it ends, behind the quote.
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

    fn members(text: &str) -> Option<Vec<(&str, Value<'_>)>> {
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
                ("a", Value::Text("x")),
                ("b", Value::Object(r#"{"c":"","d":"é"}"#)),
                ("e", Value::Text("")),
            ])
        );
    }

    #[test]
    fn every_other_shape_is_left_to_the_parser() {
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
    fn what_is_read_is_json() {
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
