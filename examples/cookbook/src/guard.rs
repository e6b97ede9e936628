//! Rejects texts that contain a word of the operator's list.

use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::serde_json;

/// The plugin, with its configuration: `[plugins.config]` with `words = ["spam"]`.
pub struct WordFilter {
    words: Vec<String>,
}

record! {
    /// The configuration.
    struct Settings { words: Vec<String> }
}

impl Plugin for WordFilter {
    fn start(configuration: &str) -> Result<Self, Error> {
        let settings: Settings =
            serde_json::from_str(configuration).map_err(|error| Error::new("invalid_config", error.to_string()))?;
        let words = settings.words.iter().map(|word| word.to_lowercase()).collect();
        Ok(Self { words })
    }

    fn before_send(&self, _cx: &Context, message: &Message<'_>) -> Verdict {
        // Edits come here as well. JSON escapes are decoded, so that they can't hide a word.
        let Ok(content) = message.content_as::<serde_json::Value>() else {
            return Verdict::reject("invalid_content", "The text can't be read.");
        };
        let text = content["text"].as_str().unwrap_or_default().to_lowercase();
        match self.words.iter().find(|word| text.contains(word.as_str())) {
            Some(word) => Verdict::reject("forbidden_word", format!("Please don't write {word:?}.")),
            None => Verdict::Accept,
        }
    }
}

register! {
    plugin: WordFilter,
    id: "word_filter",
    description: "Rejects texts that contain a forbidden word.",
    capabilities: [],
    hooks: [before_send(guard) { contents: ["text"] }],
    methods: [],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use courtyard_plugin_sdk::testing::{TestHost, TestMessage};

    #[test]
    fn a_forbidden_word_is_rejected_in_any_case() {
        let host = TestHost::<WordFilter>::start(r#"{"words":["spam"]}"#).unwrap();
        let say = |text| host.before_send(&TestMessage::direct("ann", "bob", text));
        assert_eq!(say("Hello"), Verdict::Accept);
        assert!(matches!(say("Buy SPAM"), Verdict::Reject(error) if error.code == "forbidden_word"));
    }

    #[test]
    fn a_configuration_without_words_is_refused() {
        assert!(TestHost::<WordFilter>::start("{}").is_err());
    }
}
