//! Search tokens: words and emoji.

/// Longest word; bytes.
const WORD_BYTES: usize = 64;

/// Splits a text into words in lower case, sorted and without duplicates.
pub(crate) fn words(text: &str) -> Vec<String> {
    let cut = text
        .split(|char: char| !char.is_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut words: Vec<String> = cut
        .map(str::to_lowercase)
        .filter(|word| word.len() <= WORD_BYTES)
        .collect();
    words.sort();
    words.dedup();
    words
}

/// Parses an emoji: 1 to 32 bytes without letters, space and control characters. Variation selectors and skin tones, which
/// only affect how it is drawn, are left out.
pub(crate) fn emoji(text: &str) -> Option<String> {
    let is_kept = |char: &char| !matches!(char, '\u{fe0e}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}');
    let plain: String = text.trim().chars().filter(is_kept).collect();
    let is_odd = |char: char| char.is_alphabetic() || char.is_whitespace() || char.is_control();
    let is_joined = |char: char| char == '\u{200d}' || !is_odd(char);
    let is_emoji = (1..=32).contains(&plain.len()) && plain.chars().all(is_joined) && !plain.is_ascii();
    is_emoji.then_some(plain)
}

/// Returns the emoji in a text.
pub(crate) fn emoji_in(text: &str) -> Vec<String> {
    let is_picture = |char: char| matches!(u32::from(char), 0x2190..=0x2bff | 0x1f000..=0x1faff | 0x200d | 0xfe0f);
    let mut found: Vec<String> = text.split(|char| !is_picture(char)).filter_map(emoji).collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::{emoji, emoji_in, words};

    #[test]
    fn words_are_split_and_lowercased() {
        assert_eq!(words("Good-bye, GOOD Ärger 你好!"), ["bye", "good", "ärger", "你好"]);
        assert_eq!(words(&"x".repeat(65)), [] as [&str; 0]);
    }

    #[test]
    fn emoji_lose_variation_selectors_and_skin_tones() {
        assert_eq!(emoji("👋🏽").as_deref(), Some("👋"));
        assert_eq!(emoji("❤️").as_deref(), Some("❤"));
        assert_eq!(emoji("1️⃣").as_deref(), Some("1⃣"));
        for bad in ["", " ", "a", "12", "👋 👋", "好", "\u{fe0f}", "😀\n😀"] {
            assert_eq!(emoji(bad), None, "{bad:?}");
        }
        assert_eq!(emoji_in("waving 👋🏽 and ❤️ love"), ["👋", "❤"]);
    }
}
