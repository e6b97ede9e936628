//! Checks of texts that other people read.

use courtyard_plugin_sdk::prelude::*;

use crate::error;

/// True for characters that break lines or turn the direction of the surrounding text.
fn is_disruptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// Returns a line of 1 to `most` visible characters, trimmed.
pub(crate) fn line(text: &str, most: u32, code: &str) -> Result<String, Error> {
    let text = text.trim();
    let fits = !text.is_empty() && text.chars().count() <= most as usize && !text.chars().any(is_disruptive);
    // A text of joiners and direction marks alone is invisible.
    let is_visible = text
        .chars()
        .any(|character| !matches!(character, '\u{200B}'..='\u{200F}' | '\u{2060}'));
    if fits && is_visible {
        Ok(text.to_owned())
    } else {
        Err(Error::new(
            code,
            format!("One line of 1 to {most} printable characters is required."),
        ))
    }
}

/// Returns lines of up to `most` characters, trimmed.
pub(crate) fn lines(text: &str, most: u32, code: &str) -> Result<String, Error> {
    let text = text.trim();
    let fits = text.chars().count() <= most as usize
        && !text
            .chars()
            .any(|character| is_disruptive(character) && !matches!(character, '\n' | '\t'));
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Error::new(
            code,
            format!("Up to {most} printable characters are allowed."),
        ))
    }
}

/// Returns the id of a blob, or an empty text.
pub(crate) fn picture(id: &str) -> Result<String, Error> {
    if id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(id.to_owned())
    } else {
        Err(Error::new(
            error::INVALID_PICTURE,
            "`picture` must be the id of a blob, or empty.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_visible_and_free_of_disruptive_characters() {
        assert_eq!(line("  Chess club 👩‍🚀 ", 64, "bad"), Ok("Chess club 👩‍🚀".to_owned()));
        for bad in [
            "",
            "  ",
            "a\nb",
            "a\u{0}",
            "a\u{202E}b",
            "\u{200B}\u{200D}",
            "a\u{2028}b",
            &"x".repeat(65),
        ] {
            assert_eq!(line(bad, 64, "bad").unwrap_err().code, "bad", "{bad:?}");
        }
    }

    #[test]
    fn texts_may_have_several_lines() {
        assert_eq!(lines("a\nb\n", 10, "bad"), Ok("a\nb".to_owned()));
        assert_eq!(lines("", 10, "bad"), Ok(String::new()));
        for bad in ["a\rb", "\u{7}", &"x".repeat(11)] {
            assert!(lines(bad, 10, "bad").is_err(), "{bad:?}");
        }
    }
}
