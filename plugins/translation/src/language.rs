//! Language tags.

use serde::{Deserialize, Serialize};

/// A language tag in lower case, such as `de` or `pt-br`; annotations have it as their name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Language(String);

impl Language {
    /// Parses a tag in any case: two or three letters, then subtags of 2 to 8 letters or digits after hyphens or underscores; 16
    /// bytes at most.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let tag = text.trim().to_ascii_lowercase().replace('_', "-");
        let mut parts = tag.split('-');
        let primary = parts.next()?;
        let is_primary = (2..=3).contains(&primary.len()) && primary.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_part =
            |part: &str| (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (is_primary && tag.len() <= 16 && parts.all(is_part)).then_some(Self(tag))
    }

    /// Returns the tag in lower case.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the primary subtag, which names the language without region and script.
    pub(crate) fn primary(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }

    /// Returns true if readers of one read the other: regions don't matter, scripts do.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let script = |tag: &Self| tag.0.split('-').find(|part| part.len() == 4).map(str::to_owned);
        self.primary() == other.primary()
            && match (script(self), script(other)) {
                (Some(one), Some(another)) => one == another,
                _ => true,
            }
    }

    /// Returns the tag in the case that BCP 47 recommends: `pt-BR`, `zh-Hant`.
    pub(crate) fn canonical(&self) -> String {
        let part = |(index, part): (usize, &str)| match (index, part.len()) {
            (0, _) => part.to_owned(),
            (_, 2) => part.to_ascii_uppercase(),
            (_, 4) => part[..1].to_ascii_uppercase() + &part[1..],
            _ => part.to_owned(),
        };
        let parts: Vec<String> = self.0.split('-').enumerate().map(part).collect();
        parts.join("-")
    }
}

impl TryFrom<String> for Language {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("not a language tag such as \"de\" or \"pt-br\": {text:?}"))
    }
}

impl From<Language> for String {
    fn from(language: Language) -> Self {
        language.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::Language;

    #[test]
    fn tags_are_parsed_in_any_case_and_invalid_ones_rejected() {
        assert_eq!(Language::parse(" pt_BR ").unwrap().as_str(), "pt-br");
        assert_eq!(Language::parse("ZH-hant").unwrap().canonical(), "zh-Hant");
        for bad in [
            "",
            "e",
            "1a",
            "engl",
            "en-",
            "en-x",
            "en/../x",
            "de-aaaaaaaaa",
            "dé",
            "en-aaaaaa-bbbbbb-cc",
        ] {
            assert_eq!(Language::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn regions_are_alike_and_scripts_are_not() {
        let like = |one: &str, other: &str| Language::parse(one).unwrap().is_like(&Language::parse(other).unwrap());
        assert!(like("pt-br", "pt"));
        assert!(like("zh", "zh-hans"));
        assert!(!like("zh-hans", "zh-hant"));
        assert!(!like("de", "en"));
    }
}
