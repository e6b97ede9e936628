//! Texts that members write and others read: checked once, shown everywhere.

use courtyard_plugin_sdk::prelude::*;

/// What breaks the line or the direction of whatever stands around it.
fn disturbs(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// Reads one line of 1 to `most` characters, without the spaces around it.
pub(crate) fn line(text: &str, most: u32, code: &str) -> Result<String, Error> {
    let text = text.trim();
    let fits = !text.is_empty() && text.chars().count() <= most as usize && !text.chars().any(disturbs);
    // Nothing but joiners and the like can't be seen.
    let seen = text
        .chars()
        .any(|character| !matches!(character, '\u{200B}'..='\u{200F}' | '\u{2060}'));
    if fits && seen {
        Ok(text.to_owned())
    } else {
        Err(Error::new(
            code,
            format!("This is one line of 1 to {most} printable characters."),
        ))
    }
}

/// Reads lines of up to `most` characters.
pub(crate) fn lines(text: &str, most: u32, code: &str) -> Result<String, Error> {
    let text = text.trim();
    let fits = text.chars().count() <= most as usize
        && !text
            .chars()
            .any(|character| disturbs(character) && !matches!(character, '\n' | '\t'));
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Error::new(code, format!("This is up to {most} printable characters.")))
    }
}

/// Reads the id of a blob, or nothing.
pub(crate) fn picture(id: &str) -> Result<String, Error> {
    if id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(id.to_owned())
    } else {
        Err(Error::new("bad_picture", "A picture is the id of a blob."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_line_that_can_be_seen_and_disturbs_nothing() {
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
    fn descriptions_may_have_lines() {
        assert_eq!(lines("a\nb\n", 10, "bad"), Ok("a\nb".to_owned()));
        assert_eq!(lines("", 10, "bad"), Ok(String::new()));
        for bad in ["a\rb", "\u{7}", &"x".repeat(11)] {
            assert!(lines(bad, 10, "bad").is_err(), "{bad:?}");
        }
    }
}
